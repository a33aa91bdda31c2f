//! Which vault a host name means, and what its ids and challenge are made of.
//!
//! `{name}.{suffix}` is a vault, at the configured port or behind something that serves the default one. In
//! development the loopback names mean one vault. Everything else is refused without a challenge: a challenge made
//! of a foreign host would tell a misdirected client which audience to ask a token for.
//!
//! Clients check that the vault's host ends in the challenge's resource, Python and Go with the port, the others
//! without. Naming the suffix with the port is the one form that passes all of them. A loopback name can pass none.
//!
//! Tests: `tests/hosts.rs`.

use std::sync::Arc;

use super::fault::Fault;
use crate::{
    domain::{claims::audience::canonical, resources::Vault, secrets::is_vault_name},
    http::{Call, PublicNames},
    store::Snapshot,
};

/// The resource that Azure's own vaults name, which programs and tools hard-code.
const AZURE: &str = "https://vault.azure.net";
/// The port that is left out of URLs.
const DEFAULT_PORT: u16 = 443;

/// What host names mean.
pub(super) struct Hosts {
    suffix: String,
    port: u16,
    local: Option<String>,
    at_port: Audiences,
    at_default: Audiences,
    at_loopback: Audiences,
}

/// The audiences a token may have, in their canonical form, the one that the challenge names first.
type Audiences = Arc<[String]>;

/// How a vault was addressed.
#[derive(Clone)]
pub(super) struct Address {
    /// `https://dev.vault.denizen.test:8444`: the base of ids.
    pub base: String,
    /// What tokens for it may name, the challenge's resource first.
    pub audiences: Audiences,
    /// Whether browsers and clients may be told to insist on TLS here: not for loopback names, which are everybody's.
    pub strict_transport: bool,
}

impl Address {
    /// The resource that the challenge names.
    pub(super) fn resource(&self) -> &str {
        self.audiences.first().map_or(AZURE, String::as_str)
    }
}

impl Hosts {
    pub(super) fn new(names: PublicNames) -> Self {
        let PublicNames { vault_suffix, vault_port, vault_local, .. } = names;
        let suffix = vault_suffix.to_ascii_lowercase();
        let bare = format!("https://{suffix}");
        let at_port = canonical(&format!("{bare}:{vault_port}"));
        // The challenge's own first.
        let audiences = |first: &str| -> Audiences {
            let mut all: Vec<String> = Vec::with_capacity(4);
            for one in [first, at_port.as_str(), bare.as_str(), AZURE].map(canonical) {
                if !all.contains(&one) {
                    all.push(one);
                }
            }
            all.into()
        };
        Self {
            at_port: audiences(&at_port),
            at_default: audiences(&bare),
            at_loopback: audiences(AZURE),
            port: vault_port,
            local: vault_local,
            suffix,
        }
    }

    /// The vault that a call is for.
    pub(super) fn resolve(&self, call: &Call, snapshot: &Snapshot) -> Result<(Arc<Vault>, Address), Fault> {
        let (name, port) = split(&call.host).ok_or_else(|| self.unknown())?;
        let (label, address) = if matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
            let local = self.local.as_deref().ok_or_else(|| self.unknown())?;
            (
                local,
                Address { base: base(&call.host), audiences: Arc::clone(&self.at_loopback), strict_transport: false },
            )
        } else {
            let label = name.strip_suffix(self.suffix.as_str()).and_then(|rest| rest.strip_suffix('.'));
            let label = label.filter(|label| is_vault_name(label)).ok_or_else(|| self.unknown())?;
            let audiences = match port.unwrap_or(DEFAULT_PORT) {
                port if port == self.port => &self.at_port,
                DEFAULT_PORT => &self.at_default,
                _ => return Err(self.unknown()),
            };
            let base = if port == Some(DEFAULT_PORT) { base(name) } else { base(&call.host) };
            (label, Address { base, audiences: Arc::clone(audiences), strict_transport: true })
        };
        let vault = snapshot.vault(label).ok_or_else(|| Fault::no_vault(label))?;
        Ok((Arc::clone(vault), address))
    }

    fn unknown(&self) -> Fault {
        let local = if self.local.is_some() { ", or localhost" } else { "" };
        Fault::host(&format!(
            "The Host header names no vault of this server: use https://{{vault name}}.{}{}{local}.",
            self.suffix,
            if self.port == DEFAULT_PORT { String::new() } else { format!(":{}", self.port) },
        ))
    }
}

fn base(host: &str) -> String {
    ["https://", host].concat()
}

/// Host and port; none when it is not a host that could be ours.
fn split(host: &str) -> Option<(&str, Option<u16>)> {
    let port_at = match host.strip_prefix('[') {
        Some(rest) => rest.find(']').map(|end| end + 2)?,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, rest) = host.split_at_checked(port_at)?;
    if rest.is_empty() {
        return Some((name, None));
    }
    let digits = rest.strip_prefix(':')?;
    // `parse` alone would take a sign.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((name, Some(digits.parse().ok()?)))
}

//! Putting a server together as a configuration says: the one way to it, for `denizen server` and for `denizen dev`.
//!
//! Tests: `tests/it`.

use std::sync::Arc;

use denizen_keys::envelope::RootKey;
use denizen_server::{
    domain::claims::audience::EntraIssued,
    http::{
        PublicNames,
        tls::{Certificates, Pair},
    },
    run::{Server, ServerConfig, tls_of},
};
use denizen_wire::{Causes, Clock, host::is_local};

use crate::{
    config::{Config, Fault, Faults, Origin, TRIAL_VAULT, TRIAL_VAULT_SUFFIX, engine},
    exit::{self, Failure},
};

/// The other names of this machine, as a URL has them.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Faults, each with the exit code of its kind.
#[derive(Default)]
pub(crate) struct Faulty(Vec<(u8, Fault)>);

impl Faulty {
    /// Adds a fault of the kind that `code` says.
    pub(crate) fn add(&mut self, code: u8, fault: Fault) {
        self.0.push((code, fault));
    }

    /// Adds what is wrong with the configuration itself.
    pub(crate) fn add_all(&mut self, faults: Faults) {
        self.0.extend(faults.0.into_iter().map(|fault| (exit::CONFIG, fault)));
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it, as the end of a command; none when nothing is wrong.
    pub(crate) fn failure(self) -> Option<Failure> {
        let codes: Vec<u8> = self.0.iter().map(|(code, _)| *code).collect();
        let code = codes.iter().copied().find(|code| *code == exit::CONFIG).or(codes.first().copied())?;
        let faults = Faults(self.0.into_iter().map(|(_, fault)| fault).collect());
        Some(Failure::new(code, faults.to_string()))
    }
}

/// What the server is called from outside; the ports are those that are listened on.
pub(crate) fn names(config: &Config, control_port: u16, vault_port: u16) -> PublicNames {
    let at_loopback = |port| Origin { host: "localhost".to_owned(), port: Some(port) };
    let public = config.public_url.clone().unwrap_or_else(|| at_loopback(control_port));
    let vault = config.vaults.url.clone().unwrap_or_else(|| at_loopback(vault_port));
    let is_trial = is_local(&vault.host);
    let others = LOOPBACK.iter().filter(|host| is_local(&public.host) && **host != public.host);
    let others = others.map(|host| Origin { host: (*host).to_owned(), ..public.clone() });
    PublicNames {
        authority: public.to_string(),
        other_authorities: others.map(|origin| origin.to_string()).collect(),
        vault_suffix: config.vaults.suffix.clone().unwrap_or_else(|| match is_trial {
            true => TRIAL_VAULT_SUFFIX.to_owned(),
            false => vault.host.clone(),
        }),
        vault_port: vault.port.unwrap_or(443),
        vault_local: config.vaults.local.clone().or_else(|| is_trial.then(|| TRIAL_VAULT.to_owned())),
    }
}

/// Opens the database and makes the use cases.
///
/// # Errors
/// The database cannot be opened, or is not this root key's.
pub(crate) async fn open(
    config: &Config,
    names: PublicNames,
    root_key: RootKey,
    clock: Clock,
    entra_issued: EntraIssued,
    connections: usize,
) -> Result<Server, Fault> {
    let engine = engine(config)?;
    let (retention, rates) = (config.retention, config.rates);
    let opened =
        Server::open(ServerConfig { engine, names, root_key, clock, entra_issued, connections, retention, rates })
            .await;
    opened.map_err(|error| Fault::new(&config.store.at, Causes(&error).to_string()))
}

/// The TLS side of its listeners, and what replaces the certificate.
///
/// # Errors
/// A fault of ours.
pub(crate) fn tls(server: &Server, pair: &Pair) -> Result<(Arc<rustls::ServerConfig>, Arc<Certificates>), Failure> {
    let certificates = Certificates::new(pair, server.tls_health.clone());
    let tls = tls_of(Arc::clone(&certificates)).map_err(Failure::while_(exit::SOFTWARE, "TLS"))?;
    Ok((tls, certificates))
}

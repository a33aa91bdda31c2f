//! Putting a server together as a configuration says: the one way to it, for `denizen server` and for `denizen dev`.
//!
//! Tests: `tests/it`.

use std::sync::Arc;

use denizen_agent::files;
use denizen_keys::{Custody, KeyError, SecretString, envelope::RootKey, pkcs11::Token, x509::Certificate};
use denizen_server::{
    domain::claims::audience::EntraIssued,
    http::{
        PublicNames,
        tls::{Certificates, Pair},
    },
    issuers::{Hosts, Outbound},
    run::{Server, ServerConfig, tls_of},
};
use denizen_wire::{Causes, Clock, host::is_local};
use rustls::RootCertStore;

use crate::{
    config::{
        Config, Device, Fault, Faults, FederationConfig, Origin, Signing, TRIAL_VAULT, TRIAL_VAULT_SUFFIX, engine,
    },
    exit::{self, Failure},
};

/// The largest file of CA certificates, bytes.
const MAX_CA_FILE: u64 = 4 * 1024 * 1024;
/// The other names of this machine, as a URL has them.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The file of a PIN is no larger, bytes.
const MAX_PIN_FILE: u64 = 4096;

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
    let custody = custody(&config.signing)?;
    let (retention, rates, password_grant) = (config.retention, config.rates, config.password_grant);
    let outbound = outbound(&config.federation)?;
    let opened = Server::open(ServerConfig {
        engine,
        names,
        root_key,
        custody,
        clock,
        entra_issued,
        connections,
        retention,
        rates,
        password_grant,
        outbound,
    });
    opened.await.map_err(|error| Fault::new(&config.store.at, Causes(&error).to_string()))
}

/// How other issuers are asked: with the system's CA certificates, and those that the configuration adds.
fn outbound(config: &FederationConfig) -> Result<Outbound, Fault> {
    let FederationConfig { hosts, networks, ca_file } = config;
    let mut roots = RootCertStore::empty();
    // Who asks nobody need not read a few hundred certificates.
    if *hosts != Hosts::default() {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::debug!(%error, "some of the system's CA certificates cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        if let Some((file, at)) = ca_file {
            let fault = |rule: &dyn std::fmt::Display| Fault::new(format!("{at} {}", file.display()), rule.to_string());
            let pem = files::read_text(file, MAX_CA_FILE).map_err(|error| fault(&error))?;
            let read = Certificate::chain_from_pem(&pem).map_err(|error| fault(&error))?;
            if read.is_empty() {
                return Err(fault(&"it holds no certificate in PEM"));
            }
            for certificate in read {
                roots.add(certificate.der().to_vec().into()).map_err(|error| fault(&error))?;
            }
        }
    }
    Ok(Outbound { hosts: hosts.clone(), networks: networks.clone(), roots: Arc::new(roots) })
}

/// Where the keys that sign tokens are made and kept. A token that is not there now may come back, and is a warning.
///
/// # Errors
/// The module does not load, or the PIN is not there or refused.
fn custody(signing: &Signing) -> Result<Custody, Fault> {
    let Some(device) = &signing.device else { return Ok(Custody::sealed()) };
    let token = token(device)?;
    match token.check() {
        Ok(()) => {}
        Err(KeyError::Device { may_recover: true, reason, token }) => {
            tracing::warn!(token, reason, "signing keys that are in the token sign nothing until it can be used");
        }
        Err(error) => return Err(Fault::new(&device.token_at, error.to_string())),
    }
    Ok(if signing.in_device { Custody::in_token(token) } else { Custody::sealed().with_token(token) })
}

fn token(device: &Device) -> Result<Token, Fault> {
    let at = format!("{} {}", device.pin_at, device.pin_file.display());
    let text = files::read_secret_text(&device.pin_file, MAX_PIN_FILE)
        .map_err(|error| Fault::new(&at, format!("the PIN cannot be read: {error}")))?;
    let pin = SecretString::from(text.trim_end_matches(['\r', '\n']));
    if pin.is_empty() {
        return Err(Fault::new(at, "the file is empty: write the token's user PIN into it"));
    }
    Token::of_module(&device.module, &device.token, &pin)
        .map_err(|error| Fault::new(&device.module_at, error.to_string()))
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

//! The certificate that listeners show: read from PEM, checked, and replaced while they serve.
//!
//! A pair that cannot be served never replaces one that can. Errors repeat nothing of what was read: a private key may
//! stand in it. Tests: `tls/tests.rs`; with files and over the wire in `tests/it`.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use denizen_keys::{SecretString, x509::Certificate};
use denizen_wire::UnixTime;
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

#[cfg(test)]
mod tests;

/// A certificate chain with its private key, which belong together.
#[derive(Clone, Debug)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    not_before: UnixTime,
    not_after: UnixTime,
}

/// Why a pair cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPair {
    /// The chain cannot be read.
    #[error("the certificate chain is not PEM, or damaged")]
    Chain,
    /// The key cannot be read.
    #[error("the private key is not PEM, or damaged")]
    Key,
    /// The key is of a kind that is not used.
    #[error("the private key is of a kind that cannot be used: take RSA, ECDSA P-256 or P-384, or Ed25519")]
    Kind,
    /// The key is another's.
    #[error(
        "the private key does not belong to the certificate: the server's own certificate must stand first in the chain"
    )]
    Mismatch,
    /// It is over.
    #[error("the certificate expired at {}: renew it", .0.rfc3339())]
    Expired(UnixTime),
    /// It has not begun.
    #[error("the certificate is not valid before {}: check this machine's clock", .0.rfc3339())]
    NotYet(UnixTime),
}

impl Pair {
    /// Reads a chain and its key.
    ///
    /// # Errors
    /// [`BadPair`], whatever the time is.
    pub fn read(chain_pem: &str, key_pem: &SecretString) -> Result<Self, BadPair> {
        let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| BadPair::Chain)?;
        let leaf = chain.first().ok_or(BadPair::Chain)?;
        let leaf = Certificate::from_der(leaf).map_err(|_| BadPair::Chain)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.expose().as_bytes()).map_err(|_| BadPair::Key)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                BadPair::Mismatch
            } else if matches!(error, rustls::Error::InvalidCertificate(_)) {
                BadPair::Chain
            } else {
                BadPair::Kind
            }
        })?;
        let (not_before, not_after) = (UnixTime(leaf.not_before()), UnixTime(leaf.not_after()));
        Ok(Self { certified: Arc::new(certified), not_before, not_after })
    }

    /// Whether it may be shown now.
    ///
    /// # Errors
    /// [`BadPair::Expired`], [`BadPair::NotYet`].
    pub fn check_time(&self, now: UnixTime) -> Result<(), BadPair> {
        if now > self.not_after {
            return Err(BadPair::Expired(self.not_after));
        }
        if now < self.not_before {
            return Err(BadPair::NotYet(self.not_before));
        }
        Ok(())
    }

    /// When it ends.
    pub fn not_after(&self) -> UnixTime {
        self.not_after
    }

    /// Whether clients take it for a host of this name.
    pub fn is_for(&self, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']);
        let Ok(name) = ServerName::try_from(host) else { return false };
        let Some(leaf) = self.certified.cert.first() else { return false };
        ParsedCertificate::try_from(leaf).is_ok_and(|leaf| rustls::client::verify_server_name(&leaf, &name).is_ok())
    }
}

/// What is shown of the certificates in the metrics. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct TlsHealth(Arc<Health>);

#[derive(Debug, Default)]
struct Health {
    /// 0 while there is none.
    not_after: AtomicI64,
    failures: AtomicU64,
}

impl TlsHealth {
    /// When the certificate that is shown ends; none while there is none.
    pub fn not_after(&self) -> Option<UnixTime> {
        Some(UnixTime(self.0.not_after.load(Ordering::Relaxed))).filter(|at| at.0 != 0)
    }

    /// How often a new pair was refused.
    pub fn failures(&self) -> u64 {
        self.0.failures.load(Ordering::Relaxed)
    }

    /// Counts a new pair that was refused.
    pub fn refused(&self) {
        self.0.failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// Gives each connection the pair that is current.
#[derive(Debug)]
pub struct Certificates {
    current: ArcSwap<CertifiedKey>,
    health: TlsHealth,
}

impl Certificates {
    /// Creates one that shows `pair`.
    pub fn new(pair: &Pair, health: TlsHealth) -> Arc<Self> {
        let certificates = Self { current: ArcSwap::from(Arc::clone(&pair.certified)), health };
        certificates.replace(pair);
        Arc::new(certificates)
    }

    /// Shows `pair` from the next connection on.
    pub fn replace(&self, pair: &Pair) {
        self.current.store(Arc::clone(&pair.certified));
        self.health.0.not_after.store(pair.not_after.0, Ordering::Relaxed);
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

//! A development certificate authority that is safe to put into a trust store for a while.
//!
//! Trying Denizen needs TLS, and TLS needs an authority that clients trust. One that could vouch for every name in
//! the world would be a liability long after the trial, so this one is constrained by its own certificate to this
//! machine's loopback addresses, `localhost`, and names under `denizen.test` (a domain reserved by
//! RFC 6761), and to issuing leaves only. Clients enforce the constraints.
//!
//! Touches the random source only. Tests: `ca/tests.rs`.

#[cfg(test)]
mod tests;

use crate::x509::{self, Certificate};
use crate::{KeyError, SecretBytes, SecretString, b64};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rcgen::{
    BasicConstraints, CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose,
    NameConstraints, SanType,
};
use std::net::{IpAddr, Ipv6Addr};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

/// How long the authority lives, in days: ten years.
pub const CA_DAYS: i64 = 3652;

/// How long a server certificate should live, in days.
pub const LEAF_DAYS: i64 = 90;

/// How far dates reach back before now, in seconds, so that a clock a little behind ours does not refuse us.
pub const BACKDATED_SECONDS: i64 = 300;

const DAY: i64 = 86_400;

/// Roots of the names the authority may vouch for, each with everything under it.
const PERMITTED_DNS: [&str; 2] = ["localhost", "denizen.test"];

const PERMITTED: &str = "localhost, denizen.test and names under them, 127.0.0.0/8 and ::1";

/// A certificate authority for trials and tests, with an ECDSA P-256 key.
pub struct DevCa {
    certificate: Certificate,
    pem: String,
    key: EcKey,
}

/// A name a server answers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SanEntry {
    /// A host name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// A server's certificate and key, as a TLS listener takes them.
pub struct IssuedServer {
    /// The leaf. The authority itself is not part of it: clients have it already or must not believe it.
    pub chain: Vec<Certificate>,
    /// The private key, PKCS#8 DER.
    pub key: SecretBytes,
}

impl DevCa {
    /// Makes a new authority of the given common name, valid from `now` (Unix seconds) for [`CA_DAYS`].
    ///
    /// # Errors
    /// [`KeyError::Generation`], or [`KeyError::Certificate`] for a name or a date that cannot be written.
    pub fn generate(name: &str, now: i64) -> Result<Self, KeyError> {
        let key = EcKey::generate()?;
        let mut params = x509::params(name, now.saturating_sub(BACKDATED_SECONDS), now.saturating_add(CA_DAYS * DAY))?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(name_constraints());
        let der = params.self_signed(&key).map_err(|_| KeyError::Signing)?;
        let certificate = Certificate::from_der(der.der())?;
        Ok(Self { pem: certificate.pem(), certificate, key })
    }

    /// Restores an authority from its certificate and its unsealed key.
    ///
    /// # Errors
    /// [`KeyError::Certificate`] when the certificate is not one this module made for this key.
    pub fn from_parts(cert_pem: &str, key: &SecretBytes) -> Result<Self, KeyError> {
        let certificate = Certificate::from_pem(cert_pem)?;
        let key = EcKey::from_pkcs8(key)?;
        let (_, parsed) = X509Certificate::from_der(certificate.der())
            .map_err(|_| KeyError::Certificate("not a DER X.509 certificate"))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.point() {
            return Err(KeyError::Certificate("it does not belong to this key"));
        }
        let refused = |_| KeyError::Certificate("an extension cannot be read");
        let leaves_only = parsed
            .basic_constraints()
            .map_err(refused)?
            .is_some_and(|basic| basic.value.ca && basic.value.path_len_constraint == Some(0));
        let constrained = parsed.name_constraints().map_err(refused)?.is_some_and(|names| {
            // A name constraint that clients may ignore is none.
            names.critical && names.value.permitted_subtrees.as_ref().is_some_and(|trees| !trees.is_empty())
        });
        if !leaves_only || !constrained {
            return Err(KeyError::Certificate("it is not a name-constrained authority that issues leaves only"));
        }
        Ok(Self { pem: certificate.pem(), certificate, key })
    }

    /// The authority's certificate as PEM, for clients' trust stores.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.pem
    }

    /// The authority's certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The private key as PKCS#8, to be sealed at rest and for nothing else.
    #[must_use]
    pub fn key(&self) -> &SecretBytes {
        &self.key.pkcs8
    }

    /// Issues a server certificate with a new P-256 key, valid from `now` (Unix seconds) for `lifetime_days`, or to
    /// the authority's own end if that comes first.
    ///
    /// # Errors
    /// [`KeyError::NameNotPermitted`] for a name clients would refuse from this authority,
    /// [`KeyError::Certificate`] without names or days, or when the authority has ended.
    pub fn issue_server(&self, names: &[SanEntry], now: i64, lifetime_days: u32) -> Result<IssuedServer, KeyError> {
        if names.is_empty() {
            return Err(KeyError::Certificate("a server certificate needs a name"));
        }
        if lifetime_days == 0 {
            return Err(KeyError::Certificate("a server certificate needs at least one day"));
        }
        let end = now.saturating_add(i64::from(lifetime_days) * DAY).min(self.certificate.not_after());
        if end <= now {
            return Err(KeyError::Certificate("the authority has ended: make a new one"));
        }
        // Not a host name on purpose: where a certificate names only addresses, OpenSSL holds a common name that
        // looks like a host against the name constraints.
        let mut params = x509::params("Denizen server", now.saturating_sub(BACKDATED_SECONDS), end)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names = names.iter().map(permitted).collect::<Result<_, _>>()?;

        let leaf_key = EcKey::generate()?;
        let leaf = params.signed_by(&leaf_key, &self.issuer()?).map_err(|_| KeyError::Signing)?;
        Ok(IssuedServer { chain: vec![Certificate::from_der(leaf.der())?], key: leaf_key.pkcs8 })
    }

    /// The issuer's name, key identifier and key, taken from the certificate that clients hold, so that they match
    /// exactly.
    fn issuer(&self) -> Result<Issuer<'_, &EcKey>, KeyError> {
        let unreadable = KeyError::Certificate("the authority's certificate cannot be read");
        let cn = self.certificate.subject_cn().ok_or(unreadable.clone())?;
        let (_, parsed) = X509Certificate::from_der(self.certificate.der()).map_err(|_| unreadable.clone())?;
        let identifier = parsed
            .iter_extensions()
            .find_map(|extension| {
                let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else { return None };
                Some(id.0.to_vec())
            })
            .ok_or(unreadable)?;
        let mut params = x509::params(cn, self.certificate.not_before(), self.certificate.not_after())?;
        params.key_identifier_method = KeyIdMethod::PreSpecified(identifier);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Issuer::new(params, &self.key))
    }
}

impl std::fmt::Debug for DevCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevCa").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl IssuedServer {
    /// The chain as PEM, leaf first.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::pem).collect()
    }

    /// The chain as DER, leaf first.
    #[must_use]
    pub fn chain_der(&self) -> Vec<Vec<u8>> {
        self.chain.iter().map(|certificate| certificate.der().to_vec()).collect()
    }

    /// The private key as PKCS#8 PEM.
    #[must_use]
    pub fn key_pem(&self) -> SecretString {
        let base64 = Zeroizing::new(b64::standard(self.key.expose()));
        SecretString::from(x509::pem_block("PRIVATE KEY", &base64))
    }
}

impl std::fmt::Debug for IssuedServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedServer").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// Converts a name for a certificate, if the authority's constraints permit it.
fn permitted(name: &SanEntry) -> Result<SanType, KeyError> {
    let refused =
        |name: &dyn std::fmt::Display| KeyError::NameNotPermitted { name: name.to_string(), permitted: PERMITTED };
    match name {
        SanEntry::Ip(ip) => {
            let loopback = match ip {
                IpAddr::V4(v4) => v4.is_loopback(),
                IpAddr::V6(v6) => *v6 == Ipv6Addr::LOCALHOST,
            };
            if loopback { Ok(SanType::IpAddress(*ip)) } else { Err(refused(ip)) }
        }
        SanEntry::Dns(dns) => {
            let lower = dns.to_ascii_lowercase();
            let within = PERMITTED_DNS
                .iter()
                .any(|root| lower.strip_suffix(root).is_some_and(|before| before.is_empty() || before.ends_with('.')));
            if !within || !is_host_name(&lower) {
                return Err(refused(dns));
            }
            Ok(SanType::DnsName(lower.try_into().map_err(|_| refused(dns))?))
        }
    }
}

/// Labels of letters, digits and inner hyphens; the first may be a lone `*`.
fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let bare = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253 && bare.split('.').all(label)
}

fn name_constraints() -> NameConstraints {
    let mut permitted_subtrees: Vec<_> =
        PERMITTED_DNS.iter().map(|root| GeneralSubtree::DnsName((*root).to_owned())).collect();
    permitted_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)));
    permitted_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(Ipv6Addr::LOCALHOST.octets(), 128)));
    NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() }
}

/// An ECDSA P-256 key that signs certificates, kept beside its storable form.
struct EcKey {
    pair: EcdsaKeyPair,
    pkcs8: SecretBytes,
}

impl EcKey {
    fn generate() -> Result<Self, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Generation)?;
        Self::from_pkcs8(&SecretBytes::from(document.as_ref()))
    }

    fn from_pkcs8(pkcs8: &SecretBytes) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.expose())
            .map_err(|_| KeyError::PrivateKey("not an unencrypted PKCS#8 ECDSA P-256 key"))?;
        Ok(Self { pair, pkcs8: pkcs8.clone() })
    }

    fn point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }
}

impl rcgen::PublicKeyData for EcKey {
    fn der_bytes(&self) -> &[u8] {
        self.point()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for EcKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

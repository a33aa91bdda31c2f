//! Certificates: a server's under an authority of its own, and an application's that signs assertions.

use std::{io, sync::Arc};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsAcceptor;

/// A server's certificate for `localhost` and 127.0.0.1, and the authority that signed it.
pub(crate) struct ServerCertificate {
    leaf: CertificateDer<'static>,
    key: Vec<u8>,
    authority: CertificateDer<'static>,
    authority_pem: String,
}

impl ServerCertificate {
    pub(crate) fn generate() -> io::Result<Self> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "Identity test kit");
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_key = KeyPair::generate().map_err(io::Error::other)?;
        let root = authority.self_signed(&authority_key).map_err(io::Error::other)?;

        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut leaf = CertificateParams::new(names).map_err(io::Error::other)?;
        leaf.distinguished_name.push(DnType::CommonName, "Identity test kit server");
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).map_err(io::Error::other)?;
        Ok(Self {
            leaf: certificate.der().clone(),
            key: key.serialize_der(),
            authority: root.der().clone(),
            authority_pem: root.pem(),
        })
    }

    pub(crate) fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![self.leaf.clone()], key)
            .map_err(io::Error::other)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// SHA-1 of the leaf, upper-case hexadecimal.
    pub(crate) fn thumbprint(&self) -> String {
        digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.leaf).as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
    }

    pub(crate) fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates([self.authority.clone()]);
        roots
    }
}

/// An application's certificate: RSA-2048, signed by itself.
pub struct ClientCertificate {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl ClientCertificate {
    /// Makes one.
    ///
    /// # Errors
    /// No key can be made.
    pub fn generate() -> io::Result<Self> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(io::Error::other)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Identity test kit application");
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        Ok(Self { certificate, key })
    }

    /// The certificate, PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The certificate, DER.
    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// The key, PEM (PKCS#8).
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// The key, DER (PKCS#8).
    pub fn key_der(&self) -> Vec<u8> {
        self.key.serialize_der()
    }

    /// The thumbprints an assertion names it by: SHA-1 (`x5t`) and SHA-256 (`x5t#S256`).
    pub(crate) fn thumbprints(&self) -> [Vec<u8>; 2] {
        [&SHA1_FOR_LEGACY_USE_ONLY, &SHA256].map(|algorithm| digest(algorithm, self.der()).as_ref().to_vec())
    }

    /// `RSAPublicKey`, RFC 8017.
    pub(crate) fn public(&self) -> Vec<u8> {
        self.key.public_key_raw().to_vec()
    }
}

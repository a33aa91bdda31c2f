//! Certificates: reading what others send, and making self-signed ones for keys that need a name and dates.
//!
//! A [`Certificate`] here is a container for a public key. Nothing in this module decides whether to *trust* one:
//! a client's certificate counts because its thumbprint was registered, a server's because its chain was checked by
//! the TLS library.
//!
//! Touches nothing. Tests: below.

use crate::{Algorithm, KeyError, PublicKey, RsaPublic, Signer, b64, hash, random};
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose, SerialNumber};
use time::OffsetDateTime;
use x509_parser::asn1_rs::{Integer, Sequence, ToDer as _};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The parser's own errors are dropped: the text may hold a private key as well.
const NOT_PEM: &str = "not PEM: a section needs its BEGIN and END marks and its base64 on lines of their own, and a line ends in a \
     line feed, not in the two characters '\\n'";

/// Largest certificate read, in bytes. Real ones are 1 to 3 KiB.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// An X.509 certificate that was read once; cheap to ask.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    not_before: i64,
    not_after: i64,
    subject_cn: Option<String>,
    spki: Vec<u8>,
}

impl Certificate {
    /// Reads one DER certificate with nothing after it.
    ///
    /// # Errors
    /// [`KeyError::Certificate`] naming what is wrong.
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(KeyError::Certificate("longer than 16 KiB"));
        }
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|_| KeyError::Certificate("not a DER X.509 certificate"))?;
        if !rest.is_empty() {
            return Err(KeyError::Certificate("bytes follow the certificate"));
        }
        let subject_cn = parsed.subject().iter_common_name().next().and_then(|cn| cn.as_str().ok()).map(str::to_owned);
        Ok(Self {
            der: der.to_vec(),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            subject_cn,
            spki: parsed.public_key().raw.to_vec(),
        })
    }

    /// Reads the first certificate of a PEM text; other blocks before it are passed over.
    ///
    /// # Errors
    /// [`KeyError::Certificate`] when there is none or it cannot be read.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        Self::chain_from_pem(pem)?.into_iter().next().ok_or(KeyError::Certificate("the PEM text holds no certificate"))
    }

    /// Reads every certificate of a PEM text, in order; private keys and other blocks are passed over.
    ///
    /// # Errors
    /// [`KeyError::Certificate`] when a block cannot be read.
    pub fn chain_from_pem(pem: &str) -> Result<Vec<Self>, KeyError> {
        let mut chain = Vec::new();
        for block in Pem::iter_from_buffer(pem.as_bytes()) {
            let block = block.map_err(|_| KeyError::Certificate(NOT_PEM))?;
            if block.label == "CERTIFICATE" {
                chain.push(Self::from_der(&block.contents)?);
            }
        }
        Ok(chain)
    }

    /// The certificate as it came, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as PEM with a trailing line break.
    #[must_use]
    pub fn pem(&self) -> String {
        pem_block("CERTIFICATE", &b64::standard(&self.der))
    }

    /// SHA-1 of the DER: the `x5t` of token headers, and what portals call the thumbprint.
    #[must_use]
    pub fn thumbprint_sha1(&self) -> [u8; 20] {
        hash::sha1_thumbprint(&self.der)
    }

    /// SHA-256 of the DER: `x5t#S256`.
    #[must_use]
    pub fn thumbprint_sha256(&self) -> [u8; 32] {
        hash::sha256(&self.der)
    }

    /// The key name Entra gives a signing key: the SHA-1 thumbprint in base64url.
    #[must_use]
    pub fn kid(&self) -> String {
        b64::url(&self.thumbprint_sha1())
    }

    /// First second it is valid, Unix time.
    #[must_use]
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Last second it is valid, Unix time.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    /// First common name of the subject, if it has one that is text.
    #[must_use]
    pub fn subject_cn(&self) -> Option<&str> {
        self.subject_cn.as_deref()
    }

    /// The DER `SubjectPublicKeyInfo`, of whatever family.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Its key of either family that signs tokens, parsed and ready to verify: keep it rather than asking again.
    ///
    /// # Errors
    /// As [`PublicKey::from_spki_der`].
    pub fn any_public_key(&self) -> Result<PublicKey, KeyError> {
        PublicKey::from_spki_der(&self.spki)
    }

    /// Its RSA key, parsed and ready to verify: keep it rather than asking again. What clients bring is RSA.
    ///
    /// # Errors
    /// [`KeyError::NotRsa`] for another family, [`KeyError::KeySize`] for a weak key.
    pub fn public_key(&self) -> Result<RsaPublic, KeyError> {
        RsaPublic::from_spki_der(&self.spki)
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("subject_cn", &self.subject_cn)
            .field("thumbprint", &hash::hex_upper(&self.thumbprint_sha1()))
            .finish_non_exhaustive()
    }
}

/// Creates a self-signed certificate that is no CA, by RS256 or ES256 as the key is: for node keys and token-signing keys, which clients and
/// portals expect as certificates.
///
/// `cn` is the common name, 1 to 64 characters (the limit of X.520); the dates are Unix seconds.
///
/// May wait for a device, as [`Signer::sign`].
///
/// # Errors
/// [`KeyError::Certificate`] for values a certificate cannot hold, [`KeyError::Signing`] when the key refuses.
pub fn self_signed(signer: &Signer, cn: &str, not_before: i64, not_after: i64) -> Result<Certificate, KeyError> {
    let mut params = params(cn, not_before, not_after)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = CertificateKey { signer, bits: key_bits(signer.public())? };
    let certificate = params.self_signed(&key).map_err(|_| KeyError::Signing)?;
    Certificate::from_der(certificate.der())
}

/// What every certificate made here has: one common name, dates, a random serial number.
pub(crate) fn params(cn: &str, not_before: i64, not_after: i64) -> Result<CertificateParams, KeyError> {
    if cn.is_empty() || cn.chars().count() > 64 || cn.chars().any(char::is_control) {
        return Err(KeyError::Certificate("the common name is not 1 to 64 printable characters"));
    }
    if not_after <= not_before {
        return Err(KeyError::Certificate("it would end before it begins"));
    }
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, cn);
    let mut params = CertificateParams::default();
    params.not_before = date(not_before)?;
    params.not_after = date(not_after)?;
    params.serial_number = Some(serial_number());
    params.distinguished_name = distinguished_name;
    Ok(params)
}

/// A PEM block around base64 text, 64 characters a line (RFC 7468).
pub(crate) fn pem_block(label: &str, base64: &str) -> String {
    let mut text = String::with_capacity(base64.len() + base64.len() / 64 + 64);
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = base64;
    while !rest.is_empty() {
        // Base64 is ASCII, so any cut is at a character.
        let (line, tail) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// A date a certificate can hold: from 1970 to 9999.
fn date(unix: i64) -> Result<OffsetDateTime, KeyError> {
    const OUTSIDE: KeyError = KeyError::Certificate("a date is outside the years 1970 to 9999");
    if unix < 0 {
        return Err(OUTSIDE);
    }
    OffsetDateTime::from_unix_timestamp(unix).map_err(|_| OUTSIDE)
}

/// 126 random bits: positive and 16 bytes long whatever comes out, as RFC 5280 section 4.1.2.2 wants.
fn serial_number() -> SerialNumber {
    let mut bytes: [u8; 16] = random::bytes();
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    SerialNumber::from_slice(&bytes)
}

/// The key as it stands inside a `SubjectPublicKeyInfo`: PKCS#1 of an RSA key, the point of another.
fn key_bits(key: &PublicKey) -> Result<Vec<u8>, KeyError> {
    let (_, info) =
        SubjectPublicKeyInfo::from_der(key.spki_der()).map_err(|_| KeyError::PublicKey("it cannot be encoded"))?;
    Ok(info.subject_public_key.data.into_owned())
}

/// An ECDSA signature as certificates have it (RFC 5480, appendix A), of the form that tokens have.
pub(crate) fn ecdsa_der(fixed: &[u8]) -> Option<Vec<u8>> {
    // A number of DER has a sign, and no zeros before it that say nothing.
    let number = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let (_, bare) = bytes.split_at(zeros);
        let mut number = Vec::with_capacity(bare.len() + 1);
        if bare.first().is_none_or(|first| first & 0x80 != 0) {
            number.push(0);
        }
        number.extend_from_slice(bare);
        number
    };
    let (r, s) = fixed.split_at_checked(fixed.len() / 2)?;
    let (r, s) = (number(r), number(s));
    Sequence::from_iter_to_der([Integer::new(&r), Integer::new(&s)].iter()).ok()?.to_der_vec().ok()
}

/// Lets the certificate writer sign with a key that may not be in memory.
struct CertificateKey<'a> {
    signer: &'a Signer,
    bits: Vec<u8>,
}

impl rcgen::PublicKeyData for CertificateKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.signer.public() {
            PublicKey::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
            PublicKey::Ec(_) => &rcgen::PKCS_ECDSA_P256_SHA256,
        }
    }
}

impl rcgen::SigningKey for CertificateKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let failed = rcgen::Error::RemoteKeyError;
        match self.signer.public() {
            PublicKey::Rsa(_) => self.signer.sign(Algorithm::Rs256, message).map_err(|_| failed),
            PublicKey::Ec(_) => {
                let fixed = self.signer.sign(Algorithm::Es256, message).map_err(|_| failed.clone())?;
                ecdsa_der(&fixed).ok_or(failed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RsaBits;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    const FROM: i64 = 1_763_700_000;
    const TO: i64 = FROM + 90 * 86_400;

    static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::generate_rsa(RsaBits::B2048).unwrap());
    static CERTIFICATE: LazyLock<Certificate> = LazyLock::new(|| self_signed(&SIGNER, "node-1", FROM, TO).unwrap());

    #[test]
    fn a_self_signed_certificate_says_what_it_was_told() {
        let certificate = &*CERTIFICATE;
        assert_eq!(certificate.subject_cn(), Some("node-1"));
        assert_eq!((certificate.not_before(), certificate.not_after()), (FROM, TO));
        assert_eq!(&certificate.any_public_key().unwrap(), SIGNER.public());
        assert_eq!(&certificate.public_key().unwrap(), SIGNER.public().rsa().unwrap());
        assert_eq!(certificate.thumbprint_sha1(), hash::sha1_thumbprint(certificate.der()));
        assert_eq!(certificate.thumbprint_sha256(), hash::sha256(certificate.der()));
        assert_eq!(certificate.kid().len(), 27);
    }

    #[test]
    fn it_is_signed_by_its_own_key_and_is_no_authority() {
        let (_, parsed) = X509Certificate::from_der(CERTIFICATE.der()).unwrap();
        assert_eq!(parsed.signature_algorithm.algorithm.to_id_string(), "1.2.840.113549.1.1.11");
        assert_eq!(parsed.issuer(), parsed.subject());
        let signed = parsed.tbs_certificate.as_ref();
        assert_eq!(SIGNER.public().verify(Algorithm::Rs256, signed, &parsed.signature_value.data), Ok(()));
        assert!(!parsed.is_ca());
        assert!(parsed.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(!parsed.key_usage().unwrap().unwrap().value.key_cert_sign());
        let other = self_signed(&SIGNER, "node-1", FROM, TO).unwrap();
        let (_, other) = X509Certificate::from_der(other.der()).unwrap();
        assert_ne!(parsed.serial, other.serial);
        assert_eq!(parsed.raw_serial().len(), 16);
    }

    #[test]
    fn an_ec_key_signs_its_certificate_in_the_form_of_certificates() {
        // Of many signatures some have a number that begins with zeros, or with its highest bit set.
        for _ in 0..64 {
            let signer = Signer::generate_ec().unwrap();
            let certificate = self_signed(&signer, "node-1", FROM, TO).unwrap();
            assert_eq!(&certificate.any_public_key().unwrap(), signer.public());
            let (_, parsed) = X509Certificate::from_der(certificate.der()).unwrap();
            assert_eq!(parsed.signature_algorithm.algorithm.to_id_string(), "1.2.840.10045.4.3.2");
            let PublicKey::Ec(key) = signer.public() else { panic!("an EC key") };
            let (signed, signature) = (parsed.tbs_certificate.as_ref(), &parsed.signature_value.data);
            // The library's own reader of the other form.
            use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
            assert!(UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.point()).verify(signed, signature).is_ok());
        }
    }

    #[test]
    fn numbers_of_a_signature_are_written_as_short_as_der_wants() {
        let der = |r: [u8; 2], s: [u8; 2]| ecdsa_der(&[r, s].concat()).unwrap();
        assert_eq!(der([0, 1], [0x80, 0]), [0x30, 8, 2, 1, 1, 2, 3, 0, 0x80, 0]);
        assert_eq!(der([0, 0], [0, 0xff]), [0x30, 7, 2, 1, 0, 2, 2, 0, 0xff]);
    }

    #[test]
    fn pem_and_der_are_one_certificate() {
        let certificate = &*CERTIFICATE;
        let pem = certificate.pem();
        assert!(pem.lines().all(|line| line.len() <= 64));
        assert_eq!(&Certificate::from_pem(&pem).unwrap(), certificate);
        assert_eq!(&Certificate::from_der(certificate.der()).unwrap(), certificate);
        let with_key = format!("{}{pem}{pem}", pem_block("PRIVATE KEY", "AAAA"));
        assert_eq!(Certificate::chain_from_pem(&with_key).unwrap(), [certificate.clone(), certificate.clone()]);
        let crlf = pem.replace('\n', "\r\n");
        assert_eq!(&Certificate::from_pem(&crlf).unwrap(), certificate);
    }

    #[test]
    fn what_is_not_one_certificate_is_refused() {
        let refused = |der: &[u8]| Certificate::from_der(der).unwrap_err();
        let der = CERTIFICATE.der();
        assert_eq!(refused(&[der, &[0]].concat()), KeyError::Certificate("bytes follow the certificate"));
        assert_eq!(refused(&der[..der.len() - 1]), KeyError::Certificate("not a DER X.509 certificate"));
        assert_eq!(refused(&[]), KeyError::Certificate("not a DER X.509 certificate"));
        assert_eq!(refused(&vec![0x30; MAX_CERTIFICATE_BYTES + 1]), KeyError::Certificate("longer than 16 KiB"));
        for text in ["", "no pem at all", &pem_block("PRIVATE KEY", "AAAA")] {
            assert!(matches!(Certificate::from_pem(text), Err(KeyError::Certificate(_))), "{text}");
        }
    }

    #[test]
    fn values_no_certificate_can_hold_are_refused() {
        for cn in ["", &"x".repeat(65), "a\nb", "a\0b"] {
            assert!(matches!(self_signed(&SIGNER, cn, FROM, TO), Err(KeyError::Certificate(_))), "{cn:?}");
        }
        for (from, to) in [(TO, FROM), (FROM, FROM), (-1, TO), (FROM, i64::MAX), (i64::MIN, i64::MAX)] {
            assert!(matches!(self_signed(&SIGNER, "n", from, to), Err(KeyError::Certificate(_))), "{from} {to}");
        }
        // The last second of 9999, which RFC 5280 uses for "no end".
        assert_eq!(self_signed(&SIGNER, "n", FROM, 253_402_300_799).unwrap().not_after(), 253_402_300_799);
    }

    #[test]
    fn another_family_of_keys_is_named_in_the_refusal() {
        let ec = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let der = params("ec", FROM, TO).unwrap().self_signed(&ec).unwrap().der().to_vec();
        let error = Certificate::from_der(&der).unwrap().public_key().unwrap_err();
        assert_eq!(error.to_string(), "the public key is an elliptic-curve key, but only RSA keys are accepted here");
    }

    proptest! {
        #[test]
        fn d32_no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = Certificate::from_der(&bytes);
        }

        #[test]
        fn d32_no_damage_makes_the_reader_panic(at in 0_usize..700, byte: u8, cut in 0_usize..900) {
            let mut der = CERTIFICATE.der().to_vec();
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            der.truncate(der.len().saturating_sub(cut.saturating_sub(200)));
            if let Ok(certificate) = Certificate::from_der(&der) {
                let _ = certificate.public_key();
            }
            let _ = RsaPublic::from_spki_der(&der);
        }

        #[test]
        fn d32_no_text_makes_the_pem_reader_panic(text in "(-----BEGIN CERTIFICATE-----\n)?[ -~\n]{0,200}") {
            let _ = Certificate::chain_from_pem(&text);
        }
    }
}

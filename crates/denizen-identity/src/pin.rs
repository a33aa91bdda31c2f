//! Trust in one certificate by its thumbprint: what Service Fabric's endpoint is recognised by.
//!
//! The certificate is self-signed, so there is no chain to verify; the handshake's signature is verified all the
//! same, or knowing the public certificate would be enough to pose as the server.
//!
//! Tests: `tests/sources.rs`, with a true and a false thumbprint.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs::default_provider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// A SHA-1 thumbprint. SHA-1 is the platform's choice, not ours: it is what `IDENTITY_SERVER_THUMBPRINT` holds.
#[derive(Clone, Debug)]
pub(crate) struct Pin {
    thumbprint: [u8; 20],
    provider: Arc<CryptoProvider>,
}

impl Pin {
    /// From 40 hexadecimal digits, with or without colons.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != ':' && !c.is_whitespace())
            .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
            .collect::<Option<_>>()?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | digit)).collect();
        let thumbprint = (digits.len() == 40).then(|| bytes.try_into().ok()).flatten()?;
        Some(Self { thumbprint, provider: Arc::new(default_provider()) })
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let thumbprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, end_entity);
        match thumbprint.as_ref() == self.thumbprint {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_is_forty_digits() {
        let plain = "00112233445566778899AABBCCDDEEFF00112233";
        let pin = Pin::parse(plain).unwrap();
        assert_eq!(pin.thumbprint[..3], [0x00, 0x11, 0x22]);
        assert_eq!(pin.thumbprint[11], 0xbb);
        let colons: Vec<String> = plain.as_bytes().chunks(2).map(|c| String::from_utf8_lossy(c).into()).collect();
        assert_eq!(Pin::parse(&colons.join(":").to_lowercase()).unwrap().thumbprint, pin.thumbprint);
        for wrong in ["", "00", "zz112233445566778899AABBCCDDEEFF00112233", &plain[1..]] {
            assert!(Pin::parse(wrong).is_none(), "{wrong}");
        }
    }
}

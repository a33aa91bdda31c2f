//! A client's certificate and key, out of a file ([`file`]).
//!
//! The key signs assertions (PS256, named by the certificate's SHA-256: what Entra recommends now); it never leaves.

use aws_lc_rs::{
    digest,
    rand::{self, SystemRandom},
    rsa::KeyPair,
    signature::RSA_PSS_SHA256,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use denizen_wire::UnixTime;
use zeroize::Zeroizing;

mod file;

/// Seconds an assertion is valid; the token service recommends five to ten minutes.
const LIFE: i64 = 600;

/// A certificate that signs.
pub(crate) struct SigningCertificate {
    key: KeyPair,
    /// DER, leaf first.
    chain: Vec<Vec<u8>>,
}

/// Why there is none. No text holds anything of the file: a private key may stand anywhere in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("it is neither PEM nor PKCS#12")]
    Form,
    #[error("its {0} is damaged")]
    Damaged(&'static str),
    #[error("it holds no {0}")]
    Missing(&'static str),
    #[error("its key is encrypted, and no password is given")]
    PasswordNeeded,
    /// No form has anything that would tell the two apart.
    #[error("it cannot be decrypted: the password is wrong, or the file is damaged")]
    NotDecrypted,
    #[error("it is a certificate alone (DER), and the private key is needed as well: give PEM or PKCS#12 with both")]
    CertificateAlone,
    #[error("it is a private key alone (DER), and the certificate is needed as well: give PEM or PKCS#12 with both")]
    KeyAlone,
    #[error("it is encrypted in a way that is not read here: {0}")]
    Encryption(&'static str),
    #[error("its key is an elliptic-curve key; the token service takes RSA")]
    EllipticCurve,
    #[error("its key cannot be used: an RSA key of 2048 to 8192 bits is needed")]
    Key,
    #[error("none of its certificates is for the private key in it")]
    OtherKey,
    #[error("the assertion cannot be signed")]
    Sign,
}

impl SigningCertificate {
    /// Reads the bytes of a file: PEM or PKCS#12, whoever wrote it. Of several keys, one that a certificate in the
    /// file is for is taken.
    pub(crate) fn read(bytes: &[u8], password: Option<&str>) -> Result<Self, CertificateError> {
        let file::Contents { keys, certificates } = file::read(bytes, password)?;
        let mut refused = CertificateError::Missing("private key");
        for key in keys {
            match Self::of(&key, &certificates) {
                Ok(this) => return Ok(this),
                Err(why) => refused = why,
            }
        }
        Err(refused)
    }

    fn of(key: &[u8], certificates: &[Vec<u8>]) -> Result<Self, CertificateError> {
        use aws_lc_rs::signature::KeyPair as _;
        if file::is_elliptic_curve(key) {
            return Err(CertificateError::EllipticCurve);
        }
        let key = KeyPair::from_pkcs8(key).or_else(|_| KeyPair::from_der(key)).map_err(|_| CertificateError::Key)?;
        if certificates.is_empty() {
            return Err(CertificateError::Missing("certificate"));
        }
        // A certificate contains its public key as it is, in a bit string.
        let ours = key.public_key().as_ref().to_vec();
        let holds = |certificate: &Vec<u8>| certificate.windows(ours.len()).any(|window| window == ours);
        let leaf = certificates.iter().position(holds).ok_or(CertificateError::OtherKey)?;
        let mut chain = certificates.to_vec();
        chain.swap(0, leaf);
        Ok(Self { key, chain })
    }

    /// A signed statement that `client_id` asks at `audience`, at `now`.
    pub(crate) fn assertion(
        &self,
        client_id: &str,
        audience: &str,
        now: UnixTime,
        send_chain: bool,
    ) -> Result<Zeroizing<String>, CertificateError> {
        let leaf = self.chain.first().ok_or(CertificateError::Missing("certificate"))?;
        let thumbprint = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, leaf));
        let mut header = serde_json::json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint });
        if send_chain && let Some(header) = header.as_object_mut() {
            let chain: Vec<String> = self.chain.iter().map(|der| STANDARD.encode(der)).collect();
            header.insert("x5c".into(), chain.into());
        }
        let mut id = [0_u8; 16];
        rand::fill(&mut id).map_err(|_| CertificateError::Sign)?;
        let claims = serde_json::json!({
            "iss": client_id, "sub": client_id, "aud": audience, "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now, "nbf": now, "exp": now + LIFE,
        });
        let encode = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PSS_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| CertificateError::Sign)?;
        Ok(Zeroizing::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    /// The leaf's thumbprint, for the cache: another certificate is another credential.
    pub(crate) fn thumbprint(&self) -> String {
        let leaf = self.chain.first().map(Vec::as_slice).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, leaf))
    }
}

#[cfg(test)]
mod tests;

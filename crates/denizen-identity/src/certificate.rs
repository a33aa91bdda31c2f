//! A client's certificate and key, out of PEM or PKCS#12, with a password or without. The only file here that knows
//! the crates which decrypt them.
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
use p12_keystore::{KeyStore, Pkcs12ImportPolicy};
use rustls::pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

/// Seconds an assertion is valid; the token service recommends five to ten minutes.
const LIFE: i64 = 600;

/// A certificate that signs.
pub(crate) struct SigningCertificate {
    key: KeyPair,
    /// DER, leaf first.
    chain: Vec<Vec<u8>>,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("it is neither PEM nor PKCS#12: {0}")]
    Form(String),
    #[error("it holds no {0}")]
    Missing(&'static str),
    #[error("the password is wrong or missing")]
    Password,
    #[error("its key cannot be used: {0}")]
    Key(String),
    #[error("the assertion cannot be signed")]
    Sign,
}

impl SigningCertificate {
    /// From the bytes of a file.
    pub(crate) fn read(bytes: &[u8], password: Option<&str>) -> Result<Self, CertificateError> {
        let pem = bytes.windows(10).any(|window| window == b"-----BEGIN");
        let (key, chain) = if pem { from_pem(bytes, password)? } else { from_pkcs12(bytes, password)? };
        let key = KeyPair::from_pkcs8(&key)
            .or_else(|_| KeyPair::from_der(&key))
            .map_err(|e| CertificateError::Key(format!("{e}; an RSA key of 2048 bits or more is needed")))?;
        let mut this = Self { key, chain };
        this.leaf_first()?;
        Ok(this)
    }

    /// The certificate of the key goes first; files hold them in any order.
    fn leaf_first(&mut self) -> Result<(), CertificateError> {
        use aws_lc_rs::signature::KeyPair as _;
        let ours = self.key.public_key().as_ref().to_vec();
        // The certificate contains its public key as it is, in a bit string.
        let holds = |certificate: &Vec<u8>| certificate.windows(ours.len()).any(|window| window == ours);
        match self.chain.iter().position(holds) {
            Some(at) => {
                self.chain.swap(0, at);
                Ok(())
            }
            None if self.chain.is_empty() => Err(CertificateError::Missing("certificate")),
            None => Err(CertificateError::Key("no certificate in the file is this key's".into())),
        }
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

type KeyAndChain = (Zeroizing<Vec<u8>>, Vec<Vec<u8>>);

fn from_pem(bytes: &[u8], password: Option<&str>) -> Result<KeyAndChain, CertificateError> {
    let (mut key, mut chain) = (None, Vec::new());
    // Sections of other kinds ("ENCRYPTED PRIVATE KEY" among them) are passed over by the reader.
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|e| CertificateError::Form(e.to_string()))?;
        // Other kinds (requests, revocation lists) sign nothing.
        if kind == SectionKind::Certificate {
            chain.push(der);
        } else if kind == SectionKind::PrivateKey || kind == SectionKind::RsaPrivateKey {
            key = Some(Zeroizing::new(der));
        } else if kind == SectionKind::EcPrivateKey {
            return Err(CertificateError::Key("it is an elliptic-curve key; the token service takes RSA".into()));
        }
    }
    if key.is_none()
        && let Some(encrypted) = encrypted_section(bytes)?
    {
        key = Some(decrypted(&encrypted, password.ok_or(CertificateError::Password)?)?);
    }
    Ok((key.ok_or(CertificateError::Missing("private key"))?, chain))
}

/// The DER inside `BEGIN ENCRYPTED PRIVATE KEY`.
fn encrypted_section(pem: &[u8]) -> Result<Option<Vec<u8>>, CertificateError> {
    let text = String::from_utf8_lossy(pem);
    let Some((_, rest)) = text.split_once("-----BEGIN ENCRYPTED PRIVATE KEY-----") else { return Ok(None) };
    let body = rest.split("-----END").next().unwrap_or_default();
    let body: String = body.split_whitespace().collect();
    STANDARD.decode(body).map(Some).map_err(|e| CertificateError::Form(e.to_string()))
}

fn decrypted(der: &[u8], password: &str) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let info = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der).map_err(|e| CertificateError::Form(e.to_string()))?;
    let key = info.decrypt(password).map_err(|_| CertificateError::Password)?;
    Ok(Zeroizing::new(key.as_bytes().to_vec()))
}

fn from_pkcs12(bytes: &[u8], password: Option<&str>) -> Result<KeyAndChain, CertificateError> {
    let read = |password| KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Relaxed);
    let store = read(password.unwrap_or_default()).map_err(|e| {
        let password = matches!(e, p12_keystore::error::Error::MacError(_));
        if password { CertificateError::Password } else { CertificateError::Form(e.to_string()) }
    })?;
    let (_, chain) = store.private_key_chain().ok_or(CertificateError::Missing("private key"))?;
    let key = Zeroizing::new(chain.key().as_der().to_vec());
    Ok((key, chain.certs().iter().map(|certificate| certificate.as_der().to_vec()).collect()))
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;

//! Reads what OpenSSL 1.0 to 3, Windows, Java and Azure Key Vault write: PEM and PKCS#12, with a password or without.
//! The only file here that knows the crates which decrypt them.
//!
//! | form | written by |
//! |---|---|
//! | PKCS#8, encrypted or not | OpenSSL 3, Key Vault, most others |
//! | `RSA PRIVATE KEY`, encrypted or not | OpenSSL 1.0 and `openssl rsa -traditional` |
//! | PKCS#12 with AES or with 3DES and RC2 | OpenSSL 3; OpenSSL 1.0, Windows, Java |
//! | PKCS#12 in base64, without a password | Key Vault's linked secret |
//!
//! PEM may begin with a byte order mark, end its lines in any way, have other text between its sections, and stand on one
//! line, with `\n` written as two characters or with spaces, as environment variables often hold it.
//!
//! No error holds a byte of what was read. Tests: `matrix_tests.rs`, against files that `openssl` and `keytool` write
//! while the test runs.

use aes::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::Pkcs7};
use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy, error::Error as Pkcs12Error};
use zeroize::Zeroizing;

use super::CertificateError;

#[cfg(test)]
#[path = "matrix_tests.rs"]
mod tests;

/// The object identifier of elliptic-curve keys, 1.2.840.10045.2.1, as it stands in a PKCS#8 key.
const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// DER tags.
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// What a file holds.
pub(super) struct Contents {
    /// DER, PKCS#8 or PKCS#1, in the file's order.
    pub(super) keys: Vec<Zeroizing<Vec<u8>>>,
    /// DER, in the file's order.
    pub(super) certificates: Vec<Vec<u8>>,
}

/// Reads a file.
pub(super) fn read(bytes: &[u8], password: Option<&str>) -> Result<Contents, CertificateError> {
    // Names in other encodings may stand between the sections; the sections themselves are ASCII.
    let text = Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
    if text.contains(BEGIN) {
        return from_pem(&text, password);
    }
    match bytes.first() {
        // A DER sequence.
        Some(0x30) => from_der(bytes, password),
        Some(_) | None => {
            let der = base64(text.trim_start_matches('\u{feff}')).filter(|der| der.first() == Some(&0x30));
            from_der(&der.ok_or(CertificateError::Form)?, password)
        }
    }
}

/// Whether a PKCS#8 key is an elliptic-curve one.
pub(super) fn is_elliptic_curve(key: &[u8]) -> bool {
    key.get(..64.min(key.len())).is_some_and(|head| head.windows(EC_PUBLIC_KEY.len()).any(|oid| oid == EC_PUBLIC_KEY))
}

/// One section of a PEM file.
struct Section<'a> {
    label: &'a str,
    /// `Proc-Type` and its like, where there are any.
    headers: Vec<(&'a str, &'a str)>,
    body: &'a str,
}

fn from_pem(text: &str, password: Option<&str>) -> Result<Contents, CertificateError> {
    // The two characters that some shells and editors leave of a line's end.
    let text = Zeroizing::new(text.replace("\\r\\n", "\n"));
    let text = Zeroizing::new(text.replace("\\n", "\n"));
    let mut contents = Contents { keys: Vec::new(), certificates: Vec::new() };
    let mut rest = text.as_str();
    while let Some((section, after)) = section(rest)? {
        rest = after;
        match section.label {
            "CERTIFICATE" | "X509 CERTIFICATE" => {
                let der = base64(section.body).ok_or(CertificateError::Damaged("certificate"))?;
                contents.certificates.push(der.to_vec());
            }
            "PRIVATE KEY" | "RSA PRIVATE KEY" => contents.keys.push(key(&section, password)?),
            "ENCRYPTED PRIVATE KEY" => {
                let der = base64(section.body).ok_or(CertificateError::Damaged("private key"))?;
                contents.keys.push(decrypt_pkcs8(&der, password.ok_or(CertificateError::PasswordNeeded)?)?);
            }
            "EC PRIVATE KEY" => return Err(CertificateError::EllipticCurve),
            // Requests, parameters, revocation lists.
            _ => {}
        }
    }
    if contents.keys.is_empty() {
        return Err(CertificateError::Missing("private key"));
    }
    Ok(contents)
}

/// The first section of a text, and what follows it.
fn section(text: &str) -> Result<Option<(Section<'_>, &str)>, CertificateError> {
    let damaged = CertificateError::Damaged("PEM framing");
    let Some((_, rest)) = text.split_once(BEGIN) else { return Ok(None) };
    let (label, rest) = rest.split_once(DASHES).ok_or(damaged)?;
    let (inside, rest) = rest.split_once(END).ok_or(damaged)?;
    let (end, rest) = rest.split_once(DASHES).ok_or(damaged)?;
    if label != end || inside.contains(BEGIN) {
        return Err(damaged);
    }
    let (mut headers, mut body) = (Vec::new(), inside.trim_start());
    // Headers end at an empty line (RFC 1421), and only traditional keys have them.
    while let Some((line, after)) = body.split_once('\n')
        && let Some((name, value)) = line.split_once(':')
    {
        headers.push((name.trim(), value.trim()));
        body = after;
    }
    Ok(Some((Section { label, headers, body }, rest)))
}

/// Base64 with any white space in it.
fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let compact: Zeroizing<String> = Zeroizing::new(text.split_whitespace().collect());
    STANDARD.decode(compact.as_bytes()).ok().map(Zeroizing::new)
}

/// A key that is not in an encrypted PKCS#8 section: plain, or encrypted in the traditional way.
fn key(section: &Section<'_>, password: Option<&str>) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let der = base64(section.body).ok_or(CertificateError::Damaged("private key"))?;
    let header = |wanted: &str| section.headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    if !header("Proc-Type").is_some_and(|kind| kind.ends_with("ENCRYPTED")) {
        return Ok(der);
    }
    let (cipher, iv) = header("DEK-Info")
        .and_then(|info| info.split_once(','))
        .and_then(|(cipher, iv)| Some((cipher.trim(), unhex(iv.trim())?)))
        .ok_or(CertificateError::Damaged("DEK-Info header"))?;
    decrypt_traditional(cipher, &iv, &der, password.ok_or(CertificateError::PasswordNeeded)?)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// Decrypts as OpenSSL's `PEM_read` does: the key is made of password and initialization vector by MD5.
fn decrypt_traditional(
    cipher: &str,
    iv: &[u8],
    der: &[u8],
    password: &str,
) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let salt = iv.get(..8).ok_or(CertificateError::Damaged("DEK-Info header"))?;
    let key = |length| key_of_password(password, salt, length);
    let plain = match cipher {
        "AES-128-CBC" => decrypt_cbc::<cbc::Decryptor<aes::Aes128>>(&key(16), iv, der),
        "AES-192-CBC" => decrypt_cbc::<cbc::Decryptor<aes::Aes192>>(&key(24), iv, der),
        "AES-256-CBC" => decrypt_cbc::<cbc::Decryptor<aes::Aes256>>(&key(32), iv, der),
        "DES-EDE3-CBC" => decrypt_cbc::<cbc::Decryptor<des::TdesEde3>>(&key(24), iv, der),
        "DES-CBC" => decrypt_cbc::<cbc::Decryptor<des::Des>>(&key(8), iv, der),
        _ => return Err(CertificateError::Encryption("a cipher of traditional PEM other than AES and DES")),
    };
    // A wrong password gives bytes that are padded right once in 256 times, and are no key then either.
    plain.filter(|der| der.first() == Some(&0x30)).ok_or(CertificateError::NotDecrypted)
}

fn decrypt_cbc<C: KeyIvInit + BlockModeDecrypt>(key: &[u8], iv: &[u8], der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = C::new_from_slices(key, iv).ok()?;
    cipher.decrypt_padded_vec::<Pkcs7>(der).ok().map(Zeroizing::new)
}

/// OpenSSL's `EVP_BytesToKey` with MD5 and one iteration.
fn key_of_password(password: &str, salt: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(48));
    while key.len() < length {
        let mut digest = Md5::new();
        digest.update(key.get(key.len().saturating_sub(16)..).unwrap_or_default());
        digest.update(password.as_bytes());
        digest.update(salt);
        key.extend_from_slice(&digest.finalize());
    }
    key.truncate(length);
    key
}

fn decrypt_pkcs8(der: &[u8], password: &str) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    use pkcs8::pkcs5::Error;
    let info = pkcs8::EncryptedPrivateKeyInfoRef::try_from(der);
    let info = info.map_err(|_| CertificateError::Damaged("encrypted private key"))?;
    match info.decrypt(password) {
        Ok(key) => Ok(Zeroizing::new(key.as_bytes().to_vec())),
        Err(pkcs8::Error::EncryptedPrivateKey(Error::NoPbes1CryptSupport)) => {
            Err(CertificateError::Encryption("PBES1; write it anew with openssl pkcs8 -topk8 -v2 aes-256-cbc"))
        }
        Err(pkcs8::Error::EncryptedPrivateKey(
            Error::UnsupportedAlgorithm { .. } | Error::AlgorithmParametersInvalid { .. },
        )) => Err(CertificateError::Encryption("an algorithm of PBES2 other than AES and DES")),
        Err(_) => Err(CertificateError::NotDecrypted),
    }
}

/// PKCS#12. A certificate or a key alone is DER as well, and is told by its structure.
fn from_der(der: &[u8], password: Option<&str>) -> Result<Contents, CertificateError> {
    match first_member(der) {
        // Of a PFX the version, 3, and then its content; of a key the version, 0 or 1.
        Some((INTEGER, [3])) => from_pkcs12(der, password),
        Some((INTEGER, [0 | 1])) => Err(CertificateError::KeyAlone),
        // Of an encrypted PKCS#8 key the algorithm, which begins with an object identifier.
        Some((SEQUENCE, member)) if member.first() == Some(&OBJECT_IDENTIFIER) => Err(CertificateError::KeyAlone),
        // Of a certificate the part that is signed.
        Some((SEQUENCE, _)) => Err(CertificateError::CertificateAlone),
        Some(_) | None => from_pkcs12(der, password),
    }
}

/// Tag and content of the first member of a DER sequence.
fn first_member(der: &[u8]) -> Option<(u8, &[u8])> {
    let (_, inside) = tag_and_content(der)?;
    tag_and_content(inside)
}

/// Tag and content of a DER element whose tag is one byte. The content is as long as there are bytes for it.
fn tag_and_content(der: &[u8]) -> Option<(u8, &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match *length {
        short @ ..0x80 => (usize::from(short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let digits = digits
                .iter()
                .try_fold(0_usize, |length, digit| length.checked_mul(256)?.checked_add(usize::from(*digit)))?;
            (digits, rest)
        }
    };
    Some((*tag, rest.get(..length).unwrap_or(rest)))
}

fn from_pkcs12(der: &[u8], password: Option<&str>) -> Result<Contents, CertificateError> {
    let store = KeyStore::from_pkcs12(der, password.unwrap_or_default(), Pkcs12ImportPolicy::Relaxed);
    let store = store.map_err(|error| match error {
        // The MAC is made with the password over the content, and checked first.
        Pkcs12Error::MacError(_) | Pkcs12Error::UnpadError => match password {
            Some(_) => CertificateError::NotDecrypted,
            None => CertificateError::PasswordNeeded,
        },
        Pkcs12Error::UnsupportedEncryptionScheme => CertificateError::Encryption("a scheme of PKCS#12"),
        Pkcs12Error::UnsupportedMacAlgorithm => CertificateError::Encryption("a MAC of PKCS#12"),
        Pkcs12Error::Pkcs5Error(_) => CertificateError::Encryption("a scheme of PKCS#5"),
        Pkcs12Error::InvalidPrivateKey => CertificateError::Damaged("private key"),
        Pkcs12Error::UnsupportedCertificateType | Pkcs12Error::X509Error(_) => CertificateError::Damaged("certificate"),
        Pkcs12Error::IoError(_)
        | Pkcs12Error::DerError(_)
        | Pkcs12Error::InvalidVersion
        | Pkcs12Error::UnsupportedContentType
        | Pkcs12Error::InvalidLength
        | Pkcs12Error::InvalidParameters
        | Pkcs12Error::InvalidData => CertificateError::Damaged("PKCS#12 structure"),
    })?;
    let mut contents = Contents { keys: Vec::new(), certificates: Vec::new() };
    for (_, entry) in store.entries() {
        match entry {
            KeyStoreEntry::PrivateKeyChain(chain) => {
                contents.keys.push(Zeroizing::new(chain.key().as_der().to_vec()));
                contents.certificates.extend(chain.certs().iter().map(|certificate| certificate.as_der().to_vec()));
            }
            KeyStoreEntry::Certificate(certificate) => contents.certificates.push(certificate.as_der().to_vec()),
            KeyStoreEntry::Secret(_) => {}
        }
    }
    if contents.keys.is_empty() {
        return Err(CertificateError::Missing("private key"));
    }
    Ok(contents)
}

//! Certificates that are believed because an authority vouches for them, for clients that send theirs along (`x5c`).
//!
//! Whether a chain holds is decided by `webpki`, the library that decides it for TLS: signatures, dates, the CA flag and
//! the length of the path, names that an authority is limited to, and that a certificate which says what it is for says
//! `clientAuth`. Here is only what is around that: sizes, and the subject as a text.
//!
//! Touches nothing. Tests: `chain/tests.rs`.

use std::{fmt::Write as _, time::Duration};

use crate::{KeyError, x509::Certificate};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, x509::X509Name};

#[cfg(test)]
mod tests;

/// The most certificates of one chain, that of the client included.
pub const MOST_CERTIFICATES: usize = 4;

/// Why a chain does not hold. The text names the rule, and nothing of the certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// There is none.
    #[error("there is no certificate")]
    Empty,
    /// There are more than a chain has.
    #[error("there are more than {MOST_CERTIFICATES} certificates")]
    TooMany,
    /// One is no certificate.
    #[error("one is not a DER X.509 certificate of at most 16 KiB")]
    Unreadable,
    /// An authority is no authority.
    #[error("the authority's certificate is not a CA's: its basic constraints must say CA")]
    NotAnAuthority,
    /// It leads to none of the authorities.
    #[error("it leads to none of the trusted authorities: send the intermediate certificates along")]
    UnknownIssuer,
    /// One is out of its time.
    #[error("a certificate of the chain has ended or has not begun")]
    OutOfTime,
    /// It is for something else.
    #[error("the certificate is for another use than client authentication")]
    OtherUse,
    /// Anything else: a CA's certificate in a client's place, a path that is too long, a signature, a form.
    #[error("the chain is not valid")]
    Invalid,
}

/// Checks that `certificates`, the client's first, lead to one of `authorities` at the Unix time `now`, and gives the
/// client's.
///
/// # Errors
/// [`ChainError`].
pub fn verify_client(certificates: &[Vec<u8>], authorities: &[Vec<u8>], now: i64) -> Result<Certificate, ChainError> {
    if certificates.len() > MOST_CERTIFICATES {
        return Err(ChainError::TooMany);
    }
    let ders: Vec<CertificateDer<'_>> = certificates.iter().map(|der| der.as_slice().into()).collect();
    let Some((leaf, between)) = ders.split_first() else { return Err(ChainError::Empty) };
    let read = Certificate::from_der(leaf).map_err(|_| ChainError::Unreadable)?;
    let authorities: Vec<CertificateDer<'_>> = authorities.iter().map(|der| der.as_slice().into()).collect();
    let anchors: Vec<TrustAnchor<'_>> = authorities
        .iter()
        .map(anchor_from_trusted_cert)
        .collect::<Result<_, _>>()
        .map_err(|_| ChainError::NotAnAuthority)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(|_| ChainError::Unreadable)?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or(0)));
    let usage = KeyUsage::client_auth();
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, between, now, usage, None, None)
        .map_err(|error| reason(&error))?;
    Ok(read)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library adds reasons in patches; each refuses")]
fn reason(error: &webpki::Error) -> ChainError {
    match error {
        webpki::Error::UnknownIssuer => ChainError::UnknownIssuer,
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => ChainError::OutOfTime,
        webpki::Error::RequiredEkuNotFoundContext(_) => ChainError::OtherUse,
        _ => ChainError::Invalid,
    }
}

/// Checks that a certificate can stand for an authority: it says CA, and its key can be used. Its dates are not looked at,
/// as those of no trust anchor are.
///
/// # Errors
/// [`ChainError::Unreadable`], [`ChainError::NotAnAuthority`].
pub fn check_authority(der: &[u8]) -> Result<(), ChainError> {
    Certificate::from_der(der).map_err(|_| ChainError::Unreadable)?;
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| ChainError::Unreadable)?;
    let signs = match parsed.key_usage() {
        Ok(None) => true,
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Err(_) => return Err(ChainError::Unreadable),
    };
    if !parsed.is_ca() || !signs {
        return Err(ChainError::NotAnAuthority);
    }
    anchor_from_trusted_cert(&CertificateDer::from(der)).map(drop).map_err(|_| ChainError::NotAnAuthority)
}

/// The subject of a certificate as RFC 4514 writes it, the most specific name first: `CN=app,OU=Web,O=Contoso`. Two
/// subjects have the same text only when they have the same names with the same values.
///
/// # Errors
/// [`KeyError::Certificate`] when it is no certificate, or has no subject.
pub fn subject(der: &[u8]) -> Result<String, KeyError> {
    let (_, parsed) =
        X509Certificate::from_der(der).map_err(|_| KeyError::Certificate("not a DER X.509 certificate"))?;
    let text = rfc4514(parsed.subject());
    if text.is_empty() { Err(KeyError::Certificate("it has no subject")) } else { Ok(text) }
}

fn rfc4514(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_rdn()
        .map(|part| {
            let mut values: Vec<String> = part
                .iter()
                .map(|attribute| {
                    let known = match attribute.attr_type().to_id_string().as_str() {
                        "2.5.4.3" => Some("CN"),
                        "2.5.4.6" => Some("C"),
                        "2.5.4.7" => Some("L"),
                        "2.5.4.8" => Some("ST"),
                        "2.5.4.9" => Some("STREET"),
                        "2.5.4.10" => Some("O"),
                        "2.5.4.11" => Some("OU"),
                        "0.9.2342.19200300.100.1.1" => Some("UID"),
                        "0.9.2342.19200300.100.1.25" => Some("DC"),
                        _ => None,
                    };
                    match (known, attribute.as_str()) {
                        (Some(known), Ok(value)) => format!("{known}={}", escaped(value)),
                        // Whatever its type is, these are its bytes.
                        _ => {
                            let value = attribute.attr_value();
                            let (id, tag) = (attribute.attr_type().to_id_string(), value.header.tag().0);
                            format!("{id}=#{tag:02x}{}", crate::hash::hex(value.data))
                        }
                    }
                })
                .collect();
            values.sort_unstable();
            values.join("+")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.extend(['\\', c]),
            '#' if at == 0 => text.push_str("\\#"),
            ' ' if at == 0 || at == last => text.push_str("\\ "),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(text, "\\{byte:02X}");
                }
            }
            c => text.push(c),
        }
    }
    text
}

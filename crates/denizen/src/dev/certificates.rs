//! The development CA, which is kept, and the server's certificate, issued anew at every start.
//!
//! The CA is constrained to loopback names, so that trusting it puts nothing else at risk; its key is sealed under
//! the root key.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
};

use denizen_agent::files;
use denizen_keys::{
    b64,
    ca::{DevCa, IssuedServer, SanEntry},
    envelope::{DataKey, RootKey, SealedKey, aad, open, seal},
    x509::Certificate,
};
use denizen_server::{http::tls::Pair, run::database_in};
use denizen_wire::UnixTime;

use crate::{
    data::{DataDir, MAX_FILE, write_private, write_public},
    exit::{self, Failure},
};

/// What the CA's common name starts with.
const CA_NAME: &str = "Denizen development CA";
/// The server's certificate lives this long, days.
const LEAF_DAYS: u32 = 90;
/// Ties the sealed key to its place.
const BINDING: [&str; 1] = ["development-ca"];

/// CA and server certificate.
pub(crate) struct Certificates {
    ca: DevCa,
    server: IssuedServer,
}

impl Certificates {
    /// Opens the CA, or makes it at the first start, and issues a certificate for this run.
    pub(crate) fn open(data: &DataDir, root: &RootKey, now: UnixTime) -> Result<Self, Failure> {
        let fault = Failure::while_(exit::DATA, "the development CA");
        let sealed_file = data.path().join("ca.key.sealed");
        let ca = match (files::read_text(&data.ca_file(), MAX_FILE), files::read_text(&sealed_file, MAX_FILE)) {
            (Ok(pem), Ok(sealed)) => {
                let key = unseal(root, &sealed).ok_or_else(|| {
                    let text =
                        "does not open with root.key; if the root key was replaced, remove the whole data directory";
                    Failure::new(exit::DATA, format!("{} {text}", sealed_file.display()))
                })?;
                DevCa::from_parts(&pem, &key).map_err(&fault)?
            }
            // One without the other, or one that cannot be read: a new CA would replace what people trust. Before there is
            // a database nobody trusts it yet: the first start was killed between the two.
            (pem, sealed)
                if !(is_missing(&pem) && is_missing(&sealed))
                    && (database_in(data.path()).exists() || !(is_missing(&pem) || is_missing(&sealed))) =>
            {
                let (ca_file, sealed_file) = (data.ca_file(), sealed_file.display().to_string());
                let found =
                    |file: Result<String, io::Error>| file.map_or_else(|e| e.to_string(), |_| "can be read".to_owned());
                return Err(Failure::new(
                    exit::DATA,
                    format!(
                        "the development CA is in two files, and both are needed: {} ({}), {sealed_file} ({}); put the \
                         missing one back, or remove both for a new CA",
                        ca_file.display(),
                        found(pem),
                        found(sealed)
                    ),
                ));
            }
            _ => {
                let name = format!("{CA_NAME} {}", denizen_keys::random::uuid_v4().simple());
                let ca = DevCa::generate(&name, now.0).map_err(&fault)?;
                let data_key = DataKey::generate();
                let wrapped = root.wrap(&data_key, &aad(&BINDING));
                let sealed = seal(&data_key, ca.key().expose(), &aad(&BINDING));
                let text = format!("{}\n{}\n", b64::standard(wrapped.as_bytes()), b64::standard(&sealed));
                write_private(&sealed_file, text.as_bytes())?;
                ca
            }
        };
        let names = [
            SanEntry::Dns("localhost".into()),
            SanEntry::Dns(format!("*.{}", crate::config::TRIAL_VAULT_SUFFIX)),
            SanEntry::Ip(Ipv4Addr::LOCALHOST.into()),
            SanEntry::Ip(Ipv6Addr::LOCALHOST.into()),
        ];
        let server = ca.issue_server(&names, now.0, LEAF_DAYS).map_err(&fault)?;
        Ok(Self { ca, server })
    }

    /// `ca.pem`, and `ca-bundle.pem`: the system's roots and ours. `SSL_CERT_FILE` replaces a client's roots, so ours
    /// alone would cut it off from everything else.
    pub(crate) fn write(&self, data: &DataDir) -> Result<(), Failure> {
        let ca = self.ca.ca_pem();
        write_public(&data.ca_file(), ca.as_bytes())?;
        let mut bundle = String::new();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "some of the system's roots are missing from ca-bundle.pem");
        }
        for root in system.certs {
            // A shell that sourced an env file of ours names a bundle of ours as the system's: do not pile them up.
            if let Ok(root) = Certificate::from_der(&root)
                && !root.subject_cn().is_some_and(|cn| cn.starts_with(CA_NAME))
            {
                bundle.push_str(&root.pem());
            }
        }
        bundle.push_str(ca);
        write_public(&data.ca_bundle_file(), bundle.as_bytes())
    }

    /// What listeners show.
    pub(crate) fn pair(&self) -> Result<Pair, Failure> {
        let pair = Pair::read(&self.server.chain_pem(), &self.server.key_pem());
        pair.map_err(Failure::while_(exit::SOFTWARE, "the server's certificate"))
    }
}

fn is_missing(file: &io::Result<String>) -> bool {
    file.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
}

/// The sealed file: the wrapped data key, then the CA's private key under it, a line each.
fn unseal(root: &RootKey, text: &str) -> Option<denizen_keys::SecretBytes> {
    let (wrapped, sealed) = text.split_once('\n')?;
    let wrapped = SealedKey::from_bytes(&b64::decode_lax(wrapped)?).ok()?;
    let data_key = root.unwrap(&wrapped, &aad(&BINDING)).ok()?;
    open(&data_key, &b64::decode_lax(sealed)?, &aad(&BINDING)).ok()
}

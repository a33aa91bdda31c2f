//! Connections on which a test writes what it likes, as no client would.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};

use crate::dev::Dev;

/// Nothing that is read takes longer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// One of the five listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    Control,
    Vault,
    Metrics,
    Agent,
    Imds,
}

pub(crate) const LISTENERS: [Listener; 5] =
    [Listener::Control, Listener::Vault, Listener::Metrics, Listener::Agent, Listener::Imds];

impl Listener {
    pub(crate) fn url<'d>(self, dev: &'d Dev<'_>) -> &'d str {
        dev.fact(match self {
            Self::Control => "/authority",
            Self::Vault => "/vault_url",
            Self::Metrics => "/metrics_url",
            Self::Agent => "/agent/app_service/identity_endpoint",
            Self::Imds => "/agent/imds_host",
        })
    }

    pub(crate) fn address(self, dev: &Dev<'_>) -> SocketAddr {
        let rest = self.url(dev).split_once("://").unwrap().1;
        let authority = rest.split('/').next().unwrap().replace("localhost", "127.0.0.1");
        authority.parse().unwrap()
    }

    /// A connection on which nothing is said yet; with TLS where the listener speaks it.
    pub(crate) fn connect(self, dev: &Dev<'_>) -> io::Result<Connection> {
        let tcp = TcpStream::connect(self.address(dev))?;
        tcp.set_read_timeout(Some(READ_TIMEOUT))?;
        tcp.set_write_timeout(Some(READ_TIMEOUT))?;
        match self {
            Self::Metrics | Self::Agent | Self::Imds => Ok(Connection::Plain(tcp)),
            Self::Control | Self::Vault => {
                let name = ServerName::try_from("localhost").unwrap();
                let client = rustls::ClientConnection::new(trusting(dev), name).unwrap();
                Ok(Connection::Tls(Box::new(rustls::StreamOwned::new(client, tcp))))
            }
        }
    }
}

/// A connection.
pub(crate) enum Connection {
    Plain(TcpStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Connection {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.write_all(bytes),
            Self::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// Says that nothing more comes.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.shutdown(Shutdown::Write),
            Self::Tls(tls) => {
                tls.conn.send_close_notify();
                tls.flush()?;
                tls.sock.shutdown(Shutdown::Write)
            }
        }
    }

    /// All that comes until the other side ends, however it ends.
    pub(crate) fn read_to_end(&mut self) -> String {
        let mut all = Vec::new();
        let _ = match self {
            Self::Plain(tcp) => tcp.read_to_end(&mut all),
            Self::Tls(tls) => tls.read_to_end(&mut all),
        };
        String::from_utf8_lossy(&all).into_owned()
    }
}

fn trusting(dev: &Dev<'_>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(dev.data.join("ca.pem")).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

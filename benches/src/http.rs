//! A client connection: hyper's bare HTTP/1 client, one connection, kept alive.
//!
//! Dials loopback only: a load generator that can be pointed elsewhere is a weapon.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use http::{Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Bytes,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
};

/// A connection or an answer that takes longer than this is a fault, not a figure.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// A connection on which nothing is spoken yet.
pub(crate) type Raw = Box<dyn Io>;

/// What a connection is made on.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Where a server is, and what trusts it.
#[derive(Clone)]
pub(crate) struct Origin {
    address: SocketAddr,
    /// The `Host` header, and the name in the certificate.
    authority: String,
    tls: Option<Arc<rustls::ClientConfig>>,
    /// Where connections come from, when it matters.
    from: Option<IpAddr>,
}

impl Origin {
    /// Of an `http://` or `https://` URL on this machine; `ca_pem` is what an `https` server is trusted by.
    pub(crate) fn of(url: &str, ca_pem: Option<&str>) -> Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("'{url}' is no URL"))?;
        let authority = uri.authority().with_context(|| format!("no host in '{url}'"))?;
        let port = authority.port_u16().with_context(|| format!("no port in '{url}'"))?;
        let address: SocketAddr = match authority.host() {
            "localhost" => SocketAddr::from(([127, 0, 0, 1], port)),
            ip => SocketAddr::new(
                ip.parse().with_context(|| format!("'{url}' names neither localhost nor an address"))?,
                port,
            ),
        };
        ensure!(address.ip().is_loopback(), "the load goes to loopback only, and '{url}' is elsewhere");
        let tls = match (uri.scheme_str(), ca_pem) {
            (Some("http"), _) => None,
            (Some("https"), Some(pem)) => Some(trusting(pem)?),
            _ => bail!("'{url}' is neither http nor https with a CA to trust"),
        };
        Ok(Self { address, authority: authority.to_string(), tls, from: None })
    }

    /// The same, reached from this address of the machine.
    pub(crate) fn reached_from(self, address: IpAddr) -> Self {
        Self { from: Some(address), ..self }
    }

    /// It as a URL.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.authority)
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        tokio::time::timeout(TIMEOUT, self.open())
            .await
            .with_context(|| format!("{} does not answer", self.authority))?
            .with_context(|| format!("connecting to {}", self.authority))
    }

    /// Opens a connection, and no TLS on it.
    pub(crate) async fn open_plain(&self) -> Result<Raw> {
        Ok(Box::new(self.dial(None).await?))
    }

    async fn dial(&self, window: Option<u32>) -> Result<TcpStream> {
        let socket = match self.address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(window) = window {
            socket.set_recv_buffer_size(window)?;
        }
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Opens a connection on which nothing is spoken yet.
    pub(crate) async fn open_raw(&self) -> Result<Raw> {
        self.open_with(None).await
    }

    /// Opens a connection of which little is received before somebody reads; `window` in bytes.
    pub(crate) async fn open_narrow(&self, window: u32) -> Result<Raw> {
        self.open_with(Some(window)).await
    }

    async fn open_with(&self, window: Option<u32>) -> Result<Raw> {
        let stream = self.dial(window).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.to_owned())?;
        Ok(Box::new(tokio_rustls::TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
    }

    async fn open(&self) -> Result<Connection> {
        Ok(Connection { sender: handshake(self.open_raw().await?).await?, authority: self.authority.clone() })
    }
}

fn trusting(ca_pem: &str) -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

async fn handshake(stream: Raw) -> Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its end, good or bad, shows in the next request.
    tokio::spawn(connection);
    Ok(sender)
}

/// An open connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
}

impl Connection {
    /// Sends a request, with the `Host` header added, and reads the whole answer.
    pub(crate) async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
        request.headers_mut().insert(header::HOST, self.authority.parse()?);
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

/// A GET request with these headers.
pub(crate) fn get(path: &str, headers: &[(&str, &str)]) -> Result<Request<Full<Bytes>>> {
    let builder = Request::builder().method(Method::GET).uri(path);
    let builder = headers.iter().fold(builder, |b, (name, value)| b.header(*name, *value));
    Ok(builder.body(Full::default())?)
}

/// A POST of a form.
pub(crate) fn post_form(path: &str, form: Bytes) -> Result<Request<Full<Bytes>>> {
    let builder = Request::builder().method(Method::POST).uri(path);
    Ok(builder.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(Full::new(form))?)
}

/// An answer's text, for the message of a failure, cut short: it may hold a token.
pub(crate) fn excerpt(answer: &Response<Bytes>) -> String {
    let text = String::from_utf8_lossy(answer.body());
    format!("{} {}", answer.status(), text.chars().take(300).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_cannot_be_pointed_elsewhere() {
        assert!(Origin::of("http://127.0.0.1:80/metrics", None).is_ok());
        for bad in
            ["http://192.0.2.1:80", "http://example.test:80", "http://localhost", "https://localhost:1", "localhost:1"]
        {
            assert!(Origin::of(bad, None).is_err(), "{bad}");
        }
    }
}

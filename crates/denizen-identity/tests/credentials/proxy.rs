//! The token service behind a proxy: the proxy is asked to connect to it, and nothing else.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use denizen_identity::{
    ClientSecretCredential, CredentialContext, CredentialError, Environment, ManagedIdentityCredential,
    error::{Failed, FailureKind},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, rustls};

use super::{Arcs, get};

/// No such host exists: whoever reaches it was helped by the proxy.
const HOST: &str = "login.denizen.test";
const TENANT: &str = denizen_identity_testkit::issuer::TENANT;

/// A token service that answers every request over TLS with one token, in `HOST`'s name.
struct TokenService {
    address: SocketAddr,
    ca_file: tempfile::NamedTempFile,
}

impl TokenService {
    async fn start() -> Self {
        let certified = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let ca_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca_file.path(), certified.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = acceptor.accept(stream).await.unwrap();
                let mut request = String::new();
                while !request.contains("client_secret=s3cret") {
                    let mut bytes = [0; 4096];
                    let length = stream.read(&mut bytes).await.unwrap();
                    assert_ne!(length, 0, "the request ended early: {request}");
                    request.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
                }
                let body = r#"{"access_token":"through-the-proxy","expires_in":3600,"token_type":"Bearer"}"#;
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
                stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
            }
        });
        Self { address, ca_file }
    }

    fn context(&self, more: &[(&str, &str)]) -> CredentialContext {
        let ca_file = self.ca_file.path().display().to_string();
        let authority = format!("https://{HOST}:8443");
        let own = [("AZURE_AUTHORITY_HOST", authority.as_str()), ("SSL_CERT_FILE", ca_file.as_str())];
        let pairs = own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        CredentialContext::of(pairs.collect::<Environment>())
    }

    async fn token(&self, more: &[(&str, &str)]) -> Result<String, CredentialError> {
        let builder = ClientSecretCredential::builder(TENANT, "c", "s3cret").context(self.context(more));
        get(&*builder.build()?).await
    }
}

/// A proxy that connects everything to one server, and keeps the heads of the requests it got.
struct Proxy {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Answers with `status`, and tunnels if that is 200.
    async fn start(target: SocketAddr, status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    head.push(char::from(stream.read_u8().await.unwrap()));
                }
                recorded.lock().unwrap().push(head);
                stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await.unwrap();
                if status.starts_with("200") {
                    let mut server = TcpStream::connect(target).await.unwrap();
                    tokio::spawn(async move { copy_bidirectional(&mut stream, &mut server).await });
                }
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn the_token_service_is_reached_through_the_proxy() {
    let service = TokenService::start().await;
    let proxy = Proxy::start(service.address, "200 Connection established").await;
    let url = format!("http://user:pass%40word@{}", proxy.address);
    assert_eq!(service.token(&[("https_proxy", &url)]).await.unwrap(), "through-the-proxy");
    let [request] = proxy.requests().try_into().expect("one connection");
    assert!(request.starts_with(&format!("CONNECT {HOST}:8443 HTTP/1.1\r\n")), "{request}");
    // base64 of user:pass@word
    assert!(request.contains("Proxy-Authorization: Basic dXNlcjpwYXNzQHdvcmQ=\r\n"), "{request}");
    assert!(!request.contains("s3cret"), "the proxy sees a tunnel only");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_with_what_to_do() {
    let service = TokenService::start().await;
    let proxy = Proxy::start(service.address, "407 Proxy Authentication Required").await;
    let url = format!("http://user:MARKER@{}", proxy.address);
    let error = service.token(&[("HTTPS_PROXY", &url)]).await.unwrap_err();
    let expected = Failed::new(
        "ClientSecretCredential",
        FailureKind::NoAnswer,
        format!(
            "no answer from https://{HOST}:8443/{TENANT}/oauth2/v2.0/token through the proxy {}: \
             tunnel error: proxy authorization required",
            proxy.address
        ),
    )
    .with_remedy("check HTTPS_PROXY, with user and password if the proxy wants them, or name the host in NO_PROXY");
    assert_eq!(error, expected.into());
}

#[tokio::test]
async fn no_proxy_names_what_is_reached_directly() {
    let service = TokenService::start().await;
    let proxy = Proxy::start(service.address, "200 Connection established").await;
    let url = format!("http://{}", proxy.address);
    let error = service.token(&[("HTTPS_PROXY", &url), ("NO_PROXY", "denizen.test")]).await.unwrap_err();
    assert_eq!(error.failed().unwrap().kind, FailureKind::NoAnswer, "{error}");
    assert!(!error.to_string().contains("proxy"), "{error}");
    assert!(proxy.requests().is_empty());
}

#[tokio::test]
async fn a_proxy_of_another_kind_is_a_fault_of_the_configuration() {
    let service = TokenService::start().await;
    let error = service.token(&[("HTTPS_PROXY", "socks5://u:MARKER@127.0.0.1:1")]).await.unwrap_err();
    let expected = Failed::configuration("ClientSecretCredential", "HTTPS_PROXY is not the URL of an HTTP proxy")
        .with_remedy(
            "write http://host:port or http://user:password@host:port; other kinds of proxy are not supported",
        );
    assert_eq!(error, expected.into());
}

#[tokio::test]
async fn an_identity_endpoint_is_never_asked_through_the_proxy() {
    let arcs = Arcs::start().await;
    let proxy = Proxy::start("127.0.0.1:1".parse().unwrap(), "502 Bad Gateway").await;
    let url = format!("http://{}", proxy.address);
    let names = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"];
    let proxies = names.map(|name| (name.to_owned(), url.clone()));
    let endpoint = arcs.endpoint.variables().into_iter().map(|(name, value)| (name.to_owned(), value));
    let environment: Environment = endpoint.chain(proxies).collect();
    let context = arcs.time.context(environment).with_key_directory(arcs.endpoint.key_directory());
    get(&*ManagedIdentityCredential::builder().context(context).build().unwrap()).await.unwrap();
    assert!(proxy.requests().is_empty());
}

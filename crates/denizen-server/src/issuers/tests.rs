//! Real TLS servers on loopback that are issuers, and worse: what is fetched of them, and what is not.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use denizen_keys::{
    PublicKey, RsaBits, Signer,
    ca::{DevCa, SanEntry},
    jwk::{Jwk, RsaJwk},
};
use denizen_wire::UnixTime;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{fetch::Fetcher, policy::Policy, *};

pub(crate) const NOW: UnixTime = UnixTime(1_795_239_900);

/// How an issuer answers a path.
#[derive(Clone)]
pub(crate) enum Answers {
    /// With a document.
    Json(Value),
    /// With this status, and a header.
    Status(u16, &'static str),
    /// With so many bytes, said beforehand or not.
    Bytes { count: usize, said: bool },
    /// Never.
    Nothing,
    /// A byte at a time, for ever.
    Drip,
    /// With something that is no HTTP.
    Junk,
}

type Documents = Arc<Mutex<Vec<(String, Answers)>>>;

/// An issuer: a TLS server on loopback.
pub(crate) struct Issuer {
    pub(crate) address: SocketAddr,
    documents: Documents,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

/// A CA for issuers.
pub(crate) struct Authority(DevCa);

impl Authority {
    pub(crate) fn new() -> Self {
        // TLS checks its certificates by the real time.
        Self(DevCa::generate("Issuers", Clock::system().now().0).unwrap())
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.ca_pem().as_bytes()).unwrap()).unwrap();
        Arc::new(roots)
    }

    /// What may ask the issuers of this CA.
    pub(crate) fn outbound(&self) -> Outbound {
        Outbound {
            hosts: "any".parse().unwrap(),
            networks: "127.0.0.0/8, ::1/128".parse().unwrap(),
            roots: self.roots(),
        }
    }
}

impl Issuer {
    /// Starts one whose certificate is for `localhost`.
    pub(crate) async fn start(ca: &Authority) -> Self {
        Self::named(ca, "localhost").await
    }

    async fn named(ca: &Authority, name: &str) -> Self {
        let names = [SanEntry::Dns(name.into())];
        let pair = ca.0.issue_server(&names, Clock::system().now().0, 30).unwrap();
        let chain = CertificateDer::pem_slice_iter(pair.chain_pem().as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key_pem().expose().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            address: listener.local_addr().unwrap(),
            documents: Documents::default(),
            asked: Arc::default(),
            connections: Arc::default(),
        };
        let (documents, asked) = (Arc::clone(&issuer.documents), Arc::clone(&issuer.asked));
        let (connections, tls) = (Arc::clone(&issuer.connections), TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (documents, asked, tls) = (Arc::clone(&documents), Arc::clone(&asked), tls.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(tcp).await {
                        serve(stream, &documents, &asked).await;
                    }
                });
            }
        });
        issuer
    }

    /// `https://localhost:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub(crate) fn answer(&self, path: &str, answers: Answers) {
        let mut documents = self.documents.lock().unwrap();
        documents.retain(|(known, _)| known != path);
        documents.push((path.to_owned(), answers));
    }

    /// Publishes these keys.
    pub(crate) fn publish(&self, keys: &[(&str, &Signer)]) {
        let jwk = |(kid, it): &(&str, &Signer)| match it.public() {
            PublicKey::Rsa(key) => Jwk::Rsa(RsaJwk::signing(key, kid, None)),
            key @ PublicKey::Ec(_) => Jwk::certified(key, kid, Vec::new(), None),
        };
        let keys: Vec<Jwk> = keys.iter().map(jwk).collect();
        self.publish_document(json!({"keys": keys}));
    }

    fn publish_document(&self, keys: Value) {
        let configuration = json!({"issuer": self.url(), "jwks_uri": format!("{}/keys", self.url())});
        self.answer("/.well-known/openid-configuration", Answers::Json(configuration));
        self.answer("/keys", Answers::Json(keys));
    }

    /// What was asked of it so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TlsStream<TcpStream>, documents: &Documents, asked: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split_whitespace().nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(path.clone());
    let found = documents.lock().unwrap().iter().find(|(known, _)| *known == path).map(|(_, answers)| answers.clone());
    let mut rest = 0;
    let answer = match found {
        None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
        Some(Answers::Json(body)) => {
            let body = body.to_string();
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        }
        Some(Answers::Status(status, header)) => {
            format!("HTTP/1.1 {status} X\r\n{header}\r\ncontent-length: 0\r\n\r\n")
        }
        Some(Answers::Bytes { count, said }) => {
            rest = count;
            let length = if said { format!("content-length: {count}\r\n") } else { String::new() };
            format!("HTTP/1.1 200 OK\r\n{length}\r\n")
        }
        Some(Answers::Nothing) => {
            let _ = stream.read_u8().await;
            return;
        }
        Some(Answers::Drip) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(b" ").await.is_ok() && stream.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            return;
        }
        Some(Answers::Junk) => "SSH-2.0-x\r\n".to_owned(),
    };
    let _ = stream.write_all(answer.as_bytes()).await;
    let chunk = [b' '; 16 * 1024];
    while rest > 0 && stream.write_all(&chunk[..rest.min(chunk.len())]).await.is_ok() {
        rest -= rest.min(chunk.len());
    }
    let _ = stream.shutdown().await;
}

pub(crate) fn signer() -> &'static Signer {
    static SIGNER: std::sync::LazyLock<Signer> =
        std::sync::LazyLock::new(|| Signer::generate_rsa(RsaBits::B2048).unwrap());
    &SIGNER
}

fn other_signer() -> &'static Signer {
    static SIGNER: std::sync::LazyLock<Signer> =
        std::sync::LazyLock::new(|| Signer::generate_rsa(RsaBits::B2048).unwrap());
    &SIGNER
}

async fn refused(ca: &Authority, issuer: &str) -> IssuerError {
    Issuers::new(&ca.outbound(), Clock::manual(NOW)).keys(issuer, None).await.unwrap_err()
}

#[tokio::test]
async fn keys_are_fetched_once_and_renewed_behind_the_back_of_who_asks() {
    let (ca, clock) = (Authority::new(), Clock::manual(NOW));
    let issuer = Issuer::start(&ca).await;
    issuer.publish(&[("one", signer())]);
    let issuers = Issuers::new(&ca.outbound(), clock.clone());
    let url = issuer.url();
    let mut together = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (issuers, url) = (issuers.clone(), url.clone());
        together.spawn(async move { issuers.keys(&url, Some("one")).await.unwrap().has("one") });
    }
    assert!(together.join_all().await.into_iter().all(|has| has));
    let documents = ["/.well-known/openid-configuration", "/keys"];
    assert_eq!(issuer.asked(), documents, "one fetch for fifty");

    // A key that is not there is looked for again, and not soon after.
    issuer.publish(&[("one", signer()), ("two", other_signer())]);
    clock.advance(UNKNOWN_KEY_INTERVAL - 1);
    assert!(!issuers.keys(&url, Some("two")).await.unwrap().has("two"));
    assert_eq!(issuer.asked().len(), 2);
    clock.advance(1);
    assert!(issuers.keys(&url, Some("two")).await.unwrap().has("two"));
    assert_eq!(issuer.asked().len(), 4);
    for _ in 0..20 {
        assert!(!issuers.keys(&url, Some("three")).await.unwrap().has("three"));
    }
    assert_eq!(issuer.asked().len(), 4);

    // An hour later it is renewed in the background; who asks has the old keys meanwhile.
    issuer.publish(&[("two", other_signer())]);
    clock.advance(REFRESH_AFTER);
    assert!(issuers.keys(&url, Some("one")).await.unwrap().has("one"));
    while issuers.keys(&url, None).await.unwrap().has("one") {
        tokio::task::yield_now().await;
    }
    assert_eq!(issuer.asked().len(), 6);
}

#[tokio::test]
async fn an_issuer_that_is_away_is_believed_for_a_day_and_no_longer() {
    let (ca, clock) = (Authority::new(), Clock::manual(NOW));
    let issuer = Issuer::start(&ca).await;
    issuer.publish(&[("one", signer())]);
    let issuers = Issuers::new(&ca.outbound(), clock.clone());
    let url = issuer.url();
    assert!(issuers.keys(&url, Some("one")).await.unwrap().has("one"));
    issuer.answer("/keys", Answers::Status(500, "x: y"));
    for hour in 1..24 {
        clock.set(NOW + hour * 3600);
        assert!(issuers.keys(&url, Some("one")).await.unwrap().has("one"), "{hour}");
        // For a key that is not there it is asked at once, and the answer waited for: the old keys are still good.
        assert!(!issuers.keys(&url, Some("two")).await.unwrap().has("two"));
    }
    clock.set(NOW + GOOD_FOR);
    let gone = issuers.keys(&url, Some("one")).await.unwrap_err();
    assert!(matches!(gone, IssuerError::Status { status: 500, .. }) && gone.is_transient(), "{gone:?}");
    let asked = issuer.asked().len();
    // It is not asked for every token while it is away.
    for _ in 0..20 {
        issuers.keys(&url, Some("one")).await.unwrap_err();
    }
    assert_eq!(issuer.asked().len(), asked);
    issuer.publish(&[("one", signer())]);
    clock.advance(RETRY.1);
    assert!(issuers.keys(&url, Some("one")).await.unwrap().has("one"));
}

#[tokio::test]
async fn d08_a_redirect_a_flood_and_a_wrong_document_are_refused() {
    let ca = Authority::new();
    let (issuer, elsewhere) = (Issuer::start(&ca).await, Issuer::start(&ca).await);
    elsewhere.publish(&[("one", signer())]);
    let location: &'static str =
        Box::leak(format!("location: {}/.well-known/openid-configuration", elsewhere.url()).into_boxed_str());
    let configuration = "/.well-known/openid-configuration";
    for status in [301, 302, 303, 307, 308] {
        issuer.answer(configuration, Answers::Status(status, location));
        assert!(matches!(refused(&ca, &issuer.url()).await, IssuerError::Redirect(_)), "{status}");
    }
    for said in [true, false] {
        issuer.answer(configuration, Answers::Bytes { count: 100 * 1024 * 1024, said });
        assert!(matches!(refused(&ca, &issuer.url()).await, IssuerError::TooLong(_)), "said: {said}");
    }
    for (status, is_transient) in [(404, false), (204, false), (503, true), (429, true)] {
        issuer.answer(configuration, Answers::Status(status, "x: y"));
        let error = refused(&ca, &issuer.url()).await;
        assert!(matches!(error, IssuerError::Status { .. }) && error.is_transient() == is_transient, "{error:?}");
    }
    issuer.answer(configuration, Answers::Junk);
    assert!(matches!(refused(&ca, &issuer.url()).await, IssuerError::Unreachable { .. }));
    // A document of another issuer, by the same server.
    issuer.publish(&[("one", signer())]);
    let wrong = refused(&ca, &format!("{}/tenant", issuer.url())).await;
    assert!(matches!(wrong, IssuerError::Status { status: 404, .. }));
    assert!(matches!(refused(&ca, &format!("{}/", issuer.url())).await, IssuerError::Document(_)), "a slash");
    assert_eq!(elsewhere.connections(), 0, "nobody was sent elsewhere");
}

#[tokio::test]
async fn of_ten_thousand_keys_a_hundred_are_used() {
    let ca = Authority::new();
    let issuer = Issuer::start(&ca).await;
    let small = json!({"kty": "EC", "kid": "k"});
    let good = json!(RsaJwk::signing(signer().public().rsa().unwrap(), "late", None));
    let many = |at: usize, count: usize| {
        let mut keys = vec![small.clone(); count];
        keys.insert(at, good.clone());
        json!({"keys": keys})
    };
    issuer.publish_document(many(99, 9_999));
    let keys = Issuers::new(&ca.outbound(), Clock::manual(NOW)).keys(&issuer.url(), Some("late")).await.unwrap();
    assert!(keys.has("late"));
    issuer.publish_document(many(100, 9_999));
    assert!(matches!(refused(&ca, &issuer.url()).await, IssuerError::Document(_)));
    // Real keys, ten thousand of them, are more than a document may have.
    issuer.publish_document(json!({"keys": vec![good; 10_000]}));
    assert!(matches!(refused(&ca, &issuer.url()).await, IssuerError::TooLong(_)));
}

#[tokio::test]
async fn d07_a_certificate_for_another_name_or_of_another_ca_is_refused() {
    let (ca, other) = (Authority::new(), Authority::new());
    let misnamed = Issuer::named(&ca, "elsewhere.localhost").await;
    misnamed.publish(&[("one", signer())]);
    let foreign = Issuer::start(&other).await;
    foreign.publish(&[("one", signer())]);
    for issuer in [misnamed, foreign] {
        assert!(matches!(refused(&ca, &issuer.url()).await, IssuerError::Unreachable { .. }));
        assert_eq!((issuer.connections(), issuer.asked().len()), (1, 0));
    }
}

/// Issuers that are given up sooner than in earnest.
fn impatient(outbound: &Outbound, patience: Duration, deadline: Duration) -> Issuers {
    let mut fetcher = Fetcher::new(Policy::of(outbound), &outbound.roots);
    fetcher.deadline = deadline;
    let mut issuers = Issuers::with(fetcher, Clock::manual(NOW));
    issuers.patience = patience;
    issuers
}

#[tokio::test]
async fn an_issuer_that_stalls_keeps_nobody_longer_than_his_patience() {
    let ca = Authority::new();
    let issuer = Issuer::start(&ca).await;
    for answers in [Answers::Nothing, Answers::Drip] {
        issuer.answer("/.well-known/openid-configuration", answers);
        let issuers = impatient(&ca.outbound(), Duration::from_millis(300), Duration::from_millis(600));
        assert_eq!(issuers.keys(&issuer.url(), None).await.unwrap_err(), IssuerError::TimedOut);
        assert_eq!(issuers.fetcher.free_turns(), fetch::AT_A_TIME - 1, "the fetch goes on for others");
        // It ends as well, and makes room; who asks next is told what became of it.
        while issuers.fetcher.free_turns() < fetch::AT_A_TIME {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let asked = issuer.asked().len();
        assert_eq!(issuers.keys(&issuer.url(), None).await.unwrap_err(), IssuerError::TimedOut);
        assert_eq!(issuer.asked().len(), asked);
    }
}

/// Not more than a few at a time, and each of the others has its turn.
#[tokio::test]
async fn few_issuers_are_asked_at_a_time() {
    let ca = Authority::new();
    let issuers = impatient(&ca.outbound(), Duration::from_secs(3), Duration::from_secs(3));
    let mut stalling = Vec::new();
    for _ in 0..fetch::AT_A_TIME + 4 {
        let issuer = Issuer::start(&ca).await;
        issuer.answer("/.well-known/openid-configuration", Answers::Nothing);
        let (issuers, url) = (issuers.clone(), issuer.url());
        stalling.push((issuer, tokio::spawn(async move { issuers.keys(&url, None).await.is_err() })));
    }
    while stalling.iter().map(|(issuer, _)| issuer.asked().len()).sum::<usize>() < fetch::AT_A_TIME {
        tokio::task::yield_now().await;
    }
    assert_eq!(issuers.fetcher.free_turns(), 0);
    assert_eq!(stalling.iter().map(|(issuer, _)| issuer.connections()).sum::<usize>(), fetch::AT_A_TIME);
    for (_, task) in stalling {
        assert!(task.await.unwrap());
    }
}

#[tokio::test]
async fn d08_an_address_that_is_not_public_is_not_dialled() {
    let ca = Authority::new();
    let issuer = Issuer::start(&ca).await;
    issuer.publish(&[("one", signer())]);
    let port = issuer.address.port();
    let strict = Outbound { networks: Networks::default(), ..ca.outbound() };
    let issuers = Issuers::new(&strict, Clock::manual(NOW));
    for url in [
        issuer.url(),
        format!("https://127.0.0.1:{port}"),
        format!("https://[::1]:{port}"),
        format!("https://[::ffff:127.0.0.1]:{port}"),
        "https://169.254.169.254".to_owned(),
        "https://[fd00:ec2::254]".to_owned(),
    ] {
        assert!(matches!(issuers.keys(&url, None).await, Err(IssuerError::Address(_))), "{url}");
    }
    // Neither is a name one of whose addresses is.
    let mixed = ["93.184.216.34".parse().unwrap(), "169.254.169.254".parse().unwrap()];
    let resolve = move |_: &str, port: u16| -> fetch::Addresses {
        Box::pin(async move { Ok(mixed.iter().map(|ip| SocketAddr::new(*ip, port)).collect()) })
    };
    let fetcher = Fetcher::resolving(Policy::of(&strict), &strict.roots, resolve);
    let mixed = Issuers::with(fetcher, Clock::manual(NOW));
    assert!(matches!(mixed.keys(&issuer.url(), None).await, Err(IssuerError::Address(_))));
    assert_eq!(issuer.connections(), 0);

    // A host that is not allowed is not even looked up.
    let looked_up = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&looked_up);
    let resolve = move |_: &str, _: u16| -> fetch::Addresses {
        count.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(Vec::new()) })
    };
    let listed = Outbound { hosts: "id.test".parse().unwrap(), ..strict };
    let fetcher = Fetcher::resolving(Policy::of(&listed), &listed.roots, resolve);
    let issuers = Issuers::with(fetcher, Clock::manual(NOW));
    assert!(matches!(issuers.keys("https://other.test", None).await, Err(IssuerError::Host(_))));
    assert_eq!(looked_up.load(Ordering::SeqCst), 0);
    assert!(matches!(issuers.keys("https://id.test", None).await, Err(IssuerError::Unresolved(_))));
    assert_eq!(looked_up.load(Ordering::SeqCst), 1);
}

/// A name that means one address when it is checked, and another a moment later: what was checked is what is dialled.
#[tokio::test]
async fn d08_a_name_that_changes_its_address_leads_nowhere_else() {
    let ca = Authority::new();
    let (good, evil) = (Issuer::start(&ca).await, Issuer::start(&ca).await);
    good.publish(&[("one", signer())]);
    evil.publish(&[("one", other_signer())]);
    // Of 127.0.0.0/8 one address is allowed here; the other one stands for what is not public.
    let outbound = Outbound { networks: "127.0.0.1/32".parse().unwrap(), ..ca.outbound() };
    let forbidden = SocketAddr::new("127.0.0.2".parse().unwrap(), evil.address.port());
    let (allowed, calls) = (good.address, Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let resolve = move |_: &str, _: u16| -> fetch::Addresses {
        let first = counted.fetch_add(1, Ordering::SeqCst) % 2 == 0;
        Box::pin(async move { Ok(vec![if first { allowed } else { forbidden }]) })
    };
    let fetcher = Fetcher::resolving(Policy::of(&outbound), &outbound.roots, resolve);
    let issuers = Issuers::with(fetcher, Clock::manual(NOW));
    // The configuration comes from the address that was checked, by one look-up; the key document's own look-up gives the
    // forbidden one, which is checked too.
    assert!(matches!(issuers.keys(&good.url(), None).await, Err(IssuerError::Address(_))));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(good.asked(), ["/.well-known/openid-configuration"]);
    assert_eq!(evil.connections(), 0);
}

/// The key document must be at a host that may be asked, at an address that may be dialled.
#[tokio::test]
async fn d08_a_configuration_cannot_send_elsewhere_for_its_keys() {
    let ca = Authority::new();
    let (issuer, elsewhere) = (Issuer::start(&ca).await, Issuer::start(&ca).await);
    elsewhere.publish(&[("one", signer())]);
    let listed = Outbound { hosts: "localhost".parse().unwrap(), ..ca.outbound() };
    for (jwks_uri, is_expected) in [
        (
            format!("https://127.0.0.1:{}/keys", elsewhere.address.port()),
            (|e| matches!(e, IssuerError::Host(_))) as fn(&_) -> bool,
        ),
        (format!("http://localhost:{}/keys", elsewhere.address.port()), |e| matches!(e, IssuerError::Url(_))),
        ("file:///etc/passwd".to_owned(), |e| matches!(e, IssuerError::Url(_))),
        ("https://169.254.169.254/latest".to_owned(), |e| matches!(e, IssuerError::Host(_))),
    ] {
        let configuration = json!({"issuer": issuer.url(), "jwks_uri": jwks_uri});
        issuer.answer("/.well-known/openid-configuration", Answers::Json(configuration));
        let error = Issuers::new(&listed, Clock::manual(NOW)).keys(&issuer.url(), None).await.unwrap_err();
        assert!(is_expected(&error), "{jwks_uri}: {error:?}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

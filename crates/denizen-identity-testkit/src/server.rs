//! One HTTP/1.1 listener on loopback, plain or TLS: it records what it is asked, fails where it is told to, and
//! otherwise gives its endpoint's answer in the behavior it is told to.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use denizen_serve::{Accepted, Arrival, Budget, Holder, Limits, Room};
use denizen_wire::Clock;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::{
    body::{Body, Bytes, Frame, Incoming, SizeHint},
    service::service_fn,
};
use serde_json::{Map, Value};
use tokio::{net::TcpListener, task::AbortHandle};
use tokio_rustls::TlsAcceptor;

use crate::issuer::{Identities, Issuer};

/// The largest request body that is read, bytes.
const MAX_BODY: usize = 256 * 1024;

/// What an endpoint is started with.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where to listen; port 0 is a free one.
    pub address: SocketAddr,
    /// Who signs its tokens.
    pub issuer: Issuer,
    /// Which identities it has.
    pub identities: Identities,
    /// What time it is.
    pub clock: Clock,
}

impl Default for Options {
    /// A free port of 127.0.0.1, an issuer of its own, one system-assigned and one user-assigned identity, and the
    /// system's time.
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            issuer: Issuer::default(),
            identities: Identities::default(),
            clock: Clock::system(),
        }
    }
}

impl Options {
    /// Listening there; port 0 is a free one.
    #[must_use]
    pub fn with_address(self, address: SocketAddr) -> Self {
        Self { address, ..self }
    }

    /// With tokens signed by this issuer.
    #[must_use]
    pub fn with_issuer(self, issuer: Issuer) -> Self {
        Self { issuer, ..self }
    }

    /// With these identities.
    #[must_use]
    pub fn with_identities(self, identities: Identities) -> Self {
        Self { identities, ..self }
    }

    /// At the time that this clock shows.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }
}

/// A request as it came in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorded {
    /// Which connection it came on, counted from 0: two requests with one number shared it.
    pub connection: u64,
    /// `GET`, for one.
    pub method: String,
    /// The path alone.
    pub path: String,
    /// The query as it was written, without its question mark.
    pub raw_query: String,
    /// The query's pairs, decoded, in their order.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub body: String,
}

impl Recorded {
    /// The first value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The pairs of a form body, decoded.
    pub fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }

    /// `Metadata: true`, in any case, as the documents' own PowerShell writes it.
    pub(crate) fn has_metadata(&self) -> bool {
        self.header("metadata").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

/// An answer.
#[derive(Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers besides the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// JSON.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::text(status, &body.to_string()).typed("application/json; charset=utf-8")
    }

    /// Plain text.
    pub fn text(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.as_bytes().to_vec() }.typed("text/plain; charset=utf-8")
    }

    /// No body and no type.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// With one more header. A name or value that is none is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn typed(mut self, content_type: &str) -> Self {
        self.headers.retain(|(name, _)| name != "Content-Type");
        self.with("Content-Type", content_type)
    }
}

/// What happens to a request instead of its true answer.
#[derive(Clone)]
#[non_exhaustive]
pub enum Fault {
    /// This answer.
    Answer(Reply),
    /// The connection is closed without one.
    Reset,
    /// The connection stays open and nothing comes.
    Silence,
}

impl Fault {
    /// A status with the JSON error that services send with it.
    pub fn status(status: u16) -> Self {
        Self::Answer(Self::reply(status))
    }

    /// A status with `Retry-After`, in seconds.
    pub fn retry_after(status: u16, seconds: u32) -> Self {
        Self::Answer(Self::reply(status).with("Retry-After", &seconds.to_string()))
    }

    fn reply(status: u16) -> Reply {
        let error = if status == 429 { "too_many_requests" } else { "temporarily_unavailable" };
        let description = format!("the test asked for a {status}");
        Reply::json(status, &serde_json::json!({"error": error, "error_description": description}))
    }
}

/// How a true answer is written down.
#[derive(Clone)]
#[non_exhaustive]
pub struct Behavior {
    /// How long a token lives, seconds.
    pub lifetime: i64,
    /// `expires_in`, `ext_expires_in` and `not_before` (and `expires_on`, where it is decimal) as JSON numbers.
    pub numbers: bool,
    /// How `expires_on` is written.
    pub expires_on: ExpiresOn,
    /// Members left out of the token answer.
    pub omit: Vec<&'static str>,
    /// Members put into the token answer, over those of the same name.
    pub replace: Map<String, Value>,
    /// In chunks, without a length.
    pub chunked: bool,
    /// `Connection: close` on every answer.
    pub close: bool,
    /// How long it takes.
    pub delay: Duration,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            lifetime: 86_400,
            numbers: false,
            expires_on: ExpiresOn::Seconds,
            omit: Vec::new(),
            replace: Map::new(),
            chunked: false,
            close: false,
            delay: Duration::ZERO,
        }
    }
}

/// The ways `expires_on` is written in the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpiresOn {
    /// Decimal Unix seconds.
    Seconds,
    /// `2026-11-21T05:45:00Z`.
    Iso8601,
    /// `06/20/2019 02:57:58 +00:00`: App Service 2017-09-01 on Linux.
    LinuxDate,
    /// `1/16/2020 5:24:12 AM +00:00`: the same on Windows.
    WindowsDate,
}

type When = Box<dyn Fn(&Recorded) -> bool + Send + Sync>;
type Handler = dyn Fn(&Recorded, &Behavior) -> Reply + Send + Sync;

struct Rule {
    left: u32,
    when: When,
    fault: Fault,
}

struct Shared {
    log: Mutex<Vec<Recorded>>,
    rules: Mutex<Vec<Rule>>,
    behavior: Mutex<Behavior>,
    handler: Box<Handler>,
}

/// A panic in a test elsewhere must not become a second one here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running listener. Dropping it closes the port and every connection.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    tls: bool,
    accepting: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub(crate) async fn start(
        address: SocketAddr,
        tls: Option<TlsAcceptor>,
        handler: impl Fn(&Recorded, &Behavior) -> Reply + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let shared = Arc::new(Shared {
            log: Mutex::default(),
            rules: Mutex::default(),
            behavior: Mutex::default(),
            handler: Box::new(handler),
        });
        let address = listener.local_addr()?;
        let is_tls = tls.is_some();
        let accepting = tokio::spawn(accept(listener, tls, Arc::clone(&shared))).abort_handle();
        Ok(Self { shared, address, tls: is_tls, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        if self.tls { format!("https://localhost:{}", self.address.port()) } else { format!("http://{}", self.address) }
    }

    /// Every request so far, the oldest first.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.shared.log).clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        lock(&self.shared.log).clear();
    }

    /// The next `times` requests fail like this. Several calls queue up.
    pub fn fail(&self, times: u32, fault: Fault) {
        self.fail_when(times, |_| true, fault);
    }

    /// The next `times` requests for which `when` holds fail like this.
    pub fn fail_when(&self, times: u32, when: impl Fn(&Recorded) -> bool + Send + Sync + 'static, fault: Fault) {
        lock(&self.shared.rules).push(Rule { left: times, when: Box::new(when), fault });
    }

    /// No request fails any more.
    pub fn heal(&self) {
        lock(&self.shared.rules).clear();
    }

    /// Changes how answers are written.
    pub fn set_behavior(&self, change: impl FnOnce(&mut Behavior)) {
        change(&mut lock(&self.shared.behavior));
    }
}

/// Connections at a time.
const MAX_CONNECTIONS: usize = 1024;

/// Serves until its task is aborted, which ends every connection.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // `Www-Authenticate`, as the real agent writes it: a documented shell recipe greps for exactly that.
    let limits = Limits { title_case_headers: true, ..Limits::DEFAULT };
    let number = AtomicU64::new(0);
    let budget = Budget::new(Room { connections: MAX_CONNECTIONS, reserved: 0, memory: 0 });
    denizen_serve::serve(vec![listener], limits, budget, std::future::pending(), |Arrival { peer, .. }| {
        let (shared, tls, number) = (Arc::clone(&shared), tls.clone(), number.fetch_add(1, Ordering::Relaxed));
        let connection = move |Accepted { stream, http, .. }| async move {
            let service = service_fn(|request| shared.answer(number, request));
            // What ends a connection early has nobody to be told: the client's answer to our certificate, a client
            // that went away, a reset that the test asked for.
            match tls {
                None => drop(http.serve(stream, service).await),
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        drop(http.serve(stream, service).await);
                    }
                }
            }
        };
        Some((Holder::at(peer.ip()), connection))
    })
    .await;
}

impl Shared {
    async fn answer(&self, connection: u64, request: http::Request<Incoming>) -> io::Result<Response<ReplyBody>> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(io::Error::other)?.to_bytes();
        let raw_query = head.uri.query().unwrap_or_default();
        let recorded = Recorded {
            connection,
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            raw_query: raw_query.to_owned(),
            query: form_urlencoded::parse(raw_query.as_bytes()).into_owned().collect(),
            headers: head.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        lock(&self.log).push(recorded.clone());
        let behavior = lock(&self.behavior).clone();
        let reply = match self.fault(&recorded) {
            None => (self.handler)(&recorded, &behavior),
            Some(Fault::Answer(reply)) => reply,
            Some(Fault::Reset) => return Err(io::Error::other("the test asked for a reset")),
            Some(Fault::Silence) => std::future::pending().await,
        };
        tokio::time::sleep(behavior.delay).await;
        Ok(written(reply, &behavior))
    }

    fn fault(&self, request: &Recorded) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        let rule = rules.iter_mut().find(|rule| rule.left > 0 && (rule.when)(request))?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }
}

fn written(reply: Reply, behavior: &Behavior) -> Response<ReplyBody> {
    let body = if behavior.chunked {
        // Pieces that cut through names and numbers.
        ReplyBody::Pieces(reply.body.chunks(7).map(Bytes::copy_from_slice).collect())
    } else {
        ReplyBody::Whole(reply.body.into())
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    if behavior.close {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A body of known length, or one in pieces, for which hyper sends chunks.
enum ReplyBody {
    Whole(Bytes),
    Pieces(VecDeque<Bytes>),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => None,
            Self::Whole(bytes) => Some(std::mem::take(bytes)),
            Self::Pieces(pieces) => pieces.pop_front(),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

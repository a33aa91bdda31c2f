//! A request, after the one canonicalizer.
//!
//! Two layers that read one path differently are how interceptors are walked around, so paths are read once, here:
//! split at `/`, each segment percent-decoded, and called ambiguous when a decoded segment could mean something else to
//! another reader (a separator, a NUL, a dot segment). The dispatcher refuses an ambiguous call in the words of its
//! protocol. What is left is matched exactly or is 404.
//!
//! Tests: below.

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use denizen_serve::{Memory, Share};
use denizen_wire::{TenantId, UnixTime};
use http::{HeaderMap, Method, Uri, header};
use hyper::body::{Body as _, Bytes, Incoming};
use uuid::Uuid;

use super::Reply;
use crate::{
    app::strangers::Stranger,
    domain::{Actor, Ctx},
};

/// A body may take this long to arrive: whoever stops in the middle of one must not keep the connection.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a body that nobody wants is read, bytes.
const MAX_DRAIN: usize = 1024 * 1024;
/// How long that may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A request whose path, query and host have one reading, or which says that they have not.
pub struct Call {
    /// The method.
    pub method: Method,
    /// The path's segments, decoded. A trailing slash gives a last empty one, a double slash an empty one inside:
    /// in some protocols both mean something ("the latest version"). None of an ambiguous call.
    pub segments: Vec<String>,
    /// The query, decoded.
    pub query: Query,
    /// The headers.
    pub headers: HeaderMap,
    /// The `Host` header, lower case, port included. Empty when absent, and of an ambiguous call.
    pub host: String,
    /// Our id for this request.
    pub request_id: Uuid,
    /// The client's own id for it, once the protocol has found it.
    pub correlation_id: Option<Uuid>,
    /// Headers that the answer will have, whatever it is.
    pub response_headers: HeaderMap,
    /// When it came.
    pub now: UnixTime,
    /// Who sent it, for the log only: an address is no identity.
    pub peer: SocketAddr,
    /// The user at the other end of a Unix socket, as the kernel says; none of a call that came another way.
    pub local_user: Option<u32>,
    ambiguous: Option<Ambiguous>,
    body: Option<Body>,
    /// What the body holds of the service's memory, for as long as the call lives.
    memory: Option<Memory>,
    unread: Unread,
}

/// Whether a request's body has not been read to its end. Outlives the call: the connection can be used again only
/// when it was.
#[derive(Clone, Debug)]
pub struct Unread(Arc<AtomicBool>);

impl Unread {
    /// Still true when the answer is made: the connection must be announced closed.
    pub fn is_true(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where the body comes from.
pub enum Body {
    /// A connection, with its part of the service's budget.
    Incoming(Incoming, Share),
    /// Bytes at hand: tests.
    Bytes(Bytes),
}

impl Body {
    fn has_more(&self) -> bool {
        match self {
            Self::Incoming(incoming, _) => !incoming.is_end_stream(),
            Self::Bytes(_) => false,
        }
    }
}

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is longer than this protocol reads.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// It is compressed.
    #[error("the request body is compressed (Content-Encoding), which is not read here: send it as it is")]
    Encoded,
    /// It stopped in the middle.
    #[error("the request body did not arrive within 30 seconds")]
    Late,
    /// There is no memory for it.
    #[error("the service is receiving as much as it can hold, most of it from this client: send less at a time")]
    OverBudget,
    /// The connection broke.
    #[error("the request body could not be read to its end")]
    Broken,
    /// It was read before.
    #[error("the request body was read already")]
    Gone,
}

/// A request that two readers could read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguous {
    /// By its path.
    #[error("the request path {0}; correct it")]
    Path(&'static str),
    /// By the host that it names.
    #[error("the request {0}; send one Host header, the one of its URL")]
    Host(&'static str),
}

impl Call {
    /// The token of an `Authorization: Bearer` header; none where there is none, or more than one: which one counts would be
    /// anybody's guess.
    pub fn bearer(&self) -> Option<&str> {
        let mut given = self.headers.get_all(header::AUTHORIZATION).iter();
        let (Some(one), None) = (given.next(), given.next()) else { return None };
        let (scheme, token) = one.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// Canonicalizes a request.
    pub fn new(
        method: Method,
        uri: &Uri,
        headers: HeaderMap,
        body: Body,
        peer: SocketAddr,
        now: UnixTime,
        request_id: Uuid,
    ) -> Self {
        let (segments, host, ambiguous) = match (segments(uri.path()), host(uri, &headers)) {
            (Ok(segments), Ok(host)) => (segments, host, None),
            (Err(ambiguous), _) | (_, Err(ambiguous)) => (Vec::new(), String::new(), Some(ambiguous)),
        };
        let query = Query::parse(uri.query().unwrap_or_default());
        let unread = Unread(Arc::new(AtomicBool::new(body.has_more())));
        Self {
            method,
            segments,
            query,
            headers,
            host,
            request_id,
            correlation_id: None,
            response_headers: HeaderMap::new(),
            now,
            peer,
            local_user: None,
            ambiguous,
            body: Some(body),
            memory: None,
            unread,
        }
    }

    /// Why the request is ambiguous, if it is. No handler is given one that is.
    pub fn ambiguous(&self) -> Option<Ambiguous> {
        self.ambiguous
    }

    /// The context of an operation that this request asks for.
    pub fn ctx(&self, tenant: TenantId, actor: Actor) -> Ctx {
        let Self { now, request_id, correlation_id, peer, .. } = self;
        Ctx {
            tenant,
            actor,
            now: *now,
            request_id: *request_id,
            correlation_id: *correlation_id,
            address: Some(peer.ip().to_canonical()),
        }
    }

    /// Who sends this, as far as the log may say it of somebody who proved nothing.
    pub fn stranger(&self) -> Stranger {
        let address = Some(self.peer.ip().to_canonical());
        Stranger { request_id: self.request_id, address, tenant: None, client: None }
    }

    /// Gives back the memory that the body took: for an answer that waits.
    pub fn forget_body(&mut self) {
        self.memory = None;
    }

    /// Gives an answer the headers that it will have in any case. What the handler set wins.
    pub(super) fn add_headers(&mut self, reply: &mut Reply) {
        if self.response_headers.is_empty() {
            return;
        }
        let of_handler = std::mem::replace(reply.headers_mut(), std::mem::take(&mut self.response_headers));
        let mut last = None;
        for (name, value) in of_handler {
            match (name, &last) {
                (Some(name), _) => {
                    last = Some(name.clone());
                    reply.headers_mut().insert(name, value);
                }
                // Another of the one before: an answer may set several cookies.
                (None, Some(last)) => _ = reply.headers_mut().append(last.clone(), value),
                (None, None) => {}
            }
        }
    }

    /// To be asked when the answer is made.
    pub fn unread(&self) -> Unread {
        self.unread.clone()
    }

    /// A header's text; none when absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body, whole, when it is at most `limit` bytes; without the byte order mark that some programs put first.
    ///
    /// # Errors
    /// [`BodyError`] says why there is none.
    pub async fn body(&mut self, limit: usize) -> Result<Bytes, BodyError> {
        self.body_within(limit, BODY_TIMEOUT).await
    }

    async fn body_within(&mut self, limit: usize, time: Duration) -> Result<Bytes, BodyError> {
        const MARK: &[u8] = "\u{feff}".as_bytes();
        let mut encodings = self.headers.get_all(header::CONTENT_ENCODING).iter();
        if encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(BodyError::Encoded);
        }
        let mut bytes = self.whole_body(limit, time).await?;
        if bytes.starts_with(MARK) {
            let _mark = bytes.split_to(MARK.len());
        }
        Ok(bytes)
    }

    async fn whole_body(&mut self, limit: usize, time: Duration) -> Result<Bytes, BodyError> {
        match self.body.take() {
            None => Err(BodyError::Gone),
            Some(Body::Bytes(bytes)) if bytes.len() > limit => Err(BodyError::TooLarge(limit)),
            Some(Body::Bytes(bytes)) => Ok(bytes),
            Some(Body::Incoming(mut incoming, share)) => {
                use denizen_serve::BodyError as Unread;
                match denizen_serve::read_body(&mut incoming, limit, time, &share).await {
                    Ok((whole, memory)) => {
                        self.memory = memory;
                        self.unread.0.store(false, Ordering::Relaxed);
                        Ok(whole.into())
                    }
                    Err(Unread::TooLarge) => {
                        self.drain(incoming, &share).await;
                        Err(BodyError::TooLarge(limit))
                    }
                    Err(Unread::Late) => Err(BodyError::Late),
                    Err(Unread::OverBudget) => Err(BodyError::OverBudget),
                    Err(Unread::Broken(error)) => {
                        tracing::debug!(request = %self.request_id, %error, "a request body broke off");
                        Err(BodyError::Broken)
                    }
                }
            }
        }
    }

    /// Reads the body and keeps none of it, so that the connection can be used again.
    pub async fn discard_body(&mut self) {
        if let Some(Body::Incoming(incoming, share)) = self.body.take() {
            self.drain(incoming, &share).await;
        }
    }

    /// Most clients read the answer only when they have sent their request: closing on them earlier turns a refusal
    /// that says why into a broken pipe. So a body that is too long is read on, up to a limit.
    async fn drain(&self, mut incoming: Incoming, share: &Share) {
        let ended = denizen_serve::discard_body(&mut incoming, MAX_DRAIN, DRAIN_TIMEOUT, share).await;
        self.unread.0.store(!ended, Ordering::Relaxed);
    }
}

/// The host that a request names: its `Host` header, and the same in its target when that is a whole URL.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<String, Ambiguous> {
    let mut named = headers.get_all(header::HOST).iter().map(|value| value.to_str());
    let header = match (named.next(), named.next()) {
        (None, _) => None,
        (Some(Ok(host)), None) => Some(host.to_ascii_lowercase()),
        (Some(Err(_)), None) => return Err(Ambiguous::Host("has a Host header that is not text")),
        (Some(_), Some(_)) => return Err(Ambiguous::Host("has more than one Host header")),
    };
    let target = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
    match (header, target) {
        (Some(header), Some(target)) if header != target => {
            Err(Ambiguous::Host("names one host in its target and another in its Host header"))
        }
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Ok(String::new()),
    }
}

fn segments(path: &str) -> Result<Vec<String>, Ambiguous> {
    let rest = path.strip_prefix('/').ok_or(Ambiguous::Path("does not start with '/'"))?;
    rest.split('/').map(segment).collect()
}

fn segment(raw: &str) -> Result<String, Ambiguous> {
    let mut bytes = raw.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%'
            && !(bytes.next().is_some_and(|h| h.is_ascii_hexdigit())
                && bytes.next().is_some_and(|l| l.is_ascii_hexdigit()))
        {
            return Err(Ambiguous::Path("has a '%' that starts no escape"));
        }
    }
    let text = match percent_encoding::percent_decode_str(raw).decode_utf8() {
        Ok(Cow::Borrowed(text)) => text.to_owned(),
        Ok(Cow::Owned(text)) => text,
        Err(_) => return Err(Ambiguous::Path("is not UTF-8")),
    };
    if text == "." || text == ".." {
        return Err(Ambiguous::Path("has a dot segment"));
    }
    if text.chars().any(char::is_control) {
        return Err(Ambiguous::Path(
            "has a control character in an escape, often the line feed (%0A) at the end of a value read from a file",
        ));
    }
    if text.contains(['/', '\\', '%']) {
        return Err(Ambiguous::Path("hides a separator in an escape"));
    }
    Ok(text)
}

/// The query's parameters, keys and values decoded: clients send `api%2Dversion` and `%24skiptoken`.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

/// A parameter that must be given once was given twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the query parameter '{0}' is given more than once")]
pub struct Repeated(pub String);

impl Query {
    /// Parses the text after `?`.
    pub fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).map(|(k, v)| (k.into_owned(), v.into_owned())).collect())
    }

    /// Each parameter with its value, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a parameter that may be given once.
    pub fn one(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut found = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        match (found.next(), found.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Repeated(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(uri: &str) -> Call {
        call_with(uri, HeaderMap::new(), b"0123456789")
    }

    fn call_with(uri: &str, headers: HeaderMap, body: &'static [u8]) -> Call {
        let (peer, body) = (SocketAddr::from(([127, 0, 0, 1], 1)), Body::Bytes(Bytes::from_static(body)));
        Call::new(Method::POST, &uri.parse().unwrap(), headers, body, peer, UnixTime(0), Uuid::nil())
    }

    #[test]
    fn slashes_that_mean_something_are_kept() {
        assert_eq!(call("/secrets/n/").segments, ["secrets", "n", ""]);
        assert_eq!(call("/keys/n//sign").segments, ["keys", "n", "", "sign"]);
    }

    #[test]
    fn d18_a_path_with_two_readings_reaches_no_handler() {
        for bad in ["/a/%2e%2e/b", "/a/../b", "/a%2fb", "/a%5Cb", "/a%00", "/a%252e", "/a%", "/a%zz", "/%ff", "/."] {
            let call = call(bad);
            assert!(matches!(call.ambiguous(), Some(Ambiguous::Path(_))), "{bad}");
            assert!(call.segments.is_empty() && call.host.is_empty(), "{bad}: nothing of it can be matched");
        }
    }

    #[test]
    fn d18_a_host_with_two_readings_is_ambiguous() {
        let named = |uri: &str, hosts: &[&str]| {
            let hosts = hosts.iter().map(|host| (header::HOST, host.parse().unwrap()));
            call_with(uri, hosts.collect(), b"")
        };
        for (uri, hosts) in
            [("/", &["a.test", "b.test"][..]), ("/", &["a.test", "a.test"]), ("http://a.test/", &["b.test"])]
        {
            let call = named(uri, hosts);
            assert!(matches!(call.ambiguous(), Some(Ambiguous::Host(_))) && call.host.is_empty(), "{uri} {hosts:?}");
        }
        for (uri, hosts) in [("/", &["A.test"][..]), ("http://a.test/", &["a.test"]), ("http://a.test/", &[])] {
            assert_eq!(named(uri, hosts).host, "a.test", "{uri} {hosts:?}");
        }
    }

    #[test]
    fn a_line_feed_in_the_path_is_named() {
        let refused = call("/contoso.test%0A/oauth2/v2.0/token").ambiguous().unwrap().to_string();
        assert!(refused.contains("line feed (%0A)"), "{refused}");
    }

    #[test]
    fn query_keys_are_decoded_and_repetition_is_seen() {
        let q = Query::parse("api%2Dversion=7.4&%24skiptoken=a+b&x=1&x=2");
        assert_eq!(q.one("api-version"), Ok(Some("7.4")));
        assert_eq!(q.one("$skiptoken"), Ok(Some("a b")));
        assert_eq!(q.one("x"), Err(Repeated("x".into())));
        assert_eq!(q.one("absent"), Ok(None));
    }

    #[tokio::test]
    async fn a_byte_order_mark_is_dropped_and_a_compressed_body_is_refused() {
        assert_eq!(call_with("/", HeaderMap::new(), b"\xef\xbb\xbf{}").body(10).await.unwrap(), "{}");
        for (encoding, expected) in [("gzip", Err(BodyError::Encoded)), ("identity", Ok(Bytes::from_static(b"x")))] {
            let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, encoding.parse().unwrap())]);
            assert_eq!(call_with("/", headers, b"x").body(10).await, expected, "{encoding}");
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_and_is_read_once() {
        let mut c = call("/");
        assert_eq!(c.body(9).await, Err(BodyError::TooLarge(9)));
        assert_eq!(c.body(9).await, Err(BodyError::Gone));
        assert_eq!(call("/").body(10).await.unwrap(), "0123456789");
    }

    #[tokio::test]
    async fn a_body_that_stops_is_given_up_and_its_connection_with_it() {
        use hyper_util::rt::TokioIo;
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        let (mut client, server) = tokio::io::duplex(4096);
        let service = hyper::service::service_fn(|request: http::Request<Incoming>| async {
            let (head, body) = request.into_parts();
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            let (body, id) = (Body::Incoming(body, Share::unlimited()), Uuid::nil());
            let mut call = Call::new(head.method, &head.uri, head.headers, body, peer, UnixTime(0), id);
            let error = call.body_within(100, Duration::from_millis(50)).await.unwrap_err();
            let text = format!("{error:?}, unread: {}", call.unread().is_true());
            Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::new(Bytes::from(text))))
        });
        let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
        let serving = tokio::spawn(serving);
        client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nin the midd").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("Late, unread: true"), "{answer}");
        serving.await.unwrap().unwrap();
    }
}

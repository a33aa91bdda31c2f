//! How answers are made. Which headers a protocol adds is that protocol's business.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use serde::Serialize;

/// An answer.
pub type Reply = Response<ReplyBody>;

/// The body of an answer.
#[derive(Debug)]
pub enum ReplyBody {
    /// All of it, at hand. `None` once it was sent.
    Whole(Option<Bytes>),
    /// Parts that are made while they are sent: a list too long to hold, or events as they happen.
    Stream(UnsyncBoxBody<Bytes, io::Error>),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

/// A JSON answer.
pub fn json<T: Serialize>(status: StatusCode, body: &T) -> Reply {
    match serde_json::to_vec(body) {
        Ok(bytes) => json_bytes(status, bytes.into()),
        // Our own types always serialize; if one day one does not, the caller learns that it was us.
        Err(_) => json_bytes(
            StatusCode::INTERNAL_SERVER_ERROR,
            Bytes::from_static(br#"{"error":{"code":"InternalError","message":"the answer could not be written"}}"#),
        ),
    }
}

/// A JSON answer that is at hand as bytes.
pub fn json_bytes(status: StatusCode, bytes: Bytes) -> Reply {
    whole(status, HeaderValue::from_static("application/json; charset=utf-8"), bytes)
}

/// An answer that is at hand as bytes of any type.
pub fn whole(status: StatusCode, content_type: HeaderValue, bytes: Bytes) -> Reply {
    let body = if bytes.is_empty() { None } else { Some(bytes) };
    let mut reply = Response::new(ReplyBody::Whole(body));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, content_type);
    reply
}

/// An answer whose body is made while it is sent. An error of the body ends the connection: the client sees that the
/// answer was cut short.
pub fn stream<B>(status: StatusCode, content_type: HeaderValue, body: B) -> Reply
where
    B: Body<Data = Bytes, Error = io::Error> + Send + 'static,
{
    let mut reply = Response::new(ReplyBody::Stream(body.boxed_unsync()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, content_type);
    reply
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody::Whole(None));
    *reply.status_mut() = status;
    reply
}

//! Peers: bare hyper servers that answer with recorded bytes and do nothing else. What they cost is what the
//! transport costs; what we cost more than that is ours. And a reader of a database that does nothing but read.
//!
//! A peer is a process of its own, measured like the one it stands beside, and ends when its standard input closes.

pub(crate) mod arc;
pub(crate) mod commits;
pub(crate) mod open;
pub(crate) mod publish;
pub(crate) mod tls;

use std::path::Path;

use anyhow::{Context, Result};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::{Deserialize, Serialize};

use crate::child::Child;

/// What a peer prints before its URL.
pub(crate) const LISTENING: &str = "listening on ";

/// A recorded answer.
#[derive(Serialize, Deserialize)]
pub(crate) struct Recorded {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Recorded {
    /// Records an answer. `Date` and `Content-Length` are left out: hyper adds them on every server.
    pub(crate) fn of(answer: &Response<Bytes>) -> Result<Self> {
        let mut headers = Vec::new();
        for (name, value) in answer.headers() {
            if ![header::DATE, header::CONTENT_LENGTH].contains(name) {
                headers.push((name.as_str().to_owned(), value.to_str()?.to_owned()));
            }
        }
        Ok(Self { status: answer.status().as_u16(), headers, body: std::str::from_utf8(answer.body())?.to_owned() })
    }

    /// Ready to be answered with: made once, cloned for each request.
    pub(crate) fn reply(&self) -> Result<Reply> {
        let mut reply = Response::new(());
        *reply.status_mut() = StatusCode::from_u16(self.status)?;
        for (name, value) in &self.headers {
            reply.headers_mut().append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        Ok(Reply { head: reply, body: Bytes::from(self.body.clone()) })
    }
}

/// An answer that costs as little as one can.
#[derive(Clone)]
pub(crate) struct Reply {
    head: Response<()>,
    body: Bytes,
}

impl Reply {
    /// One copy of it.
    pub(crate) fn copy(&self) -> Response<Full<Bytes>> {
        self.head.clone().map(|()| Full::new(self.body.clone()))
    }
}

/// Starts a peer, a process of this same program, and returns it with the URL it listens on.
pub(crate) async fn start(arguments: &[&str]) -> Result<(Child, String)> {
    let arguments: Vec<&str> = std::iter::once("peer").chain(arguments.iter().copied()).collect();
    let mut child = Child::start(&std::env::current_exe()?, &arguments, true)?;
    let url = child.says(LISTENING).await?;
    child.ignore_output();
    Ok((child, url))
}

/// Writes a record for a peer to read. It may hold a token, so it is ours alone.
pub(crate) fn keep<T: Serialize>(path: &Path, recorded: &T) -> Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&serde_json::to_vec(recorded)?)?;
    Ok(())
}

fn kept<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(serde_json::from_slice(&bytes)?)
}

#[expect(clippy::print_stdout, reason = "the bench reads it")]
pub(crate) fn announce(what: &str, value: &str) {
    println!("{what}{value}");
}

/// Ends the process when whoever started it is gone.
pub(crate) fn end_with_our_parent() {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_answer_is_given_again_byte_for_byte() {
        let mut answer = Response::new(Bytes::from_static(b"{\"value\":\"x\"}"));
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
        for (name, value) in [("date", "now"), ("content-length", "13"), ("x-ms-a", "1"), ("x-ms-a", "2")] {
            answer.headers_mut().append(name, HeaderValue::from_static(value));
        }
        let again = Recorded::of(&answer).unwrap().reply().unwrap();
        assert_eq!(again.head.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(again.body, answer.body());
        assert_eq!(again.head.headers().get_all("x-ms-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(again.head.headers().len(), 2, "hyper adds the date and the length itself");
    }
}

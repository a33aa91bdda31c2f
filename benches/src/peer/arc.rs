//! The bare Arc peer: the challenge's file work and two recorded answers, nothing else. No checks, no cache, no
//! randomness: a file is made, filled, handed to the group and named in the first answer; the second removes it.

use std::{
    convert::Infallible,
    fs::File,
    io::Write,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result};
use clap::Args;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, fchown, open, openat, unlinkat};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::{LISTENING, Recorded, Reply, announce, end_with_our_parent, kept};

/// As long as a real one: 32 bytes in base64url.
const SECRET: &[u8; 43] = b"0123456789012345678901234567890123456789012";

/// Its arguments.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The two recorded answers
    #[arg(long)]
    replies: PathBuf,
    /// Where to make key files
    #[arg(long)]
    key_dir: PathBuf,
    /// The group they are handed to
    #[arg(long)]
    gid: u32,
}

/// What it answers.
#[derive(Serialize, Deserialize)]
pub(crate) struct Replies {
    /// To a request without `Authorization`; its `WWW-Authenticate` is replaced.
    pub(crate) challenge: Recorded,
    /// To one with it.
    pub(crate) token: Recorded,
}

struct Peer {
    challenge: Reply,
    token: Reply,
    directory: OwnedFd,
    prefix: String,
    gid: Gid,
    files: AtomicU64,
}

/// Serves until whoever started it is gone.
pub(crate) async fn run(args: Arguments) -> Result<()> {
    let Replies { challenge, token } = kept(&args.replies)?;
    let peer = Arc::new(Peer {
        challenge: challenge.reply()?,
        token: token.reply()?,
        directory: open(&args.key_dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?,
        prefix: format!("Basic realm={}/", args.key_dir.to_str().context("the key directory's path is not text")?),
        gid: Gid::from_raw(args.gid),
        files: AtomicU64::new(0),
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    announce(LISTENING, &format!("http://localhost:{}", listener.local_addr()?.port()));
    end_with_our_parent();
    while let Ok((stream, _)) = listener.accept().await {
        let peer = Arc::clone(&peer);
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            // One exchange after another on a connection: the last file made on it is the one to remove.
            let last = AtomicU64::new(0);
            let service = service_fn(|request: Request<Incoming>| {
                let answer = peer.answer(&request, &last);
                async move { Ok::<_, Infallible>(answer) }
            });
            let _ =
                http1::Builder::new().title_case_headers(true).serve_connection(TokioIo::new(stream), service).await;
        });
    }
    Ok(())
}

impl Peer {
    fn answer(&self, request: &Request<Incoming>, last: &AtomicU64) -> Response<Full<Bytes>> {
        if request.headers().contains_key(header::AUTHORIZATION) {
            let _ = unlinkat(&self.directory, file_name(last.load(Ordering::Relaxed)), AtFlags::empty());
            return self.token.copy();
        }
        // A bare peer has no plan for a full disk; the load would see the missing file and fail the round.
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let name = file_name(number);
        let _ = self.make(&name);
        let mut answer = self.challenge.copy();
        if let Ok(realm) = HeaderValue::try_from(format!("{}{name}", self.prefix)) {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        }
        last.store(number, Ordering::Relaxed);
        answer
    }

    fn make(&self, name: &str) -> std::io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.directory, name, flags, Mode::RUSR | Mode::RGRP)?);
        file.write_all(SECRET)?;
        Ok(fchown(&file, None, Some(self.gid))?)
    }
}

/// As long as a UUID's.
fn file_name(number: u64) -> String {
    format!("{number:036}.key")
}

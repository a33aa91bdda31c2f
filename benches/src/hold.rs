//! Clients that hold connections and do nothing good with them: a process of its own for each listener, so that no
//! process needs more descriptors than it may have.
//!
//! They say nothing at all, stop in the middle of a head, announce a body and send none or a byte now and then; and a few
//! ask and ask and never read an answer, which costs the server work beside the place. Whoever is turned away comes
//! back. Dials loopback only, bounded in number, pace and time.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, interval, sleep, sleep_until, timeout},
};

use crate::{
    child::Child,
    http::{Origin, Raw},
    peer::{announce, end_with_our_parent},
};

/// The most one process holds.
const MOST: usize = 10_000;
/// Connections made in a second, at first and by those that come back.
const FIRST_PACE: Duration = Duration::from_micros(1_000);
const PACE: Duration = Duration::from_micros(2_500);
/// The first ones are all made, or waited for, within this time.
const GATHER: Duration = Duration::from_secs(40);
/// A connection or a handshake that takes longer is given up, and tried again.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much whoever never reads can receive, bytes.
const WINDOW: u32 = 4096;
/// What whoever never reads asks, again and again.
const ASKS: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// It ends by itself after this long, whatever happens to whoever started it.
const LIFE: Duration = Duration::from_secs(300);

/// Between two bytes of a body that hardly comes.
const TRICKLE: Duration = Duration::from_secs(3);

/// What a client does with its connection.
#[derive(Clone, Copy)]
enum Kind {
    Silent,
    HalfHead,
    NoBody,
    Trickle,
    Deaf,
}

impl Kind {
    fn of(number: usize) -> Self {
        match (number % 500, number % 8) {
            (499, _) => Self::Deaf,
            (_, 0) => Self::Silent,
            (_, 1) => Self::HalfHead,
            (_, 2..=4) => Self::NoBody,
            _ => Self::Trickle,
        }
    }
}

/// Its arguments.
#[derive(Args)]
pub(crate) struct Hold {
    /// The listener, a URL on this machine
    #[arg(long)]
    url: String,
    /// What an https listener is trusted by
    #[arg(long)]
    ca: Option<PathBuf>,
    /// How many connections
    #[arg(long)]
    connections: usize,
}

/// Starts a holder for a listener; it says when it holds what it can.
pub(crate) fn start(url: &str, ca: Option<&str>, connections: usize) -> Result<Child> {
    let connections = connections.to_string();
    let mut arguments = vec!["hold", "--url", url, "--connections", &connections];
    if let Some(ca) = ca {
        arguments.extend(["--ca", ca]);
    }
    Child::start(&std::env::current_exe()?, &arguments, true)
}

/// What a holder says when it holds what it can.
pub(crate) const HOLDING: &str = "holding ";

/// Holds until whoever started it is gone.
pub(crate) async fn run(args: Hold) -> Result<()> {
    ensure!(args.connections <= MOST, "{MOST} connections at most");
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    let pem = args.ca.map(std::fs::read_to_string).transpose().context("the CA")?;
    let origin = Arc::new(Origin::of(&args.url, pem.as_deref())?);
    end_with_our_parent();
    let (opened, ticket) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Mutex::new(interval(PACE))));
    let began = Instant::now();
    for number in 0..args.connections {
        let (origin, opened, ticket) = (origin.clone(), opened.clone(), ticket.clone());
        tokio::spawn(async move {
            sleep_until(began + FIRST_PACE * u32::try_from(number).unwrap_or(u32::MAX)).await;
            let mut first = true;
            loop {
                // Who says nothing has no handshake either.
                let kind = Kind::of(number);
                let open = async {
                    match kind {
                        Kind::Silent => origin.open_plain().await,
                        Kind::Deaf => origin.open_narrow(WINDOW).await,
                        Kind::HalfHead | Kind::NoBody | Kind::Trickle => origin.open_raw().await,
                    }
                };
                let held = timeout(PATIENCE, open).await;
                if std::mem::take(&mut first) {
                    opened.fetch_add(1, Ordering::Relaxed);
                }
                if let Ok(Ok(stream)) = held {
                    hold(stream, kind).await;
                }
                ticket.lock().await.tick().await;
            }
        });
    }
    while opened.load(Ordering::Relaxed) < args.connections && began.elapsed() < GATHER {
        sleep(Duration::from_millis(50)).await;
    }
    announce(HOLDING, &opened.load(Ordering::Relaxed).to_string());
    sleep(LIFE).await;
    Ok(())
}

/// Ends when the other side ends it.
async fn hold(mut stream: Raw, kind: Kind) {
    let said: &[u8] = match kind {
        Kind::Silent => b"",
        Kind::HalfHead => b"GET /healthz HTTP/1.1\r\nHost: ",
        Kind::NoBody => b"POST /common/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n",
        Kind::Trickle => {
            let head =
                b"POST /common/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
            let mut going = stream.write_all(head).await.is_ok();
            while going {
                sleep(TRICKLE).await;
                going = stream.write_all(b"1\r\nx\r\n").await.is_ok();
            }
            return;
        }
        Kind::Deaf => {
            while stream.write_all(ASKS).await.is_ok() {}
            return;
        }
    };
    if stream.write_all(said).await.is_ok() {
        let mut rest = [0; 1024];
        while matches!(stream.read(&mut rest).await, Ok(read) if read > 0) {}
    }
}

//! Secret reads over TLS keep-alive, with tokens the clients have cached, against a bare TLS server that answers with
//! the same bytes under the same TLS configuration. What lies between is the token's check, the authorization, the
//! decryption and the audit record that is written before the value leaves, and moved into the chain afterwards. Every
//! read takes this way: there is no other.
//!
//! Two loads are measured. In the compared one a thousand principals read a thousand secrets, each exchange with a
//! token and a secret drawn at random. Beside it stands one principal that reads one secret over and over.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Result, ensure};
use hyper::body::Bytes;

use super::{Page, Plan, alternate, latencies};
use crate::{
    crowd::{self, Crowd},
    dev::{self, Dev},
    http::{self, Connection, Origin},
    load::{Load, Program, Session},
    peer::{self, Recorded},
    report::{Comparison, Verdict},
};

const NAME: &str = "vault-get";
const BAR: f64 = 0.60;
const API_VERSION: &str = "7.6";
/// Principals and secrets of the compared load.
const CROWD: usize = 1000;
/// Numbers of connections that are shown beside the compared one.
const OTHER_LOADS: [usize; 2] = [1, 64];

/// Reads of a crowd's secrets with its tokens, drawn at random.
struct Reads {
    origin: Origin,
    crowd: Arc<Crowd>,
    /// How many of its tokens and secrets are used.
    of: usize,
    /// The whole body, when every answer must be the same.
    expected: Option<Bytes>,
    seed: AtomicU64,
}

struct Reader {
    connection: Connection,
    crowd: Arc<Crowd>,
    of: usize,
    expected: Option<Bytes>,
    random: u64,
}

impl Program for Reads {
    type Session = Reader;

    async fn open(&self) -> Result<Reader> {
        // Each connection draws a sequence of its own, the same in every run.
        let random = self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) | 1;
        let (crowd, expected) = (Arc::clone(&self.crowd), self.expected.clone());
        Ok(Reader { connection: self.origin.connect().await?, crowd, of: self.of, expected, random })
    }
}

impl Reader {
    /// A number below `self.of` (xorshift64).
    fn draw(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 11).unwrap_or(0) % self.of
    }
}

impl Session for Reader {
    async fn exchange(&mut self) -> Result<()> {
        let (token, secret) = (self.draw(), self.draw());
        let crowd = Arc::clone(&self.crowd);
        let (Some(token), Some((name, value))) = (crowd.tokens.get(token), crowd.secrets.get(secret)) else {
            anyhow::bail!("the crowd is smaller than {}", self.of);
        };
        let path = format!("/secrets/{name}/?api-version={API_VERSION}");
        let authorization = format!("Bearer {token}");
        let request = http::get(&path, &[("authorization", &authorization), ("accept", "application/json")])?;
        let answer = self.connection.send(request).await?;
        let right = match &self.expected {
            Some(expected) => answer.body() == expected,
            None => answer.body().starts_with(format!("{{\"value\":\"{value}\"").as_bytes()),
        };
        ensure!(answer.status().is_success() && right, "not the secret: {}", http::excerpt(&answer));
        Ok(())
    }
}

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    let gather = async |data: &std::path::Path, manifest: &_| crowd::gather(data, manifest, CROWD, CROWD).await;
    let (mut dev, crowd) = Dev::start_prepared(gather).await?;
    let crowd = Arc::new(crowd);
    let origin = Origin::of(&dev.manifest.vault_url, Some(dev.ca_pem()))?;
    let reads = |of| Reads {
        origin: origin.clone(),
        crowd: Arc::clone(&crowd),
        of,
        expected: None,
        seed: AtomicU64::new(0x00de_c0de),
    };
    let (many, one) = (reads(CROWD), reads(1));

    let request = |name: &str, token: &str| {
        let path = format!("/secrets/{name}/?api-version={API_VERSION}");
        http::get(&path, &[("authorization", &format!("Bearer {token}"))])
    };
    let (Some((name, _)), Some(token)) = (crowd.secrets.first(), crowd.tokens.first()) else {
        anyhow::bail!("the crowd is empty");
    };
    let first = origin.connect().await?.send(request(name, token)?).await?;
    ensure!(first.status().is_success(), "the secret cannot be read: {}", http::excerpt(&first));

    let (reply, ca) = (dev.directory().join("reply.json"), dev.directory().join("peer-ca.pem"));
    peer::keep(&reply, &Recorded::of(&first)?)?;
    let (mut bare, url) = peer::start(&["tls", "--reply", dev::text(&reply)?, "--ca-out", dev::text(&ca)?]).await?;
    let echoes = Reads {
        origin: Origin::of(&url, Some(&std::fs::read_to_string(&ca)?))?,
        crowd: Arc::clone(&crowd),
        of: CROWD,
        expected: Some(first.into_body()),
        seed: AtomicU64::new(0x00de_c0de),
    };

    let before = dev.counters().await?;
    let load = Load::new(plan.connections, plan.time);
    let ours = ("secret reads", &mut dev.child, &many);
    let compared = alternate(plan.rounds, load, ours, ("bare TLS answers", &mut bare, &echoes)).await?;
    let after = dev.counters().await?;
    let mut text = format!("{CROWD} principals, {CROWD} secrets, {} connections\n", plan.connections);
    text.push_str(&shown(&compared));
    let (events, commits) = (after.audit_events - before.audit_events, after.audit_commits - before.audit_commits);
    let _ = writeln!(
        text,
        "meanwhile: {} statements read, {} wrote; {events} audit records in {commits} commits",
        after.reads - before.reads,
        after.writes - before.writes
    );
    let answered: u64 = compared.pairs.iter().map(|p| p.ours.exchanges).sum();
    let audited = events >= answered;
    if !audited {
        text.push_str("reads were answered without an audit record: this figure does not count\n");
    }

    let ours = ("secret reads", &mut dev.child, &one);
    let single = alternate(plan.rounds, load, ours, ("bare TLS answers", &mut bare, &echoes)).await?;
    let _ = write!(text, "\n1 principal, 1 secret, {} connections\n{}", plan.connections, shown(&single));
    for connections in OTHER_LOADS {
        let load = Load::new(connections, plan.time);
        let ours = ("secret reads", &mut dev.child, &many);
        let other = alternate(plan.rounds, load, ours, ("bare TLS answers", &mut bare, &echoes)).await?;
        let plural = if connections == 1 { "" } else { "s" };
        let _ =
            write!(text, "\n{CROWD} principals, {CROWD} secrets, {connections} connection{plural}\n{}", shown(&other));
    }
    bare.stop().await?;
    dev.child.stop().await?;
    Ok(Page { text, verdict: Verdict { name: NAME, ratio: compared.ratio(), bar: BAR, sound: audited } })
}

fn shown(compared: &Comparison) -> String {
    format!(
        "{}{}a read costs {:.1} us of the server's CPU, a bare answer {:.1} us\n",
        compared.table(),
        latencies(compared),
        1e6 / compared.median(|p| p.ours.per_cpu_second()),
        1e6 / compared.median(|p| p.other.per_cpu_second())
    )
}

//! Secret reads over TLS keep-alive, with a token the client has cached, against a bare TLS server that answers with
//! the same bytes under the same TLS configuration. What lies between is the token's check, the authorization, the
//! decryption and the audit record that is written before the value leaves, and moved into the trail afterwards.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use hyper::body::Bytes;

use super::{Page, Plan, alternate, latencies, token_issue};
use crate::{
    dev::{self, Dev},
    http::{self, Connection, Place},
    load::{Load, Program, Session},
    peer::{self, Recorded},
    report::Verdict,
};

const NAME: &str = "vault-get";
const BAR: f64 = 0.50;
const API_VERSION: &str = "7.6";
/// Numbers of connections that are shown beside the compared one.
const OTHER_LOADS: [usize; 2] = [1, 64];

struct Reads {
    place: Place,
    path: String,
    authorization: String,
    expected: Bytes,
}

struct Reader {
    connection: Connection,
    path: String,
    authorization: String,
    expected: Bytes,
}

impl Program for Reads {
    type Session = Reader;

    async fn open(&self) -> Result<Reader> {
        Ok(Reader {
            connection: self.place.connect().await?,
            path: self.path.clone(),
            authorization: self.authorization.clone(),
            expected: self.expected.clone(),
        })
    }
}

impl Session for Reader {
    async fn exchange(&mut self) -> Result<()> {
        let request = http::get(&self.path, &[("authorization", &self.authorization), ("accept", "application/json")])?;
        let answer = self.connection.send(request).await?;
        ensure!(
            answer.status().is_success() && answer.body() == &self.expected,
            "not the secret: {}",
            http::excerpt(&answer)
        );
        Ok(())
    }
}

/// Measures.
pub(crate) async fn run(plan: Plan) -> Result<Page> {
    let mut dev = Dev::start().await?;
    let place = Place::of(&dev.manifest.vault_url, Some(dev.ca_pem()))?;
    let path = format!("/secrets/{}/?api-version={API_VERSION}", dev.manifest.secret.name);
    let authorization = format!("Bearer {}", token_issue::vault_token(&dev).await?);

    let first = place.connect().await?.send(http::get(&path, &[("authorization", &authorization)])?).await?;
    ensure!(first.status().is_success(), "the secret cannot be read: {}", http::excerpt(&first));
    let body: serde_json::Value = serde_json::from_slice(first.body())?;
    let value = body.get("value").and_then(serde_json::Value::as_str);
    ensure!(value == Some(dev.manifest.secret.value.as_str()), "the vault gave another value than dev.json says");

    let (reply, ca) = (dev.directory().join("reply.json"), dev.directory().join("peer-ca.pem"));
    peer::keep(&reply, &Recorded::of(&first)?)?;
    let (mut bare, url) = peer::start(&["tls", "--reply", dev::text(&reply)?, "--ca-out", dev::text(&ca)?]).await?;
    let peer_place = Place::of(&url, Some(&std::fs::read_to_string(&ca)?))?;

    let reads = Reads { place, path, authorization, expected: first.into_body() };
    let echoes = Reads {
        place: peer_place,
        path: reads.path.clone(),
        authorization: reads.authorization.clone(),
        expected: reads.expected.clone(),
    };
    let before = dev.counters().await?;
    let load = Load::new(plan.connections, plan.time);
    let ours = ("secret reads", &mut dev.child, &reads);
    let compared = alternate(plan.rounds, load, ours, ("bare TLS answers", &mut bare, &echoes)).await?;
    let mut text = format!("{} connections\n{}{}", plan.connections, compared.table(), latencies(&compared));
    let after = dev.counters().await?;
    let _ = writeln!(
        text,
        "a read costs {:.1} us of the server's CPU, a bare answer {:.1} us",
        1e6 / compared.median(|p| p.ours.per_cpu_second()),
        1e6 / compared.median(|p| p.other.per_cpu_second())
    );
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
    for connections in OTHER_LOADS {
        let load = Load::new(connections, plan.time);
        let ours = ("secret reads", &mut dev.child, &reads);
        let shown = alternate(plan.rounds, load, ours, ("bare TLS answers", &mut bare, &echoes)).await?;
        let plural = if connections == 1 { "" } else { "s" };
        let _ = write!(text, "\n{connections} connection{plural}\n{}{}", shown.table(), latencies(&shown));
    }
    bare.stop().await?;
    dev.child.stop().await?;
    Ok(Page { text, verdict: Verdict { name: NAME, ratio: compared.ratio(), bar: BAR, sound: audited } })
}

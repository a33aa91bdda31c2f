//! Metrics, in the OpenMetrics text format, on a loopback listener of their own: no TLS, no secrets, no ids.
//!
//! Tests: `tests/it`; `./bench token-issue` reads the statement counters here to show that issuing asks the
//! database nothing.

use std::{convert::Infallible, fmt::Write, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::store::Store;

/// A scrape's headers take at most this long.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most scrapes at a time.
const MAX_CONNECTIONS: usize = 16;

/// Serves until `stop` turns true. `listener` must be on loopback: the caller has checked.
pub async fn serve(listener: TcpListener, store: Store, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // Out of descriptors, most likely: do not spin.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            _ = stop.changed() => return,
        };
        let store = store.clone();
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let store = store.clone();
                async move { Ok::<_, Infallible>(answer(&request, &store)) }
            });
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(request: &Request<Incoming>, store: &Store) -> Response<Full<Bytes>> {
    if request.method() != Method::GET || request.uri().path() != "/metrics" {
        let mut reply = Response::new(Full::from("metrics are at GET /metrics\n"));
        *reply.status_mut() = StatusCode::NOT_FOUND;
        return reply;
    }
    let mut reply = Response::new(Full::from(text(store)));
    let openmetrics = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    reply.headers_mut().insert(header::CONTENT_TYPE, openmetrics);
    reply
}

fn text(store: &Store) -> String {
    let c = store.counters();
    let mut out = String::with_capacity(1024);
    let mut family = |name: &str, help: &str, samples: &[(&str, u64)]| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}_total{labels} {value}");
        }
    };
    family(
        "denizen_store_statements",
        "Statements run against the database, other than group-committed audit.",
        &[("{kind=\"read\"}", c.reads), ("{kind=\"write\"}", c.writes)],
    );
    family("denizen_audit_commits", "Transactions that committed a group of audit records.", &[("", c.audit_commits)]);
    family("denizen_audit_events", "Audit records written, other than those of transactions.", &[("", c.audit_events)]);
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "# HELP denizen_audit_behind_bytes Bytes of the audit's journal that are not in the trail yet.\n\
         # TYPE denizen_audit_behind_bytes gauge\n\
         denizen_audit_behind_bytes {}",
        store.audit_behind()
    );
    out.push_str("# EOF\n");
    out
}

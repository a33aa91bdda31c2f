//! Metrics, in the OpenMetrics text format, on a loopback listener of their own: no TLS, no secrets, no ids.
//!
//! Tests: `tests/it`; `./bench token-issue` reads the statement counters here to show that issuing asks the
//! database nothing.

use std::{convert::Infallible, fmt};

use http::{HeaderValue, Method, StatusCode, header};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::{
    Api, Call, Reply,
    call::Ambiguous,
    reply,
    route::{Case, Handler, Params, Route},
};
use crate::{domain::authorize::Action, store::Store};

/// The metrics API.
pub struct Metrics {
    registry: Registry,
}

/// What is wrong with a request.
pub enum MetricsFault {
    /// There is nothing at this path.
    NotFound,
    /// The path takes other methods.
    Method,
    /// The metrics could not be written.
    Encoding,
    /// The request has two readings.
    Ambiguous,
}

impl Metrics {
    /// Creates the API for a store's metrics.
    pub fn new(store: Store) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(StoreMetrics(store)));
        Self { registry }
    }

    fn scrape(&self) -> Result<Reply, MetricsFault> {
        let mut text = String::with_capacity(1024);
        encode(&mut text, &self.registry).map_err(|fmt::Error| MetricsFault::Encoding)?;
        let openmetrics = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        Ok(reply::whole(StatusCode::OK, openmetrics, text.into()))
    }
}

impl Api for Metrics {
    const NAME: &'static str = "metrics";
    const CASE: Case = Case::Exact;
    type Session = ();
    type Authorized = Infallible;
    type Fault = MetricsFault;

    fn routes() -> &'static [Route<Self>] {
        const ROUTES: &[Route<Metrics>] = &[Route {
            method: Method::GET,
            pattern: "/metrics",
            handler: Handler::Public {
                because: "metrics: the listener is on loopback, and there are only counters in them",
                run: |metrics, _| Box::pin(async move { metrics.scrape() }),
            },
        }];
        ROUTES
    }

    fn ambiguous(&self, _: &mut Call, _: Ambiguous) -> MetricsFault {
        MetricsFault::Ambiguous
    }

    fn enter(&self, _: &mut Call) -> Result<(), MetricsFault> {
        Ok(())
    }

    fn authorize(&self, (): (), _: &Call, _: &Action, _: &Params) -> Result<Infallible, MetricsFault> {
        Err(MetricsFault::NotFound)
    }

    fn not_found(&self, _: &Call) -> MetricsFault {
        MetricsFault::NotFound
    }

    fn method_not_allowed(&self, _: &Call, _: &str) -> MetricsFault {
        MetricsFault::Method
    }

    fn write_fault(&self, _: &Call, fault: MetricsFault) -> Reply {
        let (status, text) = match fault {
            MetricsFault::NotFound => (StatusCode::NOT_FOUND, "metrics are at GET /metrics\n"),
            MetricsFault::Method => (StatusCode::METHOD_NOT_ALLOWED, "metrics are at GET /metrics\n"),
            MetricsFault::Ambiguous => {
                (StatusCode::BAD_REQUEST, "the request has two readings; metrics are at GET /metrics\n")
            }
            MetricsFault::Encoding => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n"),
        };
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        let mut reply = reply::whole(status, plain, text.into());
        reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }
}

/// Reads the store's counters at each scrape.
struct StoreMetrics(Store);

impl fmt::Debug for StoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreMetrics")
    }
}

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counters = self.0.counters();
        let count = |value: u64, encoder: MetricEncoder<'_>| ConstCounter::new(value).encode(encoder);
        let help = "Statements run against the database, other than group-committed audit";
        let mut statements = encoder.encode_descriptor("denizen_store_statements", help, None, MetricType::Counter)?;
        count(counters.reads, statements.encode_family(&[("kind", "read")])?)?;
        count(counters.writes, statements.encode_family(&[("kind", "write")])?)?;
        for (name, help, value) in [
            ("denizen_audit_commits", "Transactions that committed a group of audit records", counters.audit_commits),
            ("denizen_audit_events", "Audit records written, other than those of transactions", counters.audit_events),
        ] {
            count(value, encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        let help = "1 while the clock is trusted, 0 while nothing is purged because it jumped";
        let clock = encoder.encode_descriptor("denizen_clock_trusted", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::from(self.0.clock_standing().is_trusted())).encode(clock)?;
        let help = "Bytes of audit records in the spool that are not in the chain yet";
        let behind = encoder.encode_descriptor("denizen_audit_behind_bytes", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(self.0.audit_behind()).unwrap_or(i64::MAX)).encode(behind)
    }
}

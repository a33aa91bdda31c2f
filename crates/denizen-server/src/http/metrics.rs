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
    dispatch::Service,
    listen::Budgets,
    reply,
    requests::RequestMetrics,
    route::{Case, Handler, Params, Route},
    tls::TlsHealth,
};
use crate::{
    app::{limits::Limits, readiness::Readiness, replica::Behind, strangers::Strangers},
    domain::authorize::Action,
    store::{AuditHealth, Store},
};

/// The metrics API.
pub struct Metrics {
    registry: Registry,
    readiness: Readiness,
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
    /// This replica must not answer just now.
    Behind,
}

impl Metrics {
    /// Creates the API for a store's metrics, for what strangers were refused and how often a limit was reached, for what
    /// clients hold, for the certificate, for the readiness, and for the requests of `services`.
    pub fn new(
        store: Store,
        (strangers, limits): (Strangers, Limits),
        budgets: Budgets,
        tls: TlsHealth,
        readiness: Readiness,
        services: &[&Service],
    ) -> Self {
        let mut registry = Registry::default();
        let requests = services.iter().flat_map(|service| service.requests()).collect();
        registry.register_collector(Box::new(RequestMetrics(requests)));
        registry.register_collector(Box::new(ProcessMetrics { tls, readiness: readiness.clone() }));
        registry.register_collector(Box::new(StoreMetrics(store)));
        registry.register_collector(Box::new(StrangerMetrics(strangers)));
        registry.register_collector(Box::new(LimitMetrics(limits)));
        registry.register_collector(Box::new(BudgetMetrics(budgets)));
        Self { registry, readiness }
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
                run: |metrics, _| {
                    Box::pin(async move {
                        // So that a scrape shows the checks of now.
                        metrics.readiness.report().await;
                        metrics.scrape()
                    })
                },
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

    fn behind(&self, _: &Call, _: Behind) -> MetricsFault {
        MetricsFault::Behind
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
            MetricsFault::Behind => (StatusCode::SERVICE_UNAVAILABLE, "this replica is behind; try again\n"),
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

/// Reads how the process is at each scrape.
#[derive(Debug)]
struct ProcessMetrics {
    tls: TlsHealth,
    readiness: Readiness,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "1, and which build this is";
        let mut build = encoder.encode_descriptor("denizen_build_info", help, None, MetricType::Gauge)?;
        ConstGauge::new(1).encode(build.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)?;
        let help = "New TLS certificates that could not be served; the one before them was kept";
        let failures = encoder.encode_descriptor("denizen_tls_reload_failures", help, None, MetricType::Counter)?;
        ConstCounter::new(self.tls.failures()).encode(failures)?;
        if let Some(not_after) = self.tls.not_after() {
            let help = "When the TLS certificate ends, seconds since 1970";
            let expiry =
                encoder.encode_descriptor("denizen_tls_certificate_expiry_seconds", help, None, MetricType::Gauge)?;
            ConstGauge::new(not_after.0).encode(expiry)?;
        }
        let help = "1 while a check of /readyz passes, as it was found last";
        let mut ready = encoder.encode_descriptor("denizen_ready", help, None, MetricType::Gauge)?;
        for checked in self.readiness.last().into_iter().flatten() {
            let passes = i64::from(checked.reason.is_none());
            ConstGauge::new(passes).encode(ready.encode_family(&[("check", checked.check)])?)?;
        }
        Ok(())
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
        ConstGauge::new(i64::try_from(self.0.audit_behind()).unwrap_or(i64::MAX)).encode(behind)?;
        encode_audit_health(self.0.audit_health(), &mut encoder)
    }
}

/// Reads the counters of refusals that are not recorded. The labels are a closed list: none is a stranger's text.
#[derive(Debug)]
struct StrangerMetrics(Strangers);

impl Collector for StrangerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests refused to somebody who proved nothing; each reason is sampled in the log";
        let name = "denizen_stranger_refusals";
        let mut refusals = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (reason, count) in self.0.counts() {
            let labels = [("api", reason.api()), ("reason", reason.text())];
            ConstCounter::new(count).encode(refusals.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Reads what the limits of the token endpoint have counted.
#[derive(Debug)]
struct LimitMetrics(Limits);

impl Collector for LimitMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Token requests that were over a limit and answered 429";
        let mut reached = encoder.encode_descriptor("denizen_token_limit_reached", help, None, MetricType::Counter)?;
        for (limit, count, _) in self.0.counts() {
            ConstCounter::new(count).encode(reached.encode_family(&[("limit", limit.text())])?)?;
        }
        let help = "Addresses and clients of which something is counted";
        let mut keys = encoder.encode_descriptor("denizen_token_limit_keys", help, None, MetricType::Gauge)?;
        for (limit, _, count) in self.0.counts() {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(keys.encode_family(&[("limit", limit.text())])?)?;
        }
        Ok(())
    }
}

/// How the audit is: its size, what went wrong with it.
fn encode_audit_health(health: AuditHealth, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let AuditHealth { chain_bytes, spool_free_bytes, pruned, disagreements, spool_faults, anchor_failures, anchor_age } =
        health;
    for (name, help, value) in [
        ("denizen_audit_pruned", "Audit records that retention removed", pruned),
        (
            "denizen_audit_disagreements",
            "Writes refused because somebody else changed the audit's trail",
            disagreements,
        ),
        ("denizen_audit_spool_faults", "Times that files or records of the audit's spool were missing", spool_faults),
        ("denizen_audit_anchor_failures", "Times that the audit's head could not be written", anchor_failures),
    ] {
        let counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value).encode(counter)?;
    }
    for (name, help, value) in [
        ("denizen_audit_chain_bytes", "Bytes that the audit's chain and the change log take", chain_bytes),
        ("denizen_audit_spool_free_bytes", "Bytes of audit records that may still come to wait", spool_free_bytes),
        ("denizen_audit_anchor_age_seconds", "Seconds since the audit's head was last seen written", anchor_age),
    ] {
        let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(gauge)?;
    }
    Ok(())
}

/// Reads what the clients of each service hold.
#[derive(Debug)]
struct BudgetMetrics(Budgets);

impl Collector for BudgetMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let gauge = |value: usize, encoder: MetricEncoder<'_>| {
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder)
        };
        let help = "Connections that clients hold";
        let mut held = encoder.encode_descriptor("denizen_connections", help, None, MetricType::Gauge)?;
        for (service, budget) in self.0.each() {
            gauge(budget.connections(), held.encode_family(&[("service", service)])?)?;
        }
        let help = "Connections that there is room for";
        let mut room = encoder.encode_descriptor("denizen_connections_room", help, None, MetricType::Gauge)?;
        for (service, budget) in self.0.each() {
            gauge(budget.room().connections, room.encode_family(&[("service", service)])?)?;
        }
        let help = "Connections that were ended to make room for others";
        let mut evicted = encoder.encode_descriptor("denizen_connections_evicted", help, None, MetricType::Counter)?;
        for (service, budget) in self.0.each() {
            ConstCounter::new(budget.evicted()).encode(evicted.encode_family(&[("service", service)])?)?;
        }
        Ok(())
    }
}

//! What is counted of requests: how many by API, route and class of status, and how long their answers took.
//!
//! The places to count in are made with the route tables, so no label is a client's choice. Tests: `http/tests.rs`.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, histogram::Histogram},
};

/// The upper bounds of the times that are told apart, seconds.
const BOUNDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];
/// The classes of status.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// The route of a request that reached none.
pub(super) const NO_ROUTE: &str = "none";

/// The requests of one API.
#[derive(Debug)]
pub(super) struct Requests {
    service: &'static str,
    api: &'static str,
    places: HashMap<(Method, &'static str), usize>,
    routes: Vec<OfRoute>,
    unrouted: OfRoute,
}

#[derive(Debug)]
struct OfRoute {
    method: String,
    pattern: &'static str,
    classes: [AtomicU64; CLASSES.len()],
    time: Histogram,
}

impl OfRoute {
    fn new(method: &str, pattern: &'static str) -> Self {
        Self { method: method.to_owned(), pattern, classes: Default::default(), time: Histogram::new(BOUNDS) }
    }

    fn is_used(&self) -> bool {
        self.classes.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }
}

impl Requests {
    /// A place for each row of a table, and one for requests that reach none.
    pub(super) fn new<'r>(
        service: &'static str,
        api: &'static str,
        rows: impl Iterator<Item = (&'r Method, &'static str)>,
    ) -> Self {
        let (mut places, mut routes) = (HashMap::new(), Vec::new());
        for (method, pattern) in rows {
            places.insert((method.clone(), pattern), routes.len());
            routes.push(OfRoute::new(method.as_str(), pattern));
        }
        // No method either: a client may invent one.
        Self { service, api, places, routes, unrouted: OfRoute::new(NO_ROUTE, NO_ROUTE) }
    }

    /// Counts an answer. `row` is the method and the pattern of the row that was reached.
    pub(super) fn answered(&self, row: Option<(&Method, &'static str)>, status: StatusCode, took: Duration) {
        let place = row.and_then(|(method, pattern)| self.places.get(&(method.clone(), pattern)));
        let route = place.and_then(|place| self.routes.get(*place)).unwrap_or(&self.unrouted);
        let class = usize::from(status.as_u16() / 100).saturating_sub(1).min(CLASSES.len() - 1);
        if let Some(count) = route.classes.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        route.time.observe(took.as_secs_f64());
    }

    fn all(&self) -> impl Iterator<Item = &OfRoute> {
        self.routes.iter().chain([&self.unrouted])
    }
}

/// Reads the counts of all APIs at each scrape.
#[derive(Debug)]
pub(super) struct RequestMetrics(pub(super) Vec<Arc<Requests>>);

impl Collector for RequestMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Requests answered, by class of status";
        let mut family = encoder.encode_descriptor("denizen_requests", help, None, MetricType::Counter)?;
        for of in &self.0 {
            for route in of.all() {
                for (class, count) in CLASSES.iter().zip(&route.classes) {
                    let count = count.load(Ordering::Relaxed);
                    // Most rows have one class or two.
                    if count > 0 {
                        let labels = [
                            ("service", of.service),
                            ("api", of.api),
                            ("method", route.method.as_str()),
                            ("route", route.pattern),
                            ("class", *class),
                        ];
                        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                    }
                }
            }
        }
        let help = "Seconds from a request's head to its answer";
        let mut family = encoder.encode_descriptor("denizen_request_seconds", help, None, MetricType::Histogram)?;
        for of in &self.0 {
            for route in of.all().filter(|route| route.is_used()) {
                let labels = [
                    ("service", of.service),
                    ("api", of.api),
                    ("method", route.method.as_str()),
                    ("route", route.pattern),
                ];
                route.time.encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

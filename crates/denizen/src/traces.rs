//! Traces of requests, sent to an OpenTelemetry collector: OTLP, protocol buffers over HTTP.
//!
//! Only in a build with the feature `otlp`. A span has what the request's span has: the API and the ids. Nothing waits
//! for the collector: what it does not take in time is dropped. Touches the network. Tests: below.

use tracing::Subscriber;
use tracing_subscriber::{Layer, registry::LookupSpan};

use crate::config::Fault;

/// The layer that takes spans; none where nobody wants them.
pub(crate) type Spans<S> = Option<Box<dyn Layer<S> + Send + Sync>>;

/// What sends traces.
#[cfg(feature = "otlp")]
pub(crate) struct Traces(Option<opentelemetry_sdk::trace::SdkTracerProvider>);

/// What sends traces: nothing does in this build.
#[cfg(not(feature = "otlp"))]
pub(crate) struct Traces(());

/// Starts to send traces to the collector at `endpoint`, if there is one.
///
/// # Errors
/// This build sends no traces, or the endpoint cannot be used.
#[cfg(feature = "otlp")]
pub(crate) fn start<S>(endpoint: Option<&str>) -> Result<(Traces, Spans<S>), Fault>
where
    S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
{
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_otlp::WithExportConfig as _;

    let Some(endpoint) = endpoint else { return Ok((Traces::none(), None)) };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(format!("{endpoint}/v1/traces"))
        .build();
    let exporter =
        exporter.map_err(|error| Fault::new("trace.otlp_endpoint", format!("traces cannot be sent: {error}")))?;
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        // A caller's own trace may say that it is not kept. Ours are.
        .with_sampler(opentelemetry_sdk::trace::Sampler::AlwaysOn)
        .with_resource(opentelemetry_sdk::Resource::builder().with_service_name("denizen").build())
        .build();
    let tracer = provider.tracer("denizen");
    let spans = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
    Ok((Traces(Some(provider)), Some(spans.boxed())))
}

/// The same in a build that sends none.
#[cfg(not(feature = "otlp"))]
pub(crate) fn start<S>(endpoint: Option<&str>) -> Result<(Traces, Spans<S>), Fault>
where
    S: Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
{
    match endpoint {
        None => Ok((Traces::none(), None)),
        Some(_) => Err(Fault::new(
            "trace.otlp_endpoint",
            "this build sends no traces: build it with --features otlp, or remove the key",
        )),
    }
}

#[cfg(feature = "otlp")]
impl Traces {
    /// Sends nothing.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Sends what is left, and ends.
    pub(crate) async fn finish(self) {
        let Some(provider) = self.0 else { return };
        let ended = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

#[cfg(not(feature = "otlp"))]
impl Traces {
    /// Sends nothing.
    pub(crate) fn none() -> Self {
        Self(())
    }

    /// Nothing is left to send.
    pub(crate) async fn finish(self) {
        let Self(()) = self;
    }
}

#[cfg(test)]
mod tests {
    #[cfg(not(feature = "otlp"))]
    #[test]
    fn a_build_without_traces_says_so() {
        let refused = super::start::<tracing_subscriber::Registry>(Some("http://127.0.0.1:4318")).err().unwrap();
        assert!(refused.to_string().contains("--features otlp"), "{refused}");
        assert!(super::start::<tracing_subscriber::Registry>(None).is_ok());
    }

    /// A collector that takes one request, and what it was sent.
    #[cfg(feature = "otlp")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn spans_reach_the_collector_with_the_ids_of_their_request() {
        use std::io::{Read as _, Write as _};

        use denizen_keys::hash::hex;
        use denizen_server::http::trace::TraceParent;
        use tracing_subscriber::layer::SubscriberExt as _;

        let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("http://{}", collector.local_addr().unwrap());
        let collected = std::thread::spawn(move || {
            let (mut stream, _) = collector.accept().unwrap();
            stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
            let (mut all, mut part) = (Vec::new(), [0; 4096]);
            loop {
                let text = String::from_utf8_lossy(&all).into_owned();
                let length = text.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
                });
                let head = all.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
                if let (Some(head), Some(length)) = (head, length)
                    && all.len() >= head + length
                {
                    break;
                }
                match stream.read(&mut part).unwrap() {
                    0 => break,
                    read => all.extend_from_slice(&part[..read]),
                }
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            all
        });
        let (traces, spans) = super::start(Some(&at)).unwrap();
        let subscriber = tracing_subscriber::registry().with(spans);
        tracing::subscriber::with_default(subscriber, || {
            let span =
                tracing::info_span!("request", api = "vault", request_id = "5b8a3c5e-9d1f-4c57-8b2b-3f6d1f2c7a10");
            // In a trace that its caller keeps nothing of. The ids are text, to be found in what is sent.
            let (trace, parent) = (hex(b"the-caller-trace"), hex(b"its-span"));
            TraceParent::parse(&format!("00-{trace}-{parent}-00")).unwrap().adopt(&span);
            span.in_scope(|| {});
        });
        traces.finish().await;
        let sent = String::from_utf8_lossy(&collected.join().unwrap()).into_owned();
        assert!(sent.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{sent}");
        let of_caller = ["the-caller-trace", "its-span"];
        for part in ["denizen", "request", "vault", "5b8a3c5e-9d1f-4c57-8b2b-3f6d1f2c7a10"].into_iter().chain(of_caller)
        {
            assert!(sent.contains(part), "{part}: {sent}");
        }
    }
}

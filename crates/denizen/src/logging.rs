//! Logs go to standard error. In development every line says so.

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::{
    config::{Fault, Log},
    traces::{self, Traces},
};

/// Starts logging for `denizen dev`. `filter` is `DENIZEN_LOG`'s value.
pub(crate) fn development(filter: Option<&str>) {
    let filter = EnvFilter::try_new(filter.unwrap_or("warn")).unwrap_or_else(|_| EnvFilter::new("warn"));
    let format = Marked(tracing_subscriber::fmt::format().with_ansi(false));
    // Tests that run two commands in one process keep the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .event_format(format)
        .try_init();
}

/// Starts logging as a configuration says, and sends traces where it says. A line within a request carries the request's
/// span.
///
/// # Errors
/// Traces are wanted, and cannot be sent.
pub(crate) fn server(log: &Log, otlp: Option<&str>) -> Result<Traces, Fault> {
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = match log.json {
        true => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
        false => lines.boxed(),
    };
    let (traces, spans) = traces::start(otlp)?;
    let _ = tracing_subscriber::registry().with(lines).with(spans).with(filter).try_init();
    Ok(traces)
}

struct Marked<F>(F);

impl<S, N, F> FormatEvent<S, N> for Marked<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        writer.write_str("[development] ")?;
        self.0.format_event(ctx, writer, event)
    }
}

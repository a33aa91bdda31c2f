//! The trace that a caller says its request is part of (`traceparent`, W3C Trace Context level 1): the request's span goes on
//! from there, and its log lines repeat the id.
//!
//! Anybody may say anything here: it correlates, and decides nothing. Tests: below, and `traces.rs` of the binary.

use denizen_keys::hash;
use http::HeaderMap;

/// The header.
const TRACEPARENT: &str = "traceparent";

/// Which trace, and which span in it was the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// What a request says; none when it says nothing, or nothing that can be read.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut said = headers.get_all(TRACEPARENT).iter();
        let (one, more) = (said.next()?, said.next());
        if more.is_some() { None } else { Self::parse(one.to_str().ok()?) }
    }

    /// `00-` trace `-` span `-` flags, in lower-case hexadecimal. A later version may have more behind a hyphen.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = bytes::<1>(parts.next()?)?;
        let (trace, span) = (bytes::<16>(parts.next()?)?, bytes::<8>(parts.next()?)?);
        let [flags] = bytes::<1>(parts.next()?)?;
        let is_whole = version != [0] || parts.next().is_none();
        let is_one = version != [0xff] && trace != [0; 16] && span != [0; 8];
        (is_whole && is_one).then_some(Self { trace, span, flags })
    }

    /// The trace's id, as logs and collectors show it.
    pub fn trace_id(&self) -> String {
        hash::hex(&self.trace)
    }

    /// Makes a span, which nobody has entered yet, part of the trace.
    #[cfg(feature = "otlp")]
    pub fn adopt(&self, span: &tracing::Span) {
        use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
        use tracing_opentelemetry::OpenTelemetrySpanExt as _;

        let (trace, parent) = (TraceId::from_bytes(self.trace), SpanId::from_bytes(self.span));
        let context = SpanContext::new(trace, parent, TraceFlags::new(self.flags), true, TraceState::default());
        // Where nothing sends traces there is nothing to say it to.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(context));
    }

    /// The same in a build that sends no traces.
    #[cfg(not(feature = "otlp"))]
    pub fn adopt(&self, _: &tracing::Span) {}
}

/// So many bytes in lower-case hexadecimal.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    if is_lower { hash::unhex(text)?.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(values: &[&str]) -> HeaderMap {
        let pairs = values.iter().map(|value| (TRACEPARENT.parse().unwrap(), value.parse().unwrap()));
        let mut headers = HeaderMap::new();
        pairs.for_each(|(name, value): (http::HeaderName, http::HeaderValue)| _ = headers.append(name, value));
        headers
    }

    #[test]
    fn what_the_standard_allows_is_read_and_nothing_else() {
        let read = TraceParent::of(&headers(&[GOOD])).unwrap();
        assert_eq!(read.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!((read.span[0], read.flags), (0xb7, 1));
        // A version of later, with more.
        assert_eq!(TraceParent::parse(&format!("{}-what-else", GOOD.replacen("00", "01", 1))), Some(read));
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}0"),
            &format!("{GOOD}-x"),
            &GOOD.to_ascii_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32), 1),
            &GOOD.replacen("b7ad6b7169203331", &"0".repeat(16), 1),
            &GOOD.replacen("0af7", "0ag7", 1),
            &GOOD.replace('-', "_"),
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
        assert_eq!(TraceParent::of(&headers(&[])), None);
        assert_eq!(TraceParent::of(&headers(&[GOOD, GOOD])), None);
    }
}

//! One trace through client, server, facilitator and chain (W3C Trace Context, version 00).
//!
//! Each role opens one span for each operation, with the fields `trace_id`, `span_id` and `parent_id`, so that the log
//! lines of all roles share the trace's id and an exporter can build the trace from these fields alone. What goes over
//! the wire to the next role is the span's own [`TraceParent`]; over there it is the parent.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Source;
use crate::scheme::PaymentKey;
use crate::time::Entropy;

/// The header that carries a [`TraceParent`].
pub const TRACEPARENT: &str = "traceparent";

/// The only flag that version 00 defines.
const SAMPLED: u8 = 1;

/// Names a trace; never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// Names a span within its trace; never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

/// A span and the trace that it belongs to, as the header `traceparent` says it: what is done next is the span's child.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: TraceId,
    span_id: SpanId,
    is_sampled: bool,
}

/// A text that is no `traceparent` of version 00. Whoever reads one from a peer goes on without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("traceparent: expected 00-<32 hex digits>-<16 hex digits>-<2 hex digits> in lower case, with ids that are not zero")]
pub struct TraceParentError;

impl TraceParent {
    /// The first span of a new trace.
    pub fn random(entropy: &dyn Entropy) -> Result<Self, Source> {
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        entropy.fill(&mut trace_id)?;
        entropy.fill(&mut span_id)?;
        Ok(Self { trace_id: TraceId::nonzero(trace_id), span_id: SpanId::nonzero(span_id), is_sampled: true })
    }

    /// The trace of a payment that came without one, as a parent that nobody has: every role that knows the payment finds
    /// the same trace.
    pub fn of_payment(key: PaymentKey) -> Self {
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        for (to, from) in trace_id.iter_mut().chain(&mut span_id).zip(key.0) {
            *to = from;
        }
        Self { trace_id: TraceId::nonzero(trace_id), span_id: SpanId::nonzero(span_id), is_sampled: true }
    }

    /// A new span below this one. Ids of spans need to differ and need no secrecy, so a count makes them; the operation's
    /// name keeps apart what two processes do for one parent at the same count.
    #[must_use]
    pub fn child(&self, operation: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        self.numbered_child(operation, COUNT.fetch_add(1, Ordering::Relaxed))
    }

    /// Which trace.
    pub const fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// Which span of it.
    pub const fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// Whether whoever began the trace asks that it be kept.
    pub const fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    fn numbered_child(&self, operation: &str, number: u64) -> Self {
        let mut hasher = DefaultHasher::new();
        (self, operation, number).hash(&mut hasher);
        Self { span_id: SpanId::nonzero(hasher.finish().to_be_bytes()), ..*self }
    }
}

impl TraceId {
    fn nonzero(bytes: [u8; 16]) -> Self {
        Self(if bytes == [0; 16] { [1; 16] } else { bytes })
    }
}

impl SpanId {
    fn nonzero(bytes: [u8; 8]) -> Self {
        Self(if bytes == [0; 8] { [1; 8] } else { bytes })
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        let mut parts = text.split('-');
        let (Some("00"), Some(trace_id), Some(span_id), Some(flags), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TraceParentError);
        };
        let trace_id = bytes_of(trace_id).filter(|bytes| *bytes != [0; 16]).ok_or(TraceParentError)?;
        let span_id = bytes_of(span_id).filter(|bytes| *bytes != [0; 8]).ok_or(TraceParentError)?;
        let [flags] = bytes_of(flags).ok_or(TraceParentError)?;
        Ok(Self { trace_id: TraceId(trace_id), span_id: SpanId(span_id), is_sampled: flags & SAMPLED != 0 })
    }
}

impl fmt::Display for TraceParent {
    /// The header's value.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Flags that are not known here are not passed on, as the specification asks.
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        write!(formatter, "00-{}-{}-{flags:02x}", self.trace_id, self.span_id)
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TraceParent({self})")
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        digits(&self.0, formatter)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TraceId({self})")
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        digits(&self.0, formatter)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SpanId({self})")
    }
}

/// Written at once: every call of another role carries ids, and a formatter for each byte costs more than the rest of a header.
fn digits<const N: usize>(bytes: &[u8; N], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
    let pairs = bytes.map(|byte| [digit(byte >> 4), digit(byte & 0xf)]);
    formatter.write_str(std::str::from_utf8(pairs.as_flattened()).map_err(|_| fmt::Error)?)
}

/// Exactly so many bytes, as hexadecimal digits in lower case.
fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// The specification's own example.
    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// The length of the header's value in version 00.
    const TRACEPARENT_BYTES: usize = 55;

    struct Constant(u8);

    impl Entropy for Constant {
        fn fill(&self, buffer: &mut [u8]) -> Result<(), Source> {
            buffer.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn the_specifications_example_is_read_and_written() {
        let parent: TraceParent = EXAMPLE.parse().unwrap();
        assert_eq!(parent.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.span_id().to_string(), "b7ad6b7169203331");
        assert!(parent.is_sampled());
        assert_eq!(parent.to_string(), EXAMPLE);
        assert_eq!(EXAMPLE.len(), TRACEPARENT_BYTES);
    }

    #[test]
    fn what_is_not_quite_a_traceparent_is_none() {
        let changes: [(&str, &str); 10] = [
            ("00-0a", "01-0a"),
            ("00-0a", "ff-0a"),
            ("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            ("b7ad6b7169203331", "0000000000000000"),
            ("0af7", "0AF7"),
            ("0af7", "0ag7"),
            ("-01", "-1"),
            ("-01", "-01-"),
            ("-01", "-01 "),
            ("-b7", "_b7"),
        ];
        for (from, to) in changes {
            let text = EXAMPLE.replacen(from, to, 1);
            assert_ne!(text, EXAMPLE);
            assert_eq!(text.parse::<TraceParent>(), Err(TraceParentError), "{text}");
        }
    }

    #[test]
    fn unknown_flags_are_not_passed_on() {
        for (flags, written) in [("ff", "01"), ("fe", "00"), ("02", "00"), ("03", "01")] {
            let parent: TraceParent = EXAMPLE.replace("-01", &format!("-{flags}")).parse().unwrap();
            assert_eq!(parent.to_string(), EXAMPLE.replace("-01", &format!("-{written}")));
        }
    }

    #[test]
    fn even_the_worst_entropy_and_the_emptiest_key_give_ids_that_can_be_read() {
        for parent in [TraceParent::random(&Constant(0)).unwrap(), TraceParent::of_payment(PaymentKey([0; 32]))] {
            assert_eq!(parent.to_string().parse(), Ok(parent));
        }
    }

    #[test]
    fn children_stay_in_the_trace_and_differ() {
        let parent: TraceParent = EXAMPLE.parse().unwrap();
        let spans: HashSet<SpanId> = (0..10_000).map(|_| parent.child("verify")).map(|child| child.span_id()).collect();
        assert_eq!(spans.len(), 10_000);
        assert_eq!(parent.child("verify").trace_id(), parent.trace_id());
        assert_ne!(parent.numbered_child("verify", 0), parent.numbered_child("settle", 0));
    }

    #[test]
    fn one_payment_has_one_trace() {
        let key = PaymentKey([7; 32]);
        assert_eq!(TraceParent::of_payment(key), TraceParent::of_payment(key));
        assert_ne!(TraceParent::of_payment(key).trace_id(), TraceParent::of_payment(PaymentKey([8; 32])).trace_id());
    }

    proptest! {
        #[test]
        fn every_traceparent_survives_its_text(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), is_sampled: bool) {
            let parent = TraceParent { trace_id: TraceId::nonzero(trace), span_id: SpanId::nonzero(span), is_sampled };
            let text = parent.to_string();
            prop_assert_eq!(text.len(), TRACEPARENT_BYTES);
            prop_assert_eq!(text.parse(), Ok(parent));
        }

        #[test]
        fn what_is_read_is_written_the_same_but_for_flags(text in "00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]") {
            if let Ok(parent) = text.parse::<TraceParent>() {
                prop_assert_eq!(parent.to_string(), text);
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,60}", at in 0_usize..55, with: char) {
            prop_assert!(text.parse::<TraceParent>().is_err() || text.len() == TRACEPARENT_BYTES);
            let mut changed: Vec<char> = EXAMPLE.chars().collect();
            changed[at] = with;
            let changed: String = changed.into_iter().collect();
            if let Ok(parent) = changed.parse::<TraceParent>() {
                prop_assert_eq!(changed.len(), TRACEPARENT_BYTES);
                prop_assert_ne!(parent.trace_id(), TraceId([0; 16]));
            }
        }
    }
}

//! An answer that is counted while it goes out, chunk by chunk, because it is not held back.
//!
//! What was used so far is said to the payment with each chunk, so that it is charged however the answer ends. Bytes and time
//! are counted as they pass, and nothing goes out beyond what the buyer has signed for. A number in the answer, such as the
//! tokens of a model server, is known when the event that has it passes: until then the answer costs what the seller says that it
//! costs without a count. If the upstream breaks off before, it costs nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use farthing_server::Paid;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::events::Form;
use super::metered::{Metering, Unmetered};
use super::quantity::Quantity;
use super::source::Pointer;
use super::unit::Unit;

/// The longest event that is read for a count, in bytes; longer ones go out unread.
const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// What is counted.
pub(super) enum Gauge {
    /// What passes, in bytes.
    Bytes(u64),
    /// How long it takes.
    Time(Instant),
    /// A number in its events.
    Events(Scanner),
}

/// Events or lines, cut out of the chunks in which they come.
pub(super) struct Scanner {
    form: Form,
    pointer: Pointer,
    unit: Unit,
    /// Of an event that is not whole yet.
    event: Vec<u8>,
    /// Where the line begins in it that is not whole yet.
    line: usize,
    is_too_long: bool,
    has_count: bool,
}

/// The body, on its way.
pub(super) struct Streamed {
    inner: Body,
    metering: Arc<Metering>,
    paid: Paid,
    gauge: Gauge,
    /// Whether all that was signed for is used.
    is_used_up: bool,
}

/// Why an answer ends before its end.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("all that was signed for is used")]
    UsedUp,
    #[error("what was used cannot be charged: {0}")]
    Unmetered(Unmetered),
}

impl Streamed {
    /// Counts from now on.
    pub(super) fn new(inner: Body, metering: Arc<Metering>, paid: Paid, gauge: Gauge) -> Result<Self, Unmetered> {
        let nothing_yet = match &gauge {
            Gauge::Bytes(_) | Gauge::Time(_) => Some(Quantity::whole(0)),
            Gauge::Events(_) => None,
        };
        metering.charge(nothing_yet, &paid)?;
        Ok(Self { inner, metering, paid, gauge, is_used_up: false })
    }

    /// Charges what is used with this chunk.
    fn count(&mut self, chunk: &Bytes) -> Result<(), StreamError> {
        if self.is_used_up && !chunk.is_empty() {
            return Err(StreamError::UsedUp);
        }
        let count = match &mut self.gauge {
            Gauge::Bytes(bytes) => {
                *bytes = bytes.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
                Some(Quantity::whole(*bytes))
            }
            Gauge::Time(began) => Some(Quantity::millionths(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX))),
            Gauge::Events(scanner) => scanner.read(chunk),
        };
        self.charge(count)
    }

    fn charge(&mut self, count: Option<Quantity>) -> Result<(), StreamError> {
        let Some(count) = count else { return Ok(()) };
        self.metering.charge(Some(count), &self.paid).map_err(StreamError::Unmetered)?;
        let usage = self.paid.usage();
        // What is counted at the end may be followed by the end alone.
        self.is_used_up = !matches!(self.gauge, Gauge::Events(_)) && usage.charge() >= usage.ceiling();
        Ok(())
    }

    /// The upstream broke off. Nobody pays for what nobody has counted.
    fn broke_off(&mut self) {
        if let Gauge::Events(scanner) = &self.gauge
            && !scanner.has_count
            && let Err(error) = self.paid.usage().set(0)
        {
            tracing::error!(%error, "an answer that broke off is charged as if it had not");
        }
    }
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = ready!(Pin::new(&mut self.inner).poll_frame(context));
        let counted = match &polled {
            Some(Ok(frame)) => frame.data_ref().map_or(Ok(()), |chunk| self.count(chunk)),
            Some(Err(_)) => {
                self.broke_off();
                Ok(())
            }
            None => {
                let last = if let Gauge::Events(scanner) = &mut self.gauge { scanner.finish() } else { None };
                self.charge(last)
            }
        };
        if let Err(error) = counted {
            tracing::info!(%error, "an answer was broken off");
            return Poll::Ready(Some(Err(axum::Error::new(error))));
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        // The last event may end with the answer, and is read when that is asked for.
        false
    }

    fn size_hint(&self) -> SizeHint {
        // One that is small enough to be held back says so.
        self.inner.size_hint()
    }
}

impl Scanner {
    /// Looks for this number in each event.
    pub(super) const fn new(form: Form, pointer: Pointer, unit: Unit) -> Self {
        Self { form, pointer, unit, event: Vec::new(), line: 0, is_too_long: false, has_count: false }
    }

    /// The last count that ends in this chunk.
    fn read(&mut self, chunk: &[u8]) -> Option<Quantity> {
        let mut last = None;
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            if self.event.len().saturating_add(part.len()) > MAX_EVENT_BYTES {
                (self.is_too_long, self.line) = (true, 0);
                self.event.clear();
            }
            self.event.extend_from_slice(part.get(part.len().saturating_sub(MAX_EVENT_BYTES)..).unwrap_or_default());
            if part.last() != Some(&b'\n') {
                continue;
            }
            let is_blank = self.event.get(self.line..).is_some_and(|line| line.trim_ascii().is_empty());
            self.line = self.event.len();
            if is_blank || self.form == Form::Lines {
                last = self.finish().or(last);
            }
        }
        last
    }

    /// The count in what has come of an event, which ends here.
    fn finish(&mut self) -> Option<Quantity> {
        let event = std::mem::take(&mut self.event);
        self.line = 0;
        if std::mem::take(&mut self.is_too_long) {
            return None;
        }
        let text = std::str::from_utf8(&event).ok()?;
        let count = self.form.last(text, &self.pointer).and_then(|value| self.unit.in_json(&value, true));
        self.has_count |= count.is_some();
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tariff::Source;

    fn scanner(form: Form) -> Scanner {
        let Source::Response(pointer) = "response:/usage/total_tokens".parse().unwrap() else { unreachable!() };
        Scanner::new(form, pointer, Unit::Things)
    }

    /// The counts that come with each chunk, and with the end.
    fn counts(form: Form, chunks: &[&str]) -> Vec<Option<String>> {
        let mut scanner = scanner(form);
        let mut counts: Vec<_> = chunks.iter().map(|chunk| scanner.read(chunk.as_bytes())).collect();
        counts.push(scanner.finish());
        counts.into_iter().map(|count| count.map(|count| count.to_string())).collect()
    }

    #[test]
    fn a_count_is_found_however_its_event_is_cut() {
        let some = |text: &str| Some(text.to_owned());
        let chunks =
            ["data: {\"usage\":null}\n", "\ndata: {\"usa", "ge\":{\"total_tokens\":7}}\r\n", "\r\n", "data: [DONE]\n\n"];
        assert_eq!(counts(Form::Events, &chunks), [None, None, None, some("7"), None, None]);
        let together = "data: {\"usage\":{\"total_tokens\":1}}\n\ndata: {\"usage\":{\"total_tokens\":2}}\n\ndata: {}\n\n";
        assert_eq!(counts(Form::Events, &[together]), [some("2"), None]);
        assert_eq!(counts(Form::Events, &["data: {\"usage\":{\"total_tokens\":3}}"]), [None, some("3")], "its end ends it");
        let lines = ["{\"usage\":{\"total_", "tokens\":4}}\n{\"a\":1}\n", "{\"usage\":{\"total_tokens\":5}}"];
        assert_eq!(counts(Form::Lines, &lines), [None, some("4"), None, some("5")]);
    }

    #[test]
    fn an_endless_event_is_not_kept() {
        let mut scanner = scanner(Form::Events);
        let chunk = vec![b'a'; 100_000];
        for _ in 0..50 {
            assert_eq!(scanner.read(&chunk), None);
            assert!(scanner.event.len() <= MAX_EVENT_BYTES);
        }
        assert_eq!(
            scanner.read(b"\n\ndata: {\"usage\":{\"total_tokens\":7}}\n\n"),
            Some(Quantity::whole(7)),
            "the next one is read"
        );
    }
}

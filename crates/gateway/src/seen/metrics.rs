//! What is counted, by the names that an operator's recorder shows; without a recorder, nothing.
//!
//! Labels are bounded by the configuration: a route is its pattern in the file, never a path that somebody asked for, and no
//! label says who asked or paid.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::amount::Amount;
use farthing_server::Paid;
use metrics::{SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::outcome::Outcome;

const REQUESTS: &str = "farthing_gateway_requests_total";
const REASONS: &str = "farthing_gateway_failures_total";
const SECONDS: &str = "farthing_gateway_request_duration_seconds";
const UPSTREAM_SECONDS: &str = "farthing_gateway_upstream_duration_seconds";
const UPSTREAM_ANSWERS: &str = "farthing_gateway_upstream_answers_total";
const UPSTREAM_UP: &str = "farthing_gateway_upstream_up";
const REQUESTS_IN_FLIGHT: &str = "farthing_gateway_requests_in_flight";
const PAYMENTS_IN_FLIGHT: &str = "farthing_gateway_payments_in_flight";
const SOLD: &str = "farthing_gateway_sold_micros_total";
const SHADOW: &str = "farthing_gateway_shadow_requests_total";

/// Amounts are counted in millionths of a token.
const MICRO_DECIMALS: u8 = 6;

/// Tells an exporter what the gateway's metrics mean. Call it once, after the recorder was installed.
pub fn describe_metrics() {
    describe_counter!(REQUESTS, Unit::Count, "Requests, by route and outcome.");
    describe_counter!(REASONS, Unit::Count, "Requests that came to nothing, by route, outcome and reason.");
    describe_histogram!(SECONDS, Unit::Seconds, "How long requests took until the head of their answer, by route.");
    describe_histogram!(UPSTREAM_SECONDS, Unit::Seconds, "How long the upstream took until the head of its answer, by route.");
    describe_counter!(UPSTREAM_ANSWERS, Unit::Count, "Answers of the upstream, by route and status; none: there was none.");
    describe_gauge!(UPSTREAM_UP, Unit::Count, "Whether requests are let through to the upstream: 1 or 0.");
    describe_gauge!(REQUESTS_IN_FLIGHT, Unit::Count, "Requests that have no answer yet.");
    describe_gauge!(PAYMENTS_IN_FLIGHT, Unit::Count, "Requests with a payment that have no answer yet.");
    describe_counter!(
        SOLD,
        Unit::Count,
        "What was sold, in millionths of a token, by route, network and asset; the book has it to the atomic unit."
    );
    describe_counter!(SHADOW, Unit::Count, "Requests that would have been charged, by route.");
}

pub(super) fn ended(route: &Arc<str>, outcome: Outcome, reason: Option<&str>, took: Duration) {
    counter!(REQUESTS, "route" => shared(route), "outcome" => outcome.as_str()).increment(1);
    if outcome.is_failure() {
        let reason = reason.unwrap_or(outcome.as_str()).to_owned();
        counter!(REASONS, "route" => shared(route), "outcome" => outcome.as_str(), "reason" => reason).increment(1);
    }
    histogram!(SECONDS, "route" => shared(route)).record(took);
}

pub(super) fn upstream_answered(route: &Arc<str>, status: Option<&'static str>, took: Duration) {
    counter!(UPSTREAM_ANSWERS, "route" => shared(route), "status" => status.unwrap_or("none")).increment(1);
    histogram!(UPSTREAM_SECONDS, "route" => shared(route)).record(took);
}

pub(super) fn sold(route: &Arc<str>, paid: &Paid, amount: Amount, decimals: u8) {
    let (network, asset) = (paid.network.to_string(), paid.asset.as_str().to_owned());
    counter!(SOLD, "route" => shared(route), "network" => network, "asset" => asset).increment(micros(amount, decimals));
}

/// Says to the recorder whether requests are let through to the upstream.
pub fn upstream_up(is_up: bool) {
    gauge!(UPSTREAM_UP).set(u8::from(is_up));
}

/// A request that has no answer yet. It is counted until this is dropped.
pub(super) struct InFlight {
    brings_payment: bool,
}

impl InFlight {
    pub(super) fn new(brings_payment: bool) -> Self {
        gauge!(REQUESTS_IN_FLIGHT).increment(1);
        if brings_payment {
            gauge!(PAYMENTS_IN_FLIGHT).increment(1);
        }
        Self { brings_payment }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!(REQUESTS_IN_FLIGHT).decrement(1);
        if self.brings_payment {
            gauge!(PAYMENTS_IN_FLIGHT).decrement(1);
        }
    }
}

fn shared(route: &Arc<str>) -> SharedString {
    SharedString::from_shared(Arc::clone(route))
}

/// Millionths of a token, rounded down; what is more than fits stops there.
fn micros(amount: Amount, decimals: u8) -> u64 {
    let text = amount.to_decimal_string(decimals);
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(usize::from(MICRO_DECIMALS)).collect();
    format!("{whole}{kept}").parse().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_counted_in_millionths_whatever_the_token() {
        for (amount, decimals, counted) in [
            ("10000", 6, 10_000),
            ("1", 6, 1),
            ("1500000000000000000", 18, 1_500_000),
            ("999999999999", 18, 0),
            ("5", 0, 5_000_000),
            ("123", 2, 1_230_000),
            ("0", 6, 0),
            ("340282366920938463463374607431768211455", 6, u64::MAX),
        ] {
            assert_eq!(micros(amount.parse().unwrap(), decimals), counted, "{amount} of {decimals}");
        }
    }
}

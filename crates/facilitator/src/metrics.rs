//! What is counted and timed, in the field's own names, for whichever recorder the process has installed.
//!
//! Labels come from the configured kinds only; what is not served is counted as `other`. So their number is bounded,
//! whatever callers send.

use std::sync::Arc;

use farthing_core::facilitator::FacilitatorError;
use farthing_core::network::Network;
use farthing_core::reason::Reason;
use farthing_core::wire::{SettleResponse, VerifyResponse};
use metrics::{SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tokio::time::Instant;

const VERIFY_REQUESTS: &str = "x402_facilitator_verify_requests_total";
const SETTLE_REQUESTS: &str = "x402_facilitator_settle_requests_total";
const VERIFY_SECONDS: &str = "x402_facilitator_verify_duration_seconds";
const SETTLE_SECONDS: &str = "x402_facilitator_settle_duration_seconds";
const UNFINISHED: &str = "farthing_settlements_unfinished";
const RECONCILED: &str = "farthing_reconciled_total";

/// The labels of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    scheme: SharedString,
    chain: SharedString,
}

/// Tells the installed recorder what the facilitator's metrics mean. Call it once, after the recorder was installed.
pub fn describe_metrics() {
    describe_counter!(VERIFY_REQUESTS, Unit::Count, "Verify requests, by status (valid, invalid, error), scheme and chain.");
    describe_counter!(
        SETTLE_REQUESTS,
        Unit::Count,
        "Settle requests, by status (settled, refused, pending, error), scheme and chain."
    );
    describe_histogram!(VERIFY_SECONDS, Unit::Seconds, "How long verify requests took, by scheme and chain.");
    describe_histogram!(SETTLE_SECONDS, Unit::Seconds, "How long settle requests took, by scheme and chain.");
    describe_gauge!(UNFINISHED, Unit::Count, "Payments in the book that were sent and have no end yet, by chain.");
    describe_counter!(
        RECONCILED,
        Unit::Count,
        "What the reconciler found out about payments, by outcome (settled, dead, undone, final)."
    );
}

impl Labels {
    pub(crate) fn of(scheme: &str, network: &Network) -> Self {
        Self { scheme: Arc::<str>::from(scheme).into(), chain: shared(network) }
    }

    pub(crate) fn other() -> Self {
        Self { scheme: "other".into(), chain: "other".into() }
    }

    pub(crate) fn verified(self, since: Instant, answer: &Result<VerifyResponse, FacilitatorError>) {
        let status = match answer {
            Ok(answer) if answer.is_valid => "valid",
            Ok(_) => "invalid",
            Err(_) => "error",
        };
        self.count(VERIFY_REQUESTS, status, VERIFY_SECONDS, since);
    }

    pub(crate) fn settled(self, since: Instant, answer: &Result<SettleResponse, FacilitatorError>) {
        let status = match answer {
            Ok(answer) if answer.success => "settled",
            Ok(answer) if answer.error_reason == Some(Reason::SettlementPending) => "pending",
            Ok(_) => "refused",
            Err(_) => "error",
        };
        self.count(SETTLE_REQUESTS, status, SETTLE_SECONDS, since);
    }

    fn count(self, requests: &'static str, status: &'static str, seconds: &'static str, since: Instant) {
        let Self { scheme, chain } = self;
        counter!(requests, "status" => status, "scheme" => scheme.clone(), "chain" => chain.clone()).increment(1);
        histogram!(seconds, "scheme" => scheme, "chain" => chain).record(since.elapsed().as_secs_f64());
    }
}

/// So many payments on this network have no end yet.
pub(crate) fn unfinished(network: &Network, count: usize) {
    gauge!(UNFINISHED, "chain" => shared(network)).set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
}

/// The reconciler found an end.
pub(crate) fn reconciled(outcome: &'static str) {
    counter!(RECONCILED, "outcome" => outcome).increment(1);
}

fn shared(network: &Network) -> SharedString {
    Arc::<str>::from(network.as_str()).into()
}

//! The facilitator's own settle path, with recovery of the signature and a book, on a chain that costs nothing: its
//! scheme writes the transaction and says at once that it landed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use farthing::evm::exact::{self, Extra, Payload};
use farthing::facilitator::Local;
use farthing::system::SystemClock;
use farthing_core::asset::AccountId;
use farthing_core::books::{
    LaneLease, MemorySettlements, Outbox, Outgoing, OutgoingPayment, PaymentRecord, SettlementEntry, Settlements, Written,
};
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::facilitator::Facilitator;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{
    FacilitatorScheme, Outcome, Payment, Phase, SendRight, SettleError, Settlement, TransactionId, VerifiedPayment, VerifyError,
};
use farthing_core::wire::{PaymentRequest, SupportedKind};

use super::SIGNED_BYTES;
use crate::measure::{count, median};
use crate::report::{Report, Row};
use crate::sample::{self, NETWORK, Sample};
use crate::scratch::Scratch;

/// How many payments are settled at once and in one round, and in how many rounds of each book in turn.
const AT_ONCE: usize = 64;
const PAYMENTS: u32 = 2_000;
const ROUNDS: u32 = 3;

pub async fn run(folder: &Scratch, report: &mut Report) -> anyhow::Result<()> {
    let store = super::open(folder, "engine.db").await?;
    let durable = facilitator(store.settlements(), store.outbox()).await?;
    let book = Arc::new(MemorySettlements::default());
    let forgetful = facilitator(book.clone(), book).await?;
    let sample = Sample::new()?;
    let (mut durable_rates, mut forgetful_rates) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let serials = || round * PAYMENTS..(round + 1) * PAYMENTS;
        let requests = || serials().map(|serial| Ok(sample.request(sample.good(serial)?))).collect::<anyhow::Result<Vec<_>>>();
        durable_rates.push(settle_all(&durable, requests()?).await?);
        forgetful_rates.push(settle_all(&forgetful, requests()?).await?);
    }
    store.close().await;
    let row = Row::new(
        "-",
        "engine alone on a chain that costs nothing, 64 at once: SQLite against a book that forgets",
        median(durable_rates),
        "/s",
    );
    report.add(row.against(median(forgetful_rates)));
    Ok(())
}

async fn facilitator(settlements: Arc<dyn Settlements>, outbox: Arc<dyn Outbox>) -> anyhow::Result<Arc<Local>> {
    let lease = sample::take_lane(&*outbox).await?;
    let scheme = Null {
        real: sample::scheme(Vec::new()),
        domain: Sample::new()?.asset.domain_separator,
        outbox,
        lease,
        next: AtomicU32::new(0),
    };
    let scheme: Arc<dyn AnyFacilitatorScheme> = Arc::new(scheme);
    Ok(Arc::new(Local::builder().schemes([scheme]).settlements(settlements).clock(Arc::new(SystemClock)).build()?))
}

/// Settles all of them, so many at once; returns how many in each second.
async fn settle_all(local: &Arc<Local>, requests: Vec<PaymentRequest>) -> anyhow::Result<f64> {
    let total = requests.len();
    let requests = Arc::new(requests);
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let started = Instant::now();
    let buyer = || {
        let (local, requests, next) = (Arc::clone(local), Arc::clone(&requests), Arc::clone(&next));
        async move {
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let answer = local.settle(request).await?;
                ensure!(answer.success, "a settlement failed: {answer:?}");
            }
            Ok(())
        }
    };
    let buyers: Vec<_> = (0..AT_ONCE).map(|_| tokio::spawn(buyer())).collect();
    for buyer in buyers {
        buyer.await.context("a buyer's task ended early")??;
    }
    Ok(count(total) / started.elapsed().as_secs_f64())
}

/// The scheme `exact` on a chain that takes everything at once.
struct Null {
    real: exact::Facilitator,
    domain: alloy_primitives::B256,
    outbox: Arc<dyn Outbox>,
    lease: LaneLease,
    next: AtomicU32,
}

/// A payment whose signature is its payer's.
struct Recovered(PaymentRecord);

impl VerifiedPayment for Recovered {
    fn payer(&self) -> AccountId {
        self.0.payer.clone()
    }
}

impl FacilitatorScheme for Null {
    const NAME: &'static str = exact::NAME;
    type Extra = Extra;
    type Payload = Payload;
    type Verified = Recovered;

    fn kinds(&self) -> Vec<SupportedKind> {
        let kind = serde_json::json!({"x402Version": 2, "scheme": exact::NAME, "network": NETWORK});
        serde_json::from_value(kind).into_iter().collect()
    }

    fn signers(&self) -> Vec<(String, AccountId)> {
        Vec::new()
    }

    fn record(&self, payment: &Payment<Payload, Extra>) -> Result<PaymentRecord, Refusal> {
        FacilitatorScheme::record(&self.real, payment)
    }

    async fn verify(&self, payment: &Payment<Payload, Extra>, _phase: Phase) -> Result<Recovered, VerifyError> {
        let Payload::Eip3009(authorized) = &payment.payload else { return Err(VerifyError::Invalid(bad())) };
        let strict = authorized.signature.strict().ok();
        let signer = strict.and_then(|strict| strict.signer(authorized.authorization.digest(self.domain)).ok());
        if signer != Some(authorized.authorization.from) {
            return Err(VerifyError::Invalid(bad()));
        }
        Ok(Recovered(self.record(payment)?))
    }

    async fn settle(&self, verified: Recovered, right: Arc<dyn SendRight>) -> Result<Settlement, SettleError> {
        let Recovered(record) = verified;
        if !right.enter() {
            return Err(SettleError::NotSent("it was given up".into()));
        }
        let transaction = TransactionId(record.key.to_string());
        let (request, caller) = (right.request().clone(), right.caller().map(str::to_owned));
        let payment = OutgoingPayment { record, request, caller, fee_gwei: 1, budgets: Vec::new() };
        let outgoing = Outgoing {
            lease: &self.lease,
            sequence: self.next.fetch_add(1, Ordering::Relaxed).into(),
            transaction: &transaction,
            signed: &[7; SIGNED_BYTES],
            height: 0,
            payments: std::slice::from_ref(&payment),
            now: sample::now(),
        };
        match self.outbox.sending(&outgoing).await {
            Ok(Written::Yes) => right.written(&transaction),
            Ok(_) => return Err(SettleError::Taken),
            Err(error) => return Err(SettleError::NotSent(Box::new(error))),
        }
        Ok(sample::settlement(&payment.record, transaction))
    }

    async fn outcome(&self, _: &SettlementEntry) -> Result<Outcome, VerifyError> {
        Ok(Outcome::Unknown)
    }

    async fn final_outcome(&self, _: &SettlementEntry) -> Result<Outcome, VerifyError> {
        Ok(Outcome::Unknown)
    }

    fn start(&self) {}

    async fn stop(&self) {}

    async fn ready(&self) -> Result<(), VerifyError> {
        Ok(())
    }
}

fn bad() -> Refusal {
    Refusal::new(Reason::InvalidExactEvmSignature, "the signature is not the payer's")
}

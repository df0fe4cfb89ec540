//! What our own facilitator says to a seller whom it does not want to serve.

use std::sync::Arc;

use farthing_core::asset::AccountId;
use farthing_core::books::{MemorySettlements, PaymentRecord, SettlementEntry};
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{
    FacilitatorScheme, Outcome, Payment, Phase, SendRight, SettleError, Settlement, VerifiedPayment, VerifyError,
};
use farthing_core::wire::SupportedKind;
use farthing_facilitator::{Caller, CallerLimits, Callers, KeyDigest, Local, router};
use farthing_server::RemoteFacilitator;
use serde_json::Value;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use crate::remote::request;
use crate::support::{NETWORK, clock, kind};

const KEY: &str = "the key of the shop";

/// A scheme in which no payment is good.
struct Miser;

/// Nobody's payment.
enum Never {}

impl VerifiedPayment for Never {
    fn payer(&self) -> AccountId {
        match *self {}
    }
}

fn no() -> Refusal {
    Refusal::new(Reason::InsufficientFunds, "nobody has enough")
}

impl FacilitatorScheme for Miser {
    const NAME: &'static str = "exact";
    type Extra = Value;
    type Payload = Value;
    type Verified = Never;

    fn kinds(&self) -> Vec<SupportedKind> {
        vec![kind(NETWORK)]
    }

    fn signers(&self) -> Vec<(String, AccountId)> {
        Vec::new()
    }

    fn record(&self, _: &Payment<Value, Value>) -> Result<PaymentRecord, Refusal> {
        Err(no())
    }

    async fn verify(&self, _: &Payment<Value, Value>, _: Phase) -> Result<Never, VerifyError> {
        Err(VerifyError::Invalid(no()))
    }

    async fn settle(&self, verified: Never, _: Arc<dyn SendRight>) -> Result<Settlement, SettleError> {
        match verified {}
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

async fn facilitator(limits: CallerLimits) -> String {
    let shop = Caller { name: "shop".to_owned(), key: KeyDigest::of(KEY), limits };
    let builder =
        Local::builder().schemes([Arc::new(Miser) as _]).settlements(Arc::new(MemorySettlements::default())).clock(clock());
    let local = builder.callers(Callers::new([shop]).unwrap()).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router(Arc::new(local))).into_future());
    url
}

async fn assert_turned_away(remote: &RemoteFacilitator, why: &str) {
    let request = request().await;
    let verdict = remote.verify(&request).await;
    assert!(matches!(verdict, Err(FacilitatorError::Unavailable(_))), "{why}: {verdict:?}");
    let settlement = remote.settle(&request).await;
    assert!(matches!(settlement, Err(FacilitatorError::Unavailable(_))), "{why}: {settlement:?}");
}

#[tokio::test]
async fn a_key_that_is_missing_or_wrong_or_used_too_often_is_no_verdict_on_a_payment() {
    let once = CallerLimits { verifies_per_minute: Some(1), settles_per_minute: Some(1), ..CallerLimits::default() };
    let url = facilitator(once).await;
    let with_key = |key: &str| {
        let key = Zeroizing::new(key.to_owned());
        RemoteFacilitator::new(&url).unwrap().bearer_key(&key).unwrap()
    };
    assert_turned_away(&RemoteFacilitator::new(&url).unwrap(), "no key").await;
    assert_turned_away(&with_key("the key before"), "a key that is not known").await;
    let (known, request) = (with_key(KEY), request().await);
    assert_eq!(known.verify(&request).await.unwrap().invalid_reason, Some(Reason::InsufficientFunds), "a verdict");
    assert_eq!(known.settle(&request).await.unwrap().error_reason, Some(Reason::InsufficientFunds), "a verdict");
    assert_turned_away(&known, "a quota that is used up").await;
}

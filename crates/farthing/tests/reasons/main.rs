//! Every reason is given for a cause, or is one that only others give.
//!
//! Each module makes payments, sign-ins and requests that are wrong in one way each, sends them where they are judged, and
//! hands back the reasons that it was given. The walk below holds them against [`Reason::ALL`]: whoever adds a reason adds
//! the case that produces it, or says here why none can be.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its helpers too"
)]

mod calling;
mod desk;
mod exact;
mod on_the_way;
mod permit2;
mod selling;
mod sign_in;
mod sponsoring;
mod upto;
mod wallets;

use farthing::core::reason::Reason;

/// The reasons that nothing here gives, and why. They are known because others give them, and buyers are to read them.
const GIVEN_BY_OTHERS_ONLY: &[(Reason, &str)] = &[
    (Reason::InsufficientFunds, "each scheme has a reason of its own for it, as the official facilitators do"),
    (Reason::InvalidScheme, "each scheme has a reason of its own for it, as the official facilitators do"),
    (Reason::InvalidTransactionState, "each scheme has a reason of its own for a transaction that failed"),
    (Reason::InvalidExactEvmPayloadSignature, "the specification's name; the official facilitators' own one is given"),
    (Reason::InvalidExactEvmPayloadRecipientMismatch, "the specification's name; the official facilitators' own one is given"),
    (Reason::InvalidExactEvmAuthorizationValue, "an older name of the value mismatch"),
];

#[tokio::test]
async fn every_reason_is_given_for_a_cause_or_by_others_only() {
    let given = [
        exact::given().await,
        permit2::given().await,
        upto::given().await,
        sponsoring::given().await,
        wallets::given().await,
        on_the_way::given().await,
        calling::given().await,
        selling::given().await,
        sign_in::given().await,
    ]
    .concat();
    for (reason, why) in GIVEN_BY_OTHERS_ONLY {
        assert!(!given.contains(reason), "{reason} was given here, and its row says that it never is: {why}");
    }
    let is_others = |reason: &Reason| GIVEN_BY_OTHERS_ONLY.iter().any(|(others, _)| others == reason);
    let missing: Vec<_> = Reason::ALL.iter().filter(|reason| !given.contains(reason) && !is_others(reason)).collect();
    assert!(missing.is_empty(), "no case produces {missing:?}: add one, or a row with the reason why there can be none");
    let unknown: Vec<_> = given.iter().filter(|reason| !Reason::ALL.contains(reason)).collect();
    assert!(unknown.is_empty(), "given, and no reason that is known: {unknown:?}");
}

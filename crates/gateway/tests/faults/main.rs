//! What is behind a gateway goes wrong while somebody pays, in every way: the buyer is not charged, or gets what it paid for
//! when it comes back with the same payment, and never pays twice. Over a real chain, with the settled money counted.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that finds nothing there has failed")]

mod facilitator;
mod origin;
mod shop;

use crate::facilitator::Fault;
use crate::shop::Shop;

/// What everything costs, in atomic units.
const PRICE_ATOMIC: u64 = 10_000;

#[tokio::test]
async fn an_upstream_that_breaks_off_charges_nobody_and_the_same_payment_buys_it_afterwards() {
    let shop = Shop::open().await;
    for (fault, status) in [
        ("closes-at-once", 502),
        ("closes-in-the-head", 502),
        ("closes-in-the-body", 502),
        ("closes-in-a-chunk", 502),
        ("fails-after-the-work", 500),
        ("never-answers", 504),
        ("drips-its-head", 504),
        ("stalls-in-the-body", 502),
        ("is-no-http", 502),
    ] {
        for (kind, charged) in [("exact", PRICE_ATOMIC), ("metered", 3_000)] {
            let target = format!("/{kind}/{fault}");
            let payment = shop.payment(&target).await;
            let before = shop.earned();
            let first = shop.present(&target, &payment).await;
            assert!(first.0 == status || (status == 502 && first.0 == 504), "{target}: {first:?}");
            assert_eq!(shop.earned(), before, "{target}: nobody got anything");
            let second = shop.present_until_it_is_over(&target, &payment).await;
            assert_eq!((second.0, second.1.contains("worth it")), (200, true), "{target}: {second:?}");
            assert_eq!(shop.earned() - before, charged, "{target}");
            assert_eq!(shop.origin.asked(&target), 2, "{target}");
            // It bought one answer: here nothing else is had for it, and neither is it charged again.
            let other = shop.present(&format!("/{kind}/well"), &payment).await;
            assert_eq!((other.0, shop.earned() - before), (402, charged), "{target}: {other:?}");
        }
    }
}

#[tokio::test]
async fn a_settlement_whose_news_is_lost_is_made_once_and_buys_one_answer() {
    for fault in [Fault::ClosesAfterSettling, Fault::HangsAfterSettling, Fault::SaysNonsenseAfterSettling] {
        let shop = Shop::settled_through(fault).await;
        let payment = shop.payment("/exact/well").await;
        let first = shop.present("/exact/well", &payment).await;
        assert!(matches!(first.0, 200 | 502 | 503 | 504), "{fault:?}: {first:?}");
        assert_eq!(shop.earned(), PRICE_ATOMIC, "{fault:?}: it was settled, and the gateway did not hear of it");
        shop.facilitator.is_well();
        let second = shop.present_until_it_is_over("/exact/well", &payment).await;
        if first.0 != 200 {
            assert_eq!((second.0, second.1.as_str()), (200, "worth it"), "{fault:?}: {second:?}");
        }
        assert_eq!(shop.earned(), PRICE_ATOMIC, "{fault:?}");
        // Until the news came nobody could know whether the payment holds; the work is done again at most once.
        assert!((1..=2).contains(&shop.origin.asked("/exact/well")), "{fault:?}");
        assert_eq!(shop.present("/exact/other", &payment).await.0, 402, "{fault:?}: it buys nothing else");
    }
}

#[tokio::test]
async fn without_a_word_from_the_facilitator_nothing_is_worked_for_and_nobody_is_charged() {
    for fault in [Fault::ClosesBeforeVerifying, Fault::HangsBeforeVerifying] {
        let shop = Shop::settled_through(fault).await;
        let payment = shop.payment("/exact/well").await;
        let first = shop.present("/exact/well", &payment).await;
        assert_eq!(first.0, 503, "{fault:?}: {first:?}");
        assert_eq!((shop.origin.asked("/exact/well"), shop.earned()), (0, 0), "{fault:?}");
        shop.facilitator.is_well();
        let second = shop.present_until_it_is_over("/exact/well", &payment).await;
        assert_eq!((second.0, shop.earned()), (200, PRICE_ATOMIC), "{fault:?}: {second:?}");
    }
}

#[tokio::test]
async fn a_settlement_that_was_never_asked_for_is_asked_for_again() {
    let shop = Shop::settled_through(Fault::ClosesBeforeSettling).await;
    let payment = shop.payment("/exact/well").await;
    let first = shop.present("/exact/well", &payment).await;
    assert!(matches!(first.0, 502..=504), "{first:?}");
    assert_eq!(shop.earned(), 0);
    shop.facilitator.is_well();
    let second = shop.present_until_it_is_over("/exact/well", &payment).await;
    assert_eq!((second.0, shop.earned()), (200, PRICE_ATOMIC), "{second:?}");
}

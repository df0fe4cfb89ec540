//! What a client adds to the extensions that it echoes: the purchase's name, and its service codes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::body::Body;
use farthing_client::hooks::{AfterAnswer, Hooks, PaymentAnswer};
use farthing_client::{Error, Rule};
use farthing_core::extension::{builder_code, payment_identifier};
use farthing_core::time::Entropy;
use farthing_core::{BoxFuture, Source};
use serde_json::{Value, json};

use crate::support::*;

const ID: &str = "purchase-2026_01";

/// Counts up: every value differs.
#[derive(Default)]
pub struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Source> {
        let value = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        for (to, from) in buffer.iter_mut().zip(value.to_be_bytes().into_iter().cycle()) {
            *to = from;
        }
        Ok(())
    }
}

fn declaring(base: &str, extensions: &Value) -> Value {
    let mut terms = cent(base);
    terms["extensions"] = extensions.clone();
    terms
}

async fn seller(extensions: Value) -> Seller {
    Seller::start(move |seen, base| {
        Some(if seen.payment().is_some() { paid(&settled()) } else { asks(&declaring(base, &extensions)) })
    })
    .await
}

fn naming(is_required: bool) -> Value {
    json!({payment_identifier::KEY: payment_identifier::declaration(is_required)})
}

fn ids(seller: &Seller) -> Vec<Value> {
    seller.payments().iter().map(|payment| payment["extensions"][payment_identifier::KEY]["info"]["id"].clone()).collect()
}

fn with_entropy() -> Buyer {
    Buyer::with(Wallet::default(), |builder| builder.entropy(Arc::new(Counting::default())))
}

#[tokio::test]
async fn the_callers_name_for_a_purchase_goes_where_it_is_declared() {
    for is_required in [false, true] {
        let seller = seller(naming(is_required)).await;
        let request = Buyer::new().client.get(seller.url("/report")).payment_id(ID).unwrap();
        let answer = request.send().await.unwrap();
        assert_eq!(ids(&seller), [json!(ID)]);
        let info = &seller.payments()[0]["extensions"][payment_identifier::KEY]["info"];
        assert_eq!(info["required"], is_required, "what was declared is echoed");
        let facts = answer.paid().unwrap();
        assert_eq!(facts.payment_id.as_ref().unwrap().as_str(), ID);
        assert_eq!(serde_json::to_value(facts).unwrap()["paymentId"], ID);
    }
}

#[tokio::test]
async fn where_names_are_not_declared_there_is_none_and_the_answer_says_so() {
    let plain = Seller::honest().await;
    let odd = seller(json!({payment_identifier::KEY: {"info": "required"}})).await;
    for seller in [plain, odd] {
        let request = with_entropy().client.get(seller.url("/report")).payment_id(ID).unwrap();
        let answer = request.send().await.unwrap();
        let facts = answer.paid().unwrap();
        assert_eq!(facts.payment_id, None);
        assert_eq!(serde_json::to_value(facts).unwrap().get("paymentId"), None);
        assert!(!seller.payments()[0].to_string().contains(ID));
    }
}

#[tokio::test]
async fn a_name_is_made_where_it_is_required_and_only_there() {
    let strict = seller(naming(true)).await;
    let buyer = with_entropy();
    for _ in 0..2 {
        buyer.client.get(strict.url("/report")).send().await.unwrap();
    }
    let made = ids(&strict);
    assert_ne!(made[0], made[1], "every purchase has its own");
    for id in made {
        let id = id.as_str().unwrap();
        assert!(id.starts_with("pay_") && payment_identifier::PaymentId::new(id).is_ok(), "{id}");
    }
    let easy = seller(naming(false)).await;
    buyer.client.get(easy.url("/report")).send().await.unwrap();
    assert_eq!(ids(&easy), [Value::Null]);
}

#[tokio::test]
async fn without_a_name_and_without_randomness_nothing_is_bought_that_needs_a_name() {
    let seller = seller(naming(true)).await;
    let buyer = Buyer::new();
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(&error, Error::NotPayable(declined) if declined.rule == Rule::NoPaymentId), "{error}");
    assert!(error.to_string().contains("payment_id"), "{error}");
    assert_eq!((buyer.wallet.signed(), buyer.reservation(0)), (0, None));
}

#[tokio::test]
async fn a_bad_name_is_refused_before_anything_is_sent() {
    let client = Buyer::new().client;
    for bad in ["", "short", "sixteen letters!", &"a".repeat(129)] {
        let error = client.get("http://127.0.0.1/").payment_id(bad).unwrap_err();
        assert!(matches!(error, Error::BadRequest(_)) && error.to_string().contains("16 to 128"), "{error}");
    }
}

/// Asks for another try of whatever was lost.
struct Stubborn;

impl Hooks for Stubborn {
    fn on_payment_response<'a>(&'a self, answer: &'a PaymentAnswer<'a>) -> BoxFuture<'a, Result<AfterAnswer, Source>> {
        let next = if answer.error.is_some() { AfterAnswer::Recover } else { AfterAnswer::Accept };
        Box::pin(std::future::ready(Ok(next)))
    }
}

#[tokio::test]
async fn a_made_name_is_kept_for_the_try_after_a_lost_answer() {
    let count = AtomicUsize::new(0);
    let seller = Seller::start(move |seen, base| match seen.payment() {
        Some(_) if count.fetch_add(1, Ordering::SeqCst) == 0 => None,
        Some(_) => Some(paid(&settled())),
        None => Some(asks(&declaring(base, &naming(true)))),
    })
    .await;
    let buyer = Buyer::with(Wallet::default(), |builder| {
        let builder = builder.entropy(Arc::new(Counting::default())).hooks(Arc::new(Stubborn));
        builder.paid_timeout(std::time::Duration::from_millis(200))
    });
    let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
    let ids = ids(&seller);
    assert_eq!((ids.len(), &ids[0], buyer.wallet.signed()), (2, &ids[1], 1));
    assert_eq!(ids[0], answer.paid().unwrap().payment_id.as_ref().unwrap().as_str());
}

#[tokio::test]
async fn the_name_is_told_when_the_outcome_is_unknown_so_that_it_can_be_given_again() {
    let seller = Seller::start(|seen, base| {
        Some(if seen.payment().is_some() {
            response(500).body(Body::empty()).unwrap()
        } else {
            asks(&declaring(base, &naming(true)))
        })
    })
    .await;
    let buyer = with_entropy();
    let Err(Error::Unknown(unknown)) = buyer.client.get(seller.url("/report")).send().await else { panic!() };
    let id = unknown.payment.payment_id.unwrap();
    let again = buyer.client.get(seller.url("/report")).payment_id(id.as_str()).unwrap();
    assert!(again.send().await.is_err());
    let payments = seller.payments();
    assert_eq!((payments.len(), &payments[0]), (2, &payments[1]), "the same name is the same payment");
    assert_eq!((ids(&seller), buyer.wallet.signed()), (vec![json!(id.as_str()); 2], 1));
}

#[tokio::test]
async fn service_codes_are_added_where_the_server_wants_to_know_them() {
    let code = |text: &str| builder_code::Code::new(text).unwrap();
    let declaration = builder_code::declaration(&code("shop"), &[code("theirs")]).unwrap();
    let curious = seller(json!({builder_code::KEY: declaration})).await;
    let plain = Seller::honest().await;
    let buyer = Buyer::with(Wallet::default(), |builder| builder.service_codes(["mine", "theirs"]).unwrap());
    for seller in [&curious, &plain] {
        buyer.client.get(seller.url("/report")).send().await.unwrap();
    }
    let info = &curious.payments()[0]["extensions"][builder_code::KEY]["info"];
    assert_eq!((&info["a"], &info["s"]), (&json!("shop"), &json!(["mine", "theirs"])));
    assert!(plain.payments()[0].get("extensions").is_none());
}

#[tokio::test]
async fn bad_service_codes_and_too_many_are_told_when_the_client_is_built() {
    let with =
        |codes: &[&str]| farthing_client::Client::builder().service_codes(codes).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(with(&["a", "b_2", "c", "d", "e"]), Ok(()));
    assert!(with(&["Capital"]).unwrap_err().contains("small letters"));
    assert!(with(&["a", "b", "c", "d", "e", "f"]).unwrap_err().contains("at most 5, got 6"));
}

//! `offer-receipt`: what a server signed, and whether it proves a purchase.

use farthing_client::{Error, Response, StatementFault};
use farthing_core::extension::offer_receipt::{KEY, Offer, OfferVerifier, Receipt, Signed, SignedBy};
use farthing_core::time::Clock;
use farthing_core::{BoxFuture, Source};
use serde_json::{Value, json};

use crate::support::*;

/// A signature is its signer's name.
struct Names;

fn signer<T>(signed: &Signed<T>) -> Result<SignedBy, Source> {
    match signed {
        Signed::Eip712 { signature, .. } if signature == "nobody" => Err("no such hand".into()),
        Signed::Eip712 { signature, .. } => Ok(SignedBy::Account(signature.parse().unwrap())),
        Signed::Jws(_) => Ok(SignedBy::Key("did:web:shop.example#1".to_owned())),
    }
}

impl OfferVerifier for Names {
    fn offer_signer<'a>(&'a self, signed: &'a Signed<Offer>) -> BoxFuture<'a, Result<SignedBy, Source>> {
        Box::pin(std::future::ready(signer(signed)))
    }

    fn receipt_signer<'a>(&'a self, signed: &'a Signed<Receipt>) -> BoxFuture<'a, Result<SignedBy, Source>> {
        Box::pin(std::future::ready(signer(signed)))
    }
}

fn offered(url: &str) -> Value {
    let payload = json!({
        "version": 1, "resourceUrl": url, "scheme": "exact", "network": BASE, "asset": "0xUSDC", "payTo": SELLER,
        "amount": "10000", "validUntil": Noon.now().0 + 60,
    });
    json!({"format": "eip712", "acceptIndex": 0, "payload": payload, "signature": SELLER})
}

fn received(url: &str) -> Value {
    let payload = json!({
        "version": 1, "network": BASE, "resourceUrl": url, "payer": PAYER, "issuedAt": Noon.now().0, "transaction": "",
    });
    json!({"format": "eip712", "payload": payload, "signature": SELLER})
}

type Tamper = fn(&mut Value);

/// The answer to a purchase of `/report?day=1` at a seller who signs, after somebody changed offer and receipt.
async fn bought(offer: Tamper, receipt: Tamper) -> Response {
    let seller = Seller::start(move |seen, base| {
        let url = format!("{base}/report?day=1");
        Some(if seen.payment().is_some() {
            let (mut settled, mut statement) = (settled(), received(&url));
            receipt(&mut statement);
            settled["extensions"] = json!({KEY: {"info": {"receipt": statement}}});
            paid(&settled)
        } else {
            let (mut terms, mut statement) = (cent(base), offered(&url));
            offer(&mut statement);
            terms["extensions"] = json!({KEY: {"info": {"offers": [statement]}}});
            asks(&terms)
        })
    })
    .await;
    let answer = Buyer::new().client.get(seller.url("/report?day=1")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.paid().is_some(), "whatever is signed, what was paid is an answer");
    answer
}

fn as_it_is(_: &mut Value) {}

#[tokio::test]
async fn what_a_server_signed_is_there_and_proves_the_purchase() {
    let answer = bought(as_it_is, as_it_is).await;
    assert_eq!((answer.offers().len(), answer.receipt().is_some(), answer.note()), (1, true, None));
    assert_eq!(answer.verify_receipt(&Names, &[]).await.unwrap().payer.as_str(), PAYER);
    assert_eq!(answer.verify_offer(&Names, &[]).await.unwrap().pay_to.as_str(), SELLER);
    let without_query: Tamper = |statement| {
        let url = statement["payload"]["resourceUrl"].as_str().unwrap().replace("?day=1", "");
        statement["payload"]["resourceUrl"] = json!(url);
    };
    let answer = bought(without_query, without_query).await;
    answer.verify_receipt(&Names, &[]).await.unwrap();
    answer.verify_offer(&Names, &[]).await.unwrap();
}

#[tokio::test]
async fn a_server_that_signs_nothing_is_told_of_on_demand_only() {
    let seller = Seller::honest().await;
    let answer = Buyer::new().client.get(seller.url("/report")).send().await.unwrap();
    assert_eq!((answer.offers().len(), answer.receipt().is_none(), answer.note()), (0, true, None));
    assert!(matches!(answer.verify_receipt(&Names, &[]).await, Err(StatementFault::Missing("receipt"))));
    assert!(matches!(answer.verify_offer(&Names, &[]).await, Err(StatementFault::Missing("offer"))));
    let free = Seller::start(|_, _| Some(response(200).body(axum::body::Body::empty()).unwrap())).await;
    let answer = Buyer::new().client.get(free.url("/")).send().await.unwrap();
    assert!(matches!(answer.verify_receipt(&Names, &[]).await, Err(StatementFault::Missing("receipt"))));
}

#[tokio::test]
async fn a_receipt_for_something_else_proves_nothing_and_says_what_differs() {
    let tampers: &[(&str, Tamper)] = &[
        ("resourceUrl", |it| it["payload"]["resourceUrl"] = json!("https://elsewhere.example/report")),
        ("resourceUrl", |it| {
            let other = it["payload"]["resourceUrl"].as_str().unwrap().replace("day=1", "day=2");
            it["payload"]["resourceUrl"] = json!(other);
        }),
        ("network", |it| it["payload"]["network"] = json!(SEPOLIA)),
        ("payer", |it| it["payload"]["payer"] = json!("0xSomebody")),
        ("issuedAt", |it| it["payload"]["issuedAt"] = json!(Noon.now().0 - 7_200)),
        ("transaction", |it| it["payload"]["transaction"] = json!("0xother")),
        ("version", |it| it["payload"]["version"] = json!(2)),
    ];
    for (field, tamper) in tampers {
        let error = bought(as_it_is, *tamper).await.verify_receipt(&Names, &[]).await.unwrap_err();
        assert!(matches!(error, StatementFault::NotOurs { .. }) && error.to_string().contains(field), "{field}: {error}");
    }
    let named: Tamper = |it| it["payload"]["transaction"] = json!("0xfeed");
    bought(as_it_is, named).await.verify_receipt(&Names, &[]).await.unwrap();
}

#[tokio::test]
async fn a_strangers_signature_proves_nothing_unless_the_buyer_trusts_it() {
    let strange: Tamper = |it| it["signature"] = json!("0xNotary");
    let answer = bought(strange, strange).await;
    for error in [answer.verify_receipt(&Names, &[]).await.unwrap_err(), answer.verify_offer(&Names, &[]).await.unwrap_err()] {
        assert!(matches!(error, StatementFault::Stranger { .. }), "{error}");
        assert!(error.to_string().contains("signed by 0xNotary; expected 0xSeller"), "{error}");
    }
    let notary = [SignedBy::Account("0xnotary".parse().unwrap())];
    answer.verify_receipt(&Names, &notary).await.unwrap();
    answer.verify_offer(&Names, &notary).await.unwrap();
    let forged: Tamper = |it| it["signature"] = json!("nobody");
    let answer = bought(forged, forged).await;
    assert!(matches!(answer.verify_receipt(&Names, &notary).await, Err(StatementFault::Signature { .. })));
}

#[tokio::test]
async fn an_offer_that_was_not_the_one_paid_or_is_over_proves_nothing() {
    let cheaper: Tamper = |it| it["payload"]["amount"] = json!("1");
    assert!(matches!(bought(cheaper, as_it_is).await.verify_offer(&Names, &[]).await, Err(StatementFault::Missing("offer"))));
    let over: Tamper = |it| it["payload"]["validUntil"] = json!(Noon.now().0 - 1);
    let error = bought(over, as_it_is).await.verify_offer(&Names, &[]).await.unwrap_err();
    assert!(error.to_string().contains("validUntil"), "{error}");
    let elsewhere: Tamper = |it| it["payload"]["resourceUrl"] = json!("https://elsewhere.example/");
    let error = bought(elsewhere, as_it_is).await.verify_offer(&Names, &[]).await.unwrap_err();
    assert!(error.to_string().contains("resourceUrl"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_paid_all_the_same() {
    let nonsense: &[Tamper] = &[
        |it| *it = json!("trust me"),
        |it| it["format"] = json!("wax"),
        |it| it["payload"] = json!(null),
        |it| it["payload"]["issuedAt"] = json!("noon"),
    ];
    for tamper in nonsense {
        let answer = bought(as_it_is, *tamper).await;
        assert!(answer.receipt().is_none());
        assert_eq!(answer.note(), Some("the server's receipt cannot be read"));
        assert!(!matches!(answer.verify_receipt(&Names, &[]).await, Err(StatementFault::Stranger { .. })));
    }
    let answer = bought(|it| *it = json!(7), as_it_is).await;
    assert_eq!((answer.offers().len(), answer.note()), (0, None));
}

#[tokio::test]
async fn neither_signature_shows_in_debug_output() {
    let secret: Tamper = |it| it["signature"] = json!("0xverysecret");
    let answer = bought(secret, secret).await;
    assert!(!format!("{answer:?}").contains("verysecret"));
    let error: Error = Error::BadRequest(answer.verify_receipt(&Names, &[]).await.unwrap_err().to_string());
    assert!(error.to_string().contains("expected 0xSeller"), "{error}");
}

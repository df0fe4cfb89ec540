//! Quotes: what was quoted is honoured, for exactly what it was quoted for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use farthing_core::header;
use farthing_core::reason::Reason;
use farthing_core::time::Clock;
use farthing_server::Server;
use farthing_server::quotes::{reading_body, reading_headers};
use http::{HeaderName, Method, StatusCode};
use serde_json::{Value, json};

use crate::quote_support::{
    Ask, CENT, MAX_BODY_BYTES, Prices, amounts, app, app_reading_bodies, ask, key, over, settled, shop, shop_with,
};
use crate::support::{Answer, MeteredScheme, NETWORK, PAY_TO, Shop, payment, refused, schemes, send};

fn assert_refused(answer: &Answer, reason: &str, shop: &mut Shop) {
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED, "{}", answer.text());
    assert_eq!(answer.json()["error"], reason);
    assert_eq!(answer.terms()["error"], reason);
    assert!(answer.terms()["accepts"][0]["extra"]["quote"].is_string());
    assert_eq!((shop.facilitator.calls().1, shop.runs()), (0, 0));
    assert!(!shop.written().contains(&"settling"));
}

#[tokio::test]
async fn a_quote_is_honoured_although_the_price_has_moved() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app(&shop, &prices);
    let terms = ask().terms(&app).await;
    assert_eq!(terms["accepts"][0]["amount"], CENT.to_string());
    prices.move_to(7);
    let answer = ask().paid(&app, &terms, "1").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the question"));
    assert_eq!(settled(&shop), amounts(&[CENT]));
    assert_eq!(prices.times_asked(), 1, "a quote that comes back is judged by itself alone");
    assert_eq!(ask().terms(&app).await["accepts"][0]["amount"], (7 * CENT).to_string());
}

#[tokio::test]
async fn the_facilitator_sees_the_offer_as_it_was_echoed() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app(&shop, &prices);
    let terms = ask().terms(&app).await;
    ask().paid(&app, &terms, "1").await;
    let request = shop.facilitator.settled.lock().unwrap().first().cloned().unwrap();
    assert_eq!(serde_json::from_str::<Value>(request.requirements.raw()).unwrap(), terms["accepts"][0]);
    let quote = terms["accepts"][0]["extra"]["quote"].as_str().unwrap();
    assert!(quote.starts_with("1.300."), "{quote}");
}

#[tokio::test]
async fn clients_may_add_to_the_extra_and_reorder_it() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app(&shop, &prices);
    let mut terms = ask().terms(&app).await;
    terms["accepts"][0]["extra"]["aaa"] = json!("theirs");
    assert_eq!(ask().paid(&app, &terms, "1").await.status, StatusCode::OK);
    terms["accepts"][0]["extra"]["name"] = json!("not ours");
    assert_eq!(ask().paid(&app, &terms, "2").await.json()["error"], "No matching payment requirements");
}

#[tokio::test]
async fn a_quote_buys_nothing_but_what_it_was_made_for() {
    let (mut shop, prices) = (shop().await, Prices::of(1));
    let app = app_reading_bodies(&shop, &shop.server, &prices);
    let terms = ask().terms(&app).await;
    for other in [
        Ask { method: Method::PUT, ..ask() },
        Ask { method: Method::GET, ..ask() },
        Ask { host: "evil.example", ..ask() },
        Ask { uri: "/other?year=2026", ..ask() },
        Ask { uri: "/report?year=2027", ..ask() },
        Ask { uri: "/report", ..ask() },
        Ask { body: "another question", ..ask() },
        Ask { body: "", ..ask() },
    ] {
        let answer = other.paid(&app, &terms, "1").await;
        assert_refused(&answer, "quote_mismatch", &mut shop);
        let message = answer.json()["message"].to_string();
        assert!(message.contains(other.method.as_str()) && message.contains("nothing was charged"), "{message}");
    }
    let fresh = Ask { uri: "/report", ..ask() }.paid(&app, &terms, "1").await.terms();
    assert_eq!(Ask { uri: "/report", ..ask() }.paid(&app, &fresh, "1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_quote_is_for_the_offer_beside_it() {
    let (mut shop, prices) = (shop().await, Prices::of(2));
    let app = app(&shop, &prices);
    let terms = ask().terms(&app).await;
    let quote = terms["accepts"][0]["extra"]["quote"].as_str().unwrap().to_owned();
    let last = if quote.ends_with('0') { "1" } else { "0" };
    let tampered = format!("{}{last}", &quote[..quote.len() - 1]);
    let prolonged = quote.replacen("1.300.", "1.900.", 1);
    for (field, value) in [
        ("/amount", json!("1")),
        ("/payTo", json!("0x0000000000000000000000000000000000000001")),
        ("/asset", json!("0xEurc")),
        ("/network", json!("eip155:1")),
        ("/scheme", json!("upto")),
        ("/extra/quote", json!(tampered)),
        ("/extra/quote", json!(prolonged)),
        ("/extra/quote", json!("")),
        ("/extra/quote", json!(null)),
        ("/extra/quote", json!(7)),
        ("/extra", json!({"name": "Fake \"USD\""})),
    ] {
        let mut terms = terms.clone();
        *terms["accepts"][0].pointer_mut(field).unwrap() = value;
        let answer = ask().paid(&app, &terms, "1").await;
        assert_refused(&answer, "quote_mismatch", &mut shop);
    }
    assert_eq!(shop.facilitator.calls(), (0, 0), "nobody is asked about what was not quoted");
    let claimed = shop.deliveries.presented();
    assert!(claimed.iter().all(|one| shop.deliveries.inner.delivery(one.key).is_none()), "and nothing stays claimed for it");
    let mut longer = terms.clone();
    longer["accepts"][0]["maxTimeoutSeconds"] = json!(9_999);
    assert_eq!(ask().paid(&app, &longer, "1").await.json()["error"], "No matching payment requirements");
}

#[tokio::test]
async fn an_expired_quote_buys_nothing_and_its_answer_has_a_fresh_one() {
    let (mut shop, prices) = (shop_with(|builder| builder.quote_seconds(60)).await, Prices::of(1));
    let app = app(&shop, &prices);
    let terms = ask().terms(&app).await;
    prices.move_to(3);
    shop.clock.0.store(61, Ordering::SeqCst);
    let answer = ask().paid(&app, &terms, "1").await;
    assert_refused(&answer, "quote_expired", &mut shop);
    assert_eq!(shop.facilitator.calls(), (0, 0));
    assert!(answer.json()["message"].to_string().contains("good until 60"));
    let fresh = answer.terms();
    assert_eq!(fresh["accepts"][0]["amount"], (3 * CENT).to_string());
    // The payment is as free as before.
    assert_eq!(ask().paid(&app, &fresh, "1").await.status, StatusCode::OK);
    assert_eq!(settled(&shop), amounts(&[3 * CENT]));
}

#[tokio::test]
async fn a_quote_is_good_to_its_last_second() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app(&shop, &prices);
    let terms = ask().terms(&app).await;
    shop.clock.0.store(300, Ordering::SeqCst);
    assert_eq!(ask().paid(&app, &terms, "1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_payment_that_may_have_been_charged_is_answered_for_after_its_quote_has_expired() {
    let (mut shop, prices) = (shop().await, Prices::of(1));
    let app = app(&shop, &prices);
    let terms = ask().terms(&app).await;
    for _ in 0..2 {
        shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "0xabc")));
    }
    let answer = ask().paid(&app, &terms, "1").await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("settlement_pending")));
    shop.clock.0.store(10_000, Ordering::SeqCst);
    let answer = ask().paid(&app, &terms, "1").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the question"));
    assert!(shop.written().ends_with(&["served"]));
    assert_eq!(ask().paid(&app, &terms, "2").await.json()["error"], "quote_expired");
}

/// Otherwise it would be told that nothing was charged, and to sign another.
#[tokio::test]
async fn a_payment_that_may_have_been_charged_is_answered_for_by_a_server_that_has_another_key() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app_reading_bodies(&shop, &shop.server, &prices);
    let terms = ask().terms(&app).await;
    for _ in 0..2 {
        shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "0xabc")));
    }
    assert_eq!(ask().paid(&app, &terms, "1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    prices.move_to(5);
    let stranger = app_reading_bodies(&shop, &replica_with(&shop, 2).await, &prices);
    let mut cheaper = terms.clone();
    cheaper["accepts"][0]["amount"] = json!("1");
    let others = [(Ask { body: "another question", ..ask() }, &terms), (ask(), &cheaper)];
    for (other, terms) in others {
        assert_eq!(other.paid(&stranger, terms, "1").await.json()["error"], "payment_already_used");
    }
    assert_eq!((shop.facilitator.calls().1, shop.runs()), (2, 1), "only the very same request with the very same payment");
    let answer = ask().paid(&stranger, &terms, "1").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the question"));
    assert_eq!(settled(&shop), amounts(&[CENT; 3]));
    assert_eq!(ask().paid(&stranger, &terms, "2").await.json()["error"], "quote_mismatch");
}

#[tokio::test]
async fn a_quote_is_bound_to_the_headers_that_its_price_depends_on() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let by_size = reading_headers([HeaderName::from_static("x-size"), HeaderName::from_static("x-user")], prices.pricer());
    let app = over(&shop, shop.server.price_by(reading_body(MAX_BODY_BYTES, by_size)).unwrap());
    let with = |headers: &[(&'static str, &str)], paid: Option<&Value>| {
        let mut request = ask().request();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(paid) = paid {
            request = request.header("payment-signature", header::encode(paid).unwrap());
        }
        request.body(Body::from(ask().body)).unwrap()
    };
    let small: &[(&str, &str)] = &[("x-size", "small"), ("x-user", "alice")];
    let paid = payment(&send(&app, with(small, None)).await.terms(), "1");
    let others: [&[(&str, &str)]; 5] = [
        &[],
        &[("x-size", "large"), ("x-user", "alice")],
        &[("x-size", "small")],
        &[("x-size", "small"), ("x-user", "alice"), ("x-user", "bob")],
        &[("x-size", "smallalice"), ("x-user", "")],
    ];
    for other in others {
        assert_eq!(send(&app, with(other, Some(&paid))).await.json()["error"], "quote_mismatch", "{other:?}");
    }
    let same = [("x-user", "alice"), ("accept", "text/plain"), ("x-size", "small")];
    assert_eq!(send(&app, with(&same, Some(&paid))).await.text(), "the question");
    assert_eq!((settled(&shop), shop.runs()), (amounts(&[CENT]), 1));
}

/// Another server of the shop, on the same book, with this key.
async fn replica_with(shop: &Shop, byte: u8) -> Server {
    let builder = Server::builder().schemes(schemes()).schemes(vec![Arc::new(MeteredScheme)]);
    let builder = builder.facilitator(Arc::clone(&shop.facilitator)).unwrap().pay_to(NETWORK, PAY_TO).unwrap();
    let builder = builder.clock(Arc::clone(&shop.clock) as Arc<dyn Clock>).quote_key(key(byte));
    builder.deliveries(Arc::new(shop.deliveries.inner.join())).build().await.unwrap()
}

#[tokio::test]
async fn a_replica_with_the_same_key_honours_a_quote_and_one_with_another_does_not() {
    let (mut shop, prices) = (shop().await, Prices::of(1));
    let terms = ask().terms(&app_reading_bodies(&shop, &shop.server, &prices)).await;
    let stranger = replica_with(&shop, 2).await;
    let answer = ask().paid(&app_reading_bodies(&shop, &stranger, &prices), &terms, "1").await;
    assert_refused(&answer, "quote_mismatch", &mut shop);
    let twin = replica_with(&shop, 1).await;
    let answer = ask().paid(&app_reading_bodies(&shop, &twin, &prices), &terms, "1").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the question"));
    let again = ask().paid(&app_reading_bodies(&shop, &shop.server, &prices), &terms, "1").await;
    assert_eq!(again.json()["error"], "payment_already_used");
}

#[tokio::test]
async fn two_buyers_who_race_each_pay_what_they_were_quoted() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app_reading_bodies(&shop, &shop.server, &prices);
    let first = ask().terms(&app).await;
    prices.move_to(2);
    let second = ask().terms(&app).await;
    let (ours, theirs) = (ask(), ask());
    let (one, other) = tokio::join!(ours.paid(&app, &second, "2"), theirs.paid(&app, &first, "1"));
    assert_eq!((one.status, other.status), (StatusCode::OK, StatusCode::OK));
    let mut settled = settled(&shop);
    settled.sort();
    assert_eq!(settled, amounts(&[CENT, 2 * CENT]));
}

#[tokio::test]
async fn of_two_copies_of_a_quoted_payment_one_is_charged() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app_reading_bodies(&shop, &shop.server, &prices);
    let terms = ask().terms(&app).await;
    let (ours, theirs) = (ask(), ask());
    let (one, other) = tokio::join!(ours.paid(&app, &terms, "1"), theirs.paid(&app, &terms, "1"));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert!([402, 409].contains(&statuses[1]), "{statuses:?}");
    assert_eq!((shop.facilitator.calls().1, shop.runs()), (1, 1));
}

#[tokio::test]
async fn an_old_buyer_is_held_to_the_price_of_now() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app_reading_bodies(&shop, &shop.server, &prices);
    let unpaid = ask().unpaid(&app).await;
    assert_eq!(unpaid.json()["accepts"][0]["maxAmountRequired"], CENT.to_string());
    assert!(unpaid.json()["accepts"][0]["extra"].get("quote").is_none(), "it could not be brought back");
    prices.move_to(4);
    assert_eq!(ask().paid_by_old_buyer(&app, "1").await.status, StatusCode::OK);
    let verified = shop.facilitator.verified.lock().unwrap().first().cloned().unwrap();
    assert_eq!(verified.requirements.amount, (4 * CENT).into(), "what was signed is held against the price of now");
}

#[tokio::test]
async fn an_old_buyers_payment_is_bound_to_its_body_and_can_be_presented_again() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app_reading_bodies(&shop, &shop.server, &prices);
    for _ in 0..2 {
        shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "0xabc")));
    }
    assert_eq!(ask().paid_by_old_buyer(&app, "1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    shop.clock.0.store(10_000, Ordering::SeqCst);
    let other = Ask { body: "another question", ..ask() }.paid_by_old_buyer(&app, "1").await;
    assert_eq!(other.json()["error"], "payment_already_used");
    assert_eq!(ask().paid_by_old_buyer(&app, "1").await.text(), "the question");
}

#[tokio::test]
async fn what_an_old_buyer_may_have_been_charged_is_answered_for_although_the_price_has_moved() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let apps = [app(&shop, &prices), over(&shop, shop.server.price_by(prices.pricer()).unwrap().upfront().unwrap())];
    for (app, nonce) in apps.iter().zip(["1", "2"]) {
        prices.move_to(1);
        shop.facilitator.settled.lock().unwrap().clear();
        for _ in 0..2 {
            shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "0xabc")));
        }
        assert_eq!(ask().paid_by_old_buyer(app, nonce).await.status, StatusCode::SERVICE_UNAVAILABLE);
        prices.move_to(4);
        let answer = ask().paid_by_old_buyer(app, nonce).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the question"));
        let asked = shop.facilitator.settled.lock().unwrap().clone();
        let asked: Vec<String> = asked.iter().map(|request| serde_json::to_string(request).unwrap()).collect();
        assert_eq!(asked[0], asked[2], "the facilitator knows it again");
        // At the price of now it is a payment like any other.
        assert_eq!(ask().paid_by_old_buyer(app, &format!("{nonce}0")).await.status, StatusCode::OK);
        assert_eq!(*settled(&shop).last().unwrap(), (4 * CENT).into());
    }
}

#[tokio::test]
async fn where_the_body_is_not_priced_a_quote_is_good_for_any() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = app(&shop, &prices);
    let terms = ask().terms(&app).await;
    assert_eq!(Ask { body: "another question", ..ask() }.paid(&app, &terms, "1").await.text(), "another question");
}

#[tokio::test]
async fn what_is_asked_up_to_a_ceiling_or_in_advance_is_quoted_too() {
    let (mut shop, prices) = (shop().await, Prices::of(5));
    let upfront = over(&shop, shop.server.price_by(prices.pricer()).unwrap().upfront().unwrap());
    let terms = ask().terms(&upfront).await;
    assert_eq!(terms["accepts"][0]["extra"]["paymentFlow"], "upfront");
    prices.move_to(6);
    assert_eq!(ask().paid(&upfront, &terms, "1").await.status, StatusCode::OK);
    assert_eq!((settled(&shop), shop.written()), (amounts(&[5 * CENT]), vec!["settling", "charged", "served"]));

    let metered = over(&shop, shop.server.price_up_to_by(prices.pricer()).unwrap().max_timeout_seconds(7).unwrap());
    let terms = ask().terms(&metered).await;
    let offer = &terms["accepts"][0];
    assert_eq!((&offer["scheme"], &offer["maxTimeoutSeconds"]), (&json!("upto"), &json!(7)));
    assert_eq!(ask().paid(&metered, &terms, "2").await.status, StatusCode::OK);
    assert_eq!(settled(&shop), amounts(&[5 * CENT, 6 * CENT]));
    // A quote of one manner is none of another.
    assert_eq!(ask().paid(&upfront, &terms, "3").await.json()["error"], "quote_mismatch");
}

#[tokio::test]
async fn a_named_purchase_is_made_once_whatever_becomes_of_the_price() {
    let (shop, prices) = (shop().await, Prices::of(1));
    let app = over(&shop, shop.server.price_by(prices.pricer()).unwrap().payment_identifier(true).unwrap());
    let named = |terms: &Value, nonce: &str| {
        let mut payment = payment(terms, nonce);
        payment["extensions"] = json!({"payment-identifier": {"info": {"required": true, "id": "pay_0123456789abcdef"}}});
        payment
    };
    let terms = ask().terms(&app).await;
    assert_eq!(ask().with_payment(&app, &named(&terms, "1")).await.text(), "the question");
    prices.move_to(2);
    assert_eq!(ask().with_payment(&app, &named(&terms, "1")).await.text(), "the question");
    assert_eq!(ask().with_payment(&app, &named(&terms, "2")).await.text(), "the question");
    assert_eq!((settled(&shop), shop.runs()), (amounts(&[CENT]), 1));
}

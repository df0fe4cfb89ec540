//! What routes declare, and what a seller cannot declare.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use farthing_core::books::MemorySignIns;
use farthing_core::erased::ServerSchemes;
use farthing_core::extension::offer_receipt::{Issuer, Offer, OfferSigner, Receipt, Signed};
use farthing_core::{BoxFuture, Source};
use farthing_server::{BuildError, PaymentLayer, RouteError, Server, ServerBuilder, SignInOptions};
use http::StatusCode;
use serde_json::{Value, json};

use crate::sign_in_support::{Counter, FakeVerifier, URL, welcoming};
use crate::support::{
    FakeFacilitator, MeteredScheme, NETWORK, PAY_TO, Shop, clock, fetch, payment, schemes, send, with_payment,
};

fn at_root(layer: PaymentLayer) -> Router {
    Router::new().route("/", get(|| async { "the report" }).layer(layer))
}

async fn pay(app: &Router, extensions: Value, nonce: &str) -> crate::support::Answer {
    let mut payment = payment(&fetch(app, "/").await.terms(), nonce);
    payment["extensions"] = extensions;
    send(app, with_payment("/", &payment)).await
}

#[tokio::test]
async fn terms_without_extensions_have_none() {
    let shop = Shop::open().await;
    assert_eq!(fetch(&at_root(shop.server.price("$0.01").unwrap()), "/").await.terms().get("extensions"), None);
}

#[tokio::test]
async fn a_route_asks_for_names_of_purchases_as_the_official_sdk_does() {
    let shop = Shop::open().await;
    for is_required in [true, false] {
        let layer = shop.server.price("$0.01").unwrap().payment_identifier(is_required).unwrap();
        let answer = fetch(&at_root(layer), "/").await;
        let expected = json!({
            "payment-identifier": {
                "info": {"required": is_required},
                "schema": {
                    "$schema": "https://json-schema.org/draft/2020-12/schema",
                    "type": "object",
                    "properties": {
                        "required": {"type": "boolean"},
                        "id": {"type": "string", "minLength": 16, "maxLength": 128, "pattern": "^[a-zA-Z0-9_-]+$"},
                    },
                    "required": ["required"],
                },
            },
        });
        assert_eq!(answer.terms()["extensions"], expected);
        assert_eq!(answer.text() == "{}", is_required, "buyers of version 1 have no names to give");
    }
}

#[tokio::test]
async fn a_builder_code_is_declared_on_every_route_and_is_the_sellers_own() {
    let shop = Shop::with(|builder| builder.builder_code("app1", &["svc1", "svc2"]).unwrap()).await;
    let app = at_root(shop.server.price("$0.01").unwrap().description("after the change"));
    let terms = fetch(&app, "/").await.terms();
    let extension = &terms["extensions"]["builder-code"];
    assert_eq!(extension["info"], json!({"a": "app1", "s": ["svc1", "svc2"]}));
    let code = |description: &str| json!({"type": "string", "pattern": "^[a-z0-9_]{1,32}$", "description": description});
    let services = json!({
        "type": "array",
        "maxItems": 11,
        "items": {"type": "string", "pattern": "^[a-z0-9_]{1,32}$"},
        "description": "Service builder codes",
    });
    let expected = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"a": code("App builder code"), "w": code("Wallet builder code"), "s": services},
        "additionalProperties": false,
    });
    assert_eq!(extension["schema"], expected);

    let echo = |info: Value| json!({"builder-code": {"info": info}});
    for (nonce, bad) in [
        ("one", echo(json!({"a": "mine", "s": ["svc1", "svc2"]}))),
        ("two", echo(json!({"a": "app1", "s": ["svc1"]}))),
        ("three", echo(json!({"s": ["svc1", "svc2"]}))),
    ] {
        let refused = pay(&app, bad, nonce).await;
        assert_eq!(
            (refused.status, &refused.terms()["error"]),
            (StatusCode::PAYMENT_REQUIRED, &json!("extension_echo_mismatch"))
        );
    }
    let more = echo(json!({"a": "app1", "s": ["mine", "svc1", "svc2"]}));
    assert_eq!(pay(&app, more.clone(), "four").await.status, StatusCode::OK);
    let verified = shop.facilitator.verified.lock().unwrap();
    let sent = serde_json::to_value(&verified[0].payment).unwrap();
    assert_eq!(sent["extensions"], more, "the facilitator sees what the client added");
}

#[tokio::test]
async fn a_client_invents_no_app_code_where_the_seller_has_none() {
    let shop = Shop::open().await;
    let app = at_root(shop.server.price("$0.01").unwrap());
    let refused = pay(&app, json!({"builder-code": {"info": {"a": "mine"}}}), "one").await;
    assert_eq!(refused.terms()["error"], "extension_echo_mismatch");
}

#[tokio::test]
async fn a_route_without_a_price_declares_nothing_that_is_about_payments() {
    let issuer = Issuer::new(Arc::new(NoSigner));
    let open = |builder| welcoming(builder).builder_code("app1", &[]).unwrap().offer_receipts(issuer);
    let shop = Shop::with(open).await;
    let terms = fetch(&at_root(shop.server.sign_in_only(SignInOptions::new()).unwrap()), "/").await.terms();
    let keys: Vec<&String> = terms["extensions"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["sign-in-with-x"]);
}

#[tokio::test]
async fn a_changed_route_keeps_what_it_declares() {
    let shop = Shop::with(welcoming).await;
    let layer = shop.server.price("$0.01").unwrap().payment_identifier(false).unwrap();
    let layer = layer.sign_in(SignInOptions::new()).unwrap().max_timeout_seconds(60).unwrap().upfront().unwrap();
    let terms = fetch(&at_root(layer.mime_type("text/plain")), "/").await.terms();
    let keys: Vec<&String> = terms["extensions"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["payment-identifier", "sign-in-with-x"]);
    assert_eq!(terms["accepts"][0]["maxTimeoutSeconds"], 60);
}

async fn server(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Result<Server, BuildError> {
    let mut all: ServerSchemes = schemes();
    all.push(Arc::new(MeteredScheme));
    let builder = Server::builder().schemes(all).clock(clock()).facilitator(Arc::new(FakeFacilitator::new())).unwrap();
    configure(builder.pay_to(NETWORK, PAY_TO).unwrap()).build().await
}

fn told(result: Result<PaymentLayer, RouteError>, expected: &str) {
    let error = result.err().unwrap();
    assert!(matches!(error, RouteError::Extension(_)), "{error}");
    assert!(error.to_string().contains(expected), "{error}");
}

#[tokio::test]
async fn sign_ins_that_could_not_work_are_found_at_start_up() {
    let options = SignInOptions::new;
    let sign_in = |server: &Server, options: SignInOptions| server.price("$0.01").unwrap().sign_in(options);
    let entropy = || Arc::new(Counter::default());
    let homeless = server(|it| it.entropy(entropy()).message_verifier(Arc::new(FakeVerifier))).await.unwrap();
    told(sign_in(&homeless, options()), "public_url");
    told(homeless.sign_in_only(options()), "public_url");
    let predictable = server(|it| it.public_url(URL).unwrap().message_verifier(Arc::new(FakeVerifier))).await.unwrap();
    told(sign_in(&predictable, options()), "entropy");
    let gullible = server(|it| it.public_url(URL).unwrap().entropy(entropy())).await.unwrap();
    told(sign_in(&gullible, options()), "message_verifier");

    let server = server(welcoming).await.unwrap();
    told(sign_in(&server, options().network("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp".parse().unwrap())), "solana");
    told(sign_in(&server, options().granted_for(0)), "at least 1 second");
    told(sign_in(&server, options().statement("two\nlines")), "statement");
    told(server.price_up_to("$0.01").unwrap().sign_in(options()), "ceiling");
    let only = || server.sign_in_only(options()).unwrap();
    told(only().upfront(), "upfront");
    told(only().max_timeout_seconds(60), "max_timeout_seconds");
    told(only().payment_identifier(true), "payment_identifier");
    assert!(sign_in(&server, options()).is_ok());
}

struct NoSigner;

impl OfferSigner for NoSigner {
    fn sign_offer(&self, _: Offer) -> BoxFuture<'_, Result<Signed<Offer>, Source>> {
        Box::pin(std::future::ready(Err("no key".into())))
    }

    fn sign_receipt(&self, _: Receipt) -> BoxFuture<'_, Result<Signed<Receipt>, Source>> {
        Box::pin(std::future::ready(Err("no key".into())))
    }
}

#[tokio::test]
async fn nothing_is_signed_and_nobody_signs_in_without_the_servers_own_address() {
    let unsigned = server(|it| it.offer_receipts(Issuer::new(Arc::new(NoSigner)))).await.err().unwrap();
    assert!(unsigned.to_string().contains("offer_receipts needs the server's own address"), "{unsigned}");
    let homeless = server(|it| it.sign_ins(Arc::new(MemorySignIns::default()))).await.err().unwrap();
    assert!(homeless.to_string().contains("sign_ins needs the server's own address"), "{homeless}");
}

#[tokio::test]
async fn a_builder_code_is_short_and_plain_and_there_are_few() {
    for (app, services) in [("App", vec![]), ("", vec![]), ("app", vec!["svc-1"]), ("app", vec!["a", "b", "c", "d", "e", "f"])]
    {
        let error = Server::builder().builder_code(app, &services).err().unwrap();
        assert!(error.to_string().starts_with("builder_code: "), "{error}");
    }
}

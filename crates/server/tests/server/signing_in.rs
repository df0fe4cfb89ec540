//! Those who have paid come back without paying, and nobody else does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::routing::{any, get};
use farthing_core::books::SignIns;
use farthing_core::extension::sign_in_with_x::SignIn;
use farthing_core::header;
use farthing_server::SignInOptions;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::sign_in_support::{FakeWallet, FlakyBook, URL, WALLET, shop, signed, signed_by, welcoming, whom, with_sign_in};
use crate::support::{Answer, NETWORK, PAY_TO, PAYER, Shop, UNNAMED_NETWORK, buy, fetch, payment, send, success, with_payment};

const SECOND: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

fn app(shop: &Shop) -> Router {
    with(shop, SignInOptions::new())
}

fn with(shop: &Shop, options: SignInOptions) -> Router {
    let layer = shop.server.price("$0.01").unwrap().sign_in(options).unwrap();
    Router::new().route("/{page}", any(whom).layer(layer))
}

async fn visit(app: &Router, uri: &str) -> Answer {
    let sign_in = signed(&fetch(app, uri).await.terms()).await;
    send(app, with_sign_in(uri, &sign_in)).await
}

#[tokio::test]
async fn who_has_paid_comes_back_without_paying() {
    let shop = shop().await;
    let app = app(&shop);
    let early = visit(&app, "/report").await;
    assert_eq!((early.status, &early.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("Payment required")));
    assert_eq!(early.terms()["accepts"].as_array().unwrap().len(), 1);

    assert_eq!(buy(&app, "/report", "one").await.text(), format!("payer {PAYER}"));
    for _ in 0..2 {
        let answer = visit(&app, "/report").await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, &*format!("visitor {PAYER} on {NETWORK}")));
        assert_eq!(answer.header("cache-control"), "private, no-store");
        assert!(!answer.headers.contains_key("payment-response"));
    }
    assert_eq!(shop.facilitator.calls(), (1, 1), "nobody is asked anything about a visitor");
}

#[tokio::test]
async fn however_long_a_url_is_who_has_paid_comes_back_to_it_and_to_no_other() {
    let shop = shop().await;
    let app = app(&shop);
    let long = |last: char| format!("/report?q={}{last}", "a".repeat(4_000));
    assert_eq!(buy(&app, &long('1'), "one").await.text(), format!("payer {PAYER}"));
    assert_eq!(visit(&app, &long('1')).await.text(), format!("visitor {PAYER} on {NETWORK}"));
    assert_eq!(visit(&app, &long('2')).await.status, StatusCode::PAYMENT_REQUIRED);
}

#[tokio::test]
async fn a_sign_in_lets_in_once() {
    let shop = shop().await;
    let app = app(&shop);
    buy(&app, "/report", "one").await;
    let sign_in = signed(&fetch(&app, "/report").await.terms()).await;
    assert_eq!(send(&app, with_sign_in("/report", &sign_in)).await.status, StatusCode::OK);
    let again = send(&app, with_sign_in("/report", &sign_in)).await;
    assert_eq!((again.status, &again.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("invalid_siwx_nonce")));
    assert!(again.json()["message"].as_str().unwrap().contains("used before"));
}

#[tokio::test]
async fn of_many_copies_of_a_sign_in_one_is_let_in() {
    let shop = shop().await;
    let app = app(&shop);
    buy(&app, "/report", "one").await;
    let sign_in = signed(&fetch(&app, "/report").await.terms()).await;
    let copies = (0..50).map(|_| send(&app, with_sign_in("/report", &sign_in)));
    let answers = futures_util::future::join_all(copies).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::OK).count(), 1);
}

#[tokio::test]
async fn no_two_answers_share_a_challenge() {
    let shop = shop().await;
    let app = app(&shop);
    let mut nonces = Vec::new();
    for uri in ["/report", "/report", "/other", "/report"] {
        let terms = fetch(&app, uri).await.terms();
        let info = &terms["extensions"]["sign-in-with-x"]["info"];
        assert_eq!(info["uri"], format!("{URL}{uri}"));
        nonces.push(info["nonce"].as_str().unwrap().to_owned());
    }
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 4);
}

#[tokio::test]
async fn the_challenge_has_the_form_of_the_official_sdk_and_the_origin_of_the_configuration() {
    let shop = shop().await;
    shop.clock.0.store(1_800_000_000, Ordering::SeqCst);
    let layer = shop.server.price("$0.01").unwrap();
    let layer = layer.sign_in(SignInOptions::new().statement("Sign in to read on")).unwrap();
    let app = Router::new().route("/report", get(whom).layer(layer));
    let lying = Request::get("/report?a=é").header("host", "evil.example").body(Body::empty()).unwrap();
    let answer = send(&app, lying).await;
    let extension = &answer.terms()["extensions"]["sign-in-with-x"];
    let uri = format!("{URL}/report?a=%C3%A9");
    let text = || json!({"type": "string"});
    let uri_text = || json!({"type": "string", "format": "uri"});
    let moment = || json!({"type": "string", "format": "date-time"});
    let expected = json!({
        "info": {
            "domain": "shop.example",
            "uri": uri,
            "version": "1",
            "nonce": extension["info"]["nonce"],
            "issuedAt": "2027-01-15T08:00:00.000Z",
            "expirationTime": "2027-01-15T08:05:00.000Z",
            "statement": "Sign in to read on",
            "resources": [uri],
        },
        "supportedChains": [{"chainId": NETWORK, "type": "eip191"}],
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "domain": text(), "address": text(), "statement": text(), "uri": uri_text(), "version": text(),
                "chainId": text(), "type": text(), "nonce": text(), "issuedAt": moment(), "expirationTime": moment(),
                "notBefore": moment(), "requestId": text(), "resources": {"type": "array", "items": uri_text()},
                "signature": text(),
            },
            "required": ["domain", "address", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature"],
        },
    });
    assert_eq!(*extension, expected);
    assert!(extension["info"]["nonce"].as_str().unwrap().len() >= 16);
    assert!(!answer.text().contains("sign-in-with-x"), "version 1 has no extensions");
}

#[tokio::test]
async fn a_server_below_a_path_challenges_for_the_address_that_the_world_sees() {
    let shop = Shop::with(|builder| welcoming(builder).public_url("https://shop.example:8443/api/").unwrap()).await;
    let info = fetch(&app(&shop), "/report").await.terms()["extensions"]["sign-in-with-x"]["info"].clone();
    assert_eq!((&info["domain"], &info["uri"]), (&json!("shop.example:8443"), &json!("https://shop.example:8443/api/report")));
}

#[tokio::test]
async fn networks_whose_accounts_nobody_can_check_are_left_out() {
    let shop = Shop::with(|builder| welcoming(builder).pay_to(UNNAMED_NETWORK, PAY_TO).unwrap()).await;
    let members = shop.server.sign_in_only(SignInOptions::new()).unwrap();
    let members = Router::new().route("/{page}", get(whom).layer(members));
    for app in [app(&shop), members] {
        let chains = fetch(&app, "/report").await.terms()["extensions"]["sign-in-with-x"]["supportedChains"].clone();
        assert_eq!(chains, json!([{"chainId": NETWORK, "type": "eip191"}]));
    }
}

#[tokio::test]
async fn a_bad_sign_in_gets_the_terms_with_the_reason() {
    let shop = shop().await;
    let app = app(&shop);
    buy(&app, "/report", "one").await;
    let good = signed(&fetch(&app, "/report").await.terms()).await;
    let changed = |change: &dyn Fn(&mut SignIn)| {
        let mut sign_in = good.clone();
        change(&mut sign_in);
        with_sign_in("/report", &sign_in)
    };
    let plain = |value: &str| Request::get("/report").header("sign-in-with-x", value).body(Body::empty()).unwrap();
    let mut twice = with_sign_in("/report", &good);
    twice.headers_mut().append("sign-in-with-x", header::encode(&good).unwrap().parse().unwrap());
    let cases: Vec<(Request<Body>, &str)> = vec![
        (changed(&|it| it.info.domain = "evil.example".to_owned()), "invalid_siwx_domain_mismatch"),
        (changed(&|it| it.info.uri = "https://evil.example/report".to_owned()), "invalid_siwx_uri_mismatch"),
        (changed(&|it| it.info.nonce = "f".repeat(32)), "invalid_siwx_signature"),
        (changed(&|it| it.address = SECOND.parse().unwrap()), "invalid_siwx_signature"),
        (changed(&|it| it.chain_id = "eip155:1".to_owned()), "invalid_siwx_unsupported_chain"),
        (changed(&|it| it.info.issued_at = "1971-01-01T00:00:00.000Z".to_owned()), "invalid_siwx_issued_at_in_future"),
        (changed(&|it| it.info.expiration_time = Some("soon".to_owned())), "invalid_siwx_expiration_time"),
        (changed(&|it| it.info.not_before = Some("1971-01-01T00:00:00.000Z".to_owned())), "invalid_siwx_not_yet_valid"),
        (changed(&|it| it.signature = String::new()), "invalid_siwx_signature"),
        (plain("not base64!"), "invalid_payload"),
        (plain("e30="), "invalid_payload"),
        (plain(&"A".repeat(40_000)), "invalid_payload"),
        (twice, "invalid_payload"),
    ];
    for (request, reason) in cases {
        let answer = send(&app, request).await;
        assert_eq!((answer.status, &answer.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!(reason)));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    shop.clock.0.store(301, Ordering::SeqCst);
    let late = send(&app, with_sign_in("/report", &good)).await;
    assert_eq!(late.terms()["error"], "invalid_siwx_issued_at_too_old");
    shop.clock.0.store(0, Ordering::SeqCst);
    assert_eq!(send(&app, with_sign_in("/report", &good)).await.status, StatusCode::OK, "none of that used the nonce up");
}

#[tokio::test]
async fn a_payment_opens_what_it_bought_and_nothing_else() {
    let shop = shop().await;
    let app = app(&shop);
    buy(&app, "/report?year=2026", "one").await;
    for other in ["/report", "/report?year=2025", "/other?year=2026", "/Report?year=2026"] {
        assert_eq!(visit(&app, other).await.status, StatusCode::PAYMENT_REQUIRED, "{other}");
    }
    let sign_in = signed(&fetch(&app, "/report?year=2026").await.terms()).await;
    let mut post = with_sign_in("/report?year=2026", &sign_in);
    *post.method_mut() = http::Method::POST;
    assert_eq!(send(&app, post).await.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(visit(&app, "/report?year=2026").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_payment_opens_to_its_payer_and_to_nobody_else() {
    let shop = shop().await;
    let app = app(&shop);
    let mut settled = success(&NETWORK.parse().unwrap());
    settled.payer = Some(PAYER.to_lowercase().parse().unwrap());
    shop.facilitator.will_settle(Ok(settled));
    buy(&app, "/report", "one").await;
    let terms = fetch(&app, "/report").await.terms();
    let stranger = signed_by(&terms, &FakeWallet { account: SECOND, kind: "key" }, &[]).await;
    assert_eq!(send(&app, with_sign_in("/report", &stranger)).await.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(visit(&app, "/report").await.status, StatusCode::OK, "however the facilitator writes the account");
}

#[tokio::test]
async fn a_payment_opens_for_a_day_unless_the_route_says_otherwise() {
    let cases = [
        (SignInOptions::new(), 86_400, 86_401),
        (SignInOptions::new().granted_for(10), 10, 11),
        (SignInOptions::new().granted_for_good(), 10_000_000_000, u64::MAX),
    ];
    for (options, last, first_too_late) in cases {
        let shop = shop().await;
        let app = with(&shop, options.clone());
        buy(&app, "/report", "one").await;
        shop.clock.0.store(last, Ordering::SeqCst);
        assert_eq!(visit(&app, "/report").await.status, StatusCode::OK, "{options:?}");
        if first_too_late < u64::MAX {
            shop.clock.0.store(first_too_late, Ordering::SeqCst);
            assert_eq!(visit(&app, "/report").await.status, StatusCode::PAYMENT_REQUIRED, "{options:?}");
        }
    }
}

#[tokio::test]
async fn a_smart_wallet_comes_back_on_the_network_on_which_it_paid_and_a_key_on_any() {
    let shop = shop().await;
    let (here, elsewhere) = (NETWORK.parse().unwrap(), "eip155:1".parse().unwrap());
    let options = SignInOptions::new().network(here).network(elsewhere);
    let app = with(&shop, options);
    buy(&app, "/report", "one").await;
    for (kind, network, expected) in [
        ("contract", "eip155:1", StatusCode::PAYMENT_REQUIRED),
        ("contract", NETWORK, StatusCode::OK),
        ("key", "eip155:1", StatusCode::OK),
    ] {
        let terms = fetch(&app, "/report").await.terms();
        let wallet = FakeWallet { kind, ..WALLET };
        let sign_in = signed_by(&terms, &wallet, &[network.parse().unwrap()]).await;
        assert_eq!(sign_in.chain_id, network);
        assert_eq!(send(&app, with_sign_in("/report", &sign_in)).await.status, expected, "{kind} on {network}");
    }
}

#[tokio::test]
async fn nobody_is_let_in_whose_signature_cannot_be_checked_and_who_pays_besides_is_served() {
    let shop = shop().await;
    let app = app(&shop);
    buy(&app, "/report", "one").await;
    let terms = fetch(&app, "/report").await.terms();
    let sign_in = signed_by(&terms, &FakeWallet { kind: "away", ..WALLET }, &[]).await;
    let answer = send(&app, with_sign_in("/report", &sign_in)).await;
    let expected = (StatusCode::PAYMENT_REQUIRED, &json!("invalid_siwx_verifier_error"));
    assert_eq!((answer.status, &answer.terms()["error"]), expected);
    assert!(!answer.text().contains("node is away"), "causes are for the log");

    let mut both = with_payment("/report", &payment(&terms, "two"));
    both.headers_mut().extend(with_sign_in("/report", &sign_in).headers().clone());
    assert_eq!(send(&app, both).await.text(), format!("payer {PAYER}"));
}

#[tokio::test]
async fn who_need_not_pay_does_not() {
    let shop = shop().await;
    let app = app(&shop);
    buy(&app, "/report", "one").await;
    let terms = fetch(&app, "/report").await.terms();
    let mut both = with_payment("/report", &payment(&terms, "two"));
    both.headers_mut().extend(with_sign_in("/report", &signed(&terms).await).headers().clone());
    assert_eq!(send(&app, both).await.text(), format!("visitor {PAYER} on {NETWORK}"));
    assert_eq!(shop.facilitator.calls(), (1, 1));
}

#[tokio::test]
async fn a_book_that_is_away_costs_nobody_a_second_payment_and_withholds_no_paid_answer() {
    let book = Arc::new(FlakyBook::default());
    let shared: Arc<dyn SignIns> = Arc::clone(&book) as Arc<dyn SignIns>;
    let shop = Shop::with(|builder| welcoming(builder).sign_ins(shared)).await;
    let app = app(&shop);
    book.is_away.store(true, Ordering::SeqCst);
    let paid = buy(&app, "/report", "one").await;
    assert_eq!((paid.status, paid.settlement().success), (StatusCode::OK, true));
    let answer = visit(&app, "/report").await;
    assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("book_unavailable")));
    assert!(answer.headers.contains_key("retry-after"));

    let terms = fetch(&app, "/report").await.terms();
    let mut both = with_payment("/report", &payment(&terms, "two"));
    both.headers_mut().extend(with_sign_in("/report", &signed(&terms).await).headers().clone());
    assert_eq!(send(&app, both).await.status, StatusCode::OK);
    book.is_away.store(false, Ordering::SeqCst);
    assert_eq!(visit(&app, "/report").await.status, StatusCode::PAYMENT_REQUIRED, "neither payment was written down");
}

#[tokio::test(start_paused = true)]
async fn a_book_that_never_answers_withholds_no_paid_answer() {
    let book = Arc::new(FlakyBook::default());
    let shared: Arc<dyn SignIns> = Arc::clone(&book) as Arc<dyn SignIns>;
    let shop = Shop::with(|builder| welcoming(builder).sign_ins(shared)).await;
    book.is_silent.store(true, Ordering::SeqCst);
    assert_eq!(buy(&app(&shop), "/report", "one").await.status, StatusCode::OK);
}

#[tokio::test]
async fn payments_that_settle_before_the_work_open_it_too() {
    let shop = shop().await;
    let layer = shop.server.price("$0.01").unwrap().upfront().unwrap().sign_in(SignInOptions::new()).unwrap();
    let app = Router::new().route("/{page}", any(whom).layer(layer));
    assert_eq!(buy(&app, "/report", "one").await.status, StatusCode::OK);
    assert_eq!(visit(&app, "/report").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_failed_request_opens_nothing() {
    let shop = shop().await;
    let layer = shop.server.price("$0.01").unwrap().sign_in(SignInOptions::new()).unwrap();
    let app = Router::new().route("/report", get(|| async { StatusCode::NOT_FOUND }).layer(layer));
    assert_eq!(buy(&app, "/report", "one").await.status, StatusCode::NOT_FOUND);
    assert_eq!(visit(&app, "/report").await.status, StatusCode::PAYMENT_REQUIRED);
}

#[tokio::test]
async fn a_route_without_a_price_is_opened_by_signing_in_alone() {
    let shop = shop().await;
    let layer = shop.server.sign_in_only(SignInOptions::new().statement("Members only")).unwrap();
    let app = Router::new().route("/members", get(whom).layer(layer.description("For members")));
    let answer = fetch(&app, "/members").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::PAYMENT_REQUIRED, "{}"));
    let terms = answer.terms();
    assert_eq!((&terms["accepts"], &terms["resource"]["description"]), (&json!([]), &json!("For members")));

    let anybody = signed_by(&terms, &FakeWallet { account: SECOND, kind: "contract" }, &[]).await;
    let answer = send(&app, with_sign_in("/members", &anybody)).await;
    assert_eq!(answer.text(), format!("visitor {SECOND} on {NETWORK}"));
    let again = send(&app, with_sign_in("/members", &anybody)).await;
    assert_eq!((again.status, &again.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("invalid_siwx_nonce")));

    let priced = self::app(&shop);
    let payment = payment(&fetch(&priced, "/report").await.terms(), "one");
    let refused = send(&app, with_payment("/members", &payment)).await;
    assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(shop.facilitator.calls(), (0, 0));
}

#[tokio::test]
async fn a_payment_may_echo_the_challenge_of_its_own_resource_and_no_other() {
    let shop = shop().await;
    let app = app(&shop);
    let echoing = |terms: &Value, extensions: Value, nonce: &str| {
        let mut payment = payment(terms, nonce);
        payment["extensions"] = extensions;
        with_payment("/report", &payment)
    };
    let terms = fetch(&app, "/report").await.terms();
    let other = fetch(&app, "/other").await.terms();
    let refused = send(&app, echoing(&terms, other["extensions"].clone(), "one")).await;
    assert_eq!(refused.terms()["error"], "extension_echo_mismatch");
    assert_eq!(send(&app, echoing(&terms, terms["extensions"].clone(), "one")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn where_nobody_signs_in_the_header_opens_nothing() {
    let shop = shop().await;
    let signing = app(&shop);
    let sign_in = signed(&fetch(&signing, "/report").await.terms()).await;
    let plain = shop.app();
    buy(&plain, "/report", "one").await;
    assert_eq!(send(&plain, with_sign_in("/report", &sign_in)).await.status, StatusCode::PAYMENT_REQUIRED);
}

//! The buyer's side of the extensions with a real wallet, against sellers that answer as they are told, and against our own.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing there has failed")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use farthing::client::SignInPolicy;
use farthing::core::extension::offer_receipt::Issuer;
use farthing::core::extension::sign_in_with_x::{
    self as siwx, Expected, MessageFormat, MessageVerifier, Origin, SignInTerms, check,
};
use farthing::core::header;
use farthing::core::network::Network;
use farthing::core::time::Clock;
use farthing::core::wire::{PaymentRequirements, SettleResponse};
use farthing::evm::U256;
use farthing::evm::message::MessageChecker;
use farthing::evm::offer_receipt::{StatementChecker, StatementSigner};
use farthing::evm::signer::LocalSigner;
use farthing::server::SignInOptions;
use farthing::system::{SystemClock, SystemEntropy};
use farthing_testkit::{Stack, golden};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Serves on this machine, and says where.
async fn serve(make: impl FnOnce(String) -> Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = make(base.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    base
}

fn buyer(change: impl FnOnce(farthing::client::Builder) -> farthing::client::Builder) -> farthing::client::Client {
    let signer = LocalSigner::from_hex(Zeroizing::new(golden::PAYER_KEY.to_owned())).unwrap();
    change(farthing::Client::builder().signer(Arc::new(signer))).build().unwrap()
}

fn offer() -> Value {
    json!({
        "scheme": "exact", "network": golden::NETWORK, "amount": "10000", "asset": golden::ASSET, "payTo": golden::PAY_TO,
        "maxTimeoutSeconds": 60, "extra": {"name": "USDC", "version": "2"},
    })
}

fn asking(terms: &Value) -> axum::response::Response {
    (StatusCode::PAYMENT_REQUIRED, [(header::PAYMENT_REQUIRED, header::encode(terms).unwrap())]).into_response()
}

#[tokio::test]
async fn a_wallet_signs_in_with_a_signature_that_the_servers_own_check_takes() {
    let accounts: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&accounts);
    let base = serve(move |base| {
        let network: Network = golden::NETWORK.parse().unwrap();
        let origin: Origin = base.parse().unwrap();
        let handler = async move |headers: HeaderMap| {
            let now = SystemClock.now();
            if let Some(value) = headers.get(header::SIGN_IN_WITH_X) {
                let sign_in = header::decode_sign_in(value.as_bytes()).unwrap();
                let verifiers: [Arc<dyn MessageVerifier>; 1] = [Arc::new(MessageChecker::new())];
                let networks = std::slice::from_ref(&network);
                let signed_in =
                    check(&sign_in, &Expected { origin: &origin, networks, verifiers: &verifiers, now }).await.unwrap();
                seen.lock().unwrap().push(signed_in.account().to_string());
                return "welcome back".into_response();
            }
            let terms = SignInTerms::new(origin.clone(), Some("Sign in to read what you paid for")).unwrap();
            let info = terms.challenge("/report", &SystemEntropy, now).unwrap();
            let declaration = siwx::declaration(&info, &[(network.clone(), MessageFormat::Siwe)]);
            asking(&json!({
                "x402Version": 2, "accepts": [offer()], "resource": {"url": format!("{origin}/report")},
                "extensions": {siwx::KEY: declaration},
            }))
        };
        Router::new().route("/report", get(handler))
    })
    .await;
    let client = buyer(|builder| builder.sign_in(SignInPolicy::Always));
    let answer = client.get(format!("{base}/report")).send().await.unwrap();
    assert!(answer.paid().is_none());
    assert_eq!(answer.text().await.unwrap(), "welcome back");
    assert_eq!(*accounts.lock().unwrap(), [golden::PAYER]);
}

#[tokio::test]
async fn a_buyer_comes_back_to_a_real_seller_without_paying_and_pays_for_what_is_new() {
    let stack = Stack::start().await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let toll = farthing::Server::builder().facilitator(stack.facilitator_url()).unwrap();
    let toll = toll.pay_to(golden::NETWORK, golden::PAY_TO).unwrap().public_url(&url).unwrap().build().await.unwrap();
    let layer = || toll.price("$0.25").unwrap().sign_in(SignInOptions::new()).unwrap();
    let app = Router::new()
        .route("/report", get(|| async { "14 ships in" }).layer(layer()))
        .route("/forecast", get(|| async { "fog" }).layer(layer()));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let client = farthing::Client::builder().wallet(&stack.funded_wallet().unwrap()).unwrap().build().unwrap();

    let payee = golden::PAY_TO.parse().unwrap();
    let before = stack.devnet().usdc_balance(payee);
    for (path, cost, charged) in [("report", true, 250_000_u64), ("report", false, 250_000), ("forecast", true, 500_000)] {
        let answer = client.get(format!("{url}/{path}")).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.paid().is_some()), (200, cost), "{path}");
        assert_eq!(stack.devnet().usdc_balance(payee) - before, U256::from(charged), "{path}");
    }
}

#[tokio::test]
async fn a_receipt_and_an_offer_signed_as_typed_data_prove_a_purchase() {
    let presented = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&presented);
    let base = serve(move |base| {
        let signer = LocalSigner::from_hex(Zeroizing::new(golden::PAYER_KEY.to_owned())).unwrap();
        let issuer = Issuer::new(Arc::new(StatementSigner::new(Arc::new(signer))));
        let url = format!("{base}/report");
        let handler = async move |headers: HeaderMap| {
            let now = SystemClock.now();
            if headers.contains_key(header::PAYMENT_SIGNATURE) {
                count.fetch_add(1, Ordering::SeqCst);
                let mut settled = json!({
                    "success": true, "transaction": "0xfeed", "network": golden::NETWORK, "payer": golden::PAYER,
                });
                let read: SettleResponse = serde_json::from_value(settled.clone()).unwrap();
                let receipt = issuer.receipt(&url, &read, now).await.unwrap().unwrap();
                settled["extensions"] = json!({"offer-receipt": receipt});
                return ([(header::PAYMENT_RESPONSE, header::encode(&settled).unwrap())], "the report").into_response();
            }
            let accepts: [PaymentRequirements; 1] = [serde_json::from_value(offer()).unwrap()];
            let declaration = issuer.declaration(&url, &accepts, now).await.unwrap();
            asking(&json!({
                "x402Version": 2, "accepts": [offer()], "resource": {"url": url}, "extensions": {"offer-receipt": declaration},
            }))
        };
        Router::new().route("/report", get(handler))
    })
    .await;
    // The seller signs with a key that is not the account that is paid: the buyer has to know whose it is.
    let notary = [farthing::core::extension::offer_receipt::SignedBy::Account(golden::PAYER.parse().unwrap())];
    let answer = buyer(|builder| builder).get(format!("{base}/report?day=1")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), presented.load(Ordering::SeqCst)), (200, 1));
    assert_eq!(answer.verify_receipt(&StatementChecker, &notary).await.unwrap().payer.as_str(), golden::PAYER);
    assert_eq!(answer.verify_offer(&StatementChecker, &notary).await.unwrap().amount.to_string(), "10000");
    assert!(answer.verify_receipt(&StatementChecker, &[]).await.unwrap_err().to_string().contains("signed by 0x"));
}

#[tokio::test]
async fn real_wallets_pass_over_unknown_schemes_flows_and_methods_and_say_why() {
    let base = serve(|base| {
        let handler = async move || {
            let with = |change: fn(&mut Value)| {
                let mut offer = offer();
                change(&mut offer);
                offer
            };
            let accepts = [
                with(|offer| offer["scheme"] = json!("subscription")),
                with(|offer| offer["extra"]["paymentFlow"] = json!("someday")),
                with(|offer| offer["extra"]["paymentFlow"] = json!("escrow")),
                with(|offer| offer["extra"]["assetTransferMethod"] = json!("pigeon")),
                with(|offer| offer["extra"]["assetTransferMethod"] = json!(7)),
                offer(),
            ];
            asking(&json!({"x402Version": 2, "accepts": accepts, "resource": {"url": format!("{base}/report")}}))
        };
        Router::new().route("/report", get(handler))
    })
    .await;
    let terms = buyer(|builder| builder).inspect(format!("{base}/report")).await.unwrap();
    assert_eq!(terms.would_pay, Some(6));
    let whys: Vec<_> = terms.offers.iter().map(|offer| offer.why.clone().unwrap_or_default()).collect();
    for (why, says) in whys.iter().zip([
        "no scheme \"subscription\"",
        "paymentFlow",
        "before the work",
        "ssetTransferMethod",
        "ssetTransferMethod",
        "",
    ]) {
        assert!(why.contains(says), "{says} is not in {why:?}");
    }
}

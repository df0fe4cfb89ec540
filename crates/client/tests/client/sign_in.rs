//! `sign-in-with-x`: a wallet says who it is before it pays, and only to whom it should.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::response::Response;
use farthing_client::hooks::{Hooks, PaymentDemand};
use farthing_client::{ClientBuilder, Error, SignInPolicy};
use farthing_core::asset::AccountId;
use farthing_core::books::{MemorySignIns, Reach};
use farthing_core::extension::sign_in_with_x::{
    self as siwx, Claimed, Entry, Expected, KEY, Message, MessageError, MessageFormat, MessageSigner, MessageVerifier, Origin,
    SignInTerms, check, enter,
};
use farthing_core::header;
use farthing_core::network::Network;
use farthing_core::time::{Clock, Entropy};
use farthing_core::{BoxFuture, Source};
use http::HeaderMap;
use serde_json::{Value, json};

use crate::extensions::Counting;
use crate::support::base64_of::encoded;
use crate::support::*;

/// Signs by writing `signed:` before the text, and checks the same. Counts what it signs.
#[derive(Clone, Default)]
pub struct Pen {
    signed: Arc<Mutex<Vec<String>>>,
    is_broken: bool,
}

impl Pen {
    fn signed(&self) -> usize {
        self.signed.lock().unwrap().len()
    }
}

impl MessageSigner for Pen {
    fn namespace(&self) -> &'static str {
        "eip155"
    }

    fn format(&self) -> MessageFormat {
        MessageFormat::Siwe
    }

    fn account(&self, _: &Network) -> Option<AccountId> {
        PAYER.parse().ok()
    }

    fn sign<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<String, Source>> {
        self.signed.lock().unwrap().push(message.as_str().to_owned());
        let signature = if self.is_broken { Err("the pen is dry".into()) } else { Ok(format!("signed:{}", message.as_str())) };
        Box::pin(std::future::ready(signature))
    }
}

impl MessageVerifier for Pen {
    fn namespace(&self) -> &'static str {
        "eip155"
    }

    fn format(&self) -> MessageFormat {
        MessageFormat::Siwe
    }

    fn account(&self, address: &str) -> Option<AccountId> {
        address.parse().ok()
    }

    fn verify<'a>(&'a self, claimed: Claimed<'a>) -> BoxFuture<'a, Result<Reach, MessageError>> {
        let is_signed = claimed.signature == format!("signed:{}", claimed.message.as_str());
        let verdict = if is_signed { Ok(Reach::Family) } else { Err(MessageError::NotTheirs("it is not".to_owned())) };
        Box::pin(std::future::ready(verdict))
    }
}

/// A cent, with a challenge for that path.
pub fn cent_or_sign_in(base: &str, path: &str, change: impl Fn(&mut Value)) -> Value {
    let origin: Origin = base.parse().unwrap();
    let terms = SignInTerms::new(origin, Some("Sign in to read what you paid for")).unwrap();
    let info = terms.challenge(path, &Counting::default() as &dyn Entropy, Noon.now()).unwrap();
    let mut declaration = siwx::declaration(&info, &[(BASE.parse().unwrap(), MessageFormat::Siwe)]);
    change(&mut declaration);
    let mut terms = cent(base);
    terms["extensions"] = json!({KEY: declaration});
    terms
}

/// Whether the sign-in of a request, if there is one, is good at that seller.
fn lets_in(seen: &Seen, base: &str) -> bool {
    let Some(value) = seen.headers.get(header::SIGN_IN_WITH_X) else { return false };
    let sign_in = header::decode_sign_in(value.as_bytes()).unwrap();
    let (origin, networks): (Origin, [Network; 1]) = (base.parse().unwrap(), [BASE.parse().unwrap()]);
    let verifiers: [Arc<dyn MessageVerifier>; 1] = [Arc::new(Pen::default())];
    let expected = Expected { origin: &origin, networks: &networks, verifiers: &verifiers, now: Noon.now() };
    futures_util::FutureExt::now_or_never(async {
        let signed_in = check(&sign_in, &expected).await.unwrap();
        assert_eq!(signed_in.account().as_str(), PAYER);
        enter(&MemorySignIns::default(), &signed_in, None, Noon.now()).await.unwrap() == Entry::Granted
    })
    .unwrap()
}

/// Sells for a cent, and lets whoever paid and signs in have it again.
async fn subscription() -> Seller {
    let has_sold = Mutex::new(false);
    Seller::start(move |seen, base| {
        let mut has_sold = has_sold.lock().unwrap();
        Some(if seen.payment().is_some() {
            *has_sold = true;
            paid(&settled())
        } else if *has_sold && lets_in(seen, base) {
            response(200).body(Body::from("welcome back")).unwrap()
        } else {
            asks(&cent_or_sign_in(base, &seen.path, |_| {}))
        })
    })
    .await
}

fn signing(pen: &Pen, policy: SignInPolicy) -> Buyer {
    signing_with(pen, |builder| builder.sign_in(policy))
}

fn signing_with(pen: &Pen, change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Buyer {
    let pen = Arc::new(pen.clone());
    Buyer::with(Wallet::default(), |builder| change(builder.message_signer(pen)))
}

/// Which requests brought a sign-in, and which a payment.
fn brought(seller: &Seller) -> Vec<(bool, bool)> {
    let seen = seller.seen();
    seen.iter().map(|seen| (seen.headers.contains_key(header::SIGN_IN_WITH_X), seen.payment().is_some())).collect()
}

#[tokio::test]
async fn what_was_paid_for_once_opens_again_for_a_signature_and_no_money() {
    let seller = subscription().await;
    let pen = Pen::default();
    let buyer = signing(&pen, SignInPolicy::default());
    assert!(buyer.client.get(seller.url("/report?day=1")).send().await.unwrap().paid().is_some());
    assert_eq!((pen.signed(), brought(&seller)), (0, vec![(false, false), (false, true)]), "a stranger does not say who it is");
    seller.forget();
    let answer = buyer.client.get(seller.url("/report?day=2")).send().await.unwrap();
    assert!(answer.paid().is_none());
    assert_eq!(answer.text().await.unwrap(), "welcome back");
    assert_eq!((pen.signed(), brought(&seller)), (1, vec![(false, false), (true, false)]));
    assert_eq!((buyer.wallet.signed(), buyer.reservation(1)), (1, None));
    let host = seller.base.trim_start_matches("http://");
    assert!(pen.signed.lock().unwrap()[0].starts_with(&format!("{host} wants you to sign in with your Ethereum account:")));
}

#[tokio::test]
async fn what_was_not_paid_for_is_paid_for_without_a_word_of_who_pays() {
    let seller = subscription().await;
    let pen = Pen::default();
    let buyer = signing(&pen, SignInPolicy::WhenPaidBefore);
    buyer.client.get(seller.url("/report")).send().await.unwrap();
    buyer.client.get(seller.url("/reports")).send().await.unwrap();
    assert_eq!((pen.signed(), buyer.wallet.signed()), (0, 2));
}

#[tokio::test]
async fn a_payment_that_may_have_settled_is_reason_enough_to_sign_in() {
    let answers = Mutex::new(false);
    let seller = Seller::start(move |seen, base| {
        let mut was_lost = answers.lock().unwrap();
        Some(if seen.payment().is_some() {
            *was_lost = true;
            response(500).body(Body::empty()).unwrap()
        } else if *was_lost && lets_in(seen, base) {
            response(200).body(Body::from("you paid")).unwrap()
        } else {
            asks(&cent_or_sign_in(base, &seen.path, |_| {}))
        })
    })
    .await;
    let buyer = signing(&Pen::default(), SignInPolicy::default());
    let lost = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(lost, Error::Unknown(_)), "{lost}");
    assert_eq!(buyer.client.get(seller.url("/report")).send().await.unwrap().text().await.unwrap(), "you paid");
    assert_eq!(buyer.wallet.signed(), 1, "not paid twice");
}

#[tokio::test]
async fn never_is_never_and_always_is_wherever_a_server_lets_it() {
    let seller = subscription().await;
    let pen = Pen::default();
    let buyer = signing(&pen, SignInPolicy::Never);
    for _ in 0..2 {
        assert!(buyer.client.get(seller.url("/report")).send().await.unwrap().paid().is_some());
    }
    assert_eq!(pen.signed(), 0);
    seller.forget();
    let seller = subscription().await;
    let buyer = signing(&pen, SignInPolicy::Always);
    assert!(buyer.client.get(seller.url("/report")).send().await.unwrap().paid().is_some());
    assert_eq!(brought(&seller), [(false, false), (true, false), (false, true)], "no other request brings the sign-in");
    assert!(buyer.client.get(seller.url("/report")).send().await.unwrap().paid().is_none());
}

#[tokio::test]
async fn what_only_opens_to_a_sign_in_opens_without_an_offer() {
    let seller = Seller::start(|seen, base| {
        let mut terms = cent_or_sign_in(base, &seen.path, |_| {});
        terms["accepts"] = json!([]);
        Some(if lets_in(seen, base) { response(200).body(Body::from("hello")).unwrap() } else { asks(&terms) })
    })
    .await;
    let buyer = signing(&Pen::default(), SignInPolicy::Always);
    assert_eq!(buyer.client.get(seller.url("/me")).send().await.unwrap().text().await.unwrap(), "hello");
    let stranger = signing(&Pen::default(), SignInPolicy::default());
    let error = stranger.client.get(seller.url("/me")).send().await.unwrap_err();
    assert!(matches!(error, Error::NotPayable(_)), "{error}");
}

#[tokio::test]
async fn a_sign_in_that_opens_nothing_is_followed_by_a_payment_within_the_limits() {
    let seller = Seller::start(|seen, base| {
        let terms = cent_or_sign_in(base, &seen.path, |_| {});
        Some(if seen.payment().is_some() { paid(&settled()) } else { asks(&terms) })
    })
    .await;
    let pen = Pen::default();
    let buyer = signing_with(&pen, |builder| builder.sign_in(SignInPolicy::Always).limit("$0.01 per day").unwrap());
    assert!(buyer.client.get(seller.url("/report")).send().await.unwrap().paid().is_some());
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(error, Error::RefusedByPolicy(_)), "{error}");
    assert_eq!((pen.signed(), buyer.wallet.signed()), (2, 1));
}

type Tamper = fn(&mut Value);

#[tokio::test]
async fn a_challenge_that_is_not_this_servers_or_not_from_now_is_not_signed() {
    let tampers: &[(&str, Tamper)] = &[
        ("another host", |challenge| challenge["info"]["domain"] = json!("bank.example")),
        ("another address", |challenge| challenge["info"]["uri"] = json!("https://bank.example/report")),
        ("another port", |challenge| challenge["info"]["domain"] = json!("127.0.0.1:1")),
        ("a name like ours", |challenge| {
            let host = challenge["info"]["domain"].as_str().unwrap();
            challenge["info"]["domain"] = json!(format!("{host}.bank.example"));
        }),
        ("long expired", |challenge| {
            challenge["info"]["issuedAt"] = json!("2020-01-01T00:00:00.000Z");
            challenge["info"]["expirationTime"] = json!("2020-01-01T00:05:00.000Z");
        }),
        ("for a far day", |challenge| challenge["info"]["issuedAt"] = json!("2099-01-01T00:00:00.000Z")),
        ("not good yet", |challenge| challenge["info"]["notBefore"] = json!("2099-01-01T00:00:00.000Z")),
        ("at no time", |challenge| challenge["info"]["issuedAt"] = json!("yesterday")),
        ("another chain", |challenge| challenge["supportedChains"] = json!([{"chainId": "solana:1", "type": "ed25519"}])),
        ("another kind", |challenge| challenge["supportedChains"] = json!([{"chainId": BASE, "type": "ed25519"}])),
        ("no chain", |challenge| challenge["supportedChains"] = json!([])),
        ("no chain's name", |challenge| challenge["supportedChains"] = json!([{"chainId": "base", "type": "eip191"}])),
        ("a line break", |challenge| challenge["info"]["statement"] = json!("Hello\nURI: https://bank.example")),
        ("a giant line", |challenge| challenge["info"]["statement"] = json!("a".repeat(5_000))),
        ("a giant list", |challenge| challenge["info"]["resources"] = json!(vec!["https://a.example/"; 1_000])),
        ("a giant nonce", |challenge| challenge["info"]["nonce"] = json!("7".repeat(10_000))),
        ("giant addresses", |challenge| {
            let long = format!("https://a.example/{}", "a".repeat(2_500));
            challenge["info"]["resources"] = json!(vec![long; 14]);
        }),
        ("a nonce of nobody's", |challenge| challenge["info"]["nonce"] = json!("../../etc")),
        ("another version", |challenge| challenge["info"]["version"] = json!("2")),
        ("no info", |challenge| challenge["info"] = json!(null)),
        ("nothing", |challenge| *challenge = json!([])),
    ];
    let pen = Pen::default();
    for (name, tamper) in tampers {
        let tamper = *tamper;
        let seller = Seller::start(move |seen, base| {
            assert!(!seen.headers.contains_key(header::SIGN_IN_WITH_X));
            // The payment would have to echo a giant; what is asked for here is the sign-in.
            let mut terms = cent_or_sign_in(base, &seen.path, tamper);
            terms["accepts"] = json!([]);
            Some(asks(&terms))
        })
        .await;
        let buyer = signing(&pen, SignInPolicy::Always);
        let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
        assert!(matches!(error, Error::NotPayable(_)), "{name}: {error}");
        assert_eq!(seller.seen().len(), 1, "{name}");
    }
    // Only the one whose header comes out too long is known to be so after it is signed.
    assert_eq!(pen.signed(), 1);
}

#[tokio::test]
async fn a_clock_that_is_a_few_minutes_off_makes_nobody_pay_again() {
    for (issued_at, expires_at) in [
        ("2026-11-18T11:10:40.000Z", "2026-11-18T11:15:40.000Z"),
        ("2026-11-18T11:01:50.000Z", "2026-11-18T11:02:50.000Z"),
        ("2026-11-18T11:02:40.000Z", "2026-11-18T11:05:40.000Z"),
    ] {
        let seller = Seller::start(move |seen, base| {
            let terms = cent_or_sign_in(base, &seen.path, |challenge| {
                challenge["info"]["issuedAt"] = json!(issued_at);
                challenge["info"]["expirationTime"] = json!(expires_at);
            });
            let is_signed = seen.headers.contains_key(header::SIGN_IN_WITH_X);
            Some(if is_signed { response(200).body(Body::empty()).unwrap() } else { asks(&terms) })
        })
        .await;
        let buyer = signing(&Pen::default(), SignInPolicy::Always);
        assert!(buyer.client.get(seller.url("/report")).send().await.unwrap().paid().is_none(), "{issued_at}");
    }
}

#[tokio::test]
async fn a_wallet_that_cannot_sign_in_pays() {
    let seller = subscription().await;
    let buyer = signing(&Pen { is_broken: true, ..Pen::default() }, SignInPolicy::Always);
    assert!(buyer.client.get(seller.url("/report")).send().await.unwrap().paid().is_some());
    assert_eq!(brought(&seller), [(false, false), (false, true)]);
}

#[tokio::test]
async fn a_hook_of_the_callers_own_has_the_first_word() {
    struct Pass;
    impl Hooks for Pass {
        fn on_payment_required<'a>(&'a self, _: &'a PaymentDemand<'a>) -> BoxFuture<'a, Result<Option<HeaderMap>, Source>> {
            let headers = HeaderMap::from_iter([("x-pass".parse().unwrap(), "mine".parse().unwrap())]);
            Box::pin(std::future::ready(Ok(Some(headers))))
        }
    }
    let seller = Seller::start(|seen, base| {
        let has_pass = seen.headers.contains_key("x-pass");
        let terms = cent_or_sign_in(base, &seen.path, |_| {});
        Some(if has_pass { response(200).body(Body::from("pass")).unwrap() } else { asks(&terms) })
    })
    .await;
    let pen = Pen::default();
    let buyer = signing_with(&pen, |builder| builder.sign_in(SignInPolicy::Always).hooks(Arc::new(Pass)));
    assert_eq!(buyer.client.get(seller.url("/report")).send().await.unwrap().text().await.unwrap(), "pass");
    assert_eq!((pen.signed(), buyer.wallet.signed()), (0, 0));
}

fn redirect(to: &str) -> Response {
    response(307).header("location", to).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_sign_in_goes_to_nobody_but_who_asked() {
    // Asked by another origin, reached by a redirect: nothing is signed.
    let other = subscription().await;
    let target = other.url("/report");
    let seller = Seller::start(move |_, _| Some(redirect(&target))).await;
    let pen = Pen::default();
    let buyer = signing(&pen, SignInPolicy::Always);
    assert!(matches!(buyer.client.get(seller.url("/report")).send().await, Err(Error::RefusedByPolicy(_))));
    assert_eq!((pen.signed(), brought(&other)), (0, vec![(false, false)]));

    // Signed, and then sent on: the redirect is the answer.
    let target = other.url("/report");
    other.forget();
    let seller = Seller::start(move |seen, base| {
        let is_signed = seen.headers.contains_key(header::SIGN_IN_WITH_X);
        Some(if is_signed { redirect(&target) } else { asks(&cent_or_sign_in(base, &seen.path, |_| {})) })
    })
    .await;
    let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), other.seen().len(), buyer.wallet.signed()), (307, 0, 0));
}

#[tokio::test]
async fn a_sign_in_of_the_callers_own_stays_with_its_origin() {
    let other = Seller::start(|_, _| Some(response(200).body(Body::empty()).unwrap())).await;
    let target = other.url("/free");
    let seller = Seller::start(move |_, _| Some(redirect(&target))).await;
    let request = Buyer::new().client.get(seller.url("/")).header(header::SIGN_IN_WITH_X, encoded(&json!({"mine": true})));
    request.send().await.unwrap();
    assert_eq!((brought(&seller), brought(&other)), (vec![(true, false)], vec![(false, false)]));
}

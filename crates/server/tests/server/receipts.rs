//! Offers and receipts that the server signs, by a signer whose signatures are numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use farthing_core::extension::offer_receipt::{self, Issuer, Offer, OfferSigner, Receipt, Signed};
use farthing_core::header;
use farthing_core::wire::PaymentRequired;
use farthing_core::{BoxFuture, Source};
use farthing_server::SignInOptions;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::sign_in_support::{URL, welcoming};
use crate::support::{Answer, NETWORK, PAY_TO, PAYER, Shop, TRANSACTION, UNNAMED_NETWORK, buy, fetch, send, success};

const WELL: u8 = 0;
const FAILING: u8 = 1;
const SILENT: u8 = 2;

/// A signer that counts, and that fails or never answers if told to.
#[derive(Default)]
struct Notary {
    offers: AtomicUsize,
    receipts: AtomicUsize,
    mood: AtomicU8,
}

impl Notary {
    fn sign<T: Send + 'static>(&self, payload: T, count: &AtomicUsize) -> BoxFuture<'_, Result<Signed<T>, Source>> {
        let signature = format!("signature {}", count.fetch_add(1, Ordering::SeqCst));
        let mood = self.mood.load(Ordering::SeqCst);
        Box::pin(async move {
            match mood {
                WELL => Ok(Signed::Eip712 { payload, signature }),
                FAILING => Err("the key is away".into()),
                _ => std::future::pending().await,
            }
        })
    }

    fn offers(&self) -> usize {
        self.offers.load(Ordering::SeqCst)
    }

    fn becomes(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }
}

impl OfferSigner for Notary {
    fn sign_offer(&self, offer: Offer) -> BoxFuture<'_, Result<Signed<Offer>, Source>> {
        self.sign(offer, &self.offers)
    }

    fn sign_receipt(&self, receipt: Receipt) -> BoxFuture<'_, Result<Signed<Receipt>, Source>> {
        self.sign(receipt, &self.receipts)
    }
}

struct Office {
    shop: Shop,
    notary: Arc<Notary>,
    app: Router,
}

impl Office {
    async fn open() -> Self {
        Self::with(|issuer| issuer).await
    }

    async fn with(change: impl FnOnce(Issuer) -> Issuer) -> Self {
        let notary = Arc::new(Notary::default());
        let issuer = change(Issuer::new(Arc::clone(&notary) as Arc<dyn OfferSigner>));
        let open = |builder: farthing_server::ServerBuilder| {
            let builder = builder.public_url(URL).unwrap().offer_receipts(issuer);
            builder.pay_to(UNNAMED_NETWORK, PAY_TO).unwrap()
        };
        let shop = Shop::with(open).await;
        let layer = shop.server.price("$0.01").unwrap();
        let app = Router::new().route("/{page}", get(|| async { "the report" }).layer(layer));
        Self { shop, notary, app }
    }

    fn at(&self, seconds: u64) {
        self.shop.clock.0.store(seconds, Ordering::SeqCst);
    }

    async fn signatures(&self, uri: &str) -> Vec<String> {
        let offers = fetch(&self.app, uri).await.terms()["extensions"]["offer-receipt"]["info"]["offers"].clone();
        let signature = |offer: &Value| offer["signature"].as_str().unwrap().to_owned();
        offers.as_array().unwrap().iter().map(signature).collect()
    }
}

fn required(answer: &Answer) -> PaymentRequired {
    header::decode_required(answer.headers["payment-required"].as_bytes()).unwrap()
}

fn receipt_of(answer: &Answer) -> Option<Receipt> {
    offer_receipt::receipt(&answer.settlement()).map(|receipt| receipt.signed.statement().unwrap())
}

#[tokio::test]
async fn every_offer_is_signed_for_the_url_that_was_asked_for() {
    let office = Office::open().await;
    let answer = fetch(&office.app, "/report?year=2026").await;
    let terms = required(&answer);
    let offers = offer_receipt::offers(&terms.extensions).unwrap();
    let accepts: Vec<_> = terms.accepts.iter().map(|offer| offer.clone().into_value()).collect();
    assert_eq!((offers.len(), accepts.len()), (2, 2));
    for (index, offer) in offers.iter().enumerate() {
        assert_eq!((offer.accept_index, offer.find(&accepts).unwrap()), (Some(index), Some(index)));
        let url = format!("{URL}/report?year=2026");
        let offer = offer.check(&url, farthing_core::time::UnixSeconds(300)).unwrap();
        assert_eq!(offer.valid_until.0, 300, "as long as the payment may take");
    }
    let extension = &answer.terms()["extensions"]["offer-receipt"];
    assert_eq!(extension["info"]["offers"][0]["format"], "eip712");
    assert_eq!(extension["schema"]["required"], json!(["offers"]));
    assert!(!answer.text().contains("offer-receipt"), "version 1 has no extensions");
}

#[tokio::test]
async fn offers_are_signed_anew_for_another_url_and_after_half_of_their_time_and_not_for_each_request() {
    let office = Office::open().await;
    let first = office.signatures("/report").await;
    assert_eq!(first, ["signature 0", "signature 1"]);
    for seconds in [0, 1, 150] {
        office.at(seconds);
        assert_eq!(office.signatures("/report").await, first, "{seconds}");
    }
    office.at(151);
    assert_eq!(office.signatures("/report").await, ["signature 2", "signature 3"]);
    assert_eq!(office.signatures("/other").await, ["signature 4", "signature 5"]);
    assert_eq!(office.signatures("/report").await, ["signature 2", "signature 3"]);
}

#[tokio::test]
async fn answers_that_share_signed_offers_share_no_challenge() {
    let issuer = Issuer::new(Arc::new(Notary::default()));
    let shop = Shop::with(|builder| welcoming(builder).offer_receipts(issuer)).await;
    let layer = shop.server.price("$0.01").unwrap().sign_in(SignInOptions::new()).unwrap();
    let app = Router::new().route("/report", get(|| async {}).layer(layer));
    let (one, other) = (fetch(&app, "/report").await.terms(), fetch(&app, "/report").await.terms());
    assert_eq!(one["extensions"]["offer-receipt"], other["extensions"]["offer-receipt"]);
    let nonce = |terms: &Value| terms["extensions"]["sign-in-with-x"]["info"]["nonce"].clone();
    assert_ne!(nonce(&one), nonce(&other));
}

#[tokio::test]
async fn the_offers_of_countless_urls_are_signed_and_not_all_kept() {
    let office = Office::open().await;
    for number in 0..300 {
        assert_eq!(office.signatures(&format!("/report?number={number}")).await.len(), 2);
    }
    office.signatures("/report?number=299").await;
    assert_eq!(office.notary.offers(), 600);
    office.signatures("/report?number=0").await;
    assert_eq!(office.notary.offers(), 602, "the first of them had to go");
}

#[tokio::test(start_paused = true)]
async fn who_cannot_have_offers_signed_gets_the_terms_without() {
    let office = Office::open().await;
    for mood in [FAILING, SILENT] {
        office.notary.becomes(mood);
        let answer = fetch(&office.app, &format!("/report?mood={mood}")).await;
        assert_eq!((answer.status, answer.terms()["accepts"].as_array().unwrap().len()), (StatusCode::PAYMENT_REQUIRED, 2));
        assert_eq!(office.signatures(&format!("/report?mood={mood}")).await, [""; 0]);
    }
    assert_eq!(office.notary.offers(), 2, "nobody asks for the same again at once");
    office.notary.becomes(WELL);
    office.at(6);
    assert_eq!(office.signatures("/report?mood=1").await.len(), 2);
}

#[tokio::test]
async fn who_has_paid_gets_a_receipt_that_names_no_transaction() {
    let office = Office::open().await;
    office.at(100);
    let answer = buy(&office.app, "/report", "one").await;
    let receipt = receipt_of(&answer).unwrap();
    assert_eq!((receipt.version, receipt.issued_at.0, &*receipt.transaction), (1, 100, ""));
    assert_eq!((receipt.resource_url, receipt.network.as_str()), (format!("{URL}/report"), NETWORK));
    assert_eq!(receipt.payer.as_str(), PAYER);
    let schema = &answer.settlement().extensions.unwrap()["offer-receipt"]["schema"];
    assert_eq!(schema["required"], json!(["receipt"]));
    assert_eq!(answer.settlement().transaction, TRANSACTION);
}

#[tokio::test]
async fn a_receipt_names_the_transaction_and_an_offer_lasts_as_long_as_the_seller_says() {
    let office = Office::with(|issuer| issuer.naming_transactions().valid_for(60)).await;
    assert_eq!(receipt_of(&buy(&office.app, "/report", "one").await).unwrap().transaction, TRANSACTION);
    let terms = required(&fetch(&office.app, "/report").await);
    let offer = offer_receipt::offers(&terms.extensions).unwrap().remove(0);
    assert_eq!(offer.signed.statement().unwrap().valid_until.0, 60);
}

#[tokio::test]
async fn what_the_facilitator_says_of_other_extensions_stays() {
    let office = Office::open().await;
    let mut settled = success(&NETWORK.parse().unwrap());
    settled.extensions = Some(json!({"other": {"status": "success"}}));
    office.shop.facilitator.will_settle(Ok(settled));
    let extensions = buy(&office.app, "/report", "one").await.settlement().extensions.unwrap();
    assert_eq!(extensions["other"]["status"], "success");
    assert!(extensions["offer-receipt"].is_object());
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_cannot_be_signed_withholds_no_paid_answer() {
    for mood in [FAILING, SILENT] {
        let office = Office::open().await;
        let terms = fetch(&office.app, "/report").await.terms();
        office.notary.becomes(mood);
        let payment = crate::support::payment(&terms, "one");
        let answer = send(&office.app, crate::support::with_payment("/report", &payment)).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
        assert_eq!((answer.settlement().success, receipt_of(&answer)), (true, None));
    }
}

#[tokio::test]
async fn who_was_not_charged_gets_no_receipt_and_neither_does_a_buyer_of_version_1() {
    let office = Office::open().await;
    let refused = crate::support::refused(farthing_core::reason::Reason::InsufficientFunds, "");
    office.shop.facilitator.will_settle(Ok(refused));
    let answer = buy(&office.app, "/report", "one").await;
    assert_eq!((answer.status, receipt_of(&answer)), (StatusCode::PAYMENT_REQUIRED, None));
    assert_eq!(office.signatures("/report").await.len(), 2, "its terms are signed as any others");

    let old = json!({"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": {"nonce": "two"}});
    let request = Request::get("/report").header("x-payment", header::encode(&old).unwrap());
    let answer = send(&office.app, request.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let settlement = header::decode_settlement(answer.headers["x-payment-response"].as_bytes()).unwrap();
    assert_eq!(settlement.extensions, None);
    assert_eq!(office.notary.receipts.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_payment_may_echo_offers_that_were_signed_for_somebody_else() {
    let office = Office::open().await;
    let terms = fetch(&office.app, "/report").await.terms();
    office.at(200);
    let mut payment = crate::support::payment(&terms, "one");
    payment["extensions"] = terms["extensions"].clone();
    let answer = send(&office.app, crate::support::with_payment("/report", &payment)).await;
    assert_eq!(answer.status, StatusCode::OK);
}

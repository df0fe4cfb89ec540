//! Prices that are asked for each request (`price_by`): what is quoted is bound to its request, and honoured when it is paid.

use std::str::from_utf8;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use farthing::client::{Client, Purchase};
use farthing::core::header::{self, PAYMENT_REQUIRED, PAYMENT_SIGNATURE};
use farthing::core::{BoxFuture, Source};
use farthing::evm::U256;
use farthing::server::quotes::{NoQuote, PriceRequest, Pricer, Quote};

use crate::market::{Market, dollars};

/// A cent, in atomic units.
const CENT_ATOMIC: u64 = 10_000;

/// So much for each word of the body. Every time that somebody asks, it is a cent more.
struct Rate {
    word_atomic: AtomicU64,
}

impl Pricer for Rate {
    fn max_body_bytes(&self) -> Option<usize> {
        Some(4096)
    }

    fn price(&self, request: PriceRequest) -> BoxFuture<'_, Result<Quote, NoQuote>> {
        let word_atomic = U256::from(self.word_atomic.fetch_add(CENT_ATOMIC, Ordering::SeqCst));
        Box::pin(async move {
            let body = request.body.unwrap_or_default();
            let text = from_utf8(&body).map_err(|_| NoQuote::bad_request("the body must be text"))?;
            let words = U256::from(text.split_whitespace().count());
            if words.is_zero() {
                return Err(NoQuote::bad_request("there is nothing to translate"));
            }
            Ok(Quote::of(&dollars(words.saturating_mul(word_atomic)))?)
        })
    }
}

pub async fn run() -> Result<(), Source> {
    let mut market = Market::open().await?;
    let facilitator = market.facilitator()?.start()?;

    // The seller. Quotes are known again by a key, which this one makes for itself. Replicas must share one, as a rule by
    // `.quote_key(farthing::server::quote_key("env:QUOTE_KEY")?)`.
    let toll = market.seller(facilitator)?.build().await?;
    let layer = toll.price_by(Rate { word_atomic: AtomicU64::new(CENT_ATOMIC) })?;
    market.serve(Router::new().route("/translate", post(|text: String| async move { text.to_uppercase() }).layer(layer)))?;
    let url = format!("{}/translate", market.url);

    // The buyer asks, at a cent a word, and pays that. For whoever asks next a word is two cents.
    let client = market.buyer()?.build()?;
    let answer = client.post(&url).body("the sea is calm").send().await?;
    assert_eq!((answer.text().await?.as_str(), market.earned()?.as_str()), ("THE SEA IS CALM", "$0.04"));
    println!("  four words cost {}, as quoted", market.earned()?);

    // A quote for one word buys no more than that word.
    let payment = sign(&client, &url, "sea").await?;
    let (status, says) = present(&url, "the sea is rough", &payment).await?;
    assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
    assert!(says.contains("quote_mismatch"), "{says}");
    println!("  with another body: quote_mismatch");
    let (status, says) = present(&url, "sea", &payment).await?;
    assert_eq!((status, says.as_str(), market.earned()?.as_str()), (StatusCode::OK, "SEA", "$0.06"));
    println!("  with its own: {says}, at two cents, as quoted, though a word is four by now");

    // What has no price is not sold.
    let answer = client.post(&url).body(" ").send().await?;
    assert_eq!((answer.status(), answer.paid().is_none()), (StatusCode::BAD_REQUEST, true));
    println!("  no words: {}", answer.text().await?);
    Ok(())
}

/// A payment for this body, as the header that carries it.
async fn sign(client: &Client, url: &str, body: &'static str) -> Result<String, Source> {
    let challenge = reqwest::Client::new().post(url).body(body).send().await?;
    let terms = challenge.headers().get(PAYMENT_REQUIRED).ok_or("the answer asks for no payment")?;
    let terms = header::decode_required(terms.as_bytes())?;
    let purchase = Purchase { resource: url.to_owned(), ..Purchase::default() };
    let promised = client.payer().pay(&terms, &purchase).await.map_err(farthing::client::Error::from)?;
    Ok(header::encode(&promised.payment)?)
}

/// The status and the body of what a payment gets with this body.
async fn present(url: &str, body: &'static str, payment: &str) -> Result<(StatusCode, String), Source> {
    let request = reqwest::Client::new().post(url).header(PAYMENT_SIGNATURE, payment).body(body);
    let answer = request.send().await?;
    Ok((answer.status(), answer.text().await?))
}

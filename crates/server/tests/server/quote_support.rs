//! A shop whose prices are asked, and can be moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use bytes::Bytes;
use farthing_core::amount::Amount;
use farthing_core::header;
use farthing_server::http::AskedPrice;
use farthing_server::quotes::{NoQuote, PriceRequest, Quote, QuoteKey, reading_body};
use farthing_server::{PaymentLayer, Pricer, Server, ServerBuilder};
use http::{Method, Request};
use serde_json::{Value, json};

use crate::support::{Answer, MeteredScheme, Shop, payment, send};

pub const CENT: u64 = 10_000;
pub const HOST: &str = "shop.example";
/// The most that the body of a request may have.
pub const MAX_BODY_BYTES: usize = 1_000;

pub fn key(byte: u8) -> QuoteKey {
    QuoteKey::new([byte; 32])
}

/// One price for everything, that can be moved.
#[derive(Clone, Default)]
pub struct Prices {
    cents: Arc<AtomicU64>,
    asked: Arc<AtomicUsize>,
}

impl Prices {
    pub fn of(cents: u64) -> Self {
        let prices = Self::default();
        prices.move_to(cents);
        prices
    }

    pub fn move_to(&self, cents: u64) {
        self.cents.store(cents, Ordering::SeqCst);
    }

    pub fn times_asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn pricer(&self) -> impl Pricer + use<> {
        let this = self.clone();
        move |_: PriceRequest| {
            this.asked.fetch_add(1, Ordering::SeqCst);
            let price = format!("$0.{:02}", this.cents.load(Ordering::SeqCst));
            async move { Ok::<_, NoQuote>(Quote::of(&price)?) }
        }
    }
}

pub async fn shop() -> Shop {
    shop_with(|builder| builder).await
}

pub async fn shop_with(configure: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Shop {
    Shop::with(|builder| configure(builder.schemes(vec![Arc::new(MeteredScheme)]).quote_key(key(1)))).await
}

/// `/report`, and everything below it, for what is asked; the handler gives the body back.
pub fn app(shop: &Shop, prices: &Prices) -> Router {
    over(shop, shop.server.price_by(prices.pricer()).unwrap())
}

/// The same where the price is asked with the body.
pub fn app_reading_bodies(shop: &Shop, server: &Server, prices: &Prices) -> Router {
    over(shop, server.price_by(reading_body(MAX_BODY_BYTES, prices.pricer())).unwrap())
}

pub fn over(shop: &Shop, layer: PaymentLayer<AskedPrice>) -> Router {
    let runs = Arc::clone(&shop.runs);
    let handler = move |body: Bytes| {
        runs.fetch_add(1, Ordering::SeqCst);
        std::future::ready(body)
    };
    Router::new().route("/report", any(handler.clone())).route("/other", any(handler)).route_layer(layer)
}

/// A request as it is asked and as it is paid.
#[derive(Clone)]
pub struct Ask {
    pub method: Method,
    pub host: &'static str,
    pub uri: &'static str,
    pub body: &'static str,
}

pub fn ask() -> Ask {
    Ask { method: Method::POST, host: HOST, uri: "/report?year=2026", body: "the question" }
}

impl Ask {
    pub fn request(&self) -> http::request::Builder {
        Request::builder().method(self.method.clone()).uri(self.uri).header("host", self.host)
    }

    pub async fn unpaid(&self, app: &Router) -> Answer {
        send(app, self.request().body(Body::from(self.body)).unwrap()).await
    }

    pub async fn terms(&self, app: &Router) -> Value {
        self.unpaid(app).await.terms()
    }

    /// The same request with a payment; it is for this resource, whatever its offer was made for.
    pub async fn paid(&self, app: &Router, terms: &Value, nonce: &str) -> Answer {
        let resource = json!({"url": format!("https://{}{}", self.host, self.uri), "description": "", "mimeType": ""});
        let mut payment = payment(terms, nonce);
        payment["resource"] = resource;
        self.with_payment(app, &payment).await
    }

    pub async fn with_payment(&self, app: &Router, payment: &Value) -> Answer {
        let request = self.request().header("payment-signature", header::encode(payment).unwrap());
        send(app, request.body(Body::from(self.body)).unwrap()).await
    }

    pub async fn paid_by_old_buyer(&self, app: &Router, nonce: &str) -> Answer {
        let payment = json!({"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": {"nonce": nonce}});
        let request = self.request().header("x-payment", header::encode(&payment).unwrap());
        send(app, request.body(Body::from(self.body)).unwrap()).await
    }
}

/// What the facilitator was asked to settle, each time.
pub fn settled(shop: &Shop) -> Vec<Amount> {
    shop.facilitator.settled.lock().unwrap().iter().map(|request| request.requirements.amount).collect()
}

pub fn amounts(units: &[u64]) -> Vec<Amount> {
    units.iter().map(|units| Amount::from(*units)).collect()
}

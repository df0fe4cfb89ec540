//! A seller who asks for the price of each request, to a real buyer over a real chain, and whose hooks look on.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing there has failed")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use farthing::client::PaymentOutcome;
use farthing::core::wire::SettleResponse;
use farthing::evm::U256;
use farthing::server::hooks::{HookContext, HookFuture, Hooks, SettlePhase};
use farthing::server::quotes::{DEFAULT_MAX_PRICED_BODY_BYTES, NoQuote, PriceRequest, Quote, reading_body};
use farthing::server::{SetupError, quote_key};
use farthing_testkit::{Stack, golden};

#[derive(Default)]
struct Ledger(Mutex<Vec<(String, String)>>);

impl Hooks for Ledger {
    fn on_after_settle<'a>(
        &'a self,
        context: &'a HookContext,
        _: SettlePhase,
        settled: &'a SettleResponse,
    ) -> HookFuture<'a, ()> {
        self.0.lock().unwrap().push((context.requirements.amount.to_string(), settled.transaction.clone()));
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test]
async fn a_buyer_pays_what_was_quoted_for_its_body_although_the_price_moves_with_every_question() {
    let stack = Stack::start().await.unwrap();
    let wallet = stack.funded_wallet().unwrap();
    let ledger = Arc::new(Ledger::default());
    let toll = farthing::Server::builder().facilitator(stack.facilitator_url()).unwrap();
    let toll = toll.pay_to(golden::NETWORK, golden::PAY_TO).unwrap().hooks(Arc::clone(&ledger) as Arc<dyn Hooks>);
    let toll = toll.build().await.unwrap();

    let asked = Arc::new(AtomicUsize::new(0));
    let times = Arc::clone(&asked);
    let pricer = move |request: PriceRequest| {
        let moves = 10 * times.fetch_add(1, Ordering::SeqCst);
        let words = String::from_utf8_lossy(&request.body.unwrap_or_default()).split_whitespace().count();
        async move { Ok::<_, NoQuote>(Quote::of(&format!("$0.{:03}", words + moves))?) }
    };
    let layer = toll.price_by(reading_body(DEFAULT_MAX_PRICED_BODY_BYTES, pricer)).unwrap();
    let app = Router::new().route("/translate", post(|text: String| async move { text.to_uppercase() }).layer(layer));
    let url = stack.serve(app).await.unwrap();
    let client = farthing::Client::builder().wallet(&wallet).unwrap().build().unwrap();

    let payee = golden::PAY_TO.parse().unwrap();
    let before = stack.devnet().usdc_balance(payee);
    let answer = client.post(format!("{url}/translate")).body("the sea is wide").send().await.unwrap();
    let paid = answer.paid().unwrap();
    assert_eq!((paid.outcome, paid.doubts.as_slice()), (PaymentOutcome::Settled, [].as_slice()));
    let transaction = paid.transaction.clone().unwrap();
    assert_eq!(answer.text().await.unwrap(), "THE SEA IS WIDE");
    assert_eq!(stack.devnet().usdc_balance(payee) - before, U256::from(4_000_u64));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let seen = ledger.0.lock().unwrap().clone();
    assert_eq!(seen, [("4000".to_owned(), transaction.to_string())]);
}

#[test]
fn a_key_of_quotes_is_fetched_by_reference_and_never_shown() {
    let path = std::env::temp_dir().join(format!("farthing-quote-key-{}", std::process::id()));
    let reference = format!("file:{}", path.display());
    std::fs::write(&path, format!("0x{}\n", "5e".repeat(32))).unwrap();
    let good = quote_key(&reference);
    std::fs::write(&path, "5e5e5e").unwrap();
    let bad = quote_key(&reference);
    std::fs::remove_file(path).unwrap();
    assert!(good.is_ok());
    let error = bad.err().unwrap();
    assert!(matches!(error, SetupError::QuoteKey) && !error.to_string().contains("5e5e"), "{error}");
    assert!(quote_key("5e5e").is_err());
}

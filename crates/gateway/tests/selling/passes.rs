//! Passes: bought once, and then used by signing in as the payer.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use farthing::core::BoxFuture;
use farthing::core::books::{BookError, MemoryPasses, MemoryQuotas, PassBalance, PassHolder, PassPurchase, Passes};
use farthing::evm::signer::{LocalSigner, Signer};
use farthing_gateway::DeskMaterials;
use farthing_testkit::golden::PAYER_KEY;

use crate::free_quota::{NOW, counting_in, sign_in};
use crate::shop::{Answer, Shop};

const PASSES: &str = r#"
    public_url = "https://shop.example"
    [[gateway.pass]]
    name = "pack"
    match = "POST /passes/pack"
    price = "$1"
    credits = 10
    description = "Ten credits"
    [[gateway.pass]]
    name = "month"
    match = "POST /passes/month"
    price = "$5"
    lasts = "30 days"
"#;
const ROUTES: &str = r#"
    [[route]]
    match = "GET /reports/*"
    price = "$0.01"
    sign_in = true
    passes = ["month", "pack"]
    credits = 3
    [[route]]
    match = "/fails"
    price = "$0.01"
    sign_in = true
    passes = ["pack"]
    [[route]]
    match = "/other"
    price = "$0.01"
    sign_in = true
"#;

/// A book that can be away.
#[derive(Default)]
struct Flaky {
    inner: MemoryPasses,
    is_away: AtomicBool,
}

impl Flaky {
    fn answer<'a, T: Send + 'a>(&self, answer: BoxFuture<'a, Result<T, BookError>>) -> BoxFuture<'a, Result<T, BookError>> {
        if self.is_away.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(BookError("the book is away".into()))));
        }
        answer
    }
}

impl Passes for Flaky {
    fn grant<'a>(&'a self, purchase: &'a PassPurchase) -> BoxFuture<'a, Result<PassBalance, BookError>> {
        self.answer(self.inner.grant(purchase))
    }

    fn balance<'a>(&'a self, holder: &'a PassHolder) -> BoxFuture<'a, Result<PassBalance, BookError>> {
        self.answer(self.inner.balance(holder))
    }

    fn spend<'a>(
        &'a self,
        holder: &'a PassHolder,
        credits: NonZeroU64,
    ) -> BoxFuture<'a, Result<Option<PassBalance>, BookError>> {
        self.answer(self.inner.spend(holder, credits))
    }

    fn give_back<'a>(&'a self, holder: &'a PassHolder, credits: NonZeroU64) -> BoxFuture<'a, Result<(), BookError>> {
        self.answer(self.inner.give_back(holder, credits))
    }
}

async fn shop(book: &Arc<Flaky>) -> Shop {
    let materials = DeskMaterials { passes: Some(book.clone()), ..counting_in(Arc::new(MemoryQuotas::default())) };
    Shop::at_desk(PASSES, ROUTES, materials).await.unwrap()
}

/// Asks for the terms, signs in with what they challenge to, and comes again.
async fn come(shop: &Shop, target: &str, signer: &Arc<dyn Signer>) -> Answer {
    let unpaid = shop.ask(shop.http.get(shop.at(target))).await;
    let proof = sign_in(&unpaid, signer).await;
    shop.ask(shop.http.get(shop.at(target)).header("sign-in-with-x", proof)).await
}

fn stranger() -> Arc<dyn Signer> {
    Arc::new(LocalSigner::from_hex(PAYER_KEY.to_owned().into()).unwrap())
}

#[tokio::test]
async fn credits_are_bought_once_and_spent_by_whoever_signs_in_as_the_payer() {
    let shop = shop(&Arc::default()).await;
    let payer = shop.signer();
    assert_eq!(come(&shop, "/reports/1", &payer).await.status, 402);
    let bought = shop.post_and_pay("/passes/pack", "").await;
    assert_eq!((bought.status, shop.earned()), (200, 1_000_000), "{bought:?}");
    assert!(bought.headers.contains_key("payment-response"));
    assert_eq!((&bought.json()["pass"], &bought.json()["credits"]), (&"pack".into(), &10.into()));
    for _ in 0..3 {
        assert_eq!(come(&shop, "/reports/1", &payer).await.text, "GET /reports/1");
    }
    // One credit is left, and this costs three.
    assert_eq!(come(&shop, "/reports/1", &payer).await.status, 402);
    // What failed costs nothing, however often.
    for _ in 0..3 {
        assert_eq!(come(&shop, "/fails", &payer).await.status, 418);
    }
    assert_eq!(come(&shop, "/other", &payer).await.status, 402);
    assert_eq!(come(&shop, "/fails", &stranger()).await.status, 402);
    assert_eq!(shop.earned(), 1_000_000);
    // The upstream never hears of what the gateway sells itself.
    assert!(shop.upstream.lines().iter().all(|line| !line.contains("/passes")));
}

#[tokio::test]
async fn time_is_bought_once_and_opens_to_its_payer_alone() {
    let shop = shop(&Arc::default()).await;
    let bought = shop.post_and_pay("/passes/month", "").await;
    assert_eq!((bought.status, &bought.json()["until"]), (200, &(NOW.0 + 30 * 86_400).into()), "{bought:?}");
    for _ in 0..2 {
        assert_eq!(come(&shop, "/reports/1", &shop.signer()).await.status, 200);
    }
    assert_eq!(come(&shop, "/fails", &shop.signer()).await.status, 402);
    assert_eq!(come(&shop, "/reports/1", &stranger()).await.status, 402);
    // A second one is added to the first.
    let again = shop.post_and_pay("/passes/month", "").await;
    assert_eq!((&again.json()["until"], shop.earned()), (&(NOW.0 + 60 * 86_400).into(), 10_000_000));
}

#[tokio::test]
async fn a_pass_that_was_paid_for_and_not_written_down_is_had_with_the_same_payment() {
    let book = Arc::<Flaky>::default();
    let shop = shop(&book).await;
    let post = || shop.http.post(shop.at("/passes/pack"));
    let payment = shop.payment(&shop.ask(post()).await).await;
    book.is_away.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let lost = shop.ask(post().header("payment-signature", &payment)).await;
        assert_eq!((lost.status, lost.json()["error"].as_str()), (503, Some("pass_not_granted")), "{lost:?}");
        assert!(lost.text.contains("present the same payment again"), "{lost:?}");
    }
    // Who may have a pass is not asked for money.
    let away = come(&shop, "/reports/1", &shop.signer()).await;
    assert_eq!((away.status, away.json()["error"].as_str()), (503, Some("hook_failed")), "{away:?}");
    book.is_away.store(false, Ordering::SeqCst);
    let had = shop.ask(post().header("payment-signature", &payment)).await;
    assert_eq!((had.status, &had.json()["credits"], shop.earned()), (200, &10.into(), 1_000_000), "{had:?}");
    assert_eq!(come(&shop, "/reports/1", &shop.signer()).await.status, 200);
}

#[tokio::test]
async fn passes_that_nobody_could_use_are_found_at_once() {
    let at = async |keys: &str, routes: &str| {
        let book = Arc::<Flaky>::default();
        let materials = DeskMaterials { passes: Some(book), ..counting_in(Arc::new(MemoryQuotas::default())) };
        Shop::at_desk(keys, routes, materials).await.err().unwrap().to_string()
    };
    for (routes, taught) in [
        (ROUTES.replace("sign_in = true", ""), "GET /reports/*: passes: they need sign_in = true"),
        (
            ROUTES.replace("[\"month\", \"pack\"]", "[\"year\"]"),
            "GET /reports/*: passes: expected names of [[gateway.pass]] tables",
        ),
        (
            format!("{ROUTES}\n[[route]]\nmatch = \"POST /passes/pack\"\nfree = true"),
            "no request gets here, because POST /passes/pack",
        ),
    ] {
        let error = at(PASSES, &routes).await;
        assert!(error.contains(taught), "{error}\nlacks: {taught}");
    }
    let twice = at(&PASSES.replace("\"month\"", "\"pack\""), ROUTES).await;
    assert!(twice.contains("two passes are called pack"), "{twice}");
    let bookless = Shop::try_with(PASSES, ROUTES).await.err().unwrap().to_string();
    assert!(bookless.contains("passes: it is counted in the book, and there is none"), "{bookless}");
}

//! What was sold is in the book once, for ever.

use std::num::NonZeroU64;

use farthing_core::amount::Amount;
use farthing_core::asset::Asset;
use farthing_core::books::{
    Bill, Charged, ClaimId, KEEP_EXPIRED_SECONDS, OpenSale, Presented, Receipt, Sale, SaleFilter, SaleGroup, SaleQuery,
    SaleSum, SaleSumQuery, SettledBy, Standing,
};
use farthing_core::scheme::{PaymentKey, TransactionId};
use farthing_core::time::UnixSeconds;

use super::deliveries::{DAY_SECONDS, cancel, claim, presented, receipt, resume, settling, unsettled, win, won};
use super::sample::*;
use super::{Harness, Node};

fn all() -> SaleQuery {
    SaleQuery { limit: 1_000, ..SaleQuery::default() }
}

async fn open(node: &Node) -> Vec<OpenSale> {
    node.sales.open(&all()).await.unwrap()
}

async fn sold(node: &Node) -> Vec<Sale> {
    node.sales.list(&all()).await.unwrap()
}

fn seven() -> Bill {
    bill(Amount::from(7))
}

fn sale(number: u16, bill: &Bill) -> Sale {
    charged(&receipt(), bill).sale(key(number))
}

async fn served(node: &Node, id: ClaimId, bill: &Bill) -> Standing {
    node.deliveries.served(id, &charged(&receipt(), bill), None).await.unwrap()
}

/// Sells to a new payment.
async fn sell(node: &Node, number: u16, bill: &Bill, transaction: &str) {
    let id = win(node, number, "one").await;
    assert_eq!(node.deliveries.settling(id, bill).await.unwrap(), Standing::Held);
    let receipt = Receipt { transaction: TransactionId(transaction.to_owned()), settlement: String::new() };
    assert_eq!(node.deliveries.served(id, &charged(&receipt, bill), None).await.unwrap(), Standing::Held);
}

pub async fn what_is_settling_is_open_and_what_moved_is_sold<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let id = win(&node, 1, "one").await;
    assert_eq!((open(&node).await, sold(&node).await), (vec![], vec![]));
    assert_eq!(settling(&node, id).await, Standing::Held);
    let at_hand = OpenSale { payment: key(1), bill: seven() };
    assert_eq!((open(&node).await, node.sales.find(key(1)).await.unwrap()), (vec![at_hand.clone()], None));
    assert_eq!(unsettled(&node, id).await, Standing::Held);
    assert_eq!(open(&node).await, [at_hand], "nobody knows yet");
    let id = resume(&node, 1, "one").await;
    let later = Bill { at: NOW.plus(5), ..seven() };
    assert_eq!(served(&node, id, &later).await, Standing::Held);
    let sale = sale(1, &later);
    assert_eq!((open(&node).await, sold(&node).await), (vec![], vec![sale.clone()]));
    assert_eq!(node.sales.find(key(1)).await.unwrap(), Some(sale));
    // What was refused is not open, and was never sold.
    let refused = win(&node, 2, "one").await;
    assert_eq!((settling(&node, refused).await, open(&node).await.len()), (Standing::Held, 1));
    assert_eq!((cancel(&node, refused).await, open(&node).await), (Standing::Held, vec![]));
    assert_eq!((sold(&node).await.len(), node.sales.find(key(2)).await.unwrap()), (1, None));
}

pub async fn one_payment_is_one_sale_whatever_is_written_later<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let id = win(&node, 1, "one").await;
    assert_eq!(settling(&node, id).await, Standing::Held);
    let first = charged(&receipt(), &seven()).sale(key(1));
    assert_eq!(node.deliveries.charged(id, &charged(&receipt(), &seven())).await.unwrap(), Standing::Held);
    assert_eq!(sold(&node).await, std::slice::from_ref(&first), "the money has moved, whatever becomes of the work");
    // The work fails, is done again, its answer gets lost, and is given again; the price has changed meanwhile.
    let later = Bill { at: NOW.plus(60), route: "another".to_owned(), ..bill(Amount::from(8)) };
    let other = Receipt { transaction: transaction("another"), settlement: String::new() };
    let by_hook = Charged { receipt: &other, bill: &later, settled_by: SettledBy::Hook };
    assert_eq!(unsettled(&node, id).await, Standing::Held);
    let id = resume(&node, 1, "one").await;
    assert_eq!(node.deliveries.settling(id, &later).await.unwrap(), Standing::Held);
    assert_eq!((open(&node).await, sold(&node).await), (vec![], vec![first.clone()]));
    assert_eq!(node.deliveries.charged(id, &by_hook).await.unwrap(), Standing::Held);
    assert_eq!(node.deliveries.served(id, &by_hook, None).await.unwrap(), Standing::Held);
    assert_eq!(unsettled(&node, id).await, Standing::Held);
    assert_eq!(node.deliveries.served(resume(&node, 1, "one").await, &by_hook, None).await.unwrap(), Standing::Held);
    assert_eq!((open(&node).await, sold(&node).await), (vec![], vec![first]));
}

pub async fn a_sale_outlives_its_delivery<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let expiring = |number| Presented { expires_at: Some(NOW), ..presented(number, "one") };
    for number in [1, 2] {
        let id = won(&node.deliveries.claim(&expiring(number)).await.unwrap(), true);
        assert_eq!(settling(&node, id).await, Standing::Held);
        match number {
            1 => assert_eq!(served(&node, id, &seven()).await, Standing::Held),
            _ => assert_eq!(unsettled(&node, id).await, Standing::Held),
        }
    }
    // Enough claims to forget what is that old, whoever makes them.
    let late = NOW.plus(KEEP_EXPIRED_SECONDS + 1);
    for number in 100..200 {
        won(&node.deliveries.claim(&Presented { now: late, ..presented(number, "one") }).await.unwrap(), true);
    }
    won(&claim(&node, 1, "one").await, true);
    won(&claim(&node, 2, "one").await, true);
    assert_eq!(sold(&node).await, [sale(1, &seven())]);
    assert_eq!(open(&node).await, [OpenSale { payment: key(2), bill: seven() }], "its end was never known");
}

pub async fn every_field_of_a_sale_survives_the_book<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let asset = Asset {
        network: "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp".parse().unwrap(),
        id: "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v".parse().unwrap(),
        symbol: "G'old \u{1f4b0}".to_owned(),
        decimals: 255,
        usd: false,
    };
    let strange = Bill {
        at: UnixSeconds(0),
        route: "=HYPERLINK(\"x\") \u{202e} $1 ?1".to_owned(),
        resource: "POST https://example.com/ü".to_owned(),
        payer: None,
        pay_to: "!".parse().unwrap(),
        asset,
        amount: Amount::MAX,
        scheme: "batch-settlement".to_owned(),
    };
    let id = win(&node, 1, "one").await;
    assert_eq!(node.deliveries.settling(id, &strange).await.unwrap(), Standing::Held);
    assert_eq!(open(&node).await, [OpenSale { payment: key(1), bill: strange.clone() }]);
    let nothing_named = Receipt { transaction: TransactionId(String::new()), settlement: String::new() };
    let by_hook = Charged { receipt: &nothing_named, bill: &strange, settled_by: SettledBy::Hook };
    assert_eq!(node.deliveries.served(id, &by_hook, None).await.unwrap(), Standing::Held);
    assert_eq!(sold(&node).await, [by_hook.sale(key(1))]);
    // A facilitator may name a transaction however it likes, and must not keep a sale out of the book with that.
    let long = "long ".repeat(2_000);
    sell(&node, 2, &seven(), &long).await;
    let filter = SaleFilter { transaction: Some(TransactionId(long.clone())), ..SaleFilter::default() };
    let found = node.sales.list(&SaleQuery { filter, ..all() }).await.unwrap();
    assert_eq!(found.iter().map(|sale| (sale.payment, &sale.transaction.0)).collect::<Vec<_>>(), [(key(2), &long)]);
}

pub async fn who_lost_a_claim_sells_nothing<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let first = win(&node, 1, "one").await;
    assert_eq!((settling(&node, first).await, unsettled(&node, first).await), (Standing::Held, Standing::Held));
    let second = resume(&node, 1, "one").await;
    let other = Bill { route: "another".to_owned(), ..seven() };
    assert_eq!(node.deliveries.settling(first, &other).await.unwrap(), Standing::Lost);
    assert_eq!(node.deliveries.charged(first, &charged(&receipt(), &other)).await.unwrap(), Standing::Lost);
    assert_eq!((served(&node, first, &other).await, cancel(&node, first).await), (Standing::Lost, Standing::Lost));
    assert_eq!((open(&node).await, sold(&node).await), (vec![OpenSale { payment: key(1), bill: seven() }], vec![]));
    assert_eq!(served(&node, second, &seven()).await, Standing::Held);
    assert_eq!((open(&node).await, sold(&node).await), (vec![], vec![sale(1, &seven())]));
}

/// A filter, and the numbers that it is to match.
type Case = (SaleFilter, fn(u16) -> bool);

/// Thirty sales, three to a second, of which every sixth is open.
async fn fill(node: &Node) {
    for number in 0..30_u16 {
        let mut bill = Bill { at: NOW.plus((number / 3).into()), ..bill(Amount::from(u64::from(number))) };
        bill.route = format!("route {}", number % 2);
        bill.payer = (number % 5 != 0).then(|| format!("0xPayer{}", number % 3).parse().unwrap());
        if number % 4 == 0 {
            bill.asset.network = "eip155:1".parse().unwrap();
        }
        if number % 6 == 5 {
            let id = win(node, number, "one").await;
            assert_eq!(node.deliveries.settling(id, &bill).await.unwrap(), Standing::Held);
        } else {
            sell(node, number, &bill, &format!("0xt{}", number % 7)).await;
        }
    }
}

/// The numbers that match, in the order of the book.
fn expected(matches: impl Fn(u16) -> bool) -> Vec<(UnixSeconds, PaymentKey)> {
    let mut all: Vec<_> = (0..30).filter(|number| matches(*number)).map(|it| (NOW.plus((it / 3).into()), key(it))).collect();
    all.sort_by_key(|(at, key)| (std::cmp::Reverse(*at), *key));
    all
}

pub async fn every_filter_of_sales_matches_what_it_says<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    fill(&node).await;
    let every = SaleFilter::default();
    let cases: [Case; 8] = [
        (every.clone(), |_| true),
        (SaleFilter { since: Some(NOW.plus(4)), ..every.clone() }, |number| number >= 12),
        (SaleFilter { before: Some(NOW.plus(4)), ..every.clone() }, |number| number < 12),
        (SaleFilter { before: Some(UnixSeconds(u64::MAX)), ..every.clone() }, |_| true),
        (SaleFilter { route: Some("route 1".to_owned()), ..every.clone() }, |number| number % 2 == 1),
        (SaleFilter { network: Some("eip155:1".parse().unwrap()), ..every.clone() }, |number| number % 4 == 0),
        (SaleFilter { payer: Some("0xPayer2".parse().unwrap()), ..every.clone() }, |number| number % 3 == 2 && number % 5 != 0),
        (SaleFilter { payer: Some("0xpayer2".parse().unwrap()), ..every.clone() }, |_| false),
    ];
    for (filter, matches) in cases {
        let query = SaleQuery { filter, ..all() };
        let list = node.sales.list(&query).await.unwrap();
        let found: Vec<_> = list.iter().map(|sale| (sale.bill.at, sale.payment)).collect();
        assert_eq!(found, expected(|number| matches(number) && number % 6 != 5), "{query:?}");
        let list = node.sales.open(&query).await.unwrap();
        let found: Vec<_> = list.iter().map(|sale| (sale.bill.at, sale.payment)).collect();
        assert_eq!(found, expected(|number| matches(number) && number % 6 == 5), "{query:?}");
    }
    let query = SaleQuery { filter: SaleFilter { transaction: Some(transaction("t3")), ..every }, ..all() };
    let list = node.sales.list(&query).await.unwrap();
    let found: Vec<_> = list.iter().map(|sale| (sale.bill.at, sale.payment)).collect();
    assert_eq!(found, expected(|number| number % 7 == 3 && number % 6 != 5));
    assert_eq!(node.sales.open(&query).await.unwrap(), []);
}

pub async fn pages_of_sales_follow_each_other_without_a_gap<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    fill(&node).await;
    for limit in [1, 2, 4, 25] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = node.sales.list(&SaleQuery { after, limit, ..SaleQuery::default() }).await.unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some((last.bill.at, last.payment));
            found.extend(page.iter().map(|sale| (sale.bill.at, sale.payment)));
        }
        assert_eq!(found, expected(|number| number % 6 != 5), "{limit} at a time");
    }
}

/// A day's sums by hand: bucket, group, network, symbol, sales, amount.
fn shown(sums: &[SaleSum]) -> Vec<String> {
    let line = |sum: &SaleSum| {
        let bucket = sum.bucket.map(|bucket| format!("{} ", (bucket.0 - NOW.0 / DAY_SECONDS * DAY_SECONDS) / DAY_SECONDS));
        let group = sum.group.as_ref().map(|group| format!("{group} "));
        let SaleSum { asset, sales, amount, .. } = sum;
        let usd = sum.usd().map_or_else(String::new, |usd| format!(" {usd}"));
        let (bucket, group) = (bucket.unwrap_or_default(), group.unwrap_or_default());
        format!("{bucket}{group}{} {} {sales} {amount}{usd}", asset.network, asset.symbol)
    };
    sums.iter().map(line).collect()
}

pub async fn sums_are_exact_and_of_one_asset_each<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    let gold = Asset { symbol: "GOLD".to_owned(), id: "0xgold".parse().unwrap(), decimals: 18, usd: false, ..seven().asset };
    let large: Amount = "57896044618658097711785492504343953926634992332820282019728792003956564819967".parse().unwrap();
    let coins = |amount: Amount| Bill { asset: gold.clone(), ..bill(amount) };
    let later = |bill: Bill| Bill { at: NOW.plus(DAY_SECONDS), ..bill };
    let sales = [
        bill(Amount::from(10_000)),
        Bill { route: "Zebra".to_owned(), ..bill(Amount::from(1)) },
        later(Bill { route: "apple".to_owned(), payer: None, ..bill(Amount::from(2_500_000)) }),
        coins(large),
        later(coins(large)),
    ];
    for (number, bill) in (1..).zip(&sales) {
        sell(&node, number, bill, "0xone").await;
    }
    let id = win(&node, 9, "one").await;
    assert_eq!(node.deliveries.settling(id, &bill(Amount::from(5))).await.unwrap(), Standing::Held);
    let sums = async |query: SaleSumQuery| shown(&node.sales.sums(&SaleSumQuery { limit: 100, ..query }).await.unwrap());
    let usdc = "eip155:8453 USDC 3 2510001 $2.510001";
    let gold = "eip155:8453 GOLD 2 115792089237316195423570985008687907853269984665640564039457584007913129639934";
    assert_eq!(sums(SaleSumQuery::default()).await, [usdc, gold]);
    let by_network = SaleSumQuery { by: Some(SaleGroup::Network), ..SaleSumQuery::default() };
    assert_eq!(sums(by_network).await, [format!("eip155:8453 {usdc}"), format!("eip155:8453 {gold}")]);
    let by_day = SaleSumQuery { bucket_seconds: NonZeroU64::new(DAY_SECONDS), ..SaleSumQuery::default() };
    let [half, dollars] = [format!("eip155:8453 GOLD 1 {large}"), "eip155:8453 USDC".to_owned()];
    let days = [
        format!("0 {dollars} 2 10001 $0.010001"),
        format!("0 {half}"),
        format!("1 {dollars} 1 2500000 $2.5"),
        format!("1 {half}"),
    ];
    assert_eq!(sums(by_day.clone()).await, days);
    let first = SaleFilter { before: Some(NOW.plus(1)), ..SaleFilter::default() };
    let by_route = SaleSumQuery { by: Some(SaleGroup::Route), filter: first, ..by_day };
    let first_day = [
        format!("0 GET /reports/* {dollars} 1 10000 $0.01"),
        format!("0 GET /reports/* {half}"),
        format!("0 Zebra {dollars} 1 1 $0.000001"),
    ];
    assert_eq!(sums(by_route).await, first_day);
    // Names are in the order of their bytes, and what nobody has named comes first.
    let dollars_only = SaleSumQuery { by: Some(SaleGroup::Payer), ..SaleSumQuery::default() };
    let by_payer =
        [format!("{dollars} 1 2500000 $2.5"), format!("0xPayer {dollars} 2 10001 $0.010001"), format!("0xPayer {gold}")];
    assert_eq!(sums(dollars_only).await, by_payer);
    let query = SaleSumQuery { by: Some(SaleGroup::Route), limit: 3, ..SaleSumQuery::default() };
    let groups: Vec<_> = node.sales.sums(&query).await.unwrap().into_iter().map(|sum| sum.group.unwrap()).collect();
    assert_eq!(groups, ["GET /reports/*", "GET /reports/*", "Zebra"]);
}

pub async fn a_sum_that_no_amount_holds_is_an_error<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    sell(&node, 1, &bill(Amount::MAX), "0xone").await;
    let query = SaleSumQuery { limit: 10, ..SaleSumQuery::default() };
    assert_eq!(node.sales.sums(&query).await.unwrap()[0].amount, Amount::MAX);
    sell(&node, 2, &bill(Amount::from(1)), "0xone").await;
    assert!(node.sales.sums(&query).await.is_err());
    assert_eq!(sold(&node).await.len(), 2);
}

pub async fn sales_survive_a_kill<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    sell(&node, 1, &seven(), "0xone").await;
    let id = win(&node, 2, "one").await;
    assert_eq!(settling(&node, id).await, Standing::Held);
    harness.kill(node).await;
    let node = harness.node().await;
    assert_eq!(sold(&node).await, [sale(1, &seven())]);
    assert_eq!(open(&node).await, [OpenSale { payment: key(2), bill: seven() }]);
}

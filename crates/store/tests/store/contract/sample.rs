//! Values for tests.

use farthing_core::amount::Amount;
use farthing_core::asset::Asset;
use farthing_core::books::{
    Bill, Charged, Fingerprint, Landing, LaneClaim, LaneId, LaneLease, Outbox, Outgoing, OutgoingPayment, PaymentRecord,
    Receipt, SettledBy, SettlementQuery, Settlements, SponsorBudget, UnderWay, Written,
};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{PaymentKey, Settlement, TransactionId};
use farthing_core::time::UnixSeconds;

pub const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

pub fn key(number: u16) -> PaymentKey {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    PaymentKey(key)
}

pub fn transaction(name: &str) -> TransactionId {
    TransactionId(format!("0x{name}"))
}

pub fn lane(account: &str) -> LaneId {
    LaneId { network: "eip155:8453".parse().unwrap(), account: account.parse().unwrap() }
}

pub fn refusal(message: &str) -> Refusal {
    Refusal::new(Reason::InvalidTransactionState, message)
}

pub fn record(number: u16) -> PaymentRecord {
    PaymentRecord {
        key: key(number),
        scheme: "exact".to_owned(),
        network: "eip155:8453".parse().unwrap(),
        payer: format!("0xPayer{}", number % 3).parse().unwrap(),
        pay_to: format!("0xPayee{}", number % 2).parse().unwrap(),
        asset: "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913".parse().unwrap(),
        amount: Amount::from(10_000),
        expires_at: NOW.plus(600),
        reference: format!("0xnonce{number}"),
    }
}

pub fn payment(number: u16) -> OutgoingPayment {
    OutgoingPayment {
        record: record(number),
        request: Fingerprint(format!("request {number}")),
        caller: None,
        fee_gwei: 1,
        budgets: Vec::new(),
    }
}

/// What so many units of a dollar are charged for.
pub fn bill(amount: Amount) -> Bill {
    Bill {
        at: NOW,
        route: "GET /reports/*".to_owned(),
        resource: "GET https://api.example.com/reports/1".to_owned(),
        payer: Some("0xPayer".parse().unwrap()),
        pay_to: "0xPayee".parse().unwrap(),
        asset: Asset {
            network: "eip155:8453".parse().unwrap(),
            id: "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913".parse().unwrap(),
            symbol: "USDC".to_owned(),
            decimals: 6,
            usd: true,
        },
        amount,
        scheme: "exact".to_owned(),
    }
}

/// That it was charged, by the facilitator's word.
pub fn charged<'a>(receipt: &'a Receipt, bill: &'a Bill) -> Charged<'a> {
    Charged { receipt, bill, settled_by: SettledBy::Facilitator }
}

pub fn sponsored(number: u16, fee_gwei: u64, budgets: &[(&str, u64)]) -> OutgoingPayment {
    let budgets = budgets.iter().map(|(account, limit)| SponsorBudget { account: (*account).to_owned(), limit_gwei: *limit });
    OutgoingPayment { fee_gwei, budgets: budgets.collect(), ..payment(number) }
}

pub fn settlement(number: u16, transaction: &TransactionId) -> Settlement {
    Settlement {
        transaction: transaction.clone(),
        network: "eip155:8453".parse().unwrap(),
        payer: record(number).payer,
        amount: Amount::from(10_000),
    }
}

pub fn landing(transaction: &TransactionId, height: u64) -> Landing {
    Landing { transaction: transaction.clone(), height, block: format!("0xblock{height}"), fee_gwei: 21_000, succeeded: true }
}

/// Says that the transaction that carries a payment moved nothing.
pub async fn die(book: &dyn Settlements, number: u16, name: &str, why: &str, now: UnixSeconds) {
    assert!(book.dead(key(number), &transaction(name), &refusal(why), now).await.unwrap(), "{name} carries {number}");
}

/// The payments whose end is to be checked at that moment.
pub async fn to_check(book: &dyn Settlements, by: UnixSeconds) -> Vec<PaymentKey> {
    let query = SettlementQuery { check_by: Some(by), limit: 100, ..SettlementQuery::default() };
    let mut keys: Vec<_> = book.list(&query).await.unwrap().into_iter().map(|entry| entry.record.key).collect();
    keys.sort();
    keys
}

/// The lease of a lane that nobody else has.
pub async fn lease(outbox: &dyn Outbox, account: &str) -> LaneLease {
    match outbox.take(&lane(account)).await.unwrap() {
        LaneClaim::Ours(lease) => lease,
        LaneClaim::Theirs => panic!("lane {account} is another node's"),
    }
}

/// Everything that is under way on a lane that is still held.
pub async fn under_way(outbox: &dyn Outbox, lease: &LaneLease) -> Vec<UnderWay> {
    outbox.under_way(lease, 0, usize::MAX).await.unwrap().unwrap()
}

/// Writes a transaction with the default time and height.
pub async fn send(outbox: &dyn Outbox, lease: &LaneLease, sequence: u64, name: &str, payments: &[OutgoingPayment]) -> Written {
    send_at(outbox, lease, sequence, name, payments, NOW).await
}

pub async fn send_at(
    outbox: &dyn Outbox,
    lease: &LaneLease,
    sequence: u64,
    name: &str,
    payments: &[OutgoingPayment],
    now: UnixSeconds,
) -> Written {
    let transaction = transaction(name);
    let outgoing = Outgoing { lease, sequence, transaction: &transaction, signed: name.as_bytes(), height: 100, payments, now };
    outbox.sending(&outgoing).await.unwrap()
}

pub async fn replace(outbox: &dyn Outbox, lease: &LaneLease, sequence: u64, name: &str) -> Written {
    let transaction = transaction(name);
    let signed = name.as_bytes();
    let now = NOW.plus(5);
    let outgoing = Outgoing { lease, sequence, transaction: &transaction, signed, height: 101, payments: &[], now };
    outbox.replacing(&outgoing).await.unwrap()
}

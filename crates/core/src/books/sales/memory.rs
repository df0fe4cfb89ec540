//! The double: sales in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bill, OpenSale, Sale, SaleQuery, SaleSum, SaleSumQuery, SettledBy};
use crate::amount::Amount;
use crate::books::{BookError, Booked, Refund, RefundQuery, RefundStateName};
use crate::scheme::{PaymentKey, TransactionId};
use crate::time::UnixSeconds;

/// How many sales are kept in memory; the oldest make room.
const SALES_MAX: usize = 10_000;

/// Sales that die with the process.
#[derive(Debug, Default)]
pub(in crate::books) struct SalesBook {
    refunds: BTreeMap<PaymentKey, Refund>,
    rows: BTreeMap<PaymentKey, Row>,
    by_time: BTreeSet<(UnixSeconds, PaymentKey)>,
}

#[derive(Debug)]
struct Row {
    bill: Bill,
    settled: Option<(TransactionId, SettledBy)>,
}

impl SalesBook {
    /// The payment may be charged for this.
    pub(in crate::books) fn open_bill(&mut self, payment: PaymentKey, bill: &Bill) {
        if self.rows.get(&payment).is_none_or(|row| row.settled.is_none()) {
            self.put(payment, Row { bill: bill.clone(), settled: None });
        }
    }

    /// The money has moved.
    pub(in crate::books) fn settle(&mut self, sale: &Sale) {
        if self.rows.get(&sale.payment).is_none_or(|row| row.settled.is_none()) {
            let settled = Some((sale.transaction.clone(), sale.settled_by));
            self.put(sale.payment, Row { bill: sale.bill.clone(), settled });
        }
    }

    /// Nothing was charged.
    pub(in crate::books) fn strike_out(&mut self, payment: PaymentKey) {
        if self.rows.get(&payment).is_some_and(|row| row.settled.is_none()) {
            self.remove(payment);
        }
    }

    fn put(&mut self, payment: PaymentKey, row: Row) {
        self.remove(payment);
        self.by_time.insert((row.bill.at, payment));
        self.rows.insert(payment, row);
        while self.rows.len() > SALES_MAX
            && let Some((_, oldest)) = self.by_time.first().copied()
        {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, payment: PaymentKey) {
        if let Some(row) = self.rows.remove(&payment) {
            self.by_time.remove(&(row.bill.at, payment));
        }
    }

    pub(in crate::books) fn find(&self, payment: PaymentKey) -> Option<Sale> {
        self.rows.get(&payment).and_then(|row| row.sale(payment))
    }

    pub(in crate::books) fn list(&self, query: &SaleQuery) -> Vec<Sale> {
        self.matching(query).filter_map(|(payment, row)| row.sale(payment)).take(query.limit).collect()
    }

    pub(in crate::books) fn open(&self, query: &SaleQuery) -> Vec<OpenSale> {
        let open = self.matching(query).filter(|(_, row)| row.settled.is_none());
        open.map(|(payment, row)| OpenSale { payment, bill: row.bill.clone() }).take(query.limit).collect()
    }

    /// What a query asks for, in its order.
    fn matching<'a>(&'a self, query: &'a SaleQuery) -> impl Iterator<Item = (PaymentKey, &'a Row)> + 'a {
        let mut found: Vec<_> = self.rows.iter().map(|(payment, row)| (*payment, row)).collect();
        // The keys are in their order already.
        found.sort_by_key(|(_, row)| std::cmp::Reverse(row.bill.at));
        found.into_iter().filter(|(payment, row)| {
            let transaction = row.settled.as_ref().map(|(transaction, _)| transaction);
            let is_after = query.after.is_none_or(|(at, after)| row.bill.at < at || (row.bill.at == at && *payment > after));
            is_after && query.filter.matches(&row.bill, transaction)
        })
    }

    pub(in crate::books) fn sums(&self, query: &SaleSumQuery) -> Result<Vec<SaleSum>, BookError> {
        let mut sums: BTreeMap<_, SaleSum> = BTreeMap::new();
        for Row { bill, settled } in self.rows.values() {
            let Some((transaction, _)) = settled else { continue };
            if !query.filter.matches(bill, Some(transaction)) {
                continue;
            }
            let bucket = query.bucket_seconds.map(|seconds| bill.at.0 / seconds * seconds.get());
            let group = query.by.and_then(|by| by.of(bill));
            let asset = &bill.asset;
            let place = (
                bucket,
                group.clone(),
                asset.network.to_string(),
                asset.id.to_string(),
                asset.symbol.clone(),
                asset.decimals,
                asset.usd,
            );
            let sum = sums.entry(place).or_insert_with(|| SaleSum {
                bucket: bucket.map(UnixSeconds),
                group,
                asset: asset.clone(),
                sales: 0,
                amount: Amount::ZERO,
            });
            sum.sales = sum.sales.saturating_add(1);
            let too_large = || BookError(format!("the sales in {} are more than an amount holds", asset.symbol).into());
            sum.amount = sum.amount.checked_add(bill.amount).ok_or_else(too_large)?;
        }
        Ok(sums.into_values().take(query.limit).collect())
    }
}

impl SalesBook {
    pub(in crate::books) fn book_refund(&mut self, refund: &Refund) -> Booked {
        let Some(sale) = self.find(refund.sale) else { return Booked::Unsold };
        let of_sale = || self.refunds.values().filter(|other| other.sale == refund.sale);
        if let Some(open) = of_sale().find(|other| other.state.name() == RefundStateName::Open) {
            return Booked::Another(open.id);
        }
        let mut back = of_sale().filter(|other| other.state.name() != RefundStateName::Failed);
        let back = back.try_fold(Amount::ZERO, |sum, other| sum.checked_add(other.amount));
        let left = back.and_then(|back| sale.bill.amount.checked_sub(back)).unwrap_or_default();
        if refund.amount > left {
            return Booked::TooMuch(left);
        }
        self.refunds.insert(refund.id, refund.clone());
        Booked::Yes
    }

    /// Changes a refund that is in one of these states, and says whether it was.
    pub(in crate::books) fn change_refund(
        &mut self,
        id: PaymentKey,
        from: &[RefundStateName],
        now: UnixSeconds,
        change: impl FnOnce(&mut Refund),
    ) -> bool {
        let refund = self.refunds.get_mut(&id).filter(|refund| from.contains(&refund.state.name()));
        refund.is_some_and(|refund| {
            change(refund);
            refund.changed_at = now;
            true
        })
    }

    pub(in crate::books) fn find_refund(&self, id: PaymentKey) -> Option<&Refund> {
        self.refunds.get(&id)
    }

    pub(in crate::books) fn list_refunds(&self, query: &RefundQuery) -> Vec<Refund> {
        let mut found: Vec<&Refund> = self.refunds.values().filter(|refund| query.matches(refund)).collect();
        found.sort_by_key(|refund| std::cmp::Reverse(refund.at));
        found.into_iter().take(query.limit).cloned().collect()
    }
}

impl Row {
    fn sale(&self, payment: PaymentKey) -> Option<Sale> {
        let (transaction, settled_by) = self.settled.clone()?;
        Some(Sale { payment, bill: self.bill.clone(), transaction, settled_by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asset::Asset;

    #[test]
    fn sales_in_memory_are_bounded_and_the_newest_stay() {
        let mut book = SalesBook::default();
        let asset = Asset {
            network: "eip155:8453".parse().unwrap(),
            id: "0xtoken".parse().unwrap(),
            symbol: "USDC".to_owned(),
            decimals: 6,
            usd: true,
        };
        for number in 0..SALES_MAX + 3 {
            let mut payment = PaymentKey([0; 32]);
            payment.0[..8].copy_from_slice(&number.to_be_bytes());
            let bill = Bill {
                at: UnixSeconds(number as u64),
                route: "GET /*".to_owned(),
                resource: "GET https://example.com/".to_owned(),
                payer: None,
                pay_to: "0xpayee".parse().unwrap(),
                asset: asset.clone(),
                amount: Amount::from(1),
                scheme: "exact".to_owned(),
            };
            book.open_bill(payment, &bill);
        }
        let oldest = book.by_time.first().copied().unwrap().0;
        assert_eq!((book.rows.len(), book.by_time.len(), oldest), (SALES_MAX, SALES_MAX, UnixSeconds(3)));
    }
}

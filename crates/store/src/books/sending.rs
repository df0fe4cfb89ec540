//! `Outbox::sending`: a transaction and its payments, written together or not at all.

use std::collections::BTreeMap;

use farthing_core::books::{LaneLease, Outgoing, OutgoingPayment, SettlementState, SponsorBudget, Unsendable, Written};
use farthing_core::scheme::{PaymentKey, TransactionId};
use farthing_core::time::UnixSeconds;

use super::lanes::leased;
use super::settlements::{STATE_COLUMNS, state_of};
use super::{bits_of, bits_value, key_value, moment_value, number_value};
use crate::error::Failure;
use crate::sql::{Operation, Sql, Value, Verdict};

const SECONDS_PER_DAY: u64 = 86_400;

/// [`Outgoing`], kept until the transaction is committed.
pub struct Sending {
    lease: LaneLease,
    sequence: u64,
    transaction: TransactionId,
    signed: Vec<u8>,
    height: u64,
    payments: Vec<OutgoingPayment>,
    now: UnixSeconds,
}

impl From<&Outgoing<'_>> for Sending {
    fn from(outgoing: &Outgoing<'_>) -> Self {
        Self {
            lease: outgoing.lease.clone(),
            sequence: outgoing.sequence,
            transaction: outgoing.transaction.clone(),
            signed: outgoing.signed.to_vec(),
            height: outgoing.height,
            payments: outgoing.payments.to_vec(),
            now: outgoing.now,
        }
    }
}

impl Operation for Sending {
    type Answer = Written;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Written>, Failure> {
        let Some(lane) = leased(sql, &self.lease, true).await? else { return Ok(Verdict::Undo(Written::LeaseLost)) };
        if self.is_written(sql, lane).await? {
            return Ok(Verdict::Undo(Written::Yes));
        }
        let outgoing = self.outgoing();
        outgoing.check_payments()?;
        let taken = self.write_payments(sql).await?;
        let charged = match self.within_budgets(sql, taken).await? {
            Ok(charged) => charged,
            Err(without) => return Ok(Verdict::Undo(Written::Without(without))),
        };
        self.write_transaction(sql, lane, charged).await?;
        Ok(Verdict::Keep(Written::Yes))
    }
}

impl Sending {
    fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            lease: &self.lease,
            sequence: self.sequence,
            transaction: &self.transaction,
            signed: &self.signed,
            height: self.height,
            payments: &self.payments,
            now: self.now,
        }
    }

    /// Whether this very transaction is there already, for the answer to an earlier write may have been lost.
    async fn is_written<S: Sql>(&self, sql: &mut S, lane: i64) -> Result<bool, Failure> {
        let query = "SELECT transactions.id FROM outgoing JOIN transactions ON transactions.outgoing = outgoing.id \
                     WHERE outgoing.lane = $1 AND outgoing.sequence = $2 AND outgoing.under_way = 1";
        let rows = sql.query(query, &[lane.into(), number_value(self.sequence, "a sequence number")?]).await?;
        let mut in_use = false;
        for mut row in rows {
            if row.text()? == self.transaction.0 {
                return Ok(true);
            }
            in_use = true;
        }
        if in_use { Err(self.outgoing().sequence_in_use().into()) } else { Ok(false) }
    }

    /// Writes every payment that is new or dead, and returns the state of the others. The rows are locked in the order of
    /// their keys, so that two nodes never wait for each other.
    async fn write_payments<S: Sql>(&self, sql: &mut S) -> Result<BTreeMap<PaymentKey, SettlementState>, Failure> {
        let mut payments: Vec<&OutgoingPayment> = self.payments.iter().collect();
        payments.sort_by_key(|payment| payment.record.key);
        let insert = "INSERT INTO payments (key, scheme, network, payer, pay_to, asset, amount, expires_at, reference, request, \
                      caller, height, sent_at, changed_at, state, transaction_id) VALUES \
                      ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, 'sending', $14) ON CONFLICT (key) DO NOTHING";
        let rows = payments.iter().map(|payment| self.columns(payment)).collect::<Result<Vec<_>, _>>()?;
        let inserted = sql.execute_each(insert, &rows).await?;
        let query = format!("SELECT {STATE_COLUMNS} FROM payments WHERE key = $1{}", S::LOCK);
        let mut taken = BTreeMap::new();
        let mut again = Vec::new();
        for ((payment, row), _) in payments.iter().zip(rows).zip(inserted).filter(|(_, inserted)| *inserted == 0) {
            let key = payment.record.key;
            let found = sql.query_one(&query, &[key_value(key)]).await?;
            let mut found = found.ok_or_else(|| Failure::damaged(format!("payment {key} is gone")))?;
            match state_of(&mut found)?.0 {
                SettlementState::Dead(_) => again.push(row),
                state => {
                    taken.insert(key, state);
                }
            }
        }
        let update = "UPDATE payments SET scheme = $2, network = $3, payer = $4, pay_to = $5, asset = $6, amount = $7, \
                      expires_at = $8, reference = $9, request = $10, caller = $11, height = $12, sent_at = $13, \
                      changed_at = $13, state = 'sending', transaction_id = $14, dead_reason = NULL, dead_message = NULL, \
                      check_at = NULL WHERE key = $1";
        sql.execute_each(update, &again).await?;
        Ok(taken)
    }

    fn columns(&self, payment: &OutgoingPayment) -> Result<Vec<Value>, Failure> {
        let record = &payment.record;
        Ok(vec![
            key_value(record.key),
            record.scheme.as_str().into(),
            record.network.as_str().into(),
            record.payer.as_str().into(),
            record.pay_to.as_str().into(),
            record.asset.as_str().into(),
            record.amount.to_string().into(),
            bits_value(record.expires_at.0),
            record.reference.as_str().into(),
            payment.request.0.as_str().into(),
            payment.caller.as_deref().into(),
            bits_value(self.height),
            moment_value(self.now)?,
            self.transaction.0.as_str().into(),
        ])
    }

    /// Books what the payments will cost, and returns how much for whom; or every payment that may not be sent, in their
    /// order.
    async fn within_budgets<S: Sql>(
        &self,
        sql: &mut S,
        mut taken: BTreeMap<PaymentKey, SettlementState>,
    ) -> Result<Result<Vec<(String, u64)>, Vec<(PaymentKey, Unsendable)>>, Failure> {
        let before = self.spent(sql).await?;
        let mut spent = before.clone();
        let mut without = Vec::new();
        for payment in &self.payments {
            let key = payment.record.key;
            if let Some(state) = taken.remove(&key) {
                without.push((key, Unsendable::Taken(state)));
                continue;
            }
            let with = |budget: &SponsorBudget| {
                spent.get(&budget.account).copied().unwrap_or_default().saturating_add(payment.fee_gwei)
            };
            if let Some(budget) = payment.budgets.iter().find(|budget| with(budget) > budget.limit_gwei) {
                without.push((key, Unsendable::OverBudget(budget.clone())));
                continue;
            }
            let new: Vec<_> = payment.budgets.iter().map(|budget| (budget.account.clone(), with(budget))).collect();
            spent.extend(new);
        }
        if !without.is_empty() {
            return Ok(Err(without));
        }
        let update = "UPDATE sponsored SET spent_gwei = $3 WHERE day = $1 AND account = $2";
        let rows = spent.iter().map(|(account, spent)| Ok(vec![self.day()?, account.as_str().into(), bits_value(*spent)]));
        sql.execute_each(update, &rows.collect::<Result<Vec<_>, Failure>>()?).await?;
        let charged = spent.into_iter().zip(before.into_values());
        Ok(Ok(charged.map(|((account, after), before)| (account, after.saturating_sub(before))).collect()))
    }

    /// What was spent today for everybody that the payments name; the rows are locked, in the order of their names.
    async fn spent<S: Sql>(&self, sql: &mut S) -> Result<BTreeMap<String, u64>, Failure> {
        let budgets = self.payments.iter().flat_map(|payment| &payment.budgets);
        let mut spent: BTreeMap<String, u64> = budgets.map(|budget| (budget.account.clone(), 0)).collect();
        let insert =
            "INSERT INTO sponsored (day, account, spent_gwei) VALUES ($1, $2, 0) ON CONFLICT (day, account) DO NOTHING";
        let rows = spent.keys().map(|account| Ok(vec![self.day()?, account.as_str().into()]));
        sql.execute_each(insert, &rows.collect::<Result<Vec<_>, Failure>>()?).await?;
        let query = format!("SELECT spent_gwei FROM sponsored WHERE day = $1 AND account = $2{}", S::LOCK);
        for (account, spent) in &mut spent {
            let row = sql.query_one(&query, &[self.day()?, account.as_str().into()]).await?;
            *spent = bits_of(&mut row.ok_or_else(|| Failure::damaged(format!("the budget of {account} is gone")))?)?;
        }
        Ok(spent)
    }

    fn day(&self) -> Result<Value, Failure> {
        let day = self.now.0.checked_div(SECONDS_PER_DAY).unwrap_or_default();
        number_value(day, "a day")
    }

    async fn write_transaction<S: Sql>(&self, sql: &mut S, lane: i64, charged: Vec<(String, u64)>) -> Result<(), Failure> {
        let insert = "INSERT INTO outgoing (lane, sequence, height, under_way) VALUES ($1, $2, $3, 1) RETURNING id";
        let values = [lane.into(), number_value(self.sequence, "a sequence number")?, bits_value(self.height)];
        let row = sql.query_one(insert, &values).await?;
        let outgoing = row.ok_or_else(|| Failure::damaged("a new row has no number"))?.integer()?;
        let insert = "INSERT INTO transactions (outgoing, position, id, signed) VALUES ($1, 0, $2, $3)";
        let values = vec![outgoing.into(), self.transaction.0.as_str().into(), self.signed.as_slice().into()];
        sql.execute(insert, values).await?;
        let insert = "INSERT INTO carried (outgoing, position, payment) VALUES ($1, $2, $3)";
        let rows = (0_i64..)
            .zip(&self.payments)
            .map(|(position, payment)| vec![Value::Integer(outgoing), Value::Integer(position), key_value(payment.record.key)]);
        sql.execute_each(insert, &rows.collect::<Vec<_>>()).await?;
        let insert = "INSERT INTO charged (outgoing, day, account, gwei) VALUES ($1, $2, $3, $4)";
        let rows =
            charged.into_iter().map(|(account, gwei)| Ok(vec![outgoing.into(), self.day()?, account.into(), bits_value(gwei)]));
        sql.execute_each(insert, &rows.collect::<Result<Vec<_>, Failure>>()?).await?;
        Ok(())
    }
}

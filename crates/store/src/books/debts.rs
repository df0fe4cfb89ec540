//! `Debts`: what was delivered, or is being delivered, before it was paid. Every debt that is written down locks its debtor first,
//! so that no two of them pass the limit together.

use farthing_core::BoxFuture;
use farthing_core::amount::Amount;
use farthing_core::books::{BookError, Debt, Debts};
use farthing_core::scheme::PaymentKey;
use farthing_core::time::UnixSeconds;
use sha2::{Digest, Sha256};

use super::{Books, key_of, key_value, moment_value};
use crate::error::Failure;
use crate::sql::{Operation, Sql, Value, Verdict};

impl Debts for Books {
    fn owe<'a>(&'a self, debt: &'a Debt, limit: Amount) -> BoxFuture<'a, Result<bool, BookError>> {
        self.write(Owe { debt: debt.clone(), limit })
    }

    fn amend(&self, key: PaymentKey, amount: Amount) -> BoxFuture<'_, Result<(), BookError>> {
        self.write(Amend { key, amount })
    }

    fn paid(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
        self.write(Paid(key))
    }

    fn open(&self, count: u32) -> BoxFuture<'_, Result<Vec<Debt>, BookError>> {
        self.read(Open(count))
    }
}

struct Owe {
    debt: Debt,
    limit: Amount,
}

impl Operation for Owe {
    type Answer = bool;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<bool>, Failure> {
        let Debt { key, payer, network, asset, amount, since } = &self.debt;
        let debtor = Value::from(&debtor(&self.debt)[..]);
        sql.execute("INSERT INTO debtors (id) VALUES ($1) ON CONFLICT (id) DO NOTHING", vec![debtor.clone()]).await?;
        let lock = format!("SELECT 1 FROM debtors WHERE id = $1{}", S::LOCK);
        sql.query_one(&lock, std::slice::from_ref(&debtor)).await?;
        let mut sum = Some(*amount);
        let others = "SELECT amount FROM debts WHERE debtor = $1 AND key <> $2";
        for mut row in sql.query(others, &[debtor.clone(), key_value(*key)]).await? {
            let other: Amount = row.parsed()?;
            sum = sum.and_then(|sum| sum.checked_add(other));
        }
        if sum.is_none_or(|sum| sum > self.limit) {
            return Ok(Verdict::Undo(false));
        }
        let upsert = "INSERT INTO debts (key, debtor, payer, network, asset, amount, since) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                      ON CONFLICT (key) DO UPDATE SET debtor = excluded.debtor, payer = excluded.payer, \
                      network = excluded.network, asset = excluded.asset, amount = excluded.amount, since = excluded.since";
        let values = vec![
            key_value(*key),
            debtor,
            payer.as_str().into(),
            network.as_str().into(),
            asset.as_str().into(),
            amount.to_string().into(),
            moment_value(*since)?,
        ];
        sql.execute(upsert, values).await?;
        Ok(Verdict::Keep(true))
    }
}

struct Amend {
    key: PaymentKey,
    amount: Amount,
}

impl Operation for Amend {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let values = vec![key_value(self.key), self.amount.to_string().into()];
        sql.execute("UPDATE debts SET amount = $2 WHERE key = $1", values).await?;
        Ok(Verdict::Keep(()))
    }
}

struct Paid(PaymentKey);

impl Operation for Paid {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        sql.execute("DELETE FROM debts WHERE key = $1", vec![key_value(self.0)]).await?;
        Ok(Verdict::Keep(()))
    }
}

struct Open(u32);

impl Operation for Open {
    const IS_ONE_STATEMENT: bool = true;
    type Answer = Vec<Debt>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Vec<Debt>>, Failure> {
        let query = "SELECT key, payer, network, asset, amount, since FROM debts ORDER BY since, key LIMIT $1";
        let mut debts = Vec::new();
        for mut row in sql.query(query, &[Value::Integer(i64::from(self.0))]).await? {
            debts.push(Debt {
                key: key_of(&mut row)?,
                payer: row.parsed()?,
                network: row.parsed()?,
                asset: row.parsed()?,
                amount: row.parsed()?,
                since: u64::try_from(row.integer()?).map(UnixSeconds).map_err(Failure::damaged)?,
            });
        }
        Ok(Verdict::Keep(debts))
    }
}

/// Whose debts are counted together. Each part becomes as long as every other, so that none runs into the next.
fn debtor(debt: &Debt) -> [u8; 32] {
    let parts = [debt.payer.as_str().to_ascii_lowercase(), debt.network.to_string(), debt.asset.as_str().to_ascii_lowercase()];
    parts.iter().fold(Sha256::new(), |digest, part| digest.chain_update(Sha256::digest(part))).finalize().into()
}

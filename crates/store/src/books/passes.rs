//! `Passes`: what was bought for later. The table of states is in core.

use std::num::NonZeroU64;

use farthing_core::BoxFuture;
use farthing_core::books::{BookError, PassBalance, PassHolder, PassPurchase, Passes};
use farthing_core::time::UnixSeconds;

use super::sign_ins::digest;
use super::{Books, key_value, number_value};
use crate::error::Failure;
use crate::sql::{Operation, Row, Sql, Value, Verdict};

impl Passes for Books {
    fn grant<'a>(&'a self, purchase: &'a PassPurchase) -> BoxFuture<'a, Result<PassBalance, BookError>> {
        self.write(Grant(purchase.clone()))
    }

    fn balance<'a>(&'a self, holder: &'a PassHolder) -> BoxFuture<'a, Result<PassBalance, BookError>> {
        self.read(Look(digest_of(holder)))
    }

    fn spend<'a>(
        &'a self,
        holder: &'a PassHolder,
        credits: NonZeroU64,
    ) -> BoxFuture<'a, Result<Option<PassBalance>, BookError>> {
        self.write(Spend(digest_of(holder), credits))
    }

    fn give_back<'a>(&'a self, holder: &'a PassHolder, credits: NonZeroU64) -> BoxFuture<'a, Result<(), BookError>> {
        self.write(GiveBack(digest_of(holder), credits))
    }
}

struct Grant(PassPurchase);

impl Operation for Grant {
    type Answer = PassBalance;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<PassBalance>, Failure> {
        let holder = digest_of(&self.0.holder);
        // The row is there and held from here on, so that two payments at once add to each other.
        let place =
            "INSERT INTO passes (holder, credits) VALUES ($1, 0) ON CONFLICT (holder) DO UPDATE SET credits = passes.credits";
        sql.execute(place, vec![holder_value(&holder)]).await?;
        let before = balance(sql, &holder).await?;
        let claim = "INSERT INTO pass_payments (payment, holder) VALUES ($1, $2) ON CONFLICT (payment) DO NOTHING";
        if sql.execute(claim, vec![key_value(self.0.payment), holder_value(&holder)]).await? == 0 {
            return Ok(Verdict::Undo(before));
        }
        let after = self.0.added_to(before);
        let until = after.until.map(|until| number_value(until.0, "the end of a pass")).transpose()?.unwrap_or(Value::Null);
        let credits = number_value(after.credits, "the credits of a pass")?;
        let update = "UPDATE passes SET until = $2, credits = $3 WHERE holder = $1";
        sql.execute(update, vec![holder_value(&holder), until, credits]).await?;
        Ok(Verdict::Keep(after))
    }
}

struct Look([u8; 32]);

impl Operation for Look {
    const IS_ONE_STATEMENT: bool = true;
    const IS_LOOK_UP: bool = true;
    type Answer = PassBalance;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<PassBalance>, Failure> {
        Ok(Verdict::Keep(balance(sql, &self.0).await?))
    }
}

struct Spend([u8; 32], NonZeroU64);

impl Operation for Spend {
    type Answer = Option<PassBalance>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Option<PassBalance>>, Failure> {
        let Ok(credits) = number_value(self.1.get(), "credits") else { return Ok(Verdict::Undo(None)) };
        let take = "UPDATE passes SET credits = credits - $2 WHERE holder = $1 AND credits >= $2 RETURNING until, credits";
        match sql.query_one(take, &[holder_value(&self.0), credits]).await? {
            Some(mut row) => Ok(Verdict::Keep(Some(balance_of(&mut row)?))),
            None => Ok(Verdict::Undo(None)),
        }
    }
}

struct GiveBack([u8; 32], NonZeroU64);

impl Operation for GiveBack {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let give = "UPDATE passes SET credits = credits + $2 WHERE holder = $1";
        sql.execute(give, vec![holder_value(&self.0), number_value(self.1.get(), "credits")?]).await?;
        Ok(Verdict::Keep(()))
    }
}

async fn balance<S: Sql>(sql: &mut S, holder: &[u8; 32]) -> Result<PassBalance, Failure> {
    let query = "SELECT until, credits FROM passes WHERE holder = $1";
    let row = sql.query_one(query, &[holder_value(holder)]).await?;
    row.map_or_else(|| Ok(PassBalance::default()), |mut row| balance_of(&mut row))
}

fn balance_of(row: &mut Row) -> Result<PassBalance, Failure> {
    let until = row.maybe_integer()?.map(u64::try_from).transpose();
    let until = until.map_err(|_| Failure::damaged("the end of a pass is before all time"))?.map(UnixSeconds);
    Ok(PassBalance { until, credits: row.count()? })
}

fn digest_of(holder: &PassHolder) -> [u8; 32] {
    digest(&[&holder.pass, holder.network.as_str(), holder.payer.as_str()])
}

fn holder_value(holder: &[u8; 32]) -> Value {
    Value::from(&holder[..])
}

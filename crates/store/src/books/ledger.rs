//! `Ledger`: what was promised and what was spent. Every change locks the one row of `ledger_total` first.

use farthing_core::BoxFuture;
use farthing_core::amount::Amount;
use farthing_core::books::{BookError, Ledger, Reservation, ReserveError, Spend, SpendLimit, SpendWindow, Usd};
use farthing_core::scheme::TransactionId;
use farthing_core::time::UnixSeconds;
use ruint::Uint;

use super::{Books, moment_value, number_value};
use crate::error::Failure;
use crate::sql::{Operation, Sql, Value, Verdict};

/// Holds the sum of more 256-bit amounts than a book can have rows.
type Total = Uint<320, 5>;

impl Ledger for Books {
    fn allows<'a>(
        &'a self,
        spend: &'a Spend,
        limits: &'a [SpendLimit],
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<(), ReserveError>> {
        let asked = Asked { spend: spend.clone(), limits: limits.to_vec(), now };
        Box::pin(async move {
            match self.database.read(Allows(asked)).await.map_err(BookError::from)? {
                None => Ok(()),
                Some(over) => Err(over.into()),
            }
        })
    }

    fn reserve<'a>(
        &'a self,
        spend: &'a Spend,
        limits: &'a [SpendLimit],
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<Reservation, ReserveError>> {
        let asked = Asked { spend: spend.clone(), limits: limits.to_vec(), now };
        Box::pin(async move {
            let answer = self.database.write(Reserve(asked)).await.map_err(BookError::from)?;
            answer.map_err(ReserveError::from)
        })
    }

    fn has_paid<'a>(&'a self, resource: &'a str) -> BoxFuture<'a, Result<bool, BookError>> {
        let asked = HasPaid(resource.to_owned());
        Box::pin(async move { self.database.read(asked).await.map_err(BookError::from) })
    }

    fn commit(&self, reservation: Reservation, transaction: Option<TransactionId>) -> BoxFuture<'_, Result<(), BookError>> {
        self.write(Commit { reservation, transaction })
    }

    fn release(&self, reservation: Reservation) -> BoxFuture<'_, Result<(), BookError>> {
        self.write(Release(reservation))
    }
}

/// A limit that a spend would pass.
struct OverLimit {
    limit: SpendLimit,
    asked: Usd,
    spent: Usd,
}

impl From<OverLimit> for ReserveError {
    fn from(over: OverLimit) -> Self {
        Self::OverLimit { limit: over.limit, asked: over.asked, spent: over.spent }
    }
}

struct Asked {
    spend: Spend,
    limits: Vec<SpendLimit>,
    now: UnixSeconds,
}

impl Asked {
    /// The first limit that the spend would pass.
    async fn passes<S: Sql>(&self, sql: &mut S, total: Total) -> Result<Option<OverLimit>, Failure> {
        let recent = self.recent(sql).await?;
        for limit in &self.limits {
            let spent = match limit.window {
                SpendWindow::Payment => Usd::ZERO,
                SpendWindow::Total => Usd::from_units(Amount::from_units(total.saturating_to())),
                SpendWindow::Seconds(seconds) => {
                    let counted = recent.iter().filter(|(at, _)| *at > self.now.minus(seconds).0);
                    counted.fold(Usd::ZERO, |sum, (_, usd)| sum.saturating_add(*usd))
                }
            };
            if spent.saturating_add(self.spend.usd) > limit.max {
                return Ok(Some(OverLimit { limit: *limit, asked: self.spend.usd, spent }));
            }
        }
        Ok(None)
    }

    /// Everything within the longest window.
    async fn recent<S: Sql>(&self, sql: &mut S) -> Result<Vec<(u64, Usd)>, Failure> {
        let windows = self.limits.iter().filter_map(|limit| match limit.window {
            SpendWindow::Seconds(seconds) => Some(seconds),
            SpendWindow::Payment | SpendWindow::Total => None,
        });
        let Some(longest) = windows.max() else { return Ok(Vec::new()) };
        let query = "SELECT at, usd FROM reservations WHERE at > $1 AND state <> 'released'";
        let rows = sql.query(query, &[moment_value(self.now.minus(longest))?]).await?;
        rows.into_iter().map(|mut row| Ok((row.count()?, Usd::from_units(row.parsed()?)))).collect()
    }
}

struct Allows(Asked);

impl Operation for Allows {
    type Answer = Option<OverLimit>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let total = read_total(sql, "").await?;
        self.0.passes(sql, total).await.map(Verdict::Undo)
    }
}

struct HasPaid(String);

impl Operation for HasPaid {
    const IS_ONE_STATEMENT: bool = true;
    type Answer = bool;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<bool>, Failure> {
        // The beginning as the index has it; and the whole in a form that SQLite does not put into the former, past the index.
        let query = "SELECT id FROM reservations WHERE substr(resource, 1, 256) = substr(CAST($1 AS TEXT), 1, 256) \
                     AND resource || '' = $1 AND state <> 'released' LIMIT 1";
        let row = sql.query_one(query, &[self.0.as_str().into()]).await?;
        Ok(Verdict::Keep(row.is_some()))
    }
}

struct Reserve(Asked);

impl Operation for Reserve {
    type Answer = Result<Reservation, OverLimit>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let Asked { spend, now, .. } = &self.0;
        let total = read_total(sql, S::LOCK).await?;
        if let Some(over) = self.0.passes(sql, total).await? {
            return Ok(Verdict::Undo(Err(over)));
        }
        let insert = "INSERT INTO reservations (at, usd, resource, state) VALUES ($1, $2, $3, 'open') RETURNING id";
        let values = [moment_value(*now)?, spend.usd.units().to_string().into(), spend.resource.as_str().into()];
        let row = sql.query_one(insert, &values).await?;
        let number = row.ok_or_else(|| Failure::damaged("a new reservation has no number"))?.count()?;
        write_total(sql, total.checked_add(Total::from(spend.usd.units().units()))).await?;
        Ok(Verdict::Keep(Ok(Reservation(number))))
    }
}

struct Commit {
    reservation: Reservation,
    transaction: Option<TransactionId>,
}

impl Operation for Commit {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let total = read_total(sql, S::LOCK).await?;
        let (state, usd) = find(sql, self.reservation).await?;
        if state == "released" {
            write_total(sql, total.checked_add(usd)).await?;
        }
        let update = "UPDATE reservations SET state = 'committed', transaction_id = $2 WHERE id = $1";
        let transaction = self.transaction.as_ref().map(|transaction| transaction.0.as_str());
        sql.execute(update, vec![number(self.reservation)?, transaction.into()]).await?;
        Ok(Verdict::Keep(()))
    }
}

struct Release(Reservation);

impl Operation for Release {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let total = read_total(sql, S::LOCK).await?;
        let (state, usd) = find(sql, self.0).await?;
        match state.as_str() {
            "released" => return Ok(Verdict::Undo(())),
            "open" => {}
            _ => return Err(Failure::new(format!("reservation {} is spent: it can't be released", self.0.0))),
        }
        write_total(sql, total.checked_sub(usd)).await?;
        sql.execute("UPDATE reservations SET state = 'released' WHERE id = $1", vec![number(self.0)?]).await?;
        Ok(Verdict::Keep(()))
    }
}

async fn read_total<S: Sql>(sql: &mut S, lock: &str) -> Result<Total, Failure> {
    let row = sql.query_one(&format!("SELECT usd FROM ledger_total WHERE id = 1{lock}"), &[]).await?;
    row.ok_or_else(|| Failure::damaged("the ledger has no total"))?.parsed()
}

async fn write_total<S: Sql>(sql: &mut S, total: Option<Total>) -> Result<(), Failure> {
    let total = total.ok_or_else(|| Failure::damaged("the ledger's total does not agree with its reservations"))?;
    sql.execute("UPDATE ledger_total SET usd = $1 WHERE id = 1", vec![total.to_string().into()]).await?;
    Ok(())
}

async fn find<S: Sql>(sql: &mut S, reservation: Reservation) -> Result<(String, Total), Failure> {
    let query = "SELECT state, usd FROM reservations WHERE id = $1";
    let row = sql.query_one(query, &[number(reservation)?]).await?;
    let mut row = row.ok_or_else(|| Failure::new(format!("there is no reservation {}", reservation.0)))?;
    Ok((row.text()?, Total::from(row.parsed::<Amount>()?.units())))
}

fn number(reservation: Reservation) -> Result<Value, Failure> {
    number_value(reservation.0, "a reservation")
}

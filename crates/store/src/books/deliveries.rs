//! `Deliveries`: which payment bought which request. The table of states is in core.

use farthing_core::BoxFuture;
use farthing_core::books::{
    BookError, ClaimId, Deliveries, Delivery, DeliveryClaim, KEEP_EXPIRED_SECONDS, Presented, Standing,
};
use farthing_core::scheme::TransactionId;
use farthing_core::time::UnixSeconds;

use super::{Books, is_alive, key_value};
use crate::error::Failure;
use crate::sql::{Operation, Row, Sql, Value, Verdict};

/// How often a claim looks again when the row that stood in its way is gone before it can be read.
const CLAIM_TRIES_MAX: usize = 8;

/// Every how many claims one forgets what expired long ago, so that most claims do not even look.
const CLAIMS_PER_LOOK: u64 = 16;
/// How many payments it forgets at most: more than were claimed since the last look, so that the book shrinks again.
const FORGOTTEN_PER_LOOK_MAX: i64 = 64;

const CLAIMED: &str = "claimed";
const SETTLING: &str = "settling";
const UNSETTLED: &str = "unsettled";
const SERVED: &str = "served";

impl Deliveries for Books {
    fn claim<'a>(&'a self, presented: &'a Presented) -> BoxFuture<'a, Result<DeliveryClaim, BookError>> {
        let presented = presented.clone();
        self.write_as_node(move |node| Claim { node, presented })
    }

    fn settling(&self, claim: ClaimId) -> BoxFuture<'_, Result<Standing, BookError>> {
        self.write_as_node(move |node| Settling { node, claim })
    }

    fn served<'a>(&'a self, claim: ClaimId, transaction: &'a TransactionId) -> BoxFuture<'a, Result<Standing, BookError>> {
        self.write(Served { claim, transaction: transaction.clone() })
    }

    fn unsettled(&self, claim: ClaimId) -> BoxFuture<'_, Result<Standing, BookError>> {
        self.write(Unsettled { claim })
    }

    fn cancel(&self, claim: ClaimId) -> BoxFuture<'_, Result<Standing, BookError>> {
        self.write(Cancel { claim })
    }
}

struct Claim {
    node: i64,
    presented: Presented,
}

impl Operation for Claim {
    type Answer = DeliveryClaim;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<DeliveryClaim>, Failure> {
        if !is_alive(sql, self.node).await? {
            return Err(Failure::new("this node is past its time in the book: it can't claim before it has joined again"));
        }
        let Presented { key, .. } = self.presented;
        let query = format!("SELECT node, request, state, transaction_id FROM deliveries WHERE key = $1{}", S::LOCK);
        for _ in 0..CLAIM_TRIES_MAX {
            if let Some(id) = self.insert(sql, CLAIMED).await? {
                return Ok(Verdict::Keep(DeliveryClaim::New(id)));
            }
            // It may be cancelled meanwhile.
            if let Some(row) = sql.query_one(&query, &[key_value(key)]).await? {
                return self.take_over(sql, row).await;
            }
        }
        Err(Failure::new(format!("payment {key} is claimed and cancelled all the time")))
    }
}

impl Claim {
    /// A row of this claim's own, unless there is one of the payment.
    async fn insert<S: Sql>(&self, sql: &mut S, state: &str) -> Result<Option<ClaimId>, Failure> {
        let Presented { key, request, expires_at, .. } = &self.presented;
        let insert = "INSERT INTO deliveries (key, node, request, state, expires_at) VALUES ($1, $2, $3, $4, $5) \
                      ON CONFLICT (key) DO NOTHING RETURNING claim";
        let expires_at = expires_at.map(to_the_end_of_time).into();
        let values = [key_value(*key), self.node.into(), request.0.as_str().into(), state.into(), expires_at];
        let Some(mut row) = sql.query_one(insert, &values).await? else { return Ok(None) };
        let id = ClaimId { key: *key, number: row.count()? };
        if id.number.is_multiple_of(CLAIMS_PER_LOOK) {
            self.forget(sql, id).await?;
        }
        Ok(Some(id))
    }

    async fn take_over<S: Sql>(&self, sql: &mut S, mut row: Row) -> Result<Verdict<DeliveryClaim>, Failure> {
        let (node, is_same) = (row.integer()?, row.text()? == self.presented.request.0);
        let delivery = delivery_of(&mut row)?;
        let left_behind = !is_alive(sql, node).await?;
        let (claim, state): (fn(ClaimId) -> DeliveryClaim, _) = match delivery {
            Delivery::Claimed if left_behind => (DeliveryClaim::New, CLAIMED),
            // Nothing is known to be free: whoever takes it up settles at once.
            Delivery::Unsettled if is_same => (DeliveryClaim::Resumed, SETTLING),
            Delivery::Settling if left_behind && is_same => (DeliveryClaim::Resumed, SETTLING),
            Delivery::Settling if left_behind => return Ok(Verdict::Undo(DeliveryClaim::Taken(Delivery::Unsettled))),
            other => return Ok(Verdict::Undo(DeliveryClaim::Taken(other))),
        };
        // A row is one claim: with the old one goes whatever its claim might still want to write.
        sql.execute("DELETE FROM deliveries WHERE key = $1", vec![key_value(self.presented.key)]).await?;
        let id = self.insert(sql, state).await?;
        let id =
            id.ok_or_else(|| Failure::new(format!("payment {} was claimed between two statements", self.presented.key)))?;
        Ok(Verdict::Keep(claim(id)))
    }

    /// Forgets what expired long ago. Nobody waits for rows that somebody else is forgetting.
    async fn forget<S: Sql>(&self, sql: &mut S, but: ClaimId) -> Result<(), Failure> {
        let skip = if S::LOCK.is_empty() { "" } else { " SKIP LOCKED" };
        let delete = format!(
            "DELETE FROM deliveries WHERE claim IN (SELECT claim FROM deliveries WHERE expires_at < $1 AND claim <> $2 \
             ORDER BY expires_at LIMIT {FORGOTTEN_PER_LOOK_MAX}{}{skip})",
            S::LOCK
        );
        let long_ago = to_the_end_of_time(self.presented.now.minus(KEEP_EXPIRED_SECONDS));
        sql.execute(&delete, vec![long_ago, number(but)?]).await.map(drop)
    }
}

fn delivery_of(row: &mut Row) -> Result<Delivery, Failure> {
    match row.text()?.as_str() {
        CLAIMED => Ok(Delivery::Claimed),
        SETTLING => Ok(Delivery::Settling),
        UNSETTLED => Ok(Delivery::Unsettled),
        SERVED => Ok(Delivery::Served(TransactionId(row.text()?))),
        other => Err(Failure::damaged(format!("a delivery is {other:?}"))),
    }
}

struct Settling {
    node: i64,
    claim: ClaimId,
}

impl Operation for Settling {
    type Answer = Standing;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Standing>, Failure> {
        // The node may have a new number since the claim: what it settles now lives as long as that one.
        let update =
            "UPDATE deliveries SET state = 'settling', node = $2 WHERE claim = $1 AND state IN ('claimed', 'settling')";
        Ok(standing(sql.execute(update, vec![number(self.claim)?, self.node.into()]).await?))
    }
}

struct Served {
    claim: ClaimId,
    transaction: TransactionId,
}

impl Operation for Served {
    type Answer = Standing;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Standing>, Failure> {
        let update = "UPDATE deliveries SET state = 'served', transaction_id = $2 WHERE claim = $1 AND state = 'settling'";
        Ok(standing(sql.execute(update, vec![number(self.claim)?, self.transaction.0.as_str().into()]).await?))
    }
}

struct Unsettled {
    claim: ClaimId,
}

impl Operation for Unsettled {
    type Answer = Standing;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Standing>, Failure> {
        let update = "UPDATE deliveries SET state = 'unsettled', transaction_id = NULL \
                      WHERE claim = $1 AND state IN ('settling', 'served')";
        Ok(standing(sql.execute(update, vec![number(self.claim)?]).await?))
    }
}

struct Cancel {
    claim: ClaimId,
}

impl Operation for Cancel {
    type Answer = Standing;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Standing>, Failure> {
        let delete = "DELETE FROM deliveries WHERE claim = $1 AND state IN ('claimed', 'settling')";
        Ok(standing(sql.execute(delete, vec![number(self.claim)?]).await?))
    }
}

const fn standing(changed: u64) -> Verdict<Standing> {
    Verdict::Keep(if changed == 0 { Standing::Lost } else { Standing::Held })
}

fn number(claim: ClaimId) -> Result<Value, Failure> {
    super::number_value(claim.number, "a claim's number")
}

/// A moment as the database compares it. What lies beyond the last one that it knows is that one.
fn to_the_end_of_time(moment: UnixSeconds) -> Value {
    Value::Integer(i64::try_from(moment.0).unwrap_or(i64::MAX))
}

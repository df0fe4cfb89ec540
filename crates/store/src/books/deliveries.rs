//! `Deliveries`: which payment bought which request, and with which answer. The table of states is in core.

use farthing_core::BoxFuture;
use farthing_core::amount::Amount;
use farthing_core::books::{
    Answered, Bill, BookError, Charged, ClaimId, Deliveries, Delivery, DeliveryClaim, KEEP_EXPIRED_SECONDS, Naming, Owed,
    Presented, Purchase, Receipt, Sale, Standing, StoredAnswer,
};
use farthing_core::scheme::{PaymentKey, TransactionId};
use farthing_core::time::UnixSeconds;

use super::{Books, is_alive, key_value, sales};
use crate::error::Failure;
use crate::sql::{Operation, Row, Sql, Value, Verdict};

/// How often a claim looks again when the row that stood in its way is gone before it can be read.
const CLAIM_TRIES_MAX: usize = 8;

/// Every how many claims one forgets what is past its time, so that most claims do not even look.
const CLAIMS_PER_LOOK: u64 = 16;
/// How many payments it forgets at most: more than were claimed since the last look, so that the book shrinks again.
const FORGOTTEN_PER_LOOK_MAX: i64 = 64;
/// How many answers it forgets at most: more than were kept since the last look, and fewer, for each may be long.
const FORGOTTEN_ANSWERS_PER_LOOK_MAX: i64 = 24;

const CLAIMED: &str = "claimed";
const SETTLING: &str = "settling";
const UNSETTLED: &str = "unsettled";
const SERVED: &str = "served";

impl Deliveries for Books {
    fn claim<'a>(&'a self, presented: &'a Presented) -> BoxFuture<'a, Result<DeliveryClaim, BookError>> {
        let presented = presented.clone();
        self.write_as_node(move |node| Claim { node, presented })
    }

    fn name<'a>(&'a self, claim: ClaimId, purchase: &'a Purchase) -> BoxFuture<'a, Result<Naming, BookError>> {
        self.write(Name { claim, purchase: purchase.clone() })
    }

    fn settling<'a>(&'a self, claim: ClaimId, bill: &'a Bill) -> BoxFuture<'a, Result<Standing, BookError>> {
        let bill = bill.clone();
        self.write_as_node(move |node| Settling { node, claim, bill })
    }

    fn charged<'a>(&'a self, claim: ClaimId, charged: &'a Charged<'a>) -> BoxFuture<'a, Result<Standing, BookError>> {
        self.write(MoneyMoved { claim, receipt: charged.receipt.clone(), sale: charged.sale(claim.key) })
    }

    fn served<'a>(
        &'a self,
        claim: ClaimId,
        charged: &'a Charged<'a>,
        answer: Option<&'a StoredAnswer>,
    ) -> BoxFuture<'a, Result<Standing, BookError>> {
        let paid = MoneyMoved { claim, receipt: charged.receipt.clone(), sale: charged.sale(claim.key) };
        self.write(Served { paid, answer: answer.cloned() })
    }

    fn unsettled(&self, claim: ClaimId) -> BoxFuture<'_, Result<Standing, BookError>> {
        self.write(Unsettled { claim })
    }

    fn delivered<'a>(&'a self, claims: &'a [ClaimId]) -> BoxFuture<'a, Result<(), BookError>> {
        self.write(Delivered { claims: claims.to_vec() })
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
            if let Some(id) = self.insert(sql).await? {
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
    async fn insert<S: Sql>(&self, sql: &mut S) -> Result<Option<ClaimId>, Failure> {
        let insert = "INSERT INTO deliveries (key, node, request, state, expires_at) VALUES ($1, $2, $3, $4, $5) \
                      ON CONFLICT (key) DO NOTHING RETURNING claim";
        let row = sql.query_one(insert, &self.values(CLAIMED)).await?;
        self.id_of(sql, row).await
    }

    fn values(&self, state: &str) -> [Value; 5] {
        let Presented { key, request, expires_at, .. } = &self.presented;
        let expires_at = expires_at.map(to_the_end_of_time).into();
        [key_value(*key), self.node.into(), request.0.as_str().into(), state.into(), expires_at]
    }

    async fn id_of<S: Sql>(&self, sql: &mut S, row: Option<Row>) -> Result<Option<ClaimId>, Failure> {
        let Some(mut row) = row else { return Ok(None) };
        let id = ClaimId { key: self.presented.key, number: row.count()? };
        if id.number.is_multiple_of(CLAIMS_PER_LOOK) {
            self.forget(sql, id).await?;
        }
        Ok(Some(id))
    }

    async fn take_over<S: Sql>(&self, sql: &mut S, mut row: Row) -> Result<Verdict<DeliveryClaim>, Failure> {
        let Presented { key, now, ref request, .. } = self.presented;
        let (node, is_same) = (row.integer()?, row.text()? == request.0);
        let delivery = delivery_of(&mut row)?;
        let left_behind = !is_alive(sql, node).await?;
        match delivery {
            Delivery::Claimed if left_behind => {
                remove(sql, key).await?;
                let id = self.insert(sql).await?.ok_or_else(|| claimed_between(key))?;
                Ok(Verdict::Keep(DeliveryClaim::New(id)))
            }
            Delivery::Unsettled if is_same => self.resume(sql).await,
            Delivery::Settling if left_behind && is_same => self.resume(sql).await,
            Delivery::Settling if left_behind => Ok(Verdict::Undo(DeliveryClaim::Taken(Delivery::Unsettled))),
            Delivery::Served(transaction) if is_same => {
                let answered = answered(sql, key, &transaction, now, left_behind).await?;
                let taken = DeliveryClaim::Taken(Delivery::Served(transaction));
                Ok(Verdict::Undo(answered.map_or(taken, DeliveryClaim::Answered)))
            }
            other => Ok(Verdict::Undo(DeliveryClaim::Taken(other))),
        }
    }

    /// Takes the payment up with all that is known of it.
    async fn resume<S: Sql>(&self, sql: &mut S) -> Result<Verdict<DeliveryClaim>, Failure> {
        let Presented { key, now, .. } = self.presented;
        let query = "SELECT charge, settlement, answer_until, answer_head, answer_body FROM deliveries WHERE key = $1";
        let mut row = sql.query_one(query, &[key_value(key)]).await?.ok_or_else(|| claimed_between(key))?;
        let charge = row.maybe_text()?.map(|amount| amount.parse::<Amount>()).transpose().map_err(Failure::damaged)?;
        let owed = Owed { charge, settlement: row.maybe_text()?, answer: answer_of(&mut row)?.filter(|it| now < it.until) };
        let query = "SELECT name, request FROM purchases WHERE payment = $1";
        let purchase = sql.query_one(query, &[key_value(key)]).await?;
        // A row is one claim: with the old one goes whatever its claim might still want to write.
        remove(sql, key).await?;
        let insert = "INSERT INTO deliveries \
                      (key, node, request, state, expires_at, charge, settlement, answer_until, answer_head, answer_body) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) RETURNING claim";
        let mut values = self.values(SETTLING).to_vec();
        values.extend([owed.charge.map(|charge| charge.to_string()).into(), owed.settlement.clone().into()]);
        values.extend(answer_values(owed.answer.as_ref()));
        let row = sql.query_one(insert, &values).await?;
        if let Some(mut purchase) = purchase {
            let values = vec![purchase.bytes()?.as_slice().into(), key_value(key), purchase.text()?.into()];
            sql.execute("INSERT INTO purchases (name, payment, request) VALUES ($1, $2, $3)", values).await?;
        }
        let id = self.id_of(sql, row).await?.ok_or_else(|| claimed_between(key))?;
        Ok(Verdict::Keep(DeliveryClaim::Resumed(id, Box::new(owed))))
    }

    /// Forgets what is past its time. Nobody waits for rows that somebody else is forgetting.
    async fn forget<S: Sql>(&self, sql: &mut S, but: ClaimId) -> Result<(), Failure> {
        let skip = if S::LOCK.is_empty() { String::new() } else { format!("{} SKIP LOCKED", S::LOCK) };
        let now = self.presented.now;
        let update = format!(
            "UPDATE deliveries SET answer_until = NULL, answer_head = NULL, answer_body = NULL WHERE claim IN \
             (SELECT claim FROM deliveries WHERE answer_until <= $1 AND claim <> $2 \
             ORDER BY answer_until LIMIT {FORGOTTEN_ANSWERS_PER_LOOK_MAX}{skip})"
        );
        sql.execute(&update, vec![to_the_end_of_time(now), number(but)?]).await?;
        let delete = format!(
            "DELETE FROM deliveries WHERE claim IN (SELECT claim FROM deliveries WHERE expires_at < $1 AND claim <> $2 \
             ORDER BY expires_at LIMIT {FORGOTTEN_PER_LOOK_MAX}{skip})"
        );
        let long_ago = to_the_end_of_time(now.minus(KEEP_EXPIRED_SECONDS));
        sql.execute(&delete, vec![long_ago, number(but)?]).await.map(drop)
    }
}

async fn remove<S: Sql>(sql: &mut S, key: PaymentKey) -> Result<(), Failure> {
    sql.execute("DELETE FROM deliveries WHERE key = $1", vec![key_value(key)]).await.map(drop)
}

fn claimed_between(key: PaymentKey) -> Failure {
    Failure::new(format!("payment {key} was claimed between two statements"))
}

/// The answer to a payment that was served, if it is still kept.
async fn answered<S: Sql>(
    sql: &mut S,
    key: PaymentKey,
    transaction: &TransactionId,
    now: UnixSeconds,
    is_left_behind: bool,
) -> Result<Option<Box<Answered>>, Failure> {
    let query =
        "SELECT settlement, answer_until, answer_head, answer_body FROM deliveries WHERE key = $1 AND answer_until > $2";
    let Some(mut row) = sql.query_one(query, &[key_value(key), to_the_end_of_time(now)]).await? else { return Ok(None) };
    let receipt = Receipt { transaction: transaction.clone(), settlement: row.text()? };
    Ok(answer_of(&mut row)?.map(|answer| Box::new(Answered { receipt, answer, is_left_behind })))
}

/// The next three columns, an answer if there is one.
fn answer_of(row: &mut Row) -> Result<Option<StoredAnswer>, Failure> {
    let Some(until) = row.maybe_integer()? else { return Ok(None) };
    let until = u64::try_from(until).map(UnixSeconds).map_err(Failure::damaged)?;
    Ok(Some(StoredAnswer { head: row.bytes()?.into(), body: row.bytes()?.into(), until }))
}

fn answer_values(answer: Option<&StoredAnswer>) -> [Value; 3] {
    match answer {
        Some(StoredAnswer { head, body, until }) => [to_the_end_of_time(*until), (**head).into(), (**body).into()],
        None => [Value::Null, Value::Null, Value::Null],
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

struct Name {
    claim: ClaimId,
    purchase: Purchase,
}

impl Operation for Name {
    type Answer = Naming;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Naming>, Failure> {
        let name = Value::from(self.purchase.name.0.as_slice());
        // A payment has one name, and its first one stays.
        let query = format!(
            "SELECT 1 FROM deliveries WHERE claim = $1 AND state = 'claimed' \
             AND NOT EXISTS (SELECT 1 FROM purchases WHERE payment = key AND name <> $2){}",
            S::LOCK
        );
        if sql.query_one(&query, &[number(self.claim)?, name.clone()]).await?.is_none() {
            return Ok(Verdict::Undo(Naming::Lost));
        }
        let insert = "INSERT INTO purchases (name, payment, request) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        // Of the payment alone: whoever forgets one has locked it when its name goes with it, and would wait for us crosswise.
        let lock = if S::LOCK.is_empty() { String::new() } else { format!("{} OF deliveries", S::LOCK) };
        let query = format!(
            "SELECT key, node, purchases.request, state, transaction_id FROM purchases \
             JOIN deliveries ON deliveries.key = purchases.payment WHERE name = $1{lock}"
        );
        for _ in 0..CLAIM_TRIES_MAX {
            let values = vec![name.clone(), key_value(self.claim.key), self.purchase.request.0.as_str().into()];
            if sql.execute(insert, values).await? > 0 {
                return Ok(Verdict::Keep(Naming::Ours));
            }
            // It may be free by now.
            let Some(row) = sql.query_one(&query, std::slice::from_ref(&name)).await? else { continue };
            if let Some(naming) = self.judge(sql, row).await? {
                return Ok(Verdict::Undo(naming));
            }
        }
        Err(Failure::new(format!("the name of the purchase of payment {} is taken and freed all the time", self.claim.key)))
    }
}

impl Name {
    /// What becomes of a name that a payment has already; none if it was free all the same, and now is.
    async fn judge<S: Sql>(&self, sql: &mut S, mut row: Row) -> Result<Option<Naming>, Failure> {
        let (key, node) = (super::key_of(&mut row)?, row.integer()?);
        let is_same = row.text()? == self.purchase.request.0;
        let delivery = delivery_of(&mut row)?;
        if key == self.claim.key {
            return Ok(Some(Naming::Ours));
        }
        let left_behind = !is_alive(sql, node).await?;
        match delivery {
            Delivery::Claimed if left_behind => remove(sql, key).await.map(|()| None),
            _ if !is_same => Ok(Some(Naming::OtherRequest)),
            Delivery::Settling if left_behind => Ok(Some(Naming::Taken(Delivery::Unsettled))),
            Delivery::Served(transaction) => {
                let answered = answered(sql, key, &transaction, self.purchase.now, left_behind).await?;
                Ok(Some(answered.map_or(Naming::Taken(Delivery::Served(transaction)), Naming::Answered)))
            }
            other => Ok(Some(Naming::Taken(other))),
        }
    }
}

struct Settling {
    node: i64,
    claim: ClaimId,
    bill: Bill,
}

impl Operation for Settling {
    type Answer = Standing;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Standing>, Failure> {
        // The node may have a new number since the claim: what it settles now lives as long as that one.
        let update = "UPDATE deliveries SET state = 'settling', node = $2, charge = $3 \
                      WHERE claim = $1 AND state IN ('claimed', 'settling')";
        let values = vec![number(self.claim)?, self.node.into(), self.bill.amount.to_string().into()];
        let changed = sql.execute(update, values).await?;
        if changed > 0 {
            sales::open_bill(sql, self.claim.key, &self.bill).await?;
        }
        Ok(standing(changed))
    }
}

/// A payment that is known to be charged.
struct MoneyMoved {
    claim: ClaimId,
    receipt: Receipt,
    sale: Sale,
}

impl Operation for MoneyMoved {
    type Answer = Standing;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Standing>, Failure> {
        let update = "UPDATE deliveries SET settlement = $2 WHERE claim = $1 AND state = 'settling'";
        let changed = sql.execute(update, vec![number(self.claim)?, self.receipt.settlement.as_str().into()]).await?;
        if changed > 0 {
            sales::settle(sql, &self.sale).await?;
        }
        Ok(standing(changed))
    }
}

struct Served {
    paid: MoneyMoved,
    answer: Option<StoredAnswer>,
}

impl Operation for Served {
    type Answer = Standing;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Standing>, Failure> {
        let update = "UPDATE deliveries SET state = 'served', transaction_id = $2, settlement = $3, \
                      answer_until = $4, answer_head = $5, answer_body = $6 WHERE claim = $1 AND state = 'settling'";
        let MoneyMoved { claim, receipt: Receipt { transaction, settlement }, sale } = &self.paid;
        let mut values = vec![number(*claim)?, transaction.0.as_str().into(), settlement.as_str().into()];
        values.extend(answer_values(self.answer.as_ref()));
        let changed = sql.execute(update, values).await?;
        if changed > 0 {
            sales::settle(sql, sale).await?;
        }
        Ok(standing(changed))
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

struct Delivered {
    claims: Vec<ClaimId>,
}

impl Operation for Delivered {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let update = "UPDATE deliveries SET answer_until = NULL, answer_head = NULL, answer_body = NULL \
                      WHERE claim = $1 AND state = 'served' AND answer_until IS NOT NULL";
        let mut claims = self.claims.clone();
        // In the same order everywhere, so that no two of these wait for each other crosswise.
        claims.sort_unstable_by_key(|claim| claim.number);
        let sets = claims.into_iter().map(|claim| Ok(vec![number(claim)?])).collect::<Result<Vec<_>, Failure>>()?;
        sql.execute_each(update, &sets).await?;
        Ok(Verdict::Keep(()))
    }
}

struct Cancel {
    claim: ClaimId,
}

impl Operation for Cancel {
    type Answer = Standing;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Standing>, Failure> {
        let delete = "DELETE FROM deliveries WHERE claim = $1 AND state IN ('claimed', 'settling')";
        let changed = sql.execute(delete, vec![number(self.claim)?]).await?;
        if changed > 0 {
            sales::strike_out(sql, self.claim.key).await?;
        }
        Ok(standing(changed))
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

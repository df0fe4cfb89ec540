//! `Outbox`: what a sender must not forget. Every write under a lease begins with the lane's row.

use farthing_core::BoxFuture;
use farthing_core::books::{BookError, Landing, LaneClaim, LaneId, LaneLease, Outbox, Outgoing, UnderWay, Written};
use farthing_core::network::Network;
use farthing_core::reason::Refusal;
use farthing_core::scheme::{PaymentKey, TransactionId};
use farthing_core::time::UnixSeconds;

use super::lanes::{GiveBack, Nodes, Take, leased};
use super::sending::Sending;
use super::settlements::CHECK_AT_EXPIRY;
use super::{Books, bits_of, bits_value, key_of, key_value, moment_value, number_value};
use crate::error::Failure;
use crate::sql::{Operation, Row, Sql, Value, Verdict};

impl Outbox for Books {
    fn take<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<LaneClaim, BookError>> {
        let lane = lane.clone();
        self.write_as_node(|node| Take { node, lane })
    }

    fn give_back<'a>(&'a self, lease: &'a LaneLease) -> BoxFuture<'a, Result<(), BookError>> {
        self.write(GiveBack(lease.clone()))
    }

    fn nodes<'a>(&'a self, network: &'a Network) -> BoxFuture<'a, Result<usize, BookError>> {
        let network = network.clone();
        self.write_as_node(|node| Nodes { node, network })
    }

    fn sending<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Written, BookError>> {
        self.write(Sending::from(outgoing))
    }

    fn replacing<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Written, BookError>> {
        let place = Place { lease: outgoing.lease.clone(), sequence: outgoing.sequence };
        self.write(Replacing {
            place,
            transaction: outgoing.transaction.clone(),
            signed: outgoing.signed.to_vec(),
            now: outgoing.now,
        })
    }

    fn refused<'a>(
        &'a self,
        lease: &'a LaneLease,
        sequence: u64,
        refusal: &'a Refusal,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<(), BookError>> {
        self.write(Refused { place: Place { lease: lease.clone(), sequence }, refusal: refusal.clone(), now })
    }

    fn landed<'a>(&'a self, lease: &'a LaneLease, sequence: u64, landing: &'a Landing) -> BoxFuture<'a, Result<(), BookError>> {
        self.write(Landed { place: Place { lease: lease.clone(), sequence }, landing: landing.clone() })
    }

    fn reopened<'a>(&'a self, lease: &'a LaneLease, sequence: u64, now: UnixSeconds) -> BoxFuture<'a, Result<(), BookError>> {
        self.write(Reopened { place: Place { lease: lease.clone(), sequence }, now })
    }

    fn closed<'a>(&'a self, lease: &'a LaneLease, sequence: u64) -> BoxFuture<'a, Result<(), BookError>> {
        self.write(Closed(Place { lease: lease.clone(), sequence }))
    }

    fn under_way<'a>(
        &'a self,
        lease: &'a LaneLease,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<UnderWay>>, BookError>> {
        self.read(WhatIsUnderWay { from: Place { lease: lease.clone(), sequence: from }, limit })
    }

    fn last_closed<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<Option<u64>, BookError>> {
        self.read(LastClosed(lane.clone()))
    }

    fn carrier(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<(LaneId, u64)>, BookError>> {
        self.read(CarrierOf(key))
    }

    fn landing(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<Landing>, BookError>> {
        self.read(LandingOf(key))
    }
}

/// A sequence number of a lane.
struct Place {
    lease: LaneLease,
    sequence: u64,
}

impl Place {
    /// The row of what is under way there, if the lease still holds.
    async fn hold<S: Sql>(&self, sql: &mut S) -> Result<Option<i64>, Failure> {
        let Some(lane) = leased(sql, &self.lease, true).await? else { return Ok(None) };
        let query = "SELECT id FROM outgoing WHERE lane = $1 AND sequence = $2 AND under_way = 1";
        let row = sql.query_one(query, &[lane.into(), number_value(self.sequence, "a sequence number")?]).await?;
        row.map(|mut row| row.integer()).transpose()
    }
}

/// The transactions of a sequence number, oldest first.
async fn transactions<S: Sql>(sql: &mut S, outgoing: i64) -> Result<Vec<TransactionId>, Failure> {
    let query = "SELECT id FROM transactions WHERE outgoing = $1 ORDER BY position";
    let rows = sql.query(query, &[outgoing.into()]).await?;
    rows.into_iter().map(|mut row| row.text().map(TransactionId)).collect()
}

/// The condition under which a payment is carried by what is written under the number `$1`, and by nothing newer.
const CARRIED: &str = "key IN (SELECT payment FROM carried WHERE outgoing = $1) \
                       AND transaction_id IN (SELECT id FROM transactions WHERE outgoing = $1)";

struct Replacing {
    place: Place,
    transaction: TransactionId,
    signed: Vec<u8>,
    now: UnixSeconds,
}

impl Operation for Replacing {
    type Answer = Written;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Written>, Failure> {
        let Some(outgoing) = self.place.hold(sql).await? else { return Ok(Verdict::Undo(Written::LeaseLost)) };
        let before = transactions(sql, outgoing).await?;
        if before.contains(&self.transaction) {
            return Ok(Verdict::Undo(Written::Yes));
        }
        // What has landed meanwhile keeps its name.
        let update = format!(
            "UPDATE payments SET transaction_id = $2, changed_at = $3 WHERE state = 'sending' AND {CARRIED} \
             AND NOT EXISTS (SELECT 1 FROM outgoing WHERE id = $1 AND landed_transaction IS NOT NULL)"
        );
        let transaction = || Value::from(self.transaction.0.as_str());
        sql.execute(&update, vec![outgoing.into(), transaction(), moment_value(self.now)?]).await?;
        let insert = "INSERT INTO transactions (outgoing, position, id, signed) VALUES ($1, $2, $3, $4)";
        let position = Value::Integer(i64::try_from(before.len()).unwrap_or(i64::MAX));
        sql.execute(insert, vec![outgoing.into(), position, transaction(), self.signed.as_slice().into()]).await?;
        Ok(Verdict::Keep(Written::Yes))
    }
}

struct Refused {
    place: Place,
    refusal: Refusal,
    now: UnixSeconds,
}

impl Operation for Refused {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let Some(outgoing) = self.place.hold(sql).await? else { return Ok(Verdict::Undo(())) };
        let query = "SELECT landed_transaction FROM outgoing WHERE id = $1";
        let landed = sql.query_one(query, &[outgoing.into()]).await?.map(|mut row| row.maybe_text()).transpose()?.flatten();
        if landed.is_some() || transactions(sql, outgoing).await?.len() != 1 {
            return Ok(Verdict::Undo(()));
        }
        let update = format!(
            "UPDATE payments SET state = 'dead', dead_reason = $2, dead_message = $3, changed_at = $4, \
             check_at = {CHECK_AT_EXPIRY} WHERE state = 'sending' AND {CARRIED}"
        );
        let refusal = [Value::from(self.refusal.reason.as_str()), Value::from(self.refusal.message.as_str())];
        let [reason, message] = refusal;
        sql.execute(&update, vec![outgoing.into(), reason, message, moment_value(self.now)?]).await?;
        take_back(sql, outgoing).await?;
        sql.execute("DELETE FROM outgoing WHERE id = $1", vec![outgoing.into()]).await?;
        Ok(Verdict::Keep(()))
    }
}

/// What was booked for a transaction counts against no budget any more. The rows are locked in the order of their names,
/// as where they are written.
async fn take_back<S: Sql>(sql: &mut S, outgoing: i64) -> Result<(), Failure> {
    let charged = sql
        .query("SELECT day, account, gwei FROM charged WHERE outgoing = $1 ORDER BY day, account", &[outgoing.into()])
        .await?;
    let query = format!("SELECT spent_gwei FROM sponsored WHERE day = $1 AND account = $2{}", S::LOCK);
    for mut row in charged {
        let (day, account, gwei) = (Value::Integer(row.integer()?), Value::Text(row.text()?), bits_of(&mut row)?);
        let spent = sql.query_one(&query, &[day.clone(), account.clone()]).await?;
        let spent = bits_of(&mut spent.ok_or_else(|| Failure::damaged("a budget that was charged is gone"))?)?;
        let update = "UPDATE sponsored SET spent_gwei = $3 WHERE day = $1 AND account = $2";
        sql.execute(update, vec![day, account, bits_value(spent.saturating_sub(gwei))]).await?;
    }
    Ok(())
}

struct Landed {
    place: Place,
    landing: Landing,
}

impl Operation for Landed {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let Some(outgoing) = self.place.hold(sql).await? else { return Ok(Verdict::Undo(())) };
        let update = "UPDATE outgoing SET landed_transaction = $2, landed_height = $3, landed_block = $4, \
                      landed_fee_gwei = $5, landed_succeeded = $6 WHERE id = $1";
        let values = vec![
            outgoing.into(),
            self.landing.transaction.0.as_str().into(),
            bits_value(self.landing.height),
            self.landing.block.as_str().into(),
            bits_value(self.landing.fee_gwei),
            Value::Integer(i64::from(self.landing.succeeded)),
        ];
        sql.execute(update, values).await?;
        let update = format!("UPDATE payments SET transaction_id = $2 WHERE state = 'sending' AND {CARRIED}");
        sql.execute(&update, vec![outgoing.into(), self.landing.transaction.0.as_str().into()]).await?;
        Ok(Verdict::Keep(()))
    }
}

struct Reopened {
    place: Place,
    now: UnixSeconds,
}

impl Operation for Reopened {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let Some(outgoing) = self.place.hold(sql).await? else { return Ok(Verdict::Undo(())) };
        let update = "UPDATE outgoing SET landed_transaction = NULL, landed_height = NULL, landed_block = NULL, \
                      landed_fee_gwei = NULL, landed_succeeded = NULL WHERE id = $1";
        sql.execute(update, vec![outgoing.into()]).await?;
        if let Some(newest) = transactions(sql, outgoing).await?.pop() {
            let update = format!(
                "UPDATE payments SET state = 'sending', transaction_id = $2, changed_at = $3, settled_network = NULL, \
                 settled_payer = NULL, settled_amount = NULL, dead_reason = NULL, dead_message = NULL, check_at = NULL \
                 WHERE {CARRIED}"
            );
            sql.execute(&update, vec![outgoing.into(), newest.0.into(), moment_value(self.now)?]).await?;
        }
        Ok(Verdict::Keep(()))
    }
}

struct Closed(Place);

impl Operation for Closed {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let Some(outgoing) = self.0.hold(sql).await? else { return Ok(Verdict::Undo(())) };
        sql.execute("UPDATE outgoing SET under_way = 0 WHERE id = $1", vec![outgoing.into()]).await?;
        sql.execute("DELETE FROM charged WHERE outgoing = $1", vec![outgoing.into()]).await?;
        // What is said to be settled by another one than the one that landed has nobody who watches it from now on.
        let check = format!(
            "UPDATE payments SET check_at = changed_at WHERE state = 'settled' AND check_at IS NULL AND {CARRIED} \
             AND NOT EXISTS (SELECT 1 FROM outgoing WHERE id = $1 AND landed_succeeded = 1 \
             AND landed_transaction = payments.transaction_id)"
        );
        sql.execute(&check, vec![outgoing.into()]).await?;
        // Nobody will broadcast them any more.
        sql.execute("UPDATE transactions SET signed = NULL WHERE outgoing = $1", vec![outgoing.into()]).await?;
        Ok(Verdict::Keep(()))
    }
}

/// What [`landing_of`] reads.
const LANDING_COLUMNS: &str = "outgoing.landed_transaction, outgoing.landed_height, outgoing.landed_block, \
                               outgoing.landed_fee_gwei, outgoing.landed_succeeded";

fn landing_of(row: &mut Row) -> Result<Option<Landing>, Failure> {
    let Some(transaction) = row.maybe_text()? else { return Ok(None) };
    Ok(Some(Landing {
        transaction: TransactionId(transaction),
        height: bits_of(row)?,
        block: row.text()?,
        fee_gwei: bits_of(row)?,
        succeeded: row.integer()? == 1,
    }))
}

struct WhatIsUnderWay {
    from: Place,
    limit: usize,
}

impl Operation for WhatIsUnderWay {
    type Answer = Option<Vec<UnderWay>>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let Some(lane) = leased(sql, &self.from.lease, false).await? else { return Ok(Verdict::Undo(None)) };
        let query = format!(
            "SELECT id, sequence, height, {LANDING_COLUMNS} FROM outgoing \
             WHERE lane = $1 AND under_way = 1 AND sequence >= $2 ORDER BY sequence LIMIT $3"
        );
        // Numbers beyond what a column can hold are on no lane.
        let Ok(from) = number_value(self.from.sequence, "a sequence number") else {
            return Ok(Verdict::Undo(Some(Vec::new())));
        };
        let limit = Value::Integer(i64::try_from(self.limit).unwrap_or(i64::MAX));
        let mut found = Vec::new();
        for mut row in sql.query(&query, &[lane.into(), from, limit]).await? {
            let (outgoing, sequence, height) = (row.integer()?, row.count()?, bits_of(&mut row)?);
            let landing = landing_of(&mut row)?;
            let query = "SELECT id, signed FROM transactions WHERE outgoing = $1 ORDER BY position";
            let rows = sql.query(query, &[outgoing.into()]).await?;
            let transactions = rows.into_iter().map(|mut row| Ok((TransactionId(row.text()?), row.bytes()?)));
            let transactions = transactions.collect::<Result<_, Failure>>()?;
            let query = "SELECT carried.payment, payments.expires_at FROM carried JOIN payments ON payments.key = carried.payment \
                         WHERE carried.outgoing = $1 ORDER BY carried.position";
            let (mut payments, mut expires_at) = (Vec::new(), None);
            for mut row in sql.query(query, &[outgoing.into()]).await? {
                payments.push(key_of(&mut row)?);
                expires_at = expires_at.max(Some(UnixSeconds(bits_of(&mut row)?)));
            }
            found.push(UnderWay { sequence, transactions, height, payments, expires_at, landing });
        }
        Ok(Verdict::Keep(Some(found)))
    }
}

struct LastClosed(LaneId);

impl Operation for LastClosed {
    const IS_ONE_STATEMENT: bool = true;
    type Answer = Option<u64>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let query = "SELECT outgoing.sequence FROM outgoing JOIN lanes ON lanes.id = outgoing.lane \
                     WHERE lanes.network = $1 AND lanes.account = $2 AND outgoing.under_way = 0 \
                     ORDER BY outgoing.sequence DESC LIMIT 1";
        let row = sql.query_one(query, &[self.0.network.as_str().into(), self.0.account.as_str().into()]).await?;
        Ok(Verdict::Keep(row.map(|mut row| row.count()).transpose()?))
    }
}

struct CarrierOf(PaymentKey);

impl Operation for CarrierOf {
    const IS_ONE_STATEMENT: bool = true;
    type Answer = Option<(LaneId, u64)>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let query = "SELECT lanes.network, lanes.account, outgoing.sequence FROM payments \
                     JOIN transactions ON transactions.id = payments.transaction_id \
                     JOIN outgoing ON outgoing.id = transactions.outgoing JOIN lanes ON lanes.id = outgoing.lane \
                     JOIN carried ON carried.outgoing = outgoing.id AND carried.payment = payments.key \
                     WHERE payments.key = $1 ORDER BY outgoing.id DESC LIMIT 1";
        let Some(mut row) = sql.query_one(query, &[key_value(self.0)]).await? else { return Ok(Verdict::Keep(None)) };
        let lane = LaneId { network: row.parsed()?, account: row.parsed()? };
        Ok(Verdict::Keep(Some((lane, row.count()?))))
    }
}

struct LandingOf(PaymentKey);

impl Operation for LandingOf {
    const IS_ONE_STATEMENT: bool = true;
    type Answer = Option<Landing>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let query = format!(
            "SELECT {LANDING_COLUMNS} FROM payments JOIN carried ON carried.payment = payments.key \
             JOIN outgoing ON outgoing.id = carried.outgoing \
             WHERE payments.key = $1 AND outgoing.landed_transaction = payments.transaction_id \
             ORDER BY outgoing.id DESC LIMIT 1"
        );
        let row = sql.query_one(&query, &[key_value(self.0)]).await?;
        Ok(Verdict::Keep(row.map(|mut row| landing_of(&mut row)).transpose()?.flatten()))
    }
}

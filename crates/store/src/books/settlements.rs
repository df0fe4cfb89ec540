//! `Settlements`: what was sent to the chain, and what became of it.

use farthing_core::BoxFuture;
use farthing_core::asset::AccountId;
use farthing_core::books::{
    BookError, Finding, Fingerprint, PaymentRecord, SettlementEntry, SettlementQuery, SettlementState, SettlementStateName,
    Settlements,
};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{PaymentKey, Settlement, TransactionId};
use farthing_core::time::UnixSeconds;

use super::{Books, bits_of, bits_value, key_of, key_value, moment_value};
use crate::error::Failure;
use crate::sql::{Operation, Row, Sql, Value, Verdict};

/// What [`entry_of`] reads.
const COLUMNS: &str = "key, scheme, network, payer, pay_to, asset, amount, expires_at, reference, request, caller, height, \
                       sent_at, changed_at, state, transaction_id, settled_network, settled_payer, settled_amount, \
                       dead_reason, dead_message";

/// What [`state_of`] reads.
pub const STATE_COLUMNS: &str =
    "state, transaction_id, settled_network, settled_payer, settled_amount, dead_reason, dead_message";

impl Settlements for Books {
    fn find(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<SettlementEntry>, BookError>> {
        self.read(Find(key))
    }

    fn settled<'a>(
        &'a self,
        key: PaymentKey,
        settlement: &'a Settlement,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<(), BookError>> {
        self.write(Settled { key, settlement: settlement.clone(), now })
    }

    fn found<'a>(&'a self, finding: &'a Finding<'a>) -> BoxFuture<'a, Result<Option<SettlementEntry>, BookError>> {
        self.write(Found {
            record: finding.record.clone(),
            request: finding.request.clone(),
            caller: finding.caller.map(str::to_owned),
            settlement: finding.settlement.clone(),
            height: finding.height,
            now: finding.now,
        })
    }

    fn dead<'a>(
        &'a self,
        key: PaymentKey,
        judged: &'a TransactionId,
        refusal: &'a Refusal,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<bool, BookError>> {
        self.write(Dead { key, judged: judged.clone(), refusal: refusal.clone(), now })
    }

    fn finished<'a>(&'a self, judged: &'a SettlementEntry) -> BoxFuture<'a, Result<(), BookError>> {
        self.write(Finished(Judged::of(judged)))
    }

    fn undone<'a>(&'a self, judged: &'a SettlementEntry, now: UnixSeconds) -> BoxFuture<'a, Result<(), BookError>> {
        self.write(Undone { judged: Judged::of(judged), now })
    }

    fn list<'a>(&'a self, query: &'a SettlementQuery) -> BoxFuture<'a, Result<Vec<SettlementEntry>, BookError>> {
        self.read(List(query.clone()))
    }
}

struct Find(PaymentKey);

impl Operation for Find {
    const IS_ONE_STATEMENT: bool = true;
    const IS_LOOK_UP: bool = true;
    type Answer = Option<SettlementEntry>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let query = format!("SELECT {COLUMNS} FROM payments WHERE key = $1");
        let row = sql.query_one(&query, &[key_value(self.0)]).await?;
        row.map(entry_of).transpose().map(Verdict::Keep)
    }
}

struct Settled {
    key: PaymentKey,
    settlement: Settlement,
    now: UnixSeconds,
}

impl Operation for Settled {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let update = "UPDATE payments SET state = 'settled', transaction_id = $2, settled_network = $3, settled_payer = $4, \
                      settled_amount = $5, changed_at = $6, dead_reason = NULL, dead_message = NULL, \
                      check_at = CASE WHEN EXISTS (SELECT 1 FROM transactions \
                      JOIN outgoing ON outgoing.id = transactions.outgoing \
                      JOIN carried ON carried.outgoing = outgoing.id AND carried.payment = $1 \
                      WHERE transactions.id = $2 AND outgoing.under_way = 1) THEN NULL ELSE CAST($6 AS BIGINT) END \
                      WHERE key = $1 AND NOT (state = 'settled' AND transaction_id = $2)";
        let values = vec![
            key_value(self.key),
            self.settlement.transaction.0.as_str().into(),
            self.settlement.network.as_str().into(),
            self.settlement.payer.as_str().into(),
            self.settlement.amount.to_string().into(),
            moment_value(self.now)?,
        ];
        sql.execute(update, values).await?;
        Ok(Verdict::Keep(()))
    }
}

/// [`Finding`], kept until the transaction is committed.
struct Found {
    record: PaymentRecord,
    request: Fingerprint,
    caller: Option<String>,
    settlement: Settlement,
    height: u64,
    now: UnixSeconds,
}

impl Operation for Found {
    type Answer = Option<SettlementEntry>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        // One statement, so that of many who find the payment only one changes anything.
        let upsert = "INSERT INTO payments (key, scheme, network, payer, pay_to, asset, amount, expires_at, reference, request, \
                      caller, height, sent_at, changed_at, check_at, state, transaction_id, settled_network, settled_payer, \
                      settled_amount) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $13, 'settled', $14, $15, $16, $17) \
                      ON CONFLICT (key) DO UPDATE SET scheme = excluded.scheme, network = excluded.network, \
                      payer = excluded.payer, pay_to = excluded.pay_to, asset = excluded.asset, amount = excluded.amount, \
                      expires_at = excluded.expires_at, reference = excluded.reference, request = excluded.request, \
                      caller = excluded.caller, height = excluded.height, sent_at = excluded.sent_at, \
                      changed_at = excluded.changed_at, check_at = excluded.check_at, state = excluded.state, transaction_id = excluded.transaction_id, \
                      settled_network = excluded.settled_network, settled_payer = excluded.settled_payer, \
                      settled_amount = excluded.settled_amount, dead_reason = NULL, dead_message = NULL \
                      WHERE payments.state = 'dead'";
        if sql.execute(upsert, self.columns()?).await? == 1 {
            return Ok(Verdict::Keep(None));
        }
        let (Verdict::Keep(existing) | Verdict::Undo(existing)) = Find(self.record.key).apply(sql).await?;
        let existing = existing.ok_or_else(|| Failure::damaged(format!("payment {} is gone", self.record.key)))?;
        Ok(Verdict::Undo(Some(existing)))
    }
}

impl Found {
    fn columns(&self) -> Result<Vec<Value>, Failure> {
        let Self { record, settlement, .. } = self;
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
            self.request.0.as_str().into(),
            self.caller.as_deref().into(),
            bits_value(self.height),
            moment_value(self.now)?,
            settlement.transaction.0.as_str().into(),
            settlement.network.as_str().into(),
            settlement.payer.as_str().into(),
            settlement.amount.to_string().into(),
        ])
    }
}

/// From when on a dead payment is to be checked: from its expiry on. One that expires later than the database can count
/// never is.
pub const CHECK_AT_EXPIRY: &str = "CASE WHEN expires_at < 0 THEN NULL ELSE expires_at END";

struct Dead {
    key: PaymentKey,
    judged: TransactionId,
    refusal: Refusal,
    now: UnixSeconds,
}

impl Operation for Dead {
    type Answer = bool;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<bool>, Failure> {
        let update = format!(
            "UPDATE payments SET state = 'dead', dead_reason = $3, dead_message = $4, changed_at = $5, \
             check_at = {CHECK_AT_EXPIRY} WHERE key = $1 AND state = 'sending' AND transaction_id = $2"
        );
        let judged = || vec![key_value(self.key), self.judged.0.as_str().into()];
        let mut values = judged();
        values.extend([self.refusal.reason.as_str().into(), self.refusal.message.as_str().into(), moment_value(self.now)?]);
        if sql.execute(&update, values).await? == 1 {
            return Ok(Verdict::Keep(true));
        }
        let query = "SELECT 1 FROM payments WHERE key = $1 AND state = 'dead' AND transaction_id = $2";
        Ok(Verdict::Undo(sql.query_one(query, &judged()).await?.is_some()))
    }
}

/// What an entry said when the chain was asked about it.
struct Judged {
    key: PaymentKey,
    state: SettlementStateName,
    transaction: TransactionId,
}

impl Judged {
    fn of(entry: &SettlementEntry) -> Self {
        Self { key: entry.record.key, state: entry.state.name(), transaction: entry.transaction.clone() }
    }

    fn values(&self) -> Vec<Value> {
        vec![key_value(self.key), self.state.as_str().into(), self.transaction.0.as_str().into()]
    }
}

struct Finished(Judged);

impl Operation for Finished {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let update = "UPDATE payments SET check_at = NULL WHERE key = $1 AND state = $2 AND transaction_id = $3";
        sql.execute(update, self.0.values()).await?;
        Ok(Verdict::Keep(()))
    }
}

struct Undone {
    judged: Judged,
    now: UnixSeconds,
}

impl Operation for Undone {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let update = "UPDATE payments SET state = 'sending', changed_at = $4, check_at = NULL, settled_network = NULL, \
                      settled_payer = NULL, settled_amount = NULL WHERE key = $1 AND state = $2 AND transaction_id = $3 \
                      AND state = 'settled' AND check_at IS NOT NULL";
        let mut values = self.judged.values();
        values.push(moment_value(self.now)?);
        sql.execute(update, values).await?;
        Ok(Verdict::Keep(()))
    }
}

struct List(SettlementQuery);

impl Operation for List {
    const IS_ONE_STATEMENT: bool = true;
    type Answer = Vec<SettlementEntry>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let (query, values) = select(&self.0);
        let rows = sql.query(&query, &values).await?;
        rows.into_iter().map(entry_of).collect::<Result<_, _>>().map(Verdict::Keep)
    }
}

/// The statement for a query. Every condition has an index that begins with it, or is cheap to check along one that has
/// the order.
fn select(query: &SettlementQuery) -> (String, Vec<Value>) {
    let mut values = Vec::new();
    let mut placeholder = |value: Value| {
        values.push(value);
        format!("${}", values.len())
    };
    // No stored moment is later than the largest that fits.
    let moment = |moment: UnixSeconds| Value::Integer(i64::try_from(moment.0).unwrap_or(i64::MAX));
    let mut conditions = Vec::new();
    let equal = [
        ("network", query.network.as_ref().map(Network::as_str)),
        ("payer", query.payer.as_ref().map(AccountId::as_str)),
        ("pay_to", query.pay_to.as_ref().map(AccountId::as_str)),
    ];
    for (column, text) in equal {
        conditions.extend(text.map(|text| format!("{column} = {}", placeholder(text.into()))));
    }
    if let Some(transaction) = &query.transaction {
        let it = placeholder(transaction.0.as_str().into());
        conditions.push(format!(
            "key IN (SELECT key FROM payments WHERE transaction_id = {it} UNION SELECT carried.payment FROM carried \
             JOIN transactions ON transactions.outgoing = carried.outgoing WHERE transactions.id = {it})"
        ));
    }
    conditions.extend(query.since.map(|since| format!("sent_at >= {}", placeholder(moment(since)))));
    conditions.extend(query.before.map(|before| format!("sent_at < {}", placeholder(moment(before)))));
    if let Some((at, key)) = query.after {
        let (at, key) = (placeholder(moment(at)), placeholder(key_value(key)));
        conditions.push(format!("sent_at <= {at} AND (sent_at < {at} OR key > {key})"));
    }
    conditions.extend(query.check_by.map(|by| format!("check_at <= {}", placeholder(moment(by)))));
    // Written out, so that the indexes of what is being sent and of what is dead are found.
    conditions.extend(query.state.map(|state| format!("state = '{}'", state.as_str())));
    let conditions = if conditions.is_empty() { "1 = 1".to_owned() } else { conditions.join(" AND ") };
    let limit = placeholder(Value::Integer(i64::try_from(query.limit).unwrap_or(i64::MAX)));
    (format!("SELECT {COLUMNS} FROM payments WHERE {conditions} ORDER BY sent_at DESC, key LIMIT {limit}"), values)
}

fn entry_of(mut row: Row) -> Result<SettlementEntry, Failure> {
    let row = &mut row;
    let record = PaymentRecord {
        key: key_of(row)?,
        scheme: row.text()?,
        network: row.parsed()?,
        payer: row.parsed()?,
        pay_to: row.parsed()?,
        asset: row.parsed()?,
        amount: row.parsed()?,
        expires_at: UnixSeconds(bits_of(row)?),
        reference: row.text()?,
    };
    let request = Fingerprint(row.text()?);
    let caller = row.maybe_text()?;
    let height = bits_of(row)?;
    let sent_at = UnixSeconds(row.count()?);
    let changed_at = UnixSeconds(row.count()?);
    let (state, transaction) = state_of(row)?;
    Ok(SettlementEntry { record, request, caller, state, transaction, height, sent_at, changed_at })
}

/// Reads a state, and the transaction that stands beside it.
pub fn state_of(row: &mut Row) -> Result<(SettlementState, TransactionId), Failure> {
    let name = row.parsed()?;
    let transaction = TransactionId(row.text()?);
    let state = match name {
        SettlementStateName::Sending => SettlementState::Sending(transaction.clone()),
        SettlementStateName::Settled => SettlementState::Settled(Settlement {
            transaction: transaction.clone(),
            network: row.parsed()?,
            payer: row.parsed()?,
            amount: row.parsed()?,
        }),
        SettlementStateName::Dead => {
            for _ in 0..3 {
                row.maybe_text()?;
            }
            SettlementState::Dead(Refusal { reason: Reason::from(row.text()?.as_str()), message: row.text()? })
        }
    };
    Ok((state, transaction))
}

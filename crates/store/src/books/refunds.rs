//! `Refunds`: what is paid back of which sale. The table of states is in core.

use farthing_core::BoxFuture;
use farthing_core::amount::Amount;
use farthing_core::books::{BookError, Booked, Refund, RefundQuery, RefundState, RefundStateName, Refunds};
use farthing_core::scheme::{PaymentKey, TransactionId};
use farthing_core::time::UnixSeconds;

use super::{Books, key_of, key_value, moment_value};
use crate::error::Failure;
use crate::sql::{Operation, Row, Sql, Value, Verdict};

/// What [`refund_of`] reads.
const COLUMNS: &str =
    "id, sale, at, amount, reason, expires_at, request, state, message, transaction_id, unanswered, changed_at";

impl Refunds for Books {
    fn book<'a>(&'a self, refund: &'a Refund) -> BoxFuture<'a, Result<Booked, BookError>> {
        self.write(Book(refund.clone()))
    }

    fn asking(&self, id: PaymentKey, now: UnixSeconds) -> BoxFuture<'_, Result<bool, BookError>> {
        let update = "UPDATE refunds SET unanswered = unanswered + 1, changed_at = $2 WHERE id = $1 AND state = 'open'";
        self.write(Change { update, id, now, text: None })
    }

    fn refused<'a>(&'a self, id: PaymentKey, why: &'a str, now: UnixSeconds) -> BoxFuture<'a, Result<(), BookError>> {
        let update = "UPDATE refunds SET unanswered = CASE WHEN unanswered > 0 THEN unanswered - 1 ELSE 0 END, \
                      message = $3, changed_at = $2 WHERE id = $1 AND state = 'open'";
        let refused = self.write(Change { update, id, now, text: Some(why.to_owned()) });
        Box::pin(async move { refused.await.map(drop) })
    }

    fn settled<'a>(
        &'a self,
        id: PaymentKey,
        transaction: &'a TransactionId,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<(), BookError>> {
        let update = "UPDATE refunds SET state = 'settled', transaction_id = $3, message = NULL, changed_at = $2 \
                      WHERE id = $1 AND state IN ('open', 'failed')";
        let settled = self.write(Change { update, id, now, text: Some(transaction.0.clone()) });
        Box::pin(async move { settled.await.map(drop) })
    }

    fn failed<'a>(
        &'a self,
        id: PaymentKey,
        why: &'a str,
        knows_all: bool,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<bool, BookError>> {
        let why = why.to_owned();
        Box::pin(async move {
            let update = if knows_all {
                "UPDATE refunds SET state = 'failed', message = $3, changed_at = $2 WHERE id = $1 AND state = 'open'"
            } else {
                "UPDATE refunds SET state = 'failed', message = $3, changed_at = $2 \
                 WHERE id = $1 AND state = 'open' AND unanswered = 0"
            };
            if self.write(Change { update, id, now, text: Some(why) }).await? {
                return Ok(true);
            }
            let found = Refunds::find(self, id).await?;
            Ok(found.is_some_and(|refund| refund.state.name() == RefundStateName::Failed))
        })
    }

    fn find(&self, id: PaymentKey) -> BoxFuture<'_, Result<Option<Refund>, BookError>> {
        self.read(Find(id))
    }

    fn list<'a>(&'a self, query: &'a RefundQuery) -> BoxFuture<'a, Result<Vec<Refund>, BookError>> {
        self.read(List(query.clone()))
    }
}

struct Book(Refund);

impl Operation for Book {
    type Answer = Booked;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Booked>, Failure> {
        let refund = &self.0;
        if refund.state.name() != RefundStateName::Open {
            return Err(Failure::new("a refund that is booked must be open"));
        }
        // Held until the end, so that of several refunds of one sale each sees those before it.
        let query = format!("SELECT amount FROM sales WHERE payment = $1 AND settled_by IS NOT NULL{}", S::LOCK);
        let Some(mut sale) = sql.query_one(&query, &[key_value(refund.sale)]).await? else {
            return Ok(Verdict::Undo(Booked::Unsold));
        };
        let sold: Amount = sale.parsed()?;
        let query = "SELECT id FROM refunds WHERE sale = $1 AND state = 'open'";
        if let Some(mut open) = sql.query_one(query, &[key_value(refund.sale)]).await? {
            return Ok(Verdict::Undo(Booked::Another(key_of(&mut open)?)));
        }
        let query = format!("SELECT {} FROM refunds WHERE sale = $1 AND state <> 'failed'", S::exact_sum("amount"));
        let sum = sql.query_one(&query, &[key_value(refund.sale)]).await?;
        let back = sum.map(|mut sum| sum.maybe_text()).transpose()?.flatten();
        let back: Amount = back.map_or(Ok(Amount::ZERO), |back| back.parse()).map_err(Failure::damaged)?;
        let left = sold.checked_sub(back).unwrap_or_default();
        if refund.amount > left {
            return Ok(Verdict::Undo(Booked::TooMuch(left)));
        }
        let insert = "INSERT INTO refunds (id, sale, at, amount, reason, expires_at, request, state, unanswered, changed_at) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7, 'open', 0, $3)";
        let values = vec![
            key_value(refund.id),
            key_value(refund.sale),
            moment_value(refund.at)?,
            refund.amount.to_string().into(),
            refund.reason.as_str().into(),
            moment_value(refund.expires_at)?,
            refund.request.as_str().into(),
        ];
        sql.execute(insert, values).await?;
        Ok(Verdict::Keep(Booked::Yes))
    }
}

/// One statement over one refund, and whether it changed it.
struct Change {
    update: &'static str,
    id: PaymentKey,
    now: UnixSeconds,
    text: Option<String>,
}

impl Operation for Change {
    type Answer = bool;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<bool>, Failure> {
        let mut values = vec![key_value(self.id), moment_value(self.now)?];
        values.extend(self.text.as_deref().map(Value::from));
        Ok(Verdict::Keep(sql.execute(self.update, values).await? > 0))
    }
}

struct Find(PaymentKey);

impl Operation for Find {
    const IS_ONE_STATEMENT: bool = true;
    const IS_LOOK_UP: bool = true;
    type Answer = Option<Refund>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let row = sql.query_one(&format!("SELECT {COLUMNS} FROM refunds WHERE id = $1"), &[key_value(self.0)]).await?;
        row.map(|mut row| refund_of(&mut row)).transpose().map(Verdict::Keep)
    }
}

struct List(RefundQuery);

impl Operation for List {
    const IS_ONE_STATEMENT: bool = true;
    type Answer = Vec<Refund>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let RefundQuery { sale, state, since, before, after, limit } = &self.0;
        let mut values = Vec::new();
        let mut placeholder = |value: Value| {
            values.push(value);
            format!("${}", values.len())
        };
        // No stored moment is later than the largest that fits.
        let moment = |moment: UnixSeconds| Value::Integer(i64::try_from(moment.0).unwrap_or(i64::MAX));
        let mut conditions = vec!["1 = 1".to_owned()];
        conditions.extend(sale.map(|sale| format!("sale = {}", placeholder(key_value(sale)))));
        conditions.extend(state.map(|state| format!("state = '{}'", state.as_str())));
        conditions.extend(since.map(|since| format!("at >= {}", placeholder(moment(since)))));
        conditions.extend(before.map(|before| format!("at < {}", placeholder(moment(before)))));
        if let Some((at, id)) = after {
            let (at, id) = (placeholder(moment(*at)), placeholder(key_value(*id)));
            conditions.push(format!("at <= {at} AND (at < {at} OR id > {id})"));
        }
        let limit = placeholder(Value::Integer(i64::try_from(*limit).unwrap_or(i64::MAX)));
        let conditions = conditions.join(" AND ");
        let query = format!("SELECT {COLUMNS} FROM refunds WHERE {conditions} ORDER BY at DESC, id LIMIT {limit}");
        let rows = sql.query(&query, &values).await?;
        rows.into_iter().map(|mut row| refund_of(&mut row)).collect::<Result<_, _>>().map(Verdict::Keep)
    }
}

fn refund_of(row: &mut Row) -> Result<Refund, Failure> {
    let (id, sale) = (key_of(row)?, key_of(row)?);
    let (at, amount, reason) = (UnixSeconds(row.count()?), row.parsed()?, row.text()?);
    let (expires_at, request) = (UnixSeconds(row.count()?), row.text()?);
    let (state, message, transaction) = (row.parsed()?, row.maybe_text()?, row.maybe_text()?);
    let state = match (state, transaction) {
        (RefundStateName::Open, _) => RefundState::Open(message),
        (RefundStateName::Settled, Some(transaction)) => RefundState::Settled(TransactionId(transaction)),
        (RefundStateName::Settled, None) => return Err(Failure::damaged("a settled refund has no transaction")),
        (RefundStateName::Failed, _) => RefundState::Failed(message.unwrap_or_default()),
    };
    let (unanswered, changed_at) = (row.count()?, UnixSeconds(row.count()?));
    Ok(Refund { id, sale, at, amount, reason, expires_at, request, state, unanswered, changed_at })
}

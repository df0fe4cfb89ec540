//! `Sales`: what was sold, for ever. Which call writes what is a table in core; `deliveries.rs` makes those calls.

use farthing_core::BoxFuture;
use farthing_core::asset::{AccountId, Asset};
use farthing_core::books::{
    Bill, BookError, OpenSale, Sale, SaleFilter, SaleGroup, SaleQuery, SaleSum, SaleSumQuery, Sales, SettledBy,
};
use farthing_core::network::Network;
use farthing_core::scheme::{PaymentKey, TransactionId};
use farthing_core::time::UnixSeconds;

use super::{Books, key_of, key_value, moment_value};
use crate::error::Failure;
use crate::sql::{Operation, Row, Sql, Value, Verdict};

/// What [`open_of`] reads.
const BILL_COLUMNS: &str =
    "payment, at, route, resource, payer, pay_to, network, asset, symbol, decimals, is_usd, amount, scheme";
/// What [`sale_of`] reads after those.
const SETTLED_COLUMNS: &str = "transaction_id, settled_by";

impl Sales for Books {
    fn find(&self, payment: PaymentKey) -> BoxFuture<'_, Result<Option<Sale>, BookError>> {
        self.read(Find(payment))
    }

    fn list<'a>(&'a self, query: &'a SaleQuery) -> BoxFuture<'a, Result<Vec<Sale>, BookError>> {
        self.read(List(query.clone()))
    }

    fn open<'a>(&'a self, query: &'a SaleQuery) -> BoxFuture<'a, Result<Vec<OpenSale>, BookError>> {
        self.read(Open(query.clone()))
    }

    fn sums<'a>(&'a self, query: &'a SaleSumQuery) -> BoxFuture<'a, Result<Vec<SaleSum>, BookError>> {
        self.read(Sums(query.clone()))
    }
}

/// Writes that a payment may be charged for this, unless it is known that it was.
pub async fn open_bill<S: Sql>(sql: &mut S, payment: PaymentKey, bill: &Bill) -> Result<(), Failure> {
    write(sql, payment, bill, [Value::Null, Value::Null]).await
}

/// Writes that a payment was charged, unless that is written.
pub async fn settle<S: Sql>(sql: &mut S, sale: &Sale) -> Result<(), Failure> {
    let settled = [sale.transaction.0.as_str().into(), sale.settled_by.as_str().into()];
    write(sql, sale.payment, &sale.bill, settled).await
}

/// A payment was not charged.
pub async fn strike_out<S: Sql>(sql: &mut S, payment: PaymentKey) -> Result<(), Failure> {
    let delete = "DELETE FROM sales WHERE payment = $1 AND settled_by IS NULL";
    sql.execute(delete, vec![key_value(payment)]).await.map(drop)
}

async fn write<S: Sql>(sql: &mut S, payment: PaymentKey, bill: &Bill, settled: [Value; 2]) -> Result<(), Failure> {
    let upsert = "INSERT INTO sales (payment, at, route, resource, payer, pay_to, network, asset, symbol, decimals, is_usd, amount, \
                  scheme, transaction_id, settled_by) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
                  ON CONFLICT (payment) DO UPDATE SET at = excluded.at, route = excluded.route, resource = excluded.resource, \
                  payer = excluded.payer, pay_to = excluded.pay_to, network = excluded.network, asset = excluded.asset, \
                  symbol = excluded.symbol, decimals = excluded.decimals, is_usd = excluded.is_usd, amount = excluded.amount, \
                  scheme = excluded.scheme, transaction_id = excluded.transaction_id, settled_by = excluded.settled_by \
                  WHERE sales.settled_by IS NULL";
    let mut values = vec![
        key_value(payment),
        moment_value(bill.at)?,
        bill.route.as_str().into(),
        bill.resource.as_str().into(),
        bill.payer.as_ref().map(AccountId::as_str).into(),
        bill.pay_to.as_str().into(),
        bill.asset.network.as_str().into(),
        bill.asset.id.as_str().into(),
        bill.asset.symbol.as_str().into(),
        i64::from(bill.asset.decimals).into(),
        i64::from(bill.asset.usd).into(),
        bill.amount.to_string().into(),
        bill.scheme.as_str().into(),
    ];
    values.extend(settled);
    sql.execute(upsert, values).await.map(drop)
}

struct Find(PaymentKey);

impl Operation for Find {
    const IS_ONE_STATEMENT: bool = true;
    const IS_LOOK_UP: bool = true;
    type Answer = Option<Sale>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let query =
            format!("SELECT {BILL_COLUMNS}, {SETTLED_COLUMNS} FROM sales WHERE payment = $1 AND settled_by IS NOT NULL");
        let row = sql.query_one(&query, &[key_value(self.0)]).await?;
        row.map(|mut row| sale_of(&mut row)).transpose().map(Verdict::Keep)
    }
}

struct List(SaleQuery);

impl Operation for List {
    const IS_ONE_STATEMENT: bool = true;
    type Answer = Vec<Sale>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let columns = format!("{BILL_COLUMNS}, {SETTLED_COLUMNS}");
        let (query, values) = page(&self.0, &columns, "settled_by IS NOT NULL");
        let rows = sql.query(&query, &values).await?;
        rows.into_iter().map(|mut row| sale_of(&mut row)).collect::<Result<_, _>>().map(Verdict::Keep)
    }
}

struct Open(SaleQuery);

impl Operation for Open {
    const IS_ONE_STATEMENT: bool = true;
    type Answer = Vec<OpenSale>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let (query, values) = page(&self.0, BILL_COLUMNS, "settled_by IS NULL");
        let rows = sql.query(&query, &values).await?;
        rows.into_iter().map(|mut row| open_of(&mut row)).collect::<Result<_, _>>().map(Verdict::Keep)
    }
}

struct Sums(SaleSumQuery);

impl Operation for Sums {
    const IS_ONE_STATEMENT: bool = true;
    type Answer = Vec<SaleSum>;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<Self::Answer>, Failure> {
        let SaleSumQuery { filter, bucket_seconds, by, limit } = &self.0;
        let mut conditions = Conditions::of(filter, "settled_by IS NOT NULL");
        let bucket = match bucket_seconds {
            Some(seconds) => {
                let seconds = conditions.placeholder(super::number_value(seconds.get(), "bucket_seconds")?);
                format!("at / {seconds} * {seconds}")
            }
            None => "CAST(NULL AS BIGINT)".to_owned(),
        };
        let group = match by {
            Some(SaleGroup::Route) => "route",
            Some(SaleGroup::Network) => "network",
            Some(SaleGroup::Payer) => "payer",
            None => "CAST(NULL AS TEXT)",
        };
        let sum = S::exact_sum("amount");
        let limit = conditions.placeholder(limit_value(*limit));
        let query = format!(
            "SELECT {bucket}, {group}, network, asset, symbol, decimals, is_usd, COUNT(*), {sum} FROM sales WHERE {} \
             GROUP BY 1, 2, 3, 4, 5, 6, 7 \
             ORDER BY 1 NULLS FIRST, 2 NULLS FIRST, 3, 4, 5, 6, 7 LIMIT {limit}",
            conditions.text()
        );
        let rows = sql.query(&query, &conditions.values).await?;
        rows.into_iter().map(|mut row| sum_of(&mut row)).collect::<Result<_, _>>().map(Verdict::Keep)
    }
}

/// What a statement asks of its rows.
struct Conditions {
    texts: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    fn of(filter: &SaleFilter, first: &str) -> Self {
        let mut conditions = Self { texts: vec![first.to_owned()], values: Vec::new() };
        let SaleFilter { since, before, route, network, payer, transaction } = filter;
        let equal = [
            ("route", route.as_deref()),
            ("network", network.as_ref().map(Network::as_str)),
            ("payer", payer.as_ref().map(AccountId::as_str)),
        ];
        for (column, text) in equal {
            if let Some(text) = text {
                conditions.add(text.into(), |it| format!("{column} = {it}"));
            }
        }
        if let Some(since) = since {
            conditions.add(moment(*since), |it| format!("at >= {it}"));
        }
        if let Some(before) = before {
            conditions.add(moment(*before), |it| format!("at < {it}"));
        }
        if let Some(TransactionId(id)) = transaction {
            // Only the beginning is in the index.
            let name = conditions.placeholder(id.as_str().into());
            conditions
                .texts
                .push(format!("transaction_id = {name} AND substr(transaction_id, 1, 128) = substr({name}, 1, 128)"));
        }
        conditions
    }

    fn add(&mut self, value: Value, condition: impl FnOnce(&str) -> String) {
        let it = self.placeholder(value);
        self.texts.push(condition(&it));
    }

    fn placeholder(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    fn text(&self) -> String {
        self.texts.join(" AND ")
    }
}

/// The statement for a page.
fn page(query: &SaleQuery, columns: &str, first: &str) -> (String, Vec<Value>) {
    let mut conditions = Conditions::of(&query.filter, first);
    if let Some((at, payment)) = query.after {
        let (at, payment) = (conditions.placeholder(moment(at)), conditions.placeholder(key_value(payment)));
        conditions.texts.push(format!("at <= {at} AND (at < {at} OR payment > {payment})"));
    }
    let limit = conditions.placeholder(limit_value(query.limit));
    let text = conditions.text();
    (format!("SELECT {columns} FROM sales WHERE {text} ORDER BY at DESC, payment LIMIT {limit}"), conditions.values)
}

/// No stored moment is later than the largest that fits.
fn moment(moment: UnixSeconds) -> Value {
    Value::Integer(i64::try_from(moment.0).unwrap_or(i64::MAX))
}

fn limit_value(limit: usize) -> Value {
    Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX))
}

fn open_of(row: &mut Row) -> Result<OpenSale, Failure> {
    let payment = key_of(row)?;
    let (at, route, resource) = (UnixSeconds(row.count()?), row.text()?, row.text()?);
    let payer = row.maybe_text()?.map(|payer| payer.parse()).transpose().map_err(Failure::damaged)?;
    let pay_to = row.parsed()?;
    let asset = asset_of(row)?;
    let bill = Bill { at, route, resource, payer, pay_to, asset, amount: row.parsed()?, scheme: row.text()? };
    Ok(OpenSale { payment, bill })
}

fn sale_of(row: &mut Row) -> Result<Sale, Failure> {
    let OpenSale { payment, bill } = open_of(row)?;
    let transaction = TransactionId(row.text()?);
    let settled_by: SettledBy = row.parsed()?;
    Ok(Sale { payment, bill, transaction, settled_by })
}

fn asset_of(row: &mut Row) -> Result<Asset, Failure> {
    let (network, id, symbol) = (row.parsed()?, row.parsed()?, row.text()?);
    let decimals = u8::try_from(row.integer()?).map_err(Failure::damaged)?;
    Ok(Asset { network, id, symbol, decimals, usd: row.integer()? == 1 })
}

fn sum_of(row: &mut Row) -> Result<SaleSum, Failure> {
    let bucket = row.maybe_integer()?.map(|at| u64::try_from(at).map(UnixSeconds)).transpose().map_err(Failure::damaged)?;
    let (group, asset) = (row.maybe_text()?, asset_of(row)?);
    Ok(SaleSum { bucket, group, asset, sales: row.count()?, amount: row.parsed()? })
}

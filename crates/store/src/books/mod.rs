//! The books' rules, once for every database.

mod debts;
mod deliveries;
mod lanes;
mod ledger;
mod outbox;
mod passes;
mod quotas;
mod refunds;
mod sales;
mod sending;
mod settlements;
mod sign_ins;

use farthing_core::BoxFuture;
use farthing_core::books::BookError;
use farthing_core::scheme::PaymentKey;
use farthing_core::time::UnixSeconds;

use crate::database::Database;
use crate::error::Failure;
use crate::sql::{Operation, Row, Sql, Value};

/// Core's books on a database.
#[derive(Debug)]
pub struct Books {
    /// Where they are kept.
    pub database: Database,
}

impl Books {
    fn write<O: Operation>(&self, operation: O) -> BoxFuture<'_, Result<O::Answer, BookError>> {
        Box::pin(async move { Ok(self.database.write(operation).await?) })
    }

    fn read<O: Operation>(&self, operation: O) -> BoxFuture<'_, Result<O::Answer, BookError>> {
        Box::pin(async move { Ok(self.database.read(operation).await?) })
    }

    /// Writes in the name of this node.
    fn write_as_node<O: Operation>(
        &self,
        operation: impl FnOnce(i64) -> O + Send + 'static,
    ) -> BoxFuture<'_, Result<O::Answer, BookError>> {
        Box::pin(async move {
            let node = self.database.node()?;
            Ok(self.database.write(operation(node)).await?)
        })
    }
}

/// Whether the node is alive now. Asked in a statement of its own, after the rows that depend on it were locked: only
/// then is what the database answers newer than the lock.
async fn is_alive<S: Sql>(sql: &mut S, node: i64) -> Result<bool, Failure> {
    let query = format!("SELECT 1 FROM nodes WHERE id = $1 AND {}", S::ALIVE);
    Ok(sql.query_one(&query, &[Value::Integer(node)]).await?.is_some())
}

fn key_value(key: PaymentKey) -> Value {
    Value::from(key.0.as_slice())
}

fn key_of(row: &mut Row) -> Result<PaymentKey, Failure> {
    let bytes = row.bytes()?;
    bytes.as_slice().try_into().map(PaymentKey).map_err(|_| Failure::damaged("a payment's key has not 32 bytes"))
}

/// A moment that the database has to compare.
fn moment_value(moment: UnixSeconds) -> Result<Value, Failure> {
    number_value(moment.0, "a moment")
}

/// A number that the database has to compare.
fn number_value(number: u64, what: &str) -> Result<Value, Failure> {
    i64::try_from(number).map(Value::Integer).map_err(|_| Failure::new(format!("{what} is at most 2^63 - 1, got {number}")))
}

/// A number that needs all its 64 bits and is never compared there.
fn bits_value(number: u64) -> Value {
    Value::Integer(number.cast_signed())
}

fn bits_of(row: &mut Row) -> Result<u64, Failure> {
    row.integer().map(i64::cast_unsigned)
}

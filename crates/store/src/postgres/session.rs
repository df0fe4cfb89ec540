//! Statements on a PostgreSQL connection.

use futures_util::future::try_join_all;
use tokio_postgres::Statement;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::connect::Connection;
use super::failure;
use crate::error::Failure;
use crate::sql::{Row, Sql, Value};

/// A connection within a transaction.
pub struct Session<'a>(pub &'a mut Connection);

impl Sql for Session<'_> {
    const LOCK: &'static str = " FOR UPDATE";
    const ALIVE: &'static str = "until > clock_timestamp()";

    fn exact_sum(column: &str) -> String {
        format!("CAST(SUM(CAST({column} AS NUMERIC)) AS TEXT)")
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Failure> {
        let statement = self.prepared(sql).await?;
        let rows = self.0.client.query(&statement, &parameters(values)).await.map_err(|error| failure(&error))?;
        rows.iter().map(row_of).collect()
    }

    async fn execute_each(&mut self, sql: &str, sets: &[Vec<Value>]) -> Result<Vec<u64>, Failure> {
        if sets.is_empty() {
            return Ok(Vec::new());
        }
        let statement = self.prepared(sql).await?;
        let client = &self.0.client;
        let statement = &statement;
        // They are sent in this order, one right after the other, and answered together.
        let runs = sets.iter().map(|values| async move { client.execute(statement, &parameters(values)).await });
        try_join_all(runs).await.map_err(|error| failure(&error))
    }
}

impl Session<'_> {
    async fn prepared(&mut self, sql: &str) -> Result<Statement, Failure> {
        if let Some(statement) = self.0.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.0.client.prepare(sql).await.map_err(|error| failure(&error))?;
        self.0.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

fn row_of(row: &tokio_postgres::Row) -> Result<Row, Failure> {
    let columns = row.columns().iter().enumerate().map(|(index, column)| match *column.type_() {
        Type::INT8 => row.try_get::<_, Option<i64>>(index).map(Value::from),
        Type::BYTEA => row.try_get::<_, Option<Vec<u8>>>(index).map(|bytes| bytes.map_or(Value::Null, Value::Bytes)),
        Type::INT4 => row.try_get::<_, Option<i32>>(index).map(|number| Value::from(number.map(i64::from))),
        _ => row.try_get::<_, Option<String>>(index).map(Value::from),
    });
    columns.collect::<Result<_, _>>().map(Row::new).map_err(Failure::damaged)
}

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) => number.to_sql(kind, out),
            // PostgreSQL's text can't hold the one character.
            Self::Text(text) if text.contains('\0') => text.replace('\0', "\u{fffd}").to_sql(kind, out),
            Self::Text(text) => text.to_sql(kind, out),
            Self::Bytes(bytes) => bytes.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::TEXT | Type::BYTEA)
    }

    to_sql_checked!();
}

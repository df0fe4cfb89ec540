//! What SQLite cannot count: sums of amounts, which have more bits than its numbers.

use farthing_core::amount::Amount;
use rusqlite::functions::{Aggregate, Context, FunctionFlags};
use rusqlite::{Connection, Error, Result};

/// The function's name in statements.
pub const NAME: &str = "exact_sum";

/// Adds amounts up that are stored as text. Fails where the sum, or anything that it is made of, is no amount.
struct ExactSum;

/// Makes the function known to a connection.
pub fn define(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_aggregate_function(NAME, 1, flags, ExactSum)
}

impl Aggregate<Amount, String> for ExactSum {
    fn init(&self, _: &mut Context<'_>) -> Result<Amount> {
        Ok(Amount::ZERO)
    }

    fn step(&self, context: &mut Context<'_>, sum: &mut Amount) -> Result<()> {
        let amount: Amount = context.get::<String>(0)?.parse().map_err(|error| Error::UserFunctionError(Box::new(error)))?;
        *sum = sum.checked_add(amount).ok_or_else(|| Error::UserFunctionError("a sum is more than an amount holds".into()))?;
        Ok(())
    }

    fn finalize(&self, _: &mut Context<'_>, sum: Option<Amount>) -> Result<String> {
        Ok(sum.unwrap_or_default().to_string())
    }
}

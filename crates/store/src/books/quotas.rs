//! `Quotas`: what may be had so many times in a period. The table of states is in core.

use farthing_core::BoxFuture;
use farthing_core::books::{BookError, QuotaRequest, QuotaTaken, Quotas};
use farthing_core::time::UnixSeconds;
use sha2::{Digest, Sha256};

use super::{Books, number_value};
use crate::error::Failure;
use crate::sql::{Operation, Sql, Value, Verdict};

/// The most ended counters that a new one forgets: more than one, so that the book shrinks again.
const FORGOTTEN_COUNTERS_PER_NEW_ONE_MAX: i64 = 8;
/// How long a counter is kept after its period: nodes' clocks differ, and one that is late must not begin it anew.
const KEEP_ENDED_SECONDS: u64 = 60;

impl Quotas for Books {
    fn take<'a>(&'a self, request: &'a QuotaRequest) -> BoxFuture<'a, Result<QuotaTaken, BookError>> {
        if request.limit == 0 {
            return Box::pin(std::future::ready(Ok(request.counted(false, 0, request.renews_at()))));
        }
        self.write(Take(request.clone()))
    }
}

struct Take(QuotaRequest);

impl Operation for Take {
    type Answer = QuotaTaken;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<QuotaTaken>, Failure> {
        let (digest, renews_at) = (<[u8; 32]>::from(Sha256::digest(&self.0.counter)), self.0.renews_at());
        // Two at once wait for each other at the row, and the second one sees what the first has left.
        let take = "INSERT INTO quotas (counter, until, used) VALUES ($1, $2, 1) ON CONFLICT (counter) DO UPDATE SET \
                    used = CASE WHEN quotas.until = excluded.until THEN quotas.used + 1 ELSE 1 END, until = excluded.until \
                    WHERE quotas.until < excluded.until OR (quotas.until = excluded.until AND quotas.used < $3) RETURNING used";
        let limit = Value::Integer(i64::try_from(self.0.limit).unwrap_or(i64::MAX));
        let values = [Value::from(&digest[..]), number_value(renews_at.0, "the end of a period")?, limit];
        if let Some(mut row) = sql.query_one(take, &values).await? {
            let used = row.count()?;
            if used == 1 {
                self.forget(sql).await?;
            }
            return Ok(Verdict::Keep(self.0.counted(true, used, renews_at)));
        }
        let look = "SELECT used, until FROM quotas WHERE counter = $1";
        let row = sql.query_one(look, &[Value::from(&digest[..])]).await?;
        let mut row = row.ok_or_else(|| Failure::damaged("a counter is neither there nor new"))?;
        let (used, until) = (row.count()?, UnixSeconds(row.count()?));
        Ok(Verdict::Undo(self.0.counted(false, used, until)))
    }
}

impl Take {
    /// Forgets counters that count for nothing any more. Nobody waits for rows that somebody else is forgetting.
    async fn forget<S: Sql>(&self, sql: &mut S) -> Result<(), Failure> {
        let skip = if S::LOCK.is_empty() { String::new() } else { format!("{} SKIP LOCKED", S::LOCK) };
        let delete = format!(
            "DELETE FROM quotas WHERE counter IN (SELECT counter FROM quotas WHERE until < $1 \
             ORDER BY until LIMIT {FORGOTTEN_COUNTERS_PER_NEW_ONE_MAX}{skip})"
        );
        let long_ago = number_value(self.0.now.minus(KEEP_ENDED_SECONDS).0, "a moment")?;
        sql.execute(&delete, vec![long_ago]).await.map(drop)
    }
}

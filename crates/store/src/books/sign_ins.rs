//! `SignIns`: which nonces are used up, and who may have what without paying again. The tables of states are in core.

use farthing_core::BoxFuture;
use farthing_core::books::{BookError, Grant, KEEP_USED_NONCE_SECONDS, MAX_RESOURCE_BYTES, Reach, SignIns, Visit};
use farthing_core::network::Network;
use farthing_core::time::UnixSeconds;
use sha2::{Digest, Sha256};

use super::Books;
use crate::error::Failure;
use crate::sql::{Operation, Sql, Value, Verdict};

/// The most used nonces that the use of another forgets: more than one, so that the book shrinks again.
const FORGOTTEN_NONCES_PER_USE_MAX: i64 = 4;
/// The most ended grants that the use of a nonce forgets: more, for there may be many payments for one sign-in.
const FORGOTTEN_GRANTS_PER_USE_MAX: i64 = 32;

impl SignIns for Books {
    fn use_nonce<'a>(
        &'a self,
        nonce: &'a str,
        useless_from: UnixSeconds,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<bool, BookError>> {
        self.write(UseNonce { digest: digest(&[nonce]), useless_from, now })
    }

    fn grant<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<(), BookError>> {
        if grant.resource.len() > MAX_RESOURCE_BYTES {
            return Box::pin(std::future::ready(Ok(())));
        }
        self.write(Permit(grant.clone()))
    }

    fn is_granted<'a>(&'a self, visit: &'a Visit) -> BoxFuture<'a, Result<bool, BookError>> {
        self.read(IsGranted(visit.clone()))
    }
}

struct UseNonce {
    digest: [u8; 32],
    useless_from: UnixSeconds,
    now: UnixSeconds,
}

impl Operation for UseNonce {
    type Answer = bool;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<bool>, Failure> {
        let insert = "INSERT INTO used_nonces (digest, useless_from) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING";
        let values = vec![Value::from(&self.digest[..]), to_the_end_of_time(self.useless_from)];
        if sql.execute(insert, values).await? == 0 {
            return Ok(Verdict::Undo(false));
        }
        self.forget(sql).await?;
        Ok(Verdict::Keep(true))
    }
}

impl UseNonce {
    /// Forgets what is of no use any more. Nobody waits for rows that somebody else is forgetting.
    async fn forget<S: Sql>(&self, sql: &mut S) -> Result<(), Failure> {
        let skip = if S::LOCK.is_empty() { String::new() } else { format!("{} SKIP LOCKED", S::LOCK) };
        let long_ago = to_the_end_of_time(self.now.minus(KEEP_USED_NONCE_SECONDS));
        let nonces = format!(
            "DELETE FROM used_nonces WHERE digest IN (SELECT digest FROM used_nonces WHERE useless_from < $1 AND digest <> $2 \
             ORDER BY useless_from LIMIT {FORGOTTEN_NONCES_PER_USE_MAX}{skip})"
        );
        sql.execute(&nonces, vec![long_ago.clone(), Value::from(&self.digest[..])]).await?;
        let grants = format!(
            "DELETE FROM grants WHERE (digest, network) IN (SELECT digest, network FROM grants WHERE until < $1 \
             ORDER BY until LIMIT {FORGOTTEN_GRANTS_PER_USE_MAX}{skip})"
        );
        sql.execute(&grants, vec![long_ago]).await.map(drop)
    }
}

struct Permit(Grant);

impl Operation for Permit {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let Grant { resource, network, payer, until } = &self.0;
        // The later of both ends, of which none is never.
        let upsert = "INSERT INTO grants (digest, network, resource, payer, until) VALUES ($1, $2, $3, $4, $5) \
                      ON CONFLICT (digest, network) DO UPDATE SET until = CASE \
                      WHEN grants.until IS NULL OR excluded.until IS NULL THEN NULL \
                      WHEN excluded.until > grants.until THEN excluded.until ELSE grants.until END";
        let values = vec![
            Value::from(&digest(&[resource, payer.as_str()])[..]),
            network.as_str().into(),
            resource.as_str().into(),
            payer.as_str().into(),
            until.map(to_the_end_of_time).into(),
        ];
        sql.execute(upsert, values).await?;
        Ok(Verdict::Keep(()))
    }
}

struct IsGranted(Visit);

impl Operation for IsGranted {
    const IS_ONE_STATEMENT: bool = true;
    const IS_LOOK_UP: bool = true;
    type Answer = bool;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<bool>, Failure> {
        let Visit { resource, network, payer, reach, now } = &self.0;
        let query = "SELECT network FROM grants WHERE digest = $1 AND (until IS NULL OR until >= $2)";
        let values = [Value::from(&digest(&[resource, payer.as_str()])[..]), to_the_end_of_time(*now)];
        for mut row in sql.query(query, &values).await? {
            let paid_on: Network = row.parsed()?;
            let reaches = match reach {
                Reach::Family => paid_on.namespace() == network.namespace(),
                Reach::Network => paid_on == *network,
            };
            if reaches {
                return Ok(Verdict::Keep(true));
            }
        }
        Ok(Verdict::Keep(false))
    }
}

/// One digest for these texts, each with its length before it, so that none runs into the next.
pub(super) fn digest(texts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(text);
    }
    hasher.finalize().into()
}

/// A moment as the database compares it. What lies beyond the last one that it knows is that one.
fn to_the_end_of_time(moment: UnixSeconds) -> Value {
    Value::Integer(i64::try_from(moment.0).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_do_not_run_into_each_other() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
        assert_ne!(digest(&["ab"]), digest(&["a", "b"]));
    }
}

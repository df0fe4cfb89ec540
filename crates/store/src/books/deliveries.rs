//! `Deliveries`: which payment bought which request.

use farthing_core::BoxFuture;
use farthing_core::books::{BookError, Deliveries, Delivery, DeliveryClaim, Fingerprint};
use farthing_core::scheme::{PaymentKey, TransactionId};

use super::{Books, is_alive, key_value};
use crate::error::Failure;
use crate::sql::{Operation, Row, Sql, Value, Verdict};

/// How often a claim looks again when the row that stood in its way is gone before it can be read.
const CLAIM_TRIES_MAX: usize = 8;

const CLAIMED: &str = "claimed";
const SETTLING: &str = "settling";
const UNSETTLED: &str = "unsettled";
const SERVED: &str = "served";

impl Deliveries for Books {
    fn claim<'a>(&'a self, key: PaymentKey, request: &'a Fingerprint) -> BoxFuture<'a, Result<DeliveryClaim, BookError>> {
        let request = request.clone();
        self.write_as_node(move |node| Claim { node, key, request })
    }

    fn settling(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
        self.write_as_node(move |node| Advance { node, key, state: SETTLING, transaction: None })
    }

    fn served<'a>(&'a self, key: PaymentKey, transaction: &'a TransactionId) -> BoxFuture<'a, Result<(), BookError>> {
        let transaction = Some(transaction.clone());
        self.write_as_node(move |node| Advance { node, key, state: SERVED, transaction })
    }

    fn unsettled(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
        self.write_as_node(move |node| Advance { node, key, state: UNSETTLED, transaction: None })
    }

    fn cancel(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
        self.write_as_node(move |node| Cancel { node, key })
    }
}

struct Claim {
    node: i64,
    key: PaymentKey,
    request: Fingerprint,
}

impl Operation for Claim {
    type Answer = DeliveryClaim;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<DeliveryClaim>, Failure> {
        if !is_alive(sql, self.node).await? {
            return Err(Failure::new("this node is past its time in the book: it can't claim before it has joined again"));
        }
        let insert = "INSERT INTO deliveries (key, node, request, state) VALUES ($1, $2, $3, 'claimed') \
                      ON CONFLICT (key) DO NOTHING";
        let query = format!("SELECT node, request, state, transaction_id FROM deliveries WHERE key = $1{}", S::LOCK);
        for _ in 0..CLAIM_TRIES_MAX {
            let values = vec![key_value(self.key), self.node.into(), self.request.0.as_str().into()];
            if sql.execute(insert, values).await? == 1 {
                return Ok(Verdict::Keep(DeliveryClaim::New));
            }
            // It may be cancelled meanwhile.
            if let Some(row) = sql.query_one(&query, &[key_value(self.key)]).await? {
                return self.take_over(sql, row).await;
            }
        }
        Err(Failure::new(format!("payment {} is claimed and cancelled all the time", self.key)))
    }
}

impl Claim {
    async fn take_over<S: Sql>(&self, sql: &mut S, mut row: Row) -> Result<Verdict<DeliveryClaim>, Failure> {
        let (node, same_request) = (row.integer()?, row.text()? == self.request.0);
        let delivery = delivery_of(&mut row)?;
        let left_behind = !is_alive(sql, node).await?;
        let (claim, state) = match delivery {
            Delivery::Claimed if left_behind => (DeliveryClaim::New, CLAIMED),
            // Nothing is known to be free: whoever takes it up settles at once.
            Delivery::Unsettled if same_request => (DeliveryClaim::Resumed, SETTLING),
            Delivery::Settling if left_behind && same_request => (DeliveryClaim::Resumed, SETTLING),
            Delivery::Settling if left_behind => return Ok(Verdict::Undo(DeliveryClaim::Taken(Delivery::Unsettled))),
            other => return Ok(Verdict::Undo(DeliveryClaim::Taken(other))),
        };
        let update = "UPDATE deliveries SET node = $2, request = $3, state = $4, transaction_id = NULL WHERE key = $1";
        let values = vec![key_value(self.key), self.node.into(), self.request.0.as_str().into(), state.into()];
        sql.execute(update, values).await?;
        Ok(Verdict::Keep(claim))
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

struct Advance {
    node: i64,
    key: PaymentKey,
    state: &'static str,
    transaction: Option<TransactionId>,
}

impl Operation for Advance {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let update = "UPDATE deliveries SET state = $3, transaction_id = $4 WHERE key = $1 AND node = $2";
        let transaction = self.transaction.as_ref().map(|transaction| transaction.0.as_str());
        let values = vec![key_value(self.key), self.node.into(), self.state.into(), transaction.into()];
        ours(sql.execute(update, values).await?, self.key)
    }
}

struct Cancel {
    node: i64,
    key: PaymentKey,
}

impl Operation for Cancel {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let delete = "DELETE FROM deliveries WHERE key = $1 AND node = $2 AND state IN ('claimed', 'settling')";
        ours(sql.execute(delete, vec![key_value(self.key), Value::Integer(self.node)]).await?, self.key)
    }
}

fn ours(changed: u64, key: PaymentKey) -> Result<Verdict<()>, Failure> {
    if changed == 1 {
        Ok(Verdict::Keep(()))
    } else {
        Err(Failure::new(format!("the delivery for payment {key} is not this node's: another one took it over")))
    }
}

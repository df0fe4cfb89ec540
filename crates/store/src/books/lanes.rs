//! Lanes: which node may send from which account.

use farthing_core::books::{LaneClaim, LaneId, LaneLease};
use farthing_core::network::Network;

use super::{is_alive, number_value};
use crate::error::Failure;
use crate::sql::{Operation, Sql, Value, Verdict};

/// The lane's row, if the lease still holds. Nobody else can take the lane until the transaction ends, where it is
/// asked for to be held.
pub async fn leased<S: Sql>(sql: &mut S, lease: &LaneLease, hold: bool) -> Result<Option<i64>, Failure> {
    let lock = if hold { S::LOCK } else { "" };
    let query = format!("SELECT id, node FROM lanes WHERE network = $1 AND account = $2 AND token = $3{lock}");
    let values =
        [lease.lane.network.as_str().into(), lease.lane.account.as_str().into(), number_value(lease.token, "a token")?];
    let Some(mut row) = sql.query_one(&query, &values).await? else { return Ok(None) };
    let lane = row.integer()?;
    match row.maybe_integer()? {
        // A node that is past its time has lost its lanes, even if nobody has taken them yet.
        Some(node) if is_alive(sql, node).await? => Ok(Some(lane)),
        _ => Ok(None),
    }
}

pub struct Take {
    pub node: i64,
    pub lane: LaneId,
}

impl Operation for Take {
    type Answer = LaneClaim;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<LaneClaim>, Failure> {
        let name = || vec![Value::from(self.lane.network.as_str()), Value::from(self.lane.account.as_str())];
        let insert = "INSERT INTO lanes (network, account, token) VALUES ($1, $2, 0) ON CONFLICT (network, account) DO NOTHING";
        sql.execute(insert, name()).await?;
        let query = format!("SELECT id, node, token FROM lanes WHERE network = $1 AND account = $2{}", S::LOCK);
        let row = sql.query_one(&query, &name()).await?;
        let mut row = row.ok_or_else(|| Failure::damaged(format!("lane {} is gone", self.lane)))?;
        let (lane, node, token) = (row.integer()?, row.maybe_integer()?, row.count()?);
        if let Some(node) = node.filter(|node| *node != self.node)
            && is_alive(sql, node).await?
        {
            return Ok(Verdict::Undo(LaneClaim::Theirs));
        }
        if !is_alive(sql, self.node).await? {
            return Err(Failure::new(
                "this node is past its time in the book: it can't take a lane before it has joined again",
            ));
        }
        let token = token.saturating_add(1);
        let update = "UPDATE lanes SET node = $2, token = $3 WHERE id = $1";
        sql.execute(update, vec![lane.into(), self.node.into(), number_value(token, "a token")?]).await?;
        Ok(Verdict::Keep(LaneClaim::Ours(LaneLease { lane: self.lane.clone(), token })))
    }
}

pub struct GiveBack(pub LaneLease);

impl Operation for GiveBack {
    type Answer = ();

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<()>, Failure> {
        let update = "UPDATE lanes SET node = NULL, token = token + 1 WHERE network = $1 AND account = $2 AND token = $3";
        let LaneLease { lane, token } = &self.0;
        let values = vec![lane.network.as_str().into(), lane.account.as_str().into(), number_value(*token, "a token")?];
        sql.execute(update, values).await?;
        Ok(Verdict::Keep(()))
    }
}

pub struct Nodes {
    pub node: i64,
    pub network: Network,
}

impl Operation for Nodes {
    type Answer = usize;

    async fn apply<S: Sql>(&self, sql: &mut S) -> Result<Verdict<usize>, Failure> {
        let network = || Value::from(self.network.as_str());
        let insert = "INSERT INTO serving (node, network) VALUES ($1, $2) ON CONFLICT (node, network) DO NOTHING";
        let is_new = sql.execute(insert, vec![self.node.into(), network()]).await? == 1;
        let query =
            format!("SELECT count(*) FROM nodes WHERE {} AND id IN (SELECT node FROM serving WHERE network = $1)", S::ALIVE);
        let row = sql.query_one(&query, &[network()]).await?;
        let count = row.ok_or_else(|| Failure::damaged("a count has no answer"))?.count()?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Ok(if is_new { Verdict::Keep(count) } else { Verdict::Undo(count) })
    }
}

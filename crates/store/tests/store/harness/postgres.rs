//! A database of its own on the server that all tests share.

use farthing_store::{Access, Options, Store, StoreUrl};
use farthing_testkit::postgres::Database;
use tokio_postgres::NoTls;

use super::node_of;
use crate::contract::{Harness, Node};

pub struct Postgres {
    database: Database,
}

impl Postgres {
    pub fn url(&self) -> StoreUrl {
        self.database.url().parse().unwrap()
    }

    /// The same as text.
    pub fn plain_url(&self) -> String {
        self.database.url()
    }

    /// What the shared server needs: it does not sync.
    pub fn options() -> Options {
        Options { accept_lost_commits: true, ..Options::default() }
    }

    /// Speaks to the database beside the store.
    pub async fn client(&self) -> tokio_postgres::Client {
        connect(&self.database).await
    }
}

pub async fn connect(database: &Database) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Harness for Postgres {
    const REPLICAS: bool = true;

    async fn new() -> Self {
        Self { database: Database::new().unwrap() }
    }

    async fn node(&self) -> Node {
        let store = Store::open_with(&self.url(), Access::Own, &Self::options()).await.unwrap();
        let newest = self.client().await.query_one("SELECT max(id) FROM farthing.nodes", &[]).await.unwrap();
        node_of(&store, u64::try_from(newest.get::<_, i64>(0)).unwrap())
    }

    async fn kill(&self, node: Node) {
        let number = i64::try_from(node.number).unwrap();
        drop(node);
        // Nobody beats for it any more; the clock is turned instead of waited for.
        self.expire(number).await;
    }

    async fn give_up_on(&self, node: &Node) {
        self.expire(i64::try_from(node.number).unwrap()).await;
    }
}

impl Postgres {
    async fn expire(&self, node: i64) {
        let update = "UPDATE farthing.nodes SET until = clock_timestamp() - interval '1 second' WHERE id = $1";
        assert_eq!(self.client().await.execute(update, &[&node]).await.unwrap(), 1);
    }
}

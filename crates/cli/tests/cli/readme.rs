//! The README's way to a first payment: a chain, a facilitator, a server of one's own, and a payer.

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::market::{NETWORK, SELLER};
use crate::operator::{Operator, config};
use crate::run::farthing;

#[test]
fn three_commands_and_one_line_in_a_server_make_a_payment() {
    let mut devnet = farthing(["devnet", "--port", "0", "--json"]).start();
    let chain = devnet.facts();
    let key = |number: usize| chain["accounts"][number]["key"].as_str().unwrap();

    let operator = Operator::new("readme", &config(NETWORK, chain["rpcUrl"].as_str().unwrap()));
    let mut facilitator = operator.facilitator().env("FACILITATOR_KEY", key(0)).start();
    let facilitator_url = facilitator.facts()["listening"].as_str().unwrap().to_owned();

    let runtime = Runtime::new().unwrap();
    let url = runtime.block_on(async {
        let toll = farthing::Server::builder().facilitator(facilitator_url).unwrap().pay_to(NETWORK, SELLER).unwrap();
        let toll = toll.build().await.unwrap();
        let app = Router::new().route("/report", get(|| async { "14 ships in" }).layer(toll.price("$0.01").unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/report", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    });

    let ended = farthing(["pay", &url]).env("EVM_PRIVATE_KEY", key(1)).run().with_code(0);
    assert_eq!(ended.stdout, "14 ships in");
    assert!(ended.stderr.starts_with("paid     0.01 USDC"), "{}", ended.stderr);
    let ended = facilitator.end("TERM").with_code(0);
    assert!(ended.stderr.contains("settled"), "{}", ended.stderr);
    assert!(!ended.stderr.contains(&key(0)[2..]) && !ended.stderr.contains("signature"), "{}", ended.stderr);
    devnet.end("TERM").with_code(0);
}

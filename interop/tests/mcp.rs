//! The gateway between the official MCP server and the official buyer of MCP tools, who know nothing of each other.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that finds nothing there has failed")]

use farthing_gateway::file::{Gateway as Settings, Route};
use farthing_gateway::{Gateway, Materials, Upstream};
use farthing_interop::peer::{Peer, Script, run};
use farthing_testkit::Stack;
use farthing_testkit::golden::{NETWORK, PAY_TO};
use serde_json::{Value, json};

const ROUTES: &str = r#"
    [[route]]
    match = "/mcp"
    [route.tools]
    add = "$0.01"
    divide = "$0.02"
    greet = "free"
"#;

#[derive(serde::Deserialize)]
struct File {
    gateway: Settings,
    route: Vec<Route>,
}

/// Buys what it is told to, in a session (`legacy`) or by the newest revision of MCP (`auto`): what the buyer says, and what the seller got.
async fn sales(mode: &str, is_json: bool) -> (Value, u64) {
    let stack = Stack::start().await.unwrap();
    stack.funded_wallet().unwrap();
    let server = Peer::start(Script::Mcp("server.py"), &[("JSON", if is_json { "1" } else { "0" })]).await.unwrap();
    let file: File = toml::from_str(&format!("[gateway]\nupstream = \"{}\"\n{ROUTES}", server.url())).unwrap();
    let seller = farthing::Server::builder().facilitator(stack.facilitator_url()).unwrap().pay_to(NETWORK, PAY_TO).unwrap();
    let upstream = Upstream::new(file.gateway.upstream.clone(), Materials::default()).unwrap();
    let gateway = Gateway::new(seller.build().await.unwrap(), upstream, file.gateway, &file.route).unwrap();
    let url = format!("{}/mcp", stack.serve(gateway.router()).await.unwrap());
    let key = format!(
        "0x{}",
        stack.devnet().accounts()[1].secret.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    );
    let calls = json!([
        ["greet", {"name": "you"}],
        ["add", {"a": 1, "b": 2}],
        ["divide", {"a": 1, "b": 0}],
        ["divide", {"a": 6, "b": 3}],
        ["other", {}],
    ]);
    let calls = calls.to_string();
    let settings = [("MCP_URL", url.as_str()), ("KEY", &key), ("CALLS", &calls), ("MODE", mode)];
    let told = run(Script::Mcp("buyer.py"), &settings).await.unwrap();
    (told, stack.devnet().usdc_balance(PAY_TO.parse().unwrap()).to())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_buyer_buys_tools_of_the_official_server_in_sessions_and_without() {
    for (mode, is_json) in [("legacy", false), ("auto", true)] {
        let (told, earned) = sales(mode, is_json).await;
        assert_eq!(told["tools"], json!(["add", "divide", "greet"]), "{mode}: {told}");
        let answers = &told["answers"];
        assert_eq!((&answers[0]["text"][0], &answers[0]["paid"]), (&json!("hello you"), &json!(false)), "{mode}: {told}");
        assert_eq!((&answers[1]["text"][0], &answers[1]["paid"]), (&json!("1 + 2 = 3"), &json!(true)), "{mode}: {told}");
        assert_eq!(answers[1]["settlement"]["success"], true, "{mode}: {told}");
        assert_eq!((&answers[2]["isError"], &answers[2]["settlement"]), (&json!(true), &Value::Null), "{mode}: {told}");
        assert_eq!(
            (&answers[3]["text"][0], &answers[3]["settlement"]["success"]),
            (&json!("2"), &json!(true)),
            "{mode}: {told}"
        );
        assert!(answers[4]["error"].as_str().unwrap().contains("not for sale"), "{mode}: {told}");
        assert_eq!(earned, 30_000, "{mode}: {told}");
    }
}

//! Tools, resources and prompts of an MCP server with prices of their own.

mod calls;
mod refused;
mod server;

use serde_json::{Value, json};

use self::server::McpServer;
use crate::shop::{Answer, Shop};

const ROUTES: &str = r#"
    [[route]]
    match = "POST /mcp"
    [route.tools]
    search = "$0.01"
    tokens = { price = { each = "$0.002", per = "1000 tokens", of = "response:/structuredContent/tokens", at_most = "$0.05" } }
    words = { price = { each = "$0.001", per = "word", of = "request:/arguments/text" }, description = "Counts" }
    upfront = { price = "$0.02", upfront = true }
    named = { price = "$0.01", payment_identifier = "required" }
    hello = "free"
    secret = "deny"
    fails = "$0.01"
    breaks = "$0.01"
    unknown-result = "$0.01"
    streams = "$0.01"
    asks = "$0.01"
    silent = "$0.01"
    accepts = "$0.01"
    moves = "$0.01"
    lies = "$0.01"
    other-id = "$0.01"
    [route.resources]
    "file:///report" = "$0.03"
    [route.prompts]
    "*" = "free"
"#;

/// A shop with an MCP server behind it.
struct Till {
    shop: Shop,
    server: McpServer,
}

impl Till {
    async fn open() -> Self {
        Self::with(ROUTES).await
    }

    async fn with(routes: &str) -> Self {
        let server = McpServer::default();
        let shop = Shop::before(server.app(), "", routes).await.unwrap_or_else(|error| panic!("{error}"));
        Self { shop, server }
    }

    /// Sends a message as an MCP client does.
    async fn send(&self, message: &str) -> Answer {
        self.shop.ask(self.post(message).header("accept", "application/json, text/event-stream")).await
    }

    fn post(&self, message: &str) -> reqwest::RequestBuilder {
        self.shop.http.post(self.shop.at("/mcp")).header("content-type", "application/json").body(message.to_owned())
    }

    /// Calls a tool.
    async fn call(&self, name: &str, arguments: Value, payment: Option<&Value>) -> Answer {
        self.send(&message(7, name, &arguments, payment).to_string()).await
    }

    /// The terms of a tool, as an MCP client hears them.
    async fn terms(&self, name: &str, arguments: Value) -> Value {
        let result = self.call(name, arguments, None).await.message()["result"].clone();
        assert_eq!(result["isError"], true, "{result}");
        assert_eq!(
            serde_json::from_str::<Value>(result["content"][0]["text"].as_str().unwrap()).unwrap(),
            result["structuredContent"]
        );
        result["structuredContent"].clone()
    }

    /// Asks for the terms, and pays.
    async fn buy(&self, name: &str, arguments: Value) -> Answer {
        let payment = self.shop.pay(&self.terms(name, arguments.clone()).await).await;
        self.call(name, arguments, Some(&payment)).await
    }
}

fn message(id: u32, name: &str, arguments: &Value, payment: Option<&Value>) -> Value {
    let mut message =
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": arguments}});
    if let Some(payment) = payment {
        message["params"]["_meta"] = json!({"x402/payment": payment, "progressToken": 1});
    }
    message
}

impl Answer {
    /// The one message in it, or the last of a stream.
    #[track_caller]
    fn message(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        if self.headers["content-type"] == "application/json" {
            return self.json();
        }
        let data = self.text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
        serde_json::from_str(data.unwrap_or_else(|| panic!("{self:?}"))).unwrap()
    }
}

#[tokio::test]
async fn what_an_mcp_server_sells_stands_in_the_documents_by_name() {
    let till = Till::open().await;
    let get = async |path: &str| till.shop.ask(till.shop.http.get(till.shop.at(path))).await;
    let document = get("/openapi.json").await.json();
    let operations = document["paths"]["/mcp"].as_object().unwrap();
    assert_eq!(operations.keys().collect::<Vec<_>>(), ["post"]);
    let price = &operations["post"]["x-payment-info"]["price"];
    assert_eq!(*price, json!({"mode": "dynamic", "min": "0"}), "words have no most");
    let offers = operations["post"]["x-mcp"]["offers"].as_array().unwrap();
    let search = offers.iter().find(|offer| offer["name"] == "search").unwrap();
    assert_eq!(
        (&search["kind"], &search["price"], &search["accepts"][0]["amount"]),
        (&json!("tool"), &json!("$0.01"), &json!("10000"))
    );
    assert!(offers.iter().any(|offer| offer["name"] == "hello" && offer["free"] == true));
    assert!(!offers.iter().any(|offer| offer["name"] == "secret"), "what is denied is not told of");
    let list = get("/.well-known/x402").await.json();
    assert_eq!(list["endpoints"][0]["mcp"], json!(offers));
    let text = get("/llms.txt").await.text;
    assert!(text.contains("- MCP tool `search` at `/mcp`: $0.01 (exact on eip155:84532)\n"), "{text}");
    assert!(text.contains("- MCP tool `hello` at `/mcp`, free\n"), "{text}");
}

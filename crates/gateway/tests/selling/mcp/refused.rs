//! What goes through unpaid, what does not go through, and why nobody gets around a price.

use http::Method;
use serde_json::{Value, json};

use super::{ROUTES, Till, message};
use crate::shop::Shop;

#[tokio::test]
async fn what_sells_nothing_goes_through_as_it_is() {
    let till = Till::open().await;
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}).to_string();
    let answer = till.send(&initialize).await;
    assert_eq!((answer.status, answer.headers["mcp-session-id"].to_str().unwrap()), (200, "abc"));
    let list = till.send(&json!({"jsonrpc": "2.0", "id": "l", "method": "tools/list"}).to_string()).await;
    assert_eq!((&list.message()["id"], list.headers["content-type"].to_str().unwrap()), (&json!("l"), "text/event-stream"));
    let notified = till.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string()).await;
    assert_eq!(notified.status, 202);
    assert_eq!(till.send(&json!({"jsonrpc": "2.0", "id": 3, "result": {}}).to_string()).await.status, 200);
    let seen = till.server.seen();
    assert_eq!((seen.len(), seen[0].text.as_str()), (4, initialize.as_str()), "byte for byte");

    let stream = till.shop.http.get(till.shop.at("/mcp")).header("last-event-id", "7").header("accept", "text/event-stream");
    assert!(till.shop.ask(stream).await.text.contains("notifications/x"));
    let ended = till.shop.ask(till.shop.http.delete(till.shop.at("/mcp")).header("mcp-session-id", "abc")).await;
    assert_eq!(ended.status, 202);
    let seen = till.server.seen();
    assert_eq!((&seen[0].method, &seen[1].method), (&Method::GET, &Method::DELETE));
    assert!(!seen[0].headers.contains_key("last-event-id"), "what was held back cannot be fetched later");
    assert_eq!(till.shop.ask(till.shop.http.put(till.shop.at("/mcp"))).await.status, 404);
}

#[tokio::test]
async fn a_free_tool_is_free_and_its_id_the_clients_own() {
    let till = Till::open().await;
    let sold = till.call("hello", json!({"to": "you"}), None).await.message();
    assert_eq!((&sold["id"], &sold["result"]["content"][0]["text"]), (&json!(7), &json!("hello {\"to\":\"you\"}")));
    assert_eq!(till.server.seen()[0].json()["id"], 7);
    let paid = till.call("hello", json!({}), Some(&json!({"x402Version": 2}))).await;
    assert_eq!(paid.status, 200);
    assert!(!till.server.seen()[0].text.contains("x402"), "a payment is not the server's to see");
}

#[tokio::test]
async fn what_is_not_named_is_denied_and_the_seller_is_told_how_to_free_it() {
    let till = Till::open().await;
    for name in ["secret", "SECRET", "other", "Hello", "search ", "search\u{0}"] {
        let refused = till.call(name, json!({}), None).await.message();
        assert_eq!((&refused["error"]["code"], &refused["id"]), (&json!(-32602), &json!(7)), "{name:?}: {refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("[route.tools]"), "{refused}");
    }
    let terms = till.call("SEARCH", json!({}), None).await.message();
    assert_eq!(terms["result"]["structuredContent"]["accepts"][0]["amount"], "10000", "another spelling costs the same");
    let method = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/callMany"}).to_string();
    let refused = till.send(&method).await.message();
    assert!(refused["error"]["message"].as_str().unwrap().contains("free_methods"), "{refused}");
    let resource = json!({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///other"}});
    assert!(
        till.send(&resource.to_string()).await.message()["error"]["message"].as_str().unwrap().contains("[route.resources]")
    );
    assert!(till.server.seen().is_empty());
    let prompt = json!({"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "any"}});
    assert_eq!(till.send(&prompt.to_string()).await.status, 200);

    let opened =
        Till::with(&ROUTES.replace("match = \"POST /mcp\"", "match = \"POST /mcp\"\n    free_methods = [\"tools/callMany\"]"))
            .await;
    assert_eq!(opened.send(&method).await.status, 200);
}

#[tokio::test]
async fn a_message_with_two_readings_is_refused_with_the_reason_and_reaches_nobody() {
    let till = Till::open().await;
    let call = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    for (body, why) in [
        (call(r#"{"name":"hello","name":"search"}"#), "twice"),
        (call(r#"{"name":"hello","n\u0061me":"search"}"#), "twice"),
        (call(r#"{"name":"hello","Name":"search"}"#), "in these letters"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"search"}}"#.to_owned(),
            "jsonrpc, id",
        ),
        (format!("[{}]", message(1, "search", &json!({}), None)), "got a list"),
        (r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"search"}}"#.to_owned(), "for nothing"),
        (r#"{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"search"}}"#.to_owned(), "id: "),
        (r#"{"jsonrpc":"2.0","id":"farthing-1","method":"tools/call","params":{"name":"hello"}}"#.to_owned(), "id: "),
        (call(r#"{"name":"hello","arguments":{"n":99999999999999999999}}"#), "64 bits"),
    ] {
        let answer = till.send(&body).await;
        assert_eq!(answer.status, 400, "{body}\n{answer:?}");
        assert!(answer.json()["message"].as_str().unwrap().contains(why), "{body}\n{answer:?}");
    }
    let free = message(1, "hello", &json!({}), None).to_string();
    for (name, value, status) in [
        ("content-type", "text/plain", 415),
        ("content-type", "application/json; charset=utf-16", 415),
        ("content-encoding", "gzip", 415),
        ("mcp-name", "search", 400),
        ("mcp-method", "ping", 400),
    ] {
        let request = till.shop.http.post(till.shop.at("/mcp")).body(free.clone());
        let request = if name == "content-type" { request } else { request.header("content-type", "application/json") };
        assert_eq!(till.shop.ask(request.header(name, value)).await.status, status, "{name}: {value}");
    }
    let large = message(1, "hello", &json!({"x": "a".repeat(2 << 20)}), None).to_string();
    assert_eq!(till.send(&large).await.status, 413);
    assert!(till.server.seen().is_empty());
    assert_eq!(
        till.shop.ask(till.post(&free).header("mcp-name", "hello").header("mcp-method", "tools/call")).await.status,
        200
    );
}

#[tokio::test]
async fn nothing_that_is_sold_can_be_had_in_another_way() {
    let till = Till::open().await;
    let mut task = message(1, "search", &json!({}), None);
    task["params"]["task"] = json!({"ttl": 60_000});
    assert_eq!(till.send(&task.to_string()).await.message()["error"]["data"]["error"], "no_tasks");
    let payment = till.shop.pay(&till.terms("search", json!({})).await).await;
    let header = till.shop.payment(&till.shop.ask(till.post(&message(1, "search", &json!({}), None).to_string())).await).await;
    let both = till.post(&message(1, "search", &json!({}), Some(&payment)).to_string()).header("payment-signature", header);
    assert_eq!(till.shop.ask(both).await.json()["error"], "two_payments");
    for bad in [json!(7), json!("eyJ4NDAyVmVyc2lvbiI6Mn0="), json!({}), json!({"x402Version": 2})] {
        let answer = till.call("search", json!({}), Some(&bad)).await.message();
        assert_eq!(answer["result"]["isError"], true, "{bad}: {answer}");
    }
    assert!(till.server.seen().is_empty());
    assert_eq!(till.shop.earned(), 0);
}

#[tokio::test]
async fn a_session_that_is_gone_is_told_by_the_servers_own_status_and_not_charged() {
    let till = Till::open().await;
    let payment = till.shop.pay(&till.terms("search", json!({})).await).await;
    let request = till.post(&message(1, "search", &json!({}), Some(&payment)).to_string());
    let answer = till.shop.ask(request.header("mcp-session-id", "gone").header("accept", "text/event-stream")).await;
    assert_eq!((answer.status, answer.text.as_str(), till.shop.earned()), (404, "no such session", 0));
}

#[tokio::test]
async fn results_say_that_they_are_complete_where_the_revision_wants_it() {
    let till = Till::open().await;
    let call = message(1, "search", &json!({}), None).to_string();
    for (revision, expected) in [("2025-11-25", Value::Null), ("2026-07-28", json!("complete"))] {
        let request = till.post(&call).header("accept", "text/event-stream").header("mcp-protocol-version", revision);
        assert_eq!(till.shop.ask(request).await.message()["result"]["resultType"], expected, "{revision}");
    }
}

#[tokio::test]
async fn a_menu_that_cannot_be_served_is_found_at_once() {
    let shop = Shop::open("[[route]]\nmatch = \"/a\"\nprice = \"$1\"").await;
    let error =
        shop.reload("[[route]]\nmatch = \"POST /mcp\"\n[route.tools]\nsearch = \"$0.0000001\"").unwrap_err().to_string();
    assert!(error.contains("tool \"search\": $0.0000001 is not a whole number"), "{error}");
}

#[tokio::test]
async fn scripts_of_other_origins_may_call_tools() {
    let till = Till::open().await;
    let preflight = till.shop.http.request(Method::OPTIONS, till.shop.at("/mcp"));
    let preflight = preflight.header("origin", "https://a.example").header("access-control-request-method", "POST");
    assert_eq!(till.shop.ask(preflight).await.status, 204);
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}).to_string();
    let answer = till.shop.ask(till.post(&initialize).header("origin", "https://a.example")).await;
    assert_eq!(
        (
            answer.headers["access-control-allow-origin"].to_str().unwrap(),
            answer.headers["access-control-expose-headers"].to_str().unwrap()
        ),
        ("*", "Mcp-Session-Id")
    );
    let _: Value = answer.json();
}

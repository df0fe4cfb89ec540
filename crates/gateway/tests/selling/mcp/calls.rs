//! What buyers of tools get, and what it costs them.

use serde_json::{Value, json};

use super::{ROUTES, Till, message};

const SETTLEMENT: &str = "x402/payment-response";

#[tokio::test]
async fn a_tool_is_paid_for_in_the_message_and_the_receipt_comes_with_the_result() {
    let till = Till::open().await;
    let terms = till.terms("search", json!({"q": "a"})).await;
    assert_eq!(terms["x402Version"], 2);
    assert_eq!((&terms["accepts"][0]["amount"], &terms["accepts"][0]["scheme"]), (&json!("10000"), &json!("exact")));
    assert!(terms["resource"]["url"].as_str().unwrap().ends_with("/mcp"), "{terms}");
    assert!(till.server.seen().is_empty(), "nothing was done for nothing");

    let payment = till.shop.pay(&terms).await;
    let answer = till.call("search", json!({"q": "a"}), Some(&payment)).await;
    let message = answer.message();
    assert_eq!((&message["id"], &message["jsonrpc"]), (&json!(7), &json!("2.0")));
    assert_eq!(message["result"]["content"][0]["text"], "search {\"q\":\"a\"}");
    let settlement = &message["result"]["_meta"][SETTLEMENT];
    assert_eq!((&settlement["success"], &settlement["network"]), (&json!(true), &json!("eip155:84532")));
    assert!(settlement["transaction"].as_str().unwrap().starts_with("0x"));
    assert_eq!(answer.headers["cache-control"], "private, no-store");
    assert_eq!(till.shop.earned(), 10_000);

    let seen = till.server.seen();
    assert_eq!(seen.len(), 1);
    let sent = seen[0].json();
    assert_eq!(sent["params"]["_meta"], json!({"progressToken": 1}), "the payment is not the server's to see");
    assert!(sent["id"].as_str().unwrap().starts_with("farthing-"), "{sent}");
    assert!(!seen[0].headers.contains_key("payment-signature"), "{seen:?}");
}

#[tokio::test]
async fn a_call_that_fails_is_not_charged_and_its_payment_stays_good() {
    let till = Till::open().await;
    let failed = till.buy("fails", json!({})).await.message();
    assert_eq!((&failed["result"]["isError"], &failed["result"]["content"][0]["text"]), (&json!(true), &json!("no luck")));
    assert!(failed["result"]["_meta"].is_null(), "{failed}");
    let broken = till.buy("breaks", json!({})).await.message();
    assert_eq!((&broken["error"]["message"], &broken["id"]), (&json!("broken"), &json!(7)));
    let unfinished = till.buy("unknown-result", json!({})).await.message();
    assert_eq!(unfinished["result"]["resultType"], "input_required");
    for name in ["asks", "silent", "accepts", "moves", "other-id"] {
        let dropped = till.buy(name, json!({})).await.message();
        assert_eq!(dropped["result"]["isError"], true, "{name}: {dropped}");
        assert_eq!(dropped["result"]["structuredContent"]["error"], "call_unanswered", "{name}: {dropped}");
        assert!(!dropped.to_string().contains("asked"), "{dropped}");
    }
    assert_eq!(till.shop.earned(), 0);

    let payment = till.shop.pay(&till.terms("fails", json!({})).await).await;
    till.call("fails", json!({}), Some(&payment)).await;
    let again = till.call("search", json!({}), Some(&payment)).await.message();
    assert_eq!(again["result"]["_meta"][SETTLEMENT]["success"], true, "{again}");
}

#[tokio::test]
async fn a_payment_buys_one_call_of_one_tool() {
    let till = Till::open().await;
    let payment = till.shop.pay(&till.terms("search", json!({"q": 1})).await).await;
    assert_eq!(
        till.call("search", json!({"q": 1}), Some(&payment)).await.message()["result"]["_meta"][SETTLEMENT]["success"],
        true
    );
    till.server.seen();
    for (name, arguments) in [("search", json!({"q": 1})), ("search", json!({"q": 2})), ("streams", json!({}))] {
        let again = till.call(name, arguments, Some(&payment)).await.message();
        assert_eq!(again["result"]["isError"], true, "{again}");
        assert!(again["result"]["structuredContent"]["accepts"].is_array(), "{again}");
    }
    assert!(till.server.seen().is_empty());
    assert_eq!(till.shop.earned(), 10_000);
}

#[tokio::test]
async fn copies_of_a_payment_at_once_buy_once() {
    let till = Till::with(&ROUTES.replace("search = ", "slow = \"$0.01\"\n    search = ")).await;
    let payment = till.shop.pay(&till.terms("slow", json!({})).await).await;
    let call = || till.call("slow", json!({}), Some(&payment));
    let answers = tokio::join!(call(), call(), call(), call());
    let answers: Vec<Value> = [answers.0, answers.1, answers.2, answers.3].iter().map(super::Answer::message).collect();
    let sold = answers.iter().filter(|answer| answer["result"]["isError"].is_null()).count();
    assert_eq!((sold, till.shop.earned(), till.server.seen().len()), (1, 10_000, 1), "{answers:?}");
    let told = answers.iter().find(|answer| answer["result"]["isError"] == true).unwrap();
    assert_eq!(told["result"]["structuredContent"]["error"], "payment_in_flight", "{told}");
}

#[tokio::test]
async fn what_the_server_streams_is_held_until_it_is_paid_and_comes_as_a_stream() {
    let till = Till::open().await;
    let answer = till.buy("streams", json!({})).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let events: Vec<Value> = answer
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(events[0]["method"], "notifications/progress");
    assert_eq!((&events[1]["id"], &events[1]["result"]["content"][0]["text"]), (&json!(7), &json!("streamed")));
    assert_eq!(events[1]["result"]["_meta"][SETTLEMENT]["success"], true);
    assert_eq!((events.len(), till.shop.earned()), (2, 10_000));
}

#[tokio::test]
async fn a_server_cannot_make_up_a_settlement() {
    let till = Till::open().await;
    let result = till.buy("lies", json!({})).await.message()["result"].clone();
    assert!(!result.to_string().contains("forged"), "{result}");
    assert_eq!((&result["_meta"]["kept"], &result["_meta"][SETTLEMENT]["success"]), (&json!(1), &json!(true)));
}

#[tokio::test]
async fn prices_are_counted_in_arguments_and_in_results() {
    let till = Till::open().await;
    let terms = till.terms("words", json!({"text": "one two three"})).await;
    assert_eq!((&terms["accepts"][0]["amount"], &terms["resource"]["description"]), (&json!("3000"), &json!("Counts")));
    let payment = till.shop.pay(&terms).await;
    let other = till.call("words", json!({"text": "one two three four"}), Some(&payment)).await.message();
    assert_eq!(other["result"]["structuredContent"]["error"], "quote_mismatch", "{other}");
    let sold = till.call("words", json!({"text": "one two three"}), Some(&payment)).await.message();
    assert_eq!((sold["result"]["isError"].as_bool(), till.shop.earned()), (None, 3_000), "{sold}");
    let refused = till.call("words", json!({}), None).await.message();
    assert_eq!(refused["result"]["structuredContent"]["error"], "request_refused", "{refused}");

    let sold = till.buy("tokens", json!({})).await.message();
    assert_eq!(sold["result"]["_meta"][SETTLEMENT]["amount"], "3000", "{sold}");
    assert_eq!(till.shop.earned(), 6_000);
}

#[tokio::test]
async fn a_purchase_with_a_name_gets_its_answer_again_under_the_id_of_the_new_message() {
    let till = Till::open().await;
    let terms = till.terms("named", json!({"q": 1})).await;
    let mut payment = till.shop.pay(&terms).await;
    payment["extensions"] = terms["extensions"].clone();
    payment["extensions"]["payment-identifier"]["info"]["id"] = json!("purchase-of-a-tool-1");
    let first = till.send(&message(7, "named", &json!({"q": 1}), Some(&payment)).to_string()).await.message();
    assert_eq!(till.server.seen().len(), 2 - 1);
    let again = till.send(&message(8, "named", &json!({"q": 1}), Some(&payment)).to_string()).await.message();
    assert_eq!((&first["id"], &again["id"]), (&json!(7), &json!(8)));
    assert_eq!(first["result"], again["result"]);
    assert_eq!((till.server.seen().len(), till.shop.earned()), (0, 10_000));
    let other = till.send(&message(9, "named", &json!({"q": 2}), Some(&payment)).to_string()).await.message();
    assert_eq!(other["result"]["isError"], true, "{other}");
    assert!(till.server.seen().is_empty());
}

#[tokio::test]
async fn a_client_of_plain_http_pays_by_status_and_header() {
    let till = Till::open().await;
    let text = message(7, "search", &json!({"q": 1}), None).to_string();
    let unpaid = till.shop.ask(till.post(&text)).await;
    assert_eq!(unpaid.terms()["accepts"][0]["amount"], "10000");
    let payment = till.shop.payment(&unpaid).await;
    let paid = till.shop.ask(till.post(&text).header("payment-signature", payment)).await;
    assert!(paid.headers.contains_key("payment-response"), "{paid:?}");
    let message = paid.message();
    assert_eq!((&message["id"], &message["result"]["content"][0]["text"]), (&json!(7), &json!("search {\"q\":1}")));
    assert_eq!(till.shop.earned(), 10_000);
}

#[tokio::test]
async fn a_resource_is_paid_for_by_its_uri() {
    let till = Till::open().await;
    let read = |payment: Option<Value>| {
        let meta = payment.map_or_else(|| json!({}), |payment| json!({"x402/payment": payment}));
        json!({"jsonrpc": "2.0", "id": "r", "method": "resources/read", "params": {"uri": "file:///report", "_meta": meta}})
            .to_string()
    };
    let unpaid = till.send(&read(None)).await.message();
    assert_eq!((&unpaid["error"]["code"], &unpaid["id"]), (&json!(402), &json!("r")));
    let payment = till.shop.pay(&unpaid["error"]["data"]).await;
    let sold = till.send(&read(Some(payment))).await.message();
    assert_eq!(sold["result"]["_meta"][SETTLEMENT]["success"], true, "{sold}");
    assert_eq!(till.shop.earned(), 30_000);
}

#[tokio::test]
async fn upfront_the_money_moves_first_and_a_failure_tells_so() {
    let till = Till::with(&ROUTES.replace("fails = \"$0.01\"", "fails = { price = \"$0.02\", upfront = true }")).await;
    let terms = till.terms("fails", json!({})).await;
    let payment = till.shop.pay(&terms).await;
    let failed = till.call("fails", json!({}), Some(&payment)).await.message();
    assert_eq!(
        (&failed["result"]["isError"], &failed["result"]["_meta"][SETTLEMENT]["success"]),
        (&json!(true), &json!(true)),
        "{failed}"
    );
    assert_eq!(till.shop.earned(), 20_000);
    till.call("fails", json!({}), Some(&payment)).await;
    assert_eq!((till.shop.earned(), till.server.seen().len()), (20_000, 2), "it is tried again, and not paid again");
}

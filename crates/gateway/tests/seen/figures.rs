//! The API: exact, bounded, and nothing but reading.

use serde_json::{Value, json};

use crate::till::Till;

fn total(unit: &Value, name: &str) -> u64 {
    unit["series"].as_array().unwrap().iter().map(|series| series[name].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn sums_are_exact_and_by_route_network_and_payer() {
    let till = Till::open().await;
    for (buyer, method, target) in [
        (0, "GET", "/reports/1"),
        (0, "GET", "/reports/2"),
        (1, "POST", "/v1/chat/completions"),
        (1, "POST", "/v1/chat/completions"),
        (2, "GET", "/datasets/a/b"),
    ] {
        assert_eq!(till.sell(buyer, method, target, 0).await, 200);
    }
    assert_eq!(till.sell(0, "GET", "/reports/3", 5 * 3_600).await, 200);
    assert_eq!(till.ask("/reports/9", 0).await, 402);
    assert_eq!(till.sell(0, "GET", "/fails", 0).await, 404);

    let day = till.api("/api/revenue?range=24h&by=route").await;
    let unit = &day["units"][0];
    assert_eq!((&unit["unit"], &unit["amount"], &unit["sales"]), (&json!("USD"), &json!("0.284"), &json!(6)));
    let routes: Vec<(&str, &str)> = unit["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| (series["group"].as_str().unwrap(), series["amount"].as_str().unwrap()))
        .collect();
    let expected = [("GET /datasets/**", "0.25"), ("GET /reports/*", "0.03"), ("POST /v1/chat/completions", "0.004")];
    assert_eq!(routes, expected, "the largest first");
    assert_eq!(unit["series"][1]["points"].as_array().unwrap().len(), 24);
    let hour = till.api("/api/revenue?range=1h&by=payer").await;
    assert_eq!((&hour["units"][0]["amount"], total(&hour["units"][0], "sales")), (&json!("0.274"), 5));
    assert_eq!(hour["units"][0]["series"].as_array().unwrap().len(), 3);
    let networks = till.api("/api/revenue?range=30d&by=network").await;
    assert_eq!(networks["units"][0]["series"][0]["group"], "eip155:84532");

    let requests = till.api("/api/requests?range=24h").await;
    assert_eq!((&requests["total"]["paid"], &requests["total"]["failed_free"]), (&json!(6), &json!(1)));
    assert_eq!(requests["total"]["required"], 8, "each purchase asks first");
    let failure = &requests["failures"][0];
    assert_eq!((&failure["outcome"], &failure["route"]), (&json!("failed_free"), &json!("GET /fails")));
}

#[tokio::test]
async fn lists_are_told_a_page_at_a_time() {
    let till = Till::open().await;
    for number in 0..5 {
        assert_eq!(till.sell(0, "GET", "/reports/1?secret=hunter2", number * 60).await, 200);
    }
    let mut next = String::new();
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = till.api(&format!("/api/sales?range=24h&limit=2{next}")).await;
        assert!(!page.to_string().contains("hunter2"));
        for sale in page["entries"].as_array().unwrap() {
            assert_eq!(
                (&sale["amount"], &sale["amountAtomic"], &sale["isUsd"]),
                (&json!("0.01"), &json!("10000"), &json!(true))
            );
            seen.push(sale["payment"].as_str().unwrap().to_owned());
        }
        let Some(place) = page["next"].as_str() else { break };
        next = format!("&after={place}");
    }
    let different: std::collections::BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), different.len()), (5, 5));

    till.leave_open(7, 30).await;
    till.leave_open(8, 400).await;
    let open = till.api("/api/open").await;
    let states: Vec<&str> = open["entries"].as_array().unwrap().iter().map(|open| open["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["settling", "unknown"]);
}

#[tokio::test]
async fn what_is_not_there_or_not_meant_is_taught() {
    let till = Till::open().await;
    for (path, status, taught) in [
        ("/api/revenue?range=1y", 400, "expected 1h, 24h, 7d or 30d"),
        ("/api/revenue?by=moon", 400, "expected route, network or payer"),
        ("/api/sales?limit=100000", 400, "expected a number from 1 to 200"),
        ("/api/sales?offset=1", 400, "expected range, limit, after"),
        ("/api/moon", 404, "there are /, /metrics"),
    ] {
        let answer = till.http.get(format!("{}{path}", till.admin)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let text = answer.text().await.unwrap();
        assert!(text.contains(taught), "{text}");
    }
    let posted = till.http.post(format!("{}/api/status", till.admin)).send().await.unwrap();
    assert_eq!(posted.status(), 405);
    let foreign = till.http.get(format!("{}/api/status", till.admin)).header("host", "evil.example").send().await.unwrap();
    assert_eq!(foreign.status(), 403, "a name that was made to lead here");
}

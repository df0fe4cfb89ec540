//! What the gateway tells machines about what it sells.

use farthing_gateway::discovery::Imported;
use serde_json::{Value, json};

use crate::shop::{Answer, Shop};

const SETTINGS: &str = "public_url = \"https://api.example.com\"
    [gateway.discovery]
    title = \"Weather\"
    description = \"Forecasts\\nfor machines\"
    contact = \"team@example.com\"
    version = \"2.0\"";

const ROUTES: &str = r#"
    [[route]]
    match = "GET /reports/{id}"
    price = "$0.01"
    description = "A report"
    mime_type = "text/plain"
    [[route]]
    match = "POST /chat"
    price = { each = "$0.002", per = "1000 tokens", of = "response:/usage/total_tokens", at_most = "$0.05" }
    [[route]]
    match = "GET /pages"
    price = { each = "$0.01", per = "page", of = "query:n", at_least = "$0.02" }
    [[route]]
    match = "GET /tiers"
    price = { by = "header:x-tier", gold = "$0.05", silver = "$0.1", otherwise = "$0.2" }
    [[route]]
    match = "GET /files/**"
    price = "0.10 USDC"
    [[route]]
    match = "GET /quiet"
    price = "$1"
    listed = false
    [[route]]
    match = "GET /about"
    free = true
    listed = true
    [[route]]
    match = "GET /healthz"
    free = true
    [[route]]
    match = "/admin"
    deny = true
"#;

async fn get(shop: &Shop, target: &str) -> Answer {
    shop.ask(shop.http.get(shop.at(target))).await
}

async fn openapi(shop: &Shop) -> Value {
    get(shop, "/openapi.json").await.json()
}

#[tokio::test]
async fn an_openapi_says_what_is_sold_and_how_it_is_paid() {
    let shop = Shop::with(SETTINGS, ROUTES).await;
    let answer = get(&shop, "/openapi.json").await;
    assert_eq!((answer.status, answer.headers["content-type"].to_str().unwrap()), (200, "application/json"));
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    let info = &document["info"];
    assert_eq!(
        (&info["title"], &info["version"], &info["contact"]["email"]),
        (&json!("Weather"), &json!("2.0"), &json!("team@example.com"))
    );
    assert_eq!(document["servers"], json!([{"url": "https://api.example.com"}]));
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/about", "/chat", "/files/{rest}", "/pages", "/reports/{id}", "/tiers"]);

    let report = &document["paths"]["/reports/{id}"]["get"];
    assert_eq!(report["summary"], "A report");
    assert_eq!(report["security"], json!([]));
    assert_eq!(report["parameters"][0], json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}));
    assert_eq!(report["x-payment-info"]["price"], json!({"mode": "fixed", "currency": "USD", "amount": "0.01"}));
    let offer = &report["x-payment-info"]["protocols"][0]["x402"]["accepts"][0];
    assert_eq!(
        (&offer["scheme"], &offer["network"], &offer["amount"]),
        (&json!("exact"), &json!("eip155:84532"), &json!("10000"))
    );
    assert!(report["responses"]["200"]["content"]["text/plain"].is_object());
    for place in ["/responses/402", "/responses/200/headers/PAYMENT-RESPONSE", "/parameters/1"] {
        let target = report.pointer(place).unwrap()["$ref"].as_str().unwrap().strip_prefix('#').unwrap();
        assert!(document.pointer(target).is_some_and(Value::is_object), "{place}");
    }
    assert!(document.pointer("/components/responses/X402PaymentRequired/headers/PAYMENT-REQUIRED").is_some());

    let price = |path: &str, method: &str| document["paths"][path][method]["x-payment-info"]["price"].clone();
    assert_eq!(price("/chat", "post"), json!({"mode": "dynamic", "currency": "USD", "min": "0", "max": "0.05"}));
    assert_eq!(price("/pages", "get"), json!({"mode": "dynamic", "currency": "USD", "min": "0.02"}));
    assert_eq!(price("/tiers", "get"), json!({"mode": "dynamic", "currency": "USD", "min": "0.05", "max": "0.2"}));
    assert_eq!(price("/files/{rest}", "get"), json!({"mode": "fixed", "currency": "USDC", "amount": "0.1"}));
    let metered = &document["paths"]["/chat"]["post"]["x-payment-info"]["protocols"][0]["x402"]["accepts"][0];
    assert_eq!((&metered["scheme"], &metered["maxAmount"]), (&json!("upto"), &json!("50000")));
    let counted = &document["paths"]["/pages"]["get"]["x-payment-info"]["protocols"][0]["x402"]["accepts"][0];
    assert!(counted.get("amount").is_none(), "it differs from request to request");
    assert!(document["paths"]["/about"]["get"]["x-payment-info"].is_null());
    assert!(shop.upstream.lines().is_empty());
}

#[tokio::test]
async fn the_list_and_the_text_say_the_same() {
    let shop = Shop::with(SETTINGS, ROUTES).await;
    let list = get(&shop, "/.well-known/x402").await.json();
    assert_eq!(list["version"], 1);
    let whole = ["https://api.example.com/chat", "https://api.example.com/pages", "https://api.example.com/tiers"];
    assert_eq!(list["resources"], json!(whole), "what has a gap has no URL");
    let endpoints = list["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 5);
    let report = &endpoints[0];
    assert_eq!(
        (&report["path"], &report["methods"], &report["price"]),
        (&json!("/reports/{id}"), &json!(["GET"]), &json!("$0.01"))
    );
    assert_eq!(report["accepts"][0]["amount"], "10000");

    let answer = get(&shop, "/llms.txt").await;
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    for line in [
        "# Weather\n",
        "> Forecasts for machines\n",
        "- GET `/reports/{id}`: $0.01 (exact on eip155:84532). A report\n",
        "- POST `/chat`: $0.002 per 1000 tokens of the answer's /usage/total_tokens, at most $0.05 (upto on eip155:84532)\n",
        "## Free\n\n- GET `/about`\n",
        "https://api.example.com/openapi.json",
    ] {
        assert!(answer.text.contains(line), "{}\nlacks: {line}", answer.text);
    }
    for secret in ["/quiet", "/healthz", "/admin"] {
        assert!(!answer.text.contains(secret) && !list.to_string().contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn caches_may_keep_them_and_ask_whether_they_changed() {
    let shop = Shop::open(ROUTES).await;
    let first = get(&shop, "/openapi.json").await;
    assert_eq!(first.headers["cache-control"], "public, max-age=60");
    let tag = first.headers["etag"].clone();
    let again = || shop.http.get(shop.at("/openapi.json")).header("if-none-match", &tag);
    let known = shop.ask(again()).await;
    assert_eq!((known.status, known.text.as_str()), (304, ""));
    let head = shop.ask(shop.http.head(shop.at("/openapi.json"))).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(head.headers["content-length"].to_str().unwrap(), first.text.len().to_string());
    shop.reload(&ROUTES.replace("\"$0.01\"", "\"$0.03\"")).unwrap();
    let changed = shop.ask(again()).await;
    assert_eq!(changed.json()["paths"]["/reports/{id}"]["get"]["x-payment-info"]["price"]["amount"], "0.03");
    assert_eq!(shop.ask(shop.http.post(shop.at("/openapi.json"))).await.status, 404, "it is there to be read");
}

#[tokio::test]
async fn without_an_address_of_its_own_the_gateway_names_paths() {
    let shop = Shop::open(ROUTES).await;
    let list = get(&shop, "/.well-known/x402").await.json();
    assert_eq!(list["resources"], json!(["/chat", "/pages", "/tiers"]));
    assert_eq!(openapi(&shop).await["servers"], json!([{"url": "/"}]));
}

#[tokio::test]
async fn a_route_that_names_the_path_wins_and_one_for_everything_does_not() {
    let named = "[[route]]\nmatch = \"GET /llms.txt\"\nprice = \"$1\"\n[[route]]\nmatch = \"/**\"\nprice = \"$0.01\"";
    let shop = Shop::open(named).await;
    assert_eq!(get(&shop, "/llms.txt").await.status, 402);
    assert_eq!(get(&shop, "/other").await.status, 402);
    let document = openapi(&shop).await;
    let methods: Vec<&String> = document["paths"]["/{rest}"].as_object().unwrap().keys().collect();
    assert_eq!(methods, ["get", "post"]);
    assert!(document["paths"]["/{rest}"]["get"]["description"].as_str().unwrap().contains("Every method"));
    let off = Shop::with("[gateway.discovery]\nenabled = false", ROUTES).await;
    for path in ["/openapi.json", "/.well-known/x402", "/llms.txt"] {
        assert_eq!(get(&off, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_upstreams_own_openapi_comes_with_prices_and_without_what_cannot_be_had() {
    let routes = r#"
        [[route]]
        match = "GET /v1/cities"
        free = true
        [[route]]
        match = "GET /v1/forecast/*"
        price = "$0.01"
        [[route]]
        match = "GET /v1/account"
        price = "$0.02"
        [[route]]
        match = "GET /extra"
        price = "$0.03"
    "#;
    let keys = "public_url = \"https://api.example.com\"\n[gateway.headers]\nx-upstream-key = \"env:KEY\"";
    let shop = Shop::with(keys, routes).await;
    shop.gateway.import_from("/described").await.unwrap();
    let document = openapi(&shop).await;
    let info = &document["info"];
    assert_eq!(
        (&info["title"], &info["version"], &info["description"]),
        (&json!("Weather"), &json!("2.1"), &json!("Forecasts"))
    );
    assert_eq!(document["servers"], json!([{"url": "https://api.example.com"}]));
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/extra", "/v1/account", "/v1/cities", "/v1/forecast/{city}"]);

    let free = &document["paths"]["/v1/cities"]["get"];
    assert!(free["x-payment-info"].is_null() && free["responses"]["402"].is_null(), "{free}");
    assert_eq!(free["security"], json!([]), "the gateway sends the key");
    let sold = &document["paths"]["/v1/forecast/{city}"];
    assert!(sold["delete"].is_null(), "nobody sells that");
    assert_eq!(sold["get"]["x-payment-info"]["price"]["amount"], "0.01");
    assert_eq!(sold["get"]["summary"], "A forecast");
    assert!(sold["get"]["responses"]["200"]["headers"]["PAYMENT-RESPONSE"].is_object());
    assert!(sold["get"]["responses"]["404"]["headers"].is_null() && sold["get"]["responses"]["402"].is_object());
    assert_eq!(document["paths"]["/v1/account"]["get"]["security"], json!([{"user": []}]), "that is the buyer's to bring");
    assert!(!document.to_string().contains("10.0.0."), "{document}");

    shop.reload(&routes.replace("\"$0.01\"", "\"$0.05\"")).unwrap();
    let price = openapi(&shop).await["paths"]["/v1/forecast/{city}"]["get"]["x-payment-info"]["price"]["amount"].clone();
    assert_eq!(price, "0.05", "it stays when routes are read anew");
}

#[tokio::test]
async fn an_openapi_that_cannot_be_read_changes_nothing() {
    let shop = Shop::open(ROUTES).await;
    let before = openapi(&shop).await;
    let error = shop.gateway.import_from("/plain").await.unwrap_err().to_string();
    assert!(error.contains("expected JSON"), "{error}");
    let error = shop.gateway.import_from("/fails").await.unwrap_err().to_string();
    assert!(error.contains("418"), "{error}");
    assert!(Imported::parse(b"{\"swagger\": \"2.0\"}").is_err());
    assert_eq!(openapi(&shop).await, before);
}

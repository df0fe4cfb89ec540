//! What catalogues are told of what is sold.

use serde_json::json;

use crate::shop::Shop;

const ROUTES: &str = r#"
    [[route]]
    match = "GET /weather/{city}"
    price = "$0.01"
    [route.bazaar]
    query = { days = 3 }
    query_schema = { properties = { days = { type = "integer", maximum = 14 } }, required = ["days"] }
    path = { city = "Berlin" }
    output = { rain = true }
    output_schema = { properties = { rain = { type = "boolean" } } }
    [[route]]
    match = "POST /translate"
    price = "$0.02"
    bazaar = { body = { text = "hello" }, body_schema = { properties = { text = { type = "string" } } } }
    [[route]]
    match = "POST /mcp"
    [route.tools]
    search = { price = "$0.01", description = "Finds", bazaar = { input_schema = { properties = { q = { type = "string" } } }, input = { q = "rain" } } }
"#;

#[tokio::test]
async fn the_terms_tell_catalogues_how_it_is_asked_for_and_a_payment_that_echoes_them_is_taken() {
    let shop = Shop::open(ROUTES).await;
    let terms = shop.ask(shop.http.get(shop.at("/weather/Rome?days=2"))).await.terms();
    let bazaar = &terms["extensions"]["bazaar"];
    assert_eq!(bazaar["routeTemplate"], "/weather/:city");
    let input = json!({"type": "http", "method": "GET", "queryParams": {"days": 3}, "pathParams": {"city": "Berlin"}});
    assert_eq!(bazaar["info"], json!({"input": input, "output": {"type": "json", "example": {"rain": true}}}));
    assert_eq!(bazaar["schema"]["properties"]["input"]["properties"]["queryParams"]["properties"]["days"]["maximum"], 14);
    let (text, cost) = shop.buy(shop.get("/weather/Rome?days=2")).await;
    assert_eq!((text.as_str(), cost), ("GET /weather/Rome?days=2", 10_000));
    let terms = shop.ask(shop.http.post(shop.at("/translate"))).await.terms();
    assert_eq!(terms["extensions"]["bazaar"]["info"]["input"]["bodyType"], "json");
}

#[tokio::test]
async fn a_tool_is_told_of_by_its_name_and_the_openapi_tells_the_same() {
    let shop = Shop::open(ROUTES).await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search"}}).to_string();
    let request = shop.http.post(shop.at("/mcp")).header("content-type", "application/json").body(call);
    let input = shop.ask(request).await.terms()["extensions"]["bazaar"]["info"]["input"].clone();
    assert_eq!(
        (&input["type"], &input["toolName"], &input["transport"]),
        (&json!("mcp"), &json!("search"), &json!("streamable-http"))
    );
    assert_eq!((&input["inputSchema"]["type"], &input["example"]), (&json!("object"), &json!({"q": "rain"})));

    let document = shop.ask(shop.http.get(shop.at("/openapi.json"))).await.json();
    let weather = &document["paths"]["/weather/{city}"]["get"];
    let days =
        json!({"name": "days", "in": "query", "required": true, "schema": {"type": "integer", "maximum": 14}, "example": 3});
    assert_eq!(weather["parameters"][1], days);
    assert_eq!(weather["responses"]["200"]["content"]["application/json"]["example"], json!({"rain": true}));
    let body = &document["paths"]["/translate"]["post"]["requestBody"]["content"]["application/json"];
    assert_eq!(
        (&body["example"], &body["schema"]["properties"]["text"]["type"]),
        (&json!({"text": "hello"}), &json!("string"))
    );
}

#[tokio::test]
async fn what_catalogues_do_not_take_is_found_at_once() {
    let shop = Shop::open(ROUTES).await;
    for (route, taught) in [
        ("match = \"/a\"\nbazaar = {}", "got every method"),
        ("match = \"GET|POST /a\"\nbazaar = {}", "got GET and POST"),
        ("match = \"GET /a/**\"\nbazaar = {}", "no path that catalogues take"),
        ("match = \"GET /a\"\nbazaar = { body = {} }", "describe query instead"),
    ] {
        let error = shop.reload(&format!("[[route]]\nprice = \"$1\"\n{route}")).unwrap_err().to_string();
        assert!(error.contains(taught), "{error}\nlacks: {taught}");
    }
}

//! What we declare for catalogues, by the official check of it.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing there has failed")]

use farthing::core::extension::bazaar::{self, Listing, ToolListing};
use farthing_interop::peer::{Script, run};
use serde_json::{Value, json};

fn listing(value: Value) -> Listing {
    serde_json::from_value(value).unwrap()
}

#[tokio::test]
async fn the_official_check_takes_what_is_declared_of_routes_and_tools() {
    let query = json!({
        "query": {"days": 3}, "path": {"city": "Berlin"}, "output": {"rain": true},
        "query_schema": {"properties": {"days": {"type": "integer"}}, "required": ["days"]},
        "path_schema": {"properties": {"city": {"type": "string"}}},
        "output_schema": {"properties": {"rain": {"type": "boolean"}}},
    });
    let body = json!({"body": {"text": "hello"}, "body_schema": {"properties": {"text": {"type": "string"}}}});
    let tool: ToolListing = serde_json::from_value(
        json!({"input_schema": {"properties": {"q": {"type": "string"}}}, "input": {"q": "rain"}, "output": "dry"}),
    )
    .unwrap();
    let declared = [
        bazaar::http(&listing(query), "GET", Some("/weather/:city")).unwrap(),
        bazaar::http(&Listing::default(), "DELETE", None).unwrap(),
        bazaar::http(&listing(body), "POST", None).unwrap(),
        bazaar::http(&listing(json!({"body": {"a": "b"}, "body_type": "form-data", "output": [1]})), "PUT", None).unwrap(),
        bazaar::tool(&tool, "search", Some("Finds")).unwrap(),
        bazaar::tool(&ToolListing::default(), "help", None).unwrap(),
    ];
    // The check itself finds what is wrong.
    let mut wrong = declared[2].clone();
    wrong["info"]["input"]["method"] = json!("GET");
    let all: Vec<Value> = declared.iter().cloned().chain([wrong]).collect();
    let verdicts = run(Script::Ts("catalogue.mjs"), &[("DECLARED", &json!(all).to_string())]).await.unwrap();
    let verdicts = verdicts.as_array().unwrap();
    assert_eq!(verdicts.len(), all.len());
    let (wrong, good) = verdicts.split_last().unwrap();
    for (verdict, declared) in good.iter().zip(&declared) {
        let is_good = verdict["schema"]["valid"] == true && verdict["spec"]["valid"] == true && verdict["template"] == true;
        assert!(is_good, "{declared}\n{verdict}");
    }
    assert_eq!(wrong["schema"]["valid"], false, "{wrong}");
}

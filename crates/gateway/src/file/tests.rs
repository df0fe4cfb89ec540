//! What a file may say, and how it is told what it may not.

use super::*;
use crate::tariff::Tariff;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    gateway: Gateway,
    #[serde(default)]
    pay_to: PayTo,
    #[serde(default)]
    route: Vec<Route>,
}

const HEAD: &str = "[gateway]\nupstream = \"http://127.0.0.1:3000\"\n";

fn read(rest: &str) -> Result<File, String> {
    toml::from_str(&format!("{HEAD}{rest}")).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(rest: &str, taught: &str) {
    let error = read(rest).unwrap_err();
    assert!(error.contains(taught), "{error}\n\nlacks: {taught}");
}

fn price(text: &str) -> String {
    let file = read(&format!("[[route]]\nmatch = \"/a\"\nprice = {text}")).unwrap();
    let Access::Priced(sale) = &file.route[0].access else { panic!("not priced") };
    sale.price.to_string()
}

#[test]
fn networks_keep_their_order_and_have_both_their_names() {
    let file = read("[pay_to]\nbase-sepolia = \"0xB\"\n\"eip155:8453\" = \"0xA\"").unwrap();
    let networks: Vec<&str> = file.pay_to.0.iter().map(|(network, _)| network.as_str()).collect();
    assert_eq!(networks, ["eip155:84532", "eip155:8453"]);
    refused("[pay_to]\nbase-sepolia = \"0xB\"\n\"eip155:84532\" = \"0xA\"", "one account on eip155:84532, got two");
}

#[test]
fn an_upstream_is_a_url_or_a_table() {
    let file = read("").unwrap();
    assert_eq!((file.gateway.upstream.url.origin(), file.gateway.listen.port()), ("http://127.0.0.1:3000".to_owned(), 4020));
    let file: File = toml::from_str("[gateway.upstream]\nurl = \"http://a\"\nhealth = \"/healthz\"").unwrap();
    assert_eq!(file.gateway.upstream.health.as_deref(), Some("/healthz"));
    refused("[gateway.headers]\n\"a b\" = \"env:X\"", "line 4");
}

#[test]
fn every_form_of_price_is_read_and_told_in_words() {
    assert_eq!(price("\"$0.01\""), "$0.01");
    assert_eq!(
        price("{ each = \"$0.002\", per = \"1000 words\", of = \"request:/text\", at_least = \"$0.01\", at_most = \"$1\" }"),
        "$0.002 per 1000 words of the body's /text, at least $0.01, at most $1"
    );
    assert_eq!(
        price("{ each = \"$0.002\", per = \"1000 tokens\", of = \"response:/usage/total_tokens\", at_most = \"$0.05\" }"),
        "$0.002 per 1000 tokens of the answer's /usage/total_tokens, at most $0.05"
    );
    assert_eq!(
        price("{ by = \"header:x-tier\", gold = \"$0.05\", silver = \"$0.1\", otherwise = \"$0.2\" }"),
        "by the header x-tier: gold $0.05, silver $0.1, otherwise $0.2"
    );
}

#[test]
fn a_price_may_depend_on_the_time_of_the_week() {
    assert_eq!(
        price("{ by = \"time\", \"mon-fri 09:00-17:00\" = \"$0.02\", zone = \"+01:00\", otherwise = \"$0.01\" }"),
        "by the time in +01:00: mon-fri 09:00-17:00 $0.02, otherwise $0.01"
    );
    let hours = |keys: &str| format!("[[route]]\nmatch = \"/a\"\nprice = {{ by = \"time\", {keys} }}");
    refused(&hours("noon = \"$1\", otherwise = \"$2\""), "expected days and hours, such as");
    refused(&hours("\"mon-fri\" = \"$1\""), "got none for sat 00:00; add `otherwise`");
    refused(&hours("\"mon\" = \"$1\", zone = \"CET\", otherwise = \"$2\""), "price.zone: zone: expected UTC or how far");
    refused(&hours("\"mon\" = \"$1\", \"mon 12:00-13:00\" = \"$2\", otherwise = \"$3\""), "are both for mon 12:00");
}

#[test]
fn a_route_may_have_several_prices() {
    assert_eq!(price("[\"$0.01\", \"0.009 EURC\"]"), "$0.01; or 0.009 EURC");
    let networks = "{ price = \"$0.01\", accepts = [\"base\", \"eip155:84532\"] }";
    let metered = "{ each = \"$1\", per = \"MB\", of = \"response\", at_most = \"$2\" }";
    assert_eq!(
        price(&format!("[{networks}, {metered}]")),
        "$0.01 on eip155:8453, eip155:84532; or $1 per MB of the answer, at most $2"
    );
    let tables = "[[route]]\nmatch = \"/a\"\n[[route.price]]\nprice = \"$1\"\n[[route.price]]\nprice = \"2 EURC\"";
    assert!(read(tables).is_ok());
    let list = |list: &str| format!("[[route]]\nmatch = \"/a\"\nprice = {list}");
    refused(&list("[]"), "expected at least one price, got an empty list");
    refused(&list("[[\"$1\"]]"), "expected a price in the list, got another list");
    refused(&list("[{ price = \"$1\", networks = [\"base\"] }]"), "unknown field `networks`");
    refused(&list("[{ price = \"$1\", accepts = [] }]"), "price.accepts: expected a list of networks");
    refused(&list(&format!("[\"$1\", {metered}]\nupfront = true")), "upfront cannot be had");
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    refused("lisen = \"127.0.0.1:1\"", "unknown field `lisen`");
    refused("[[route]]\nmatch = \"/a\"\nprize = \"$1\"", "line 5");
    refused("[[route]]\nmatch = \"/a\"\nprice = \"$0.0001x\"", "line 5");
    refused("[[route]]\nmatch = \"a\"\nprice = \"$1\"", "expected a path such as");
    refused(
        "[[route]]\nmatch = \"/a\"\nprice = { each = \"$1\", per = \"word\", of = \"request\", most = \"$2\" }",
        "unknown field `most`",
    );
    refused("[[route]]\nmatch = \"/a\"\nprice = { each = \"$1\", per = \"word\" }", "price: expected of");
    refused(
        "[[route]]\nmatch = \"/a\"\nprice = { by = \"response:/a\", b = \"$1\" }",
        "price.by: expected something that the request says",
    );
    refused("[[route]]\nmatch = \"/a\"\nprice = { by = \"query:a\", otherwise = \"$1\" }", "at least one value");
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let route = |keys: &str| format!("[[route]]\nmatch = \"GET /a\"\n{keys}");
    refused(
        &route(""),
        "GET /a: expected exactly one of price, free = true and deny = true, or tables such as [route.tools], got none",
    );
    refused(&route("free = true\nprice = \"$1\""), "got several");
    refused(&route("free = true\ndeny = true"), "got several");
    refused(&route("free = true\nupfront = true"), "upfront is for routes that have a price");
    refused(&route("free = true\nsettle = \"head\""), "settle is for routes that have a price");
    refused(&route("price = \"$1\"\nupfront = true\nsettle = \"after\""), "expected one of upfront and settle, got both");
    refused(&route("price = \"$1\"\nsettle = \"later\""), "unknown variant `later`, expected one of");
    refused("[[route]]\nmatch = \"POST /a\"\nprice = \"$1\"\nsettle = \"head\"", "settle = \"head\" is for GET");
    refused(&route("deny = true\naccepts = [\"base\"]"), "accepts is for routes that have a price");
    let metered = "price = { each = \"$1\", per = \"MB\", of = \"response\", at_most = \"$2\" }\n";
    refused(&route(&format!("{metered}upfront = true")), "upfront cannot be had where the price is counted in the answer");
    refused(&route(&format!("{metered}sign_in = true")), "sign_in cannot be had");
    let stream = "settle = \"stream\"\n";
    refused(&route(&format!("{metered}{stream}")), "settle = \"stream\" and debt_limit belong together");
    refused(&route(&format!("{metered}debt_limit = \"$2\"")), "belong together");
    refused(&route(&format!("price = \"$1\"\n{stream}debt_limit = \"$2\"")), "is for prices that are counted in the answer");
    refused(&route("free = true\ndebt_limit = \"$1\""), "debt_limit is for routes that have a price");
    refused(&route(&format!("{metered}settle = \"head\"")), "settle = \"head\" cannot be had");
    refused(&route("price = \"$1\"\naccepts = []"), "at least one network");
}

#[test]
fn a_route_says_how_it_is_sold() {
    let keys = "price = \"$1\"\nsign_in = { granted_seconds = 60 }\npayment_identifier = \"required\"\naccepts = [\"base\"]\n";
    let file = read(&format!("[[route]]\nmatch = \"GET /a\"\n{keys}")).unwrap();
    let Access::Priced(sale) = &file.route[0].access else { panic!("not priced") };
    assert_eq!(sale.sign_in, Some(SignIn { statement: None, granted_seconds: Some(60) }));
    assert_eq!(sale.payment_identifier, Some(Identifier::Required));
    assert_eq!(sale.accepts, ["eip155:8453".parse().unwrap()]);
    assert!(matches!(sale.price, Tariff::Fixed(_)));
}

#[test]
fn origins_are_everybodys_or_a_list() {
    let origins = |text: &str| toml::from_str::<File>(&format!("{HEAD}origins = {text}")).map(|file| file.gateway.origins);
    assert_eq!(origins("\"*\"").unwrap(), Origins::Any);
    assert_eq!(origins("[]").unwrap(), Origins::These(Vec::new()));
    assert!(matches!(origins("[\"https://a.example:8443\"]").unwrap(), Origins::These(list) if list.len() == 1));
    for bad in ["\"a\"", "[\"a\"]", "[\"https://a/b\"]", "[\"https://*\"]", "[\"ftp://a\"]"] {
        assert!(origins(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_may_be_a_secret_is_never_shown() {
    let file =
        read("store = \"postgres://u:hunter2@h/d\"\nfacilitator = \"https://hunter2\"\nquote_key = \"hunter2\"").unwrap();
    assert!(!format!("{file:?}").contains("hunter2"));
}

#[test]
fn a_menu_names_what_an_mcp_server_offers() {
    let route = |keys: &str| format!("[[route]]\nmatch = \"POST /mcp\"\n{keys}");
    let file = read(&route("[route.tools]\nsearch = \"$0.01\"\nhello = \"free\"\nsecret = \"deny\"")).unwrap();
    let Access::Tools(menu) = &file.route[0].access else { panic!("no menu") };
    assert!(matches!(menu.tools.as_slice(), [(_, Item::Free), (_, Item::Priced(_)), (_, Item::Denied)]), "{menu:?}");
    assert_eq!(menu.sales().count(), 1);
    refused(&route("price = \"$1\"\n[route.tools]\na = \"free\""), "got several");
    refused(&route("upfront = true\n[route.tools]\na = \"free\""), "upfront is for routes that have a price");
    refused(&route("free = true\nfree_methods = [\"a\"]"), "free_methods are for routes with [route.tools]");
    refused("[[route]]\nmatch = \"GET /mcp\"\n[route.tools]\na = \"free\"", "tools are called by POST");
    refused(&route("[route.tools]\na = \"gratis\""), "expected \"free\", \"deny\" or a price");
    refused(&route("[route.tools]\na = { price = \"$1\", prize = 1 }"), "unknown field `prize`");
    refused(&route("[route.tools]\nGet = \"free\"\nget = \"$1\""), "differ in letter case alone");
    refused(&route("[route.resources]\n\"*\" = \"free\"\n\"file:///a\" = \"$1\""), "every spelling of a URI");
    let metered = "{ price = { each = \"$1\", per = \"MB\", of = \"response\", at_most = \"$2\" }, upfront = true }";
    refused(&route(&format!("[route.tools]\na = {metered}")), "upfront cannot be had");
}

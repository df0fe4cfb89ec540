//! What a file may say of the terms around a payment, and how it is told what it may not.

use super::super::{Access, Gateway, PassKind, Route};
use super::*;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    gateway: Gateway,
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

#[test]
fn the_examples_of_the_gateway_s_page_are_read() {
    let page = include_str!("../../../../../docs/gateway.md");
    let (_, rest) = page.split_once("\n## Around the payment\n").unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let examples: Vec<&str> = section.split("```toml").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 3);
    for example in examples {
        read(example).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn periods_are_read_and_told_in_words() {
    for (text, seconds, told) in [
        ("second", 1, "second"),
        ("minute", 60, "minute"),
        ("90 seconds", 90, "90 seconds"),
        ("12 hours", 43_200, "12 hours"),
        ("day", 86_400, "day"),
        ("7 days", 604_800, "week"),
        ("30 days", 2_592_000, "30 days"),
    ] {
        let period: Period = text.parse().unwrap();
        assert_eq!((period.seconds().get(), period.to_string().as_str()), (seconds, told));
    }
    for bad in ["", "0 days", "month", "1.5 days", "-1 days", "99999999999 days", "days 3"] {
        assert!(bad.parse::<Period>().unwrap_err().contains("\"12 hours\""), "{bad}");
    }
}

#[test]
fn what_a_route_does_not_say_is_said_for_all() {
    let file = read(
        "free_quota = { requests = 5, per = \"day\", by = \"ip\" }\nshadow = true\nsubscribers = [\"key\"]\n\
         [[route]]\nmatch = \"/a\"\nprice = \"$1\"\nfree_quota = false\nsubscribers = []\n\
         [[route]]\nmatch = \"/b\"\nprice = \"$1\"\nshadow = false",
    )
    .unwrap();
    let all = file.gateway.entry();
    let [first, second] = [0, 1].map(|index| file.route[index].entry.or(&all));
    assert_eq!((first.free_quota, first.subscribers, first.shadow), (Some(OrOff::Off), Some(vec![]), Some(true)));
    assert!(second.free_quota.unwrap().on().is_some());
    assert_eq!((second.subscribers, second.shadow), (Some(vec![Proof::Key]), Some(false)));
}

#[test]
fn a_pass_is_time_or_credits() {
    let pass = |text: &str| format!("[[gateway.pass]]\nmatch = \"/p\"\nname = \"a\"\n{text}");
    let file = read(&pass("price = \"$1\"\nlasts = \"30 days\"")).unwrap();
    assert!(matches!(file.gateway.pass[0].kind, PassKind::Lasts(period) if period.seconds().get() == 2_592_000));
    let neither_nor = "a: expected exactly one of lasts and credits";
    refused(&pass("price = \"$1\""), neither_nor);
    refused(&pass("price = \"$1\"\nlasts = \"day\"\ncredits = 1"), neither_nor);
    refused(&pass("price = \"$1\"\nlasts = \"month\""), "lasts: expected such as");
    refused(&pass("price = \"$1\"\ncredits = 0"), "nonzero");
    refused(&pass("price = { each = \"$1\" }\ncredits = 1"), "price");
    refused("[[route]]\nmatch = \"/a\"\nfree = true\npasses = [\"a\"]", "passes is for routes that have a price");
}

#[test]
fn what_makes_no_sense_is_refused_where_it_stands() {
    let quota = |text: &str| format!("[[route]]\nmatch = \"/a\"\nprice = \"$1\"\nfree_quota = {text}");
    refused(&quota("{ requests = 0, per = \"day\", by = \"ip\" }"), "nonzero");
    refused(&quota("{ requests = 1, per = \"month\", by = \"ip\" }"), "per: expected such as");
    refused(&quota("{ requests = 1, per = \"day\", by = \"country\" }"), "country");
    refused(&quota("{ requests = 1, per = \"day\", by = \"ip\", burst = 3 }"), "burst");
    refused(&quota("true"), "expected a table that says more, or false");
    refused("fallback = { subscribe = \"javascript:alert(1)\" }", "expected an address such as");
    refused("fallback = { subscribe = \"https://a/>,<evil\" }", "expected an address such as");
    refused("block = { payers = [\"0x12\"] }", "40 hexadecimal digits");
    refused("block = { addresses = [\"10.0.0.0/33\"] }", "203.0.113.0/24");
    refused("screening = { list = \"file:a\", timeout_seconds = 5 }", "expected 1 to 4");
    refused("tokens = { algorithm = \"none\" }", "HS256");
    refused("[[route]]\nmatch = \"/a\"\nfree = true\nshadow = true", "shadow is for routes that have a price");
    refused("[[route]]\nmatch = \"/a\"\ndeny = true\nrate_limits = []", "rate_limits is for routes that have a price");
    let free =
        read("[[route]]\nmatch = \"/a\"\nfree = true\nrate_limits = [{ requests = 1, per = \"day\", by = \"ip\" }]").unwrap();
    assert!(matches!(free.route[0].access, Access::Free) && free.route[0].entry.rate_limits.is_some());
}

//! `farthing gateway`: who comes in unpaid, by files that are read anew while it runs.

use serde_json::json;

use crate::chain::Chain;
use crate::gateway::{Origin, Seller, config};
use crate::run::{Folder, ask, get};

/// What `printf %s KEY | sha256sum` says of `alice` and of `bob`.
const ALICE: &str = "alice sha256:2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90\n";
const BOB: &str = "bob sha256:81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd9ec58ce9\n";
const ROUTES: &str = r#"
[[route]]
match = "GET /reports/*"
price = "$0.01"
subscribers = ["key"]
free_quota = { requests = 1, per = "30 days", by = "ip" }
rate_limits = [{ requests = 1000, per = "second", by = "ip" }]
"#;

fn with_keys(origin: &str, chain: &Chain, file: &std::path::Path) -> String {
    let tables = format!("\n[gateway.keys]\nfile = \"file:{}\"\n[pay_to]", file.display());
    config(origin, &chain.rpc_url(), ROUTES).replacen("\n[pay_to]", &tables, 1)
}

#[test]
fn free_requests_are_counted_in_the_book_and_keys_are_read_anew_on_sighup() {
    let (chain, origin, folder) = (Chain::open(), Origin::open(), Folder::new("gateway-keys"));
    let file = folder.file("keys", ALICE);
    let seller = Seller::new("gateway-entry", &with_keys(&origin.url, &chain, &file));
    let (service, url) = seller.start();
    let report = format!("{url}/reports/7");
    let status = |key: &str| ask("GET", &report, &[("x-api-key", key)], "").unwrap().0;
    assert_eq!((get(&report).0, get(&report).0), (200, 402));
    assert_eq!((status("alice"), status("bob")), (200, 401));
    // What cannot be read changes nothing.
    folder.file("keys", "bob sha256:bob\n");
    service.signal("HUP");
    service.until_said("the old ones stay as they are");
    assert_eq!(status("alice"), 200);
    folder.file("keys", BOB);
    service.signal("HUP");
    service.until_said("the routes were read anew");
    assert_eq!((status("alice"), status("bob")), (401, 200));
    let ended = service.end("TERM").with_code(0);
    assert!(ended.stderr.contains("keys: file, line 1: expected 64 hexadecimal digits"), "{ended:?}");
    // The book remembers.
    let (service, url) = seller.start();
    assert_eq!(get(&format!("{url}/reports/7")).0, 402);
    service.end("TERM").with_code(0);
}

#[test]
fn check_tells_what_holds_around_a_payment() {
    let (chain, folder) = (Chain::open(), Folder::new("gateway-keys-checked"));
    let good = with_keys("http://127.0.0.1:1", &chain, &folder.file("keys", ALICE));
    let report = Seller::new("gateway-entry-good", &good).check(&["--json"]).with_code(0).stdout_json();
    let around =
        json!(["free with a subscriber's key", "1 free per 30 days for each ip", "at most 1000 per second for each ip"]);
    assert_eq!(report["routes"][0]["around"], around);
    let told = Seller::new("gateway-entry-told", &good).check(&[]).with_code(0).stdout;
    assert!(told.contains("1 free per 30 days for each ip"), "{told}");
    for (from, to, taught) in [
        ("[gateway.keys]", "[gateway.block]\npayers = [\"0x1\"]\n[gateway.keys]", "payers: expected an account such as"),
        (
            "subscribers = [\"key\"]",
            "subscribers = [\"token\"]",
            "GET /reports/*: subscribers: \"token\" needs a [gateway.tokens] table",
        ),
        ("file = \"file:", "file = \"file:/nowhere", "gateway.keys.file"),
    ] {
        let checked = Seller::new("gateway-entry-refused", &good.replacen(from, to, 1)).check(&[]).with_code(1);
        assert!(checked.stderr.contains(taught), "{}\nlacks: {taught}", checked.stderr);
    }
}

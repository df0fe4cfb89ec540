//! The gate without HTTP, as a proxy or a tool server uses it.

use farthing_core::wire::{PaymentPayload, Version};
use farthing_server::{Admission, Denied, RequestFacts, Settled};

use crate::support::{Shop, payment};

fn facts() -> RequestFacts {
    RequestFacts::http("GET", "https://tools.example/search".to_owned())
}

fn read(terms: &str, nonce: &str) -> PaymentPayload {
    let terms = serde_json::from_str(terms).unwrap();
    PaymentPayload::read(&payment(&terms, nonce).to_string()).unwrap()
}

#[tokio::test]
async fn admit_work_settle() {
    let mut shop = Shop::open().await;
    let (gate, route) = (shop.server.gate(), shop.server.route(&"$0.01".parse().unwrap()).unwrap());
    assert!(matches!(gate.admit(&route, None, &facts()).await, Admission::Required(None)));
    let terms = route.terms(Version::V2, &facts().resource_url, "Payment required").unwrap();
    let Admission::Paid(admitted) = gate.admit(&route, Some(read(&terms, "1")), &facts()).await else {
        panic!("a good payment was not admitted");
    };
    assert_eq!(admitted.paid().amount, 10_000.into());
    let again = gate.admit(&route, Some(read(&terms, "1")), &facts()).await;
    assert!(matches!(again, Admission::Denied(Denied::InFlight)));
    assert!(matches!(gate.settle(admitted).await, Settled::Charged(_)));
    let used = gate.admit(&route, Some(read(&terms, "1")), &facts()).await;
    assert!(matches!(used, Admission::Required(Some(_))));
    assert_eq!(shop.written(), ["settling", "served"]);
}

#[tokio::test]
async fn cancel_and_drop_both_set_the_payment_free() {
    let mut shop = Shop::open().await;
    let route = shop.server.route(&"$0.01".parse().unwrap()).unwrap();
    let terms = route.terms(Version::V2, &facts().resource_url, "").unwrap();
    for drops in [false, true, false] {
        let gate = shop.server.gate().clone();
        let Admission::Paid(admitted) = gate.admit(&route, Some(read(&terms, "1")), &facts()).await else {
            panic!("a free payment was not admitted");
        };
        if drops {
            drop(admitted);
        } else {
            gate.cancel(admitted).await;
        }
        assert_eq!(shop.next_written().await, Some("cancelled"));
    }
    assert_eq!(shop.facilitator.calls(), (3, 0));
}

//! What a facilitator says of its callers, and of its own troubles.

use farthing::core::reason::Reason;
use farthing::facilitator::{Caller, CallerLimits, Callers, KeyDigest};
use farthing_devnet::{ANY_METHOD, Fault, Mining, Times};
use serde_json::Value;

use crate::desk::{Desk, offer};

const KEY: &str = "the key that the operator gave";

pub async fn given() -> Vec<Reason> {
    let limits = CallerLimits { verifies_per_minute: Some(1), ..CallerLimits::default() };
    let caller = Caller { name: "shop".to_owned(), key: KeyDigest::of(KEY), limits };
    let desk = Desk::open_with(Mining::Instant, |_| {}, |setup| setup.callers(Callers::new([caller]).unwrap())).await;
    let request = desk.pay(&offer()).await;
    let mut given = vec![desk.refusal(&Reason::Unauthorized, &request).await];
    let ask = async || {
        let asked = desk.http.post(format!("{}/verify", desk.url)).bearer_auth(KEY).json(&request);
        asked.send().await.unwrap().json::<Value>().await.unwrap()
    };
    assert_eq!(ask().await["isValid"], true);
    given.push(Reason::from(ask().await["invalidReason"].as_str().unwrap()));
    assert_eq!(given.last(), Some(&Reason::QuotaExceeded));

    let desk = Desk::open().await;
    let request = desk.pay(&offer()).await;
    desk.devnet.faults().inject(ANY_METHOD, Fault::HttpStatus(500), Times::UntilCleared);
    given.extend([desk.verify(&request).await, desk.settle(&request).await]);
    assert_eq!(given[2..], [Reason::UnexpectedVerifyError, Reason::UnexpectedSettleError]);
    given
}

//! tmp
#[path = "../tests/server/support.rs"]
mod support;
use axum::{Router, body::Body, routing::get};
use http::Request;
use http_body_util::BodyExt;
use std::time::Instant;
use tower::Service;
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let shop = support::Shop::open().await;
    let one = |uri: &'static str| {
        Request::get(uri)
            .header("host", "127.0.0.1:4020")
            .header("user-agent", "x")
            .header("accept", "*/*")
            .body(Body::empty())
            .unwrap()
    };
    let h = {
        let a = support::fetch(&shop.app(), "/report").await;
        a.headers
    };
    let t = Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(h.clone());
    }
    println!("headermap clone {:?}", t.elapsed() / 1_000_000);
    let t = Instant::now();
    for _ in 0..1_000_000 {
        let mut r = http::Response::new(());
        r.headers_mut().clone_from(&h);
        std::hint::black_box(r);
    }
    println!("response {:?}", t.elapsed() / 1_000_000);
    let route = shop.server.route(&"$0.01".parse().unwrap()).unwrap();
    let t = Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(route.terms(farthing_core::wire::Version::V2, "http://127.0.0.1:4020/report", "Payment required"));
    }
    println!("terms {:?}", t.elapsed() / 1_000_000);
    let text = route.terms(farthing_core::wire::Version::V2, "http://127.0.0.1:4020/report", "Payment required").unwrap();
    let t = Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(farthing_core::header::encode_bytes(&text));
    }
    println!("b64 {} {:?}", text.len(), t.elapsed() / 1_000_000);
    let t = Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(one("/report"));
    }
    println!("req {:?}", t.elapsed() / 1_000_000);
    let b = farthing_core::header::encode_bytes(&text);
    let t = Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(http::HeaderValue::from_maybe_shared(bytes::Bytes::from(b.clone())).unwrap());
    }
    println!("hv {:?}", t.elapsed() / 1_000_000);
    let bare = Router::new().route("/report", get(|| async { "the report" }));
    if std::env::args().nth(1).is_some() {
        let mut app: Router = shop.app().with_state(());
        for _ in 0..3_000_000 {
            let r = app.call(one("/report")).await.unwrap();
            std::hint::black_box(r);
        }
        return;
    }
    for round in 0..3 {
        for (name, app, vary) in
            [("bare", bare.clone(), false), ("402 one url", shop.app(), false), ("402 many urls", shop.app(), true)]
        {
            let mut app: Router = app.clone().with_state(());
            let n = 200_000u32;
            let start = Instant::now();
            for i in 0..n {
                let uri = if vary && i % 2 == 0 { "/report?a" } else { "/report" };
                let r = app.call(one(uri)).await.unwrap();
                std::hint::black_box(r.into_body().collect().await.unwrap().to_bytes());
            }
            println!("{round} {name}: {:?}", start.elapsed() / n);
        }
        let terms = support::fetch(&shop.app(), "/report").await.terms();
        let app: Router = shop.app().with_state(());
        let n = 20_000u32;
        let pays: Vec<_> =
            (0..n).map(|i| support::with_payment("/report", &support::payment(&terms, &format!("{round}-{i}")))).collect();
        shop.facilitator.may_settle.add_permits(n as usize);
        let start = Instant::now();
        for p in pays {
            assert_eq!(support::send(&app, p).await.status, 200);
        }
        println!("{round} paid: {:?}", start.elapsed() / n);
    }
}

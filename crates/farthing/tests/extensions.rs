//! Extensions with real signatures, and with a chain where one is needed: visitors, receipts, approvals that somebody else
//! pays for.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing there has failed")]

use std::sync::Arc;

use axum::routing::get;
use axum::{Extension, Router};
use farthing::core::BoxFuture;
use farthing::core::extension::offer_receipt::{self, Issuer, OfferVerifier as _, SignedBy};
use farthing::core::extension::sign_in_with_x::{Challenge, MessageSigner, Origin};
use farthing::core::facilitator::{Facilitator, FacilitatorError};
use farthing::core::header;
use farthing::core::time::UnixSeconds;
use farthing::core::wire::{
    PaymentRequest, PaymentRequired, SettleResponse, SupportedKind, SupportedResponse, VerifyResponse, Version,
};
use farthing::evm::U256;
use farthing::evm::config::{ChainConfig, RpcUrl};
use farthing::evm::message::MessageKey;
use farthing::evm::offer_receipt::{StatementChecker, StatementSigner};
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::evm::wallet::OwnedWallet;
use farthing::server::{Paid, PaymentLayer, Server, ServerBuilder, SignInOptions, Visitor};
use farthing_devnet::{DevAccount, PERMIT2};
use farthing_testkit::{Stack, golden};
use reqwest::StatusCode;

/// A shop that knows its own address before it is built.
struct Shop {
    stack: Stack,
    url: String,
    listener: tokio::net::TcpListener,
}

impl Shop {
    async fn rent() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { stack: Stack::start().await.unwrap(), url, listener }
    }

    fn builder(&self) -> ServerBuilder {
        let builder = farthing::Server::builder().facilitator(self.stack.facilitator_url()).unwrap();
        builder.pay_to(golden::NETWORK, golden::PAY_TO).unwrap().public_url(&self.url).unwrap()
    }

    fn open(self, app: Router) -> (Stack, String) {
        tokio::spawn(async move { drop(axum::serve(self.listener, app).await) });
        (self.stack, self.url)
    }
}

fn signer(account: &DevAccount) -> Arc<dyn Signer> {
    Arc::new(LocalSigner::from_bytes(account.secret.into()).unwrap())
}

async fn whom(visitor: Option<Extension<Visitor>>, paid: Option<Extension<Paid>>) -> String {
    let visitor = visitor.map(|visitor| format!("visitor {}", visitor.account));
    visitor.or(paid.map(|paid| format!("payer {}", paid.payer.as_ref().unwrap()))).unwrap()
}

async fn terms(url: &str) -> PaymentRequired {
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYMENT_REQUIRED);
    header::decode_required(answer.headers()["payment-required"].as_bytes()).unwrap()
}

async fn sign_in(url: &str, key: &dyn MessageSigner) -> String {
    let challenge = Challenge::of(&terms(url).await.extensions).unwrap().unwrap();
    let signed = challenge.sign(&Origin::of(url).unwrap(), &[], key).await.unwrap().unwrap();
    header::encode(&signed).unwrap()
}

async fn visit(url: &str, sign_in: &str) -> (StatusCode, String) {
    let answer = reqwest::Client::new().get(url).header("sign-in-with-x", sign_in).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test]
async fn who_paid_comes_back_by_a_signature_and_has_a_receipt_of_the_sellers_key() {
    let shop = Shop::rent().await;
    let accounts = shop.stack.devnet().accounts().to_vec();
    let notary = SignedBy::Account(accounts[3].address.to_string().parse().unwrap());
    let issuer = Issuer::new(Arc::new(StatementSigner::new(signer(&accounts[3])))).naming_transactions();
    let toll = shop.builder().offer_receipts(issuer).build().await.unwrap();
    let layer = toll.price("$0.25").unwrap().sign_in(SignInOptions::new()).unwrap();
    let app = Router::new().route("/report", get(whom).layer(layer));
    let (stack, url) = shop.open(app);
    let report = format!("{url}/report?year=2026");

    let terms = terms(&report).await;
    let offer = offer_receipt::offers(&terms.extensions).unwrap().remove(0);
    assert_eq!(StatementChecker.offer_signer(&offer.signed).await.unwrap(), notary);
    let offer = offer.signed.statement().unwrap();
    assert_eq!((offer.resource_url.as_str(), offer.amount), (report.as_str(), 250_000_u64.into()));

    let wallet = stack.funded_wallet().unwrap();
    let client = farthing::Client::builder().wallet(&wallet).unwrap().build().unwrap();
    let answer = client.get(&report).send().await.unwrap();
    let settlement = header::decode_settlement(answer.headers()["payment-response"].as_bytes()).unwrap();
    let buyer = &accounts[1];
    assert_eq!(answer.text().await.unwrap(), format!("payer {}", buyer.address));
    let signed = offer_receipt::receipt(&settlement).unwrap();
    assert_eq!(StatementChecker.receipt_signer(&signed.signed).await.unwrap(), notary);
    let issued_at = signed.signed.statement().unwrap().issued_at;
    let payer = buyer.address.to_string().parse().unwrap();
    let receipt = signed.check(&offer, &[payer], issued_at, 60).unwrap();
    assert_eq!(receipt.transaction, settlement.transaction);
    assert!(issued_at > UnixSeconds(1_700_000_000));

    let key = MessageKey::Ordinary(signer(buyer));
    let signed = sign_in(&report, &key).await;
    let before = stack.devnet().usdc_balance(buyer.address);
    assert_eq!(visit(&report, &signed).await, (StatusCode::OK, format!("visitor {}", buyer.address)));
    assert_eq!(stack.devnet().usdc_balance(buyer.address), before);
    assert_eq!(visit(&report, &signed).await.0, StatusCode::PAYMENT_REQUIRED, "once");
    let other = format!("{url}/report?year=2025");
    let elsewhere = sign_in(&other, &key).await;
    assert_eq!(visit(&other, &elsewhere).await.0, StatusCode::PAYMENT_REQUIRED);
    let stranger = sign_in(&report, &MessageKey::Ordinary(signer(&accounts[2]))).await;
    assert_eq!(visit(&report, &stranger).await.0, StatusCode::PAYMENT_REQUIRED);
}

#[tokio::test]
async fn a_smart_wallet_signs_in_where_its_chain_can_be_asked() {
    let shop = Shop::rent().await;
    let devnet = shop.stack.devnet();
    let accounts = devnet.accounts().to_vec();
    let wallet = devnet.create_smart_wallet(accounts[1].address, U256::ZERO).unwrap();
    let asking = farthing::server::smart_wallets(&[(golden::NETWORK, &devnet.rpc_url())]).unwrap();
    let toll = shop.builder().message_verifier(asking).build().await.unwrap();
    let plain = shop.builder().build().await.unwrap();
    let members = |toll: &Server| toll.sign_in_only(SignInOptions::new()).unwrap();
    let app =
        Router::new().route("/members", get(whom).layer(members(&toll))).route("/plain", get(whom).layer(members(&plain)));
    let (_stack, url) = shop.open(app);
    let by = |owner: &DevAccount| MessageKey::Contract(Arc::new(OwnedWallet::new(wallet, signer(owner))));
    let members = format!("{url}/members");
    let signed = sign_in(&members, &by(&accounts[1])).await;
    assert_eq!(visit(&members, &signed).await, (StatusCode::OK, format!("visitor {wallet}")));
    let (status, body) = visit(&members, &sign_in(&members, &by(&accounts[2])).await).await;
    assert!(status == StatusCode::PAYMENT_REQUIRED && body.contains("invalid_siwx_signature"), "{body}");
    let plain = format!("{url}/plain");
    let (status, body) = visit(&plain, &sign_in(&plain, &by(&accounts[1])).await).await;
    assert!(status == StatusCode::PAYMENT_REQUIRED && body.contains("invalid_siwx_signature"), "{body}");
}

/// A facilitator that says what it knows and does nothing.
struct Knowing(Vec<String>);

impl Facilitator for Knowing {
    fn supported(&self) -> BoxFuture<'_, Result<SupportedResponse, FacilitatorError>> {
        let kind = |scheme: &str, network: &str| SupportedKind {
            x402_version: Version::V2,
            scheme: scheme.to_owned(),
            network: network.parse().unwrap(),
            extra: serde_json::json!({"facilitatorAddress": golden::SECOND}).as_object().cloned(),
        };
        let kinds = vec![kind("exact", golden::NETWORK), kind("upto", golden::NETWORK), kind("exact", "eip155:4326")];
        let extensions = self.0.clone();
        Box::pin(std::future::ready(Ok(SupportedResponse { kinds, extensions, ..SupportedResponse::default() })))
    }

    fn verify<'a>(&'a self, _: &'a PaymentRequest) -> BoxFuture<'a, Result<VerifyResponse, FacilitatorError>> {
        Box::pin(std::future::ready(Err(FacilitatorError::Unavailable("it does nothing".into()))))
    }

    fn settle<'a>(&'a self, _: &'a PaymentRequest) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>> {
        Box::pin(std::future::ready(Err(FacilitatorError::Unavailable("it does nothing".into()))))
    }
}

fn declared(layer: &PaymentLayer) -> Vec<String> {
    let terms = layer.route().terms(Version::V2, "https://api.example.com/", "").unwrap();
    PaymentRequired::read(&terms).unwrap().extensions.keys().map(str::to_owned).collect()
}

#[tokio::test]
async fn sponsored_approvals_are_declared_where_an_offer_needs_one_and_the_facilitator_pays() {
    const PERMITS: &str = "eip2612GasSponsoring";
    const APPROVALS: &str = "erc20ApprovalGasSponsoring";
    for known in [vec![], vec![APPROVALS], vec!["bazaar", PERMITS, APPROVALS]] {
        let known: Vec<String> = known.into_iter().map(str::to_owned).collect();
        let toll = async |network: &str| {
            let builder = farthing::Server::builder().facilitator(Arc::new(Knowing(known.clone()))).unwrap();
            builder.pay_to(network, golden::PAY_TO).unwrap().build().await.unwrap()
        };
        let toll_here = toll(golden::NETWORK).await;
        assert_eq!(declared(&toll_here.price("$0.01").unwrap()), [""; 0], "EIP-3009 needs no approval");
        let expected: Vec<&str> = [PERMITS, APPROVALS].into_iter().filter(|key| known.iter().any(|it| it == key)).collect();
        assert_eq!(declared(&toll_here.price_up_to("$0.01").unwrap()), expected);
        // A network whose dollar knows Permit2 only.
        assert_eq!(declared(&toll("eip155:4326").await.price("$0.01").unwrap()), expected);
    }
}

#[tokio::test]
async fn a_buyer_who_has_approved_nothing_pays_by_permit2_with_an_approval_that_the_facilitator_sends() {
    let stack = Stack::start().await.unwrap();
    let devnet = stack.devnet();
    let (wallet, buyer) = (stack.funded_wallet().unwrap(), devnet.accounts()[1].address);
    let token = golden::ASSET.parse().unwrap();
    let config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(devnet.rpc_url()));
    let local = farthing::Facilitator::builder().chain(config, vec![signer(&devnet.accounts()[2])]).start().unwrap();
    let toll = farthing::Server::builder().facilitator(local).unwrap().pay_to(golden::NETWORK, golden::PAY_TO).unwrap();
    let layer = toll.build().await.unwrap().price_up_to("$0.25").unwrap();
    assert_eq!(declared(&layer), ["eip2612GasSponsoring"]);
    let url = stack.serve(Router::new().route("/words", get(|| async { "14 ships in" }).layer(layer))).await.unwrap();

    assert_eq!(devnet.allowance(token, buyer, PERMIT2).unwrap(), U256::ZERO);
    let client = farthing::Client::builder().wallet(&wallet).unwrap().node(golden::NETWORK, &devnet.rpc_url()).unwrap();
    let client = client.build().unwrap();
    let payee = golden::PAY_TO.parse().unwrap();
    let before = devnet.usdc_balance(payee);
    let answer = client.get(format!("{url}/words")).send().await.unwrap();
    assert_eq!((answer.status(), answer.text().await.unwrap().as_str()), (StatusCode::OK, "14 ships in"));
    assert_eq!(devnet.usdc_balance(payee) - before, U256::from(250_000_u64));
}

//! The extension `sign-in-with-x`.

use std::sync::Arc;

use farthing::core::extension::sign_in_with_x::{
    Challenge, Expected, MessageFormat, MessageVerifier, Origin, SignIn, SignInTerms, SupportedChain, check,
};
use farthing::core::network::Network;
use farthing::core::reason::Reason;
use farthing::core::time::{Clock, UnixSeconds};
use farthing::evm::config::{ChainConfig, RpcUrl};
use farthing::evm::message::{MessageChecker, MessageKey};
use farthing::evm::rpc::HttpNode;
use farthing::system::{SystemClock, SystemEntropy};
use farthing_testkit::golden;

use crate::desk::signer;

/// A moment long ago, and one far from now.
const PAST: &str = "2020-01-01T00:00:00.000Z";
const FUTURE: &str = "2999-01-01T00:00:00.000Z";

/// The reason that must be given, and its cause.
type Row = (Reason, fn(&mut SignIn));

const ROWS: &[Row] = &[
    (Reason::InvalidSiwxDomainMismatch, |it| it.info.domain = "evil.example".into()),
    (Reason::InvalidSiwxUriMismatch, |it| it.info.uri = "https://evil.example/report".into()),
    (Reason::InvalidSiwxIssuedAt, |it| it.info.issued_at = "yesterday".into()),
    (Reason::InvalidSiwxIssuedAtTooOld, |it| it.info.issued_at = PAST.into()),
    (Reason::InvalidSiwxIssuedAtInFuture, |it| it.info.issued_at = FUTURE.into()),
    (Reason::InvalidSiwxExpirationTime, |it| it.info.expiration_time = Some("tomorrow".into())),
    (Reason::InvalidSiwxExpired, |it| it.info.expiration_time = Some(PAST.into())),
    (Reason::InvalidSiwxNotBefore, |it| it.info.not_before = Some("soon".into())),
    (Reason::InvalidSiwxNotYetValid, |it| it.info.not_before = Some(FUTURE.into())),
    (Reason::InvalidSiwxNonce, |it| it.info.nonce = "short".into()),
    (Reason::InvalidSiwxChainId, |it| it.chain_id = "base-sepolia".into()),
    (Reason::InvalidSiwxUnsupportedChain, |it| it.chain_id = "eip155:1".into()),
    (Reason::InvalidSiwxMalformedSignature, |it| it.signature = "zz".into()),
    (Reason::InvalidSiwxSignature, |it| it.info.nonce = "another0nonce".into()),
    // Only the account's code could say, and the node is not there.
    (Reason::InvalidSiwxVerifierError, |it| it.signature = "0x1234".into()),
];

pub async fn given() -> Vec<Reason> {
    let origin: Origin = "https://api.example.com".parse().unwrap();
    let network: Network = golden::NETWORK.parse().unwrap();
    let now = SystemClock.now();
    let info = SignInTerms::new(origin.clone(), None).unwrap().challenge("/report", &SystemEntropy, now).unwrap();
    let supported_chains = vec![SupportedChain {
        chain_id: network.to_string(),
        signature_type: MessageFormat::Siwe.signature_type().to_owned(),
        signature_scheme: None,
    }];
    let key = MessageKey::Ordinary(signer(golden::PAYER_KEY));
    let good = Challenge { info, supported_chains }.sign(&origin, &[], &key).await.unwrap().unwrap();

    let silent = ChainConfig::new(network.clone(), RpcUrl::new("http://127.0.0.1:1"));
    let silent = Arc::new(HttpNode::new(&silent.network, &silent.nodes[0]).unwrap());
    let ordinary = MessageChecker::new();
    let asking = MessageChecker::new().with_node(network.clone(), silent);
    let verifiers = [Arc::new(ordinary) as Arc<dyn MessageVerifier>, Arc::new(asking)];
    let mut given = Vec::new();
    for (reason, spoil) in ROWS {
        let mut bad = good.clone();
        spoil(&mut bad);
        let place = usize::from(*reason == Reason::InvalidSiwxVerifierError);
        given.push(refused(&bad, &origin, std::slice::from_ref(&network), &verifiers[place..=place], now).await);
        assert_eq!(given.last(), Some(reason));
    }
    given
}

async fn refused(
    sign_in: &SignIn,
    origin: &Origin,
    networks: &[Network],
    verifiers: &[Arc<dyn MessageVerifier>],
    now: UnixSeconds,
) -> Reason {
    let checked = check(sign_in, &Expected { origin, networks, verifiers, now }).await;
    checked.unwrap_err().refusal().reason.clone()
}

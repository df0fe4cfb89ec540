//! Wallets that sign in without cryptography, and a shop that they come back to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Extension;
use axum::body::Body;
use farthing_core::asset::AccountId;
use farthing_core::books::{BookError, Grant, MemorySignIns, Reach, SignIns, Visit};
use farthing_core::extension::sign_in_with_x::{
    Challenge, Claimed, Message, MessageError, MessageFormat, MessageSigner, MessageVerifier, Origin, SignIn,
};
use farthing_core::network::Network;
use farthing_core::time::{Entropy, UnixSeconds};
use farthing_core::{BoxFuture, Source, header};
use farthing_server::{Paid, ServerBuilder, Visitor};
use http::Request;
use serde_json::Value;

use crate::support::{PAYER, Shop};

pub const URL: &str = "https://shop.example";

/// Bytes that are never the same twice.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Source> {
        let number = self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (at, byte) in buffer.iter_mut().rev().zip(number.into_iter().rev()) {
            *at = byte;
        }
        Ok(())
    }
}

/// A wallet whose signature is its kind, its account and the text.
pub struct FakeWallet {
    pub account: &'static str,
    /// `key`, or `contract` if it is one, or `away` if its chain cannot be asked.
    pub kind: &'static str,
}

pub const WALLET: FakeWallet = FakeWallet { account: PAYER, kind: "key" };

impl MessageSigner for FakeWallet {
    fn namespace(&self) -> &'static str {
        "eip155"
    }

    fn format(&self) -> MessageFormat {
        MessageFormat::Siwe
    }

    fn account(&self, _: &Network) -> Option<AccountId> {
        Some(self.account.parse().unwrap())
    }

    fn sign<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<String, Source>> {
        let signature = format!("{} {} {}", self.kind, self.account, message.as_str());
        Box::pin(std::future::ready(Ok(signature)))
    }
}

/// Checks what [`FakeWallet`] signs.
pub struct FakeVerifier;

impl MessageVerifier for FakeVerifier {
    fn namespace(&self) -> &'static str {
        "eip155"
    }

    fn format(&self) -> MessageFormat {
        MessageFormat::Siwe
    }

    fn account(&self, address: &str) -> Option<AccountId> {
        let known = if address.eq_ignore_ascii_case(PAYER) { PAYER } else { address };
        known.starts_with("0x").then(|| known.parse().ok()).flatten()
    }

    fn verify<'a>(&'a self, claimed: Claimed<'a>) -> BoxFuture<'a, Result<Reach, MessageError>> {
        let (kind, rest) = claimed.signature.split_once(' ').unwrap_or_default();
        let is_theirs = rest == format!("{} {}", claimed.account, claimed.message.as_str());
        let reach = match kind {
            "away" => Err(MessageError::Unavailable("the node is away".into())),
            _ if !is_theirs => Err(MessageError::NotTheirs("it is somebody else's".to_owned())),
            "contract" => Ok(Reach::Network),
            _ => Ok(Reach::Family),
        };
        Box::pin(std::future::ready(reach))
    }
}

/// A book that can be away.
#[derive(Default)]
pub struct FlakyBook {
    pub inner: MemorySignIns,
    pub is_away: AtomicBool,
    /// Grants are never heard of again.
    pub is_silent: AtomicBool,
}

impl FlakyBook {
    fn check(&self) -> Result<(), BookError> {
        if self.is_away.load(Ordering::SeqCst) { Err(BookError("the book is away".into())) } else { Ok(()) }
    }
}

impl SignIns for FlakyBook {
    fn use_nonce<'a>(
        &'a self,
        nonce: &'a str,
        useless_from: UnixSeconds,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<bool, BookError>> {
        match self.check() {
            Ok(()) => self.inner.use_nonce(nonce, useless_from, now),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn grant<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<(), BookError>> {
        if self.is_silent.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        match self.check() {
            Ok(()) => self.inner.grant(grant),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn is_granted<'a>(&'a self, visit: &'a Visit) -> BoxFuture<'a, Result<bool, BookError>> {
        match self.check() {
            Ok(()) => self.inner.is_granted(visit),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

/// What a builder needs for sign-ins.
pub fn welcoming(builder: ServerBuilder) -> ServerBuilder {
    builder.public_url(URL).unwrap().entropy(Arc::new(Counter::default())).message_verifier(Arc::new(FakeVerifier))
}

pub async fn shop() -> Shop {
    Shop::with(welcoming).await
}

/// Says whom it serves, and whether it saw the header.
pub async fn whom(visitor: Option<Extension<Visitor>>, paid: Option<Extension<Paid>>, headers: http::HeaderMap) -> String {
    let visitor = visitor.map(|visitor| format!("visitor {} on {}", visitor.account, visitor.network));
    let payer = paid.map(|paid| format!("payer {}", paid.payer.as_ref().unwrap()));
    let seen = if headers.contains_key("sign-in-with-x") { " with a header" } else { "" };
    format!("{}{seen}", visitor.or(payer).unwrap_or_default())
}

pub fn origin() -> Origin {
    URL.parse().unwrap()
}

/// The challenge of these terms, signed by this wallet.
pub async fn signed_by(terms: &Value, wallet: &FakeWallet, networks: &[Network]) -> SignIn {
    let challenge: Challenge = serde_json::from_value(terms["extensions"]["sign-in-with-x"].clone()).unwrap();
    challenge.sign(&origin(), networks, wallet).await.unwrap().unwrap()
}

pub async fn signed(terms: &Value) -> SignIn {
    signed_by(terms, &WALLET, &[]).await
}

pub fn with_sign_in(uri: &str, sign_in: &SignIn) -> Request<Body> {
    Request::get(uri).header("sign-in-with-x", header::encode(sign_in).unwrap()).body(Body::empty()).unwrap()
}

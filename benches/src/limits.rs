//! What the libraries themselves cost, with nothing of ours around them. Everything else is measured against these.

use alloy_primitives::{B256, keccak256};
use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farthing_core::header;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{All, Message, PublicKey, Secp256k1};
use serde::Deserialize;

use crate::sample::{self, Sample};

/// The bare work of one payment, part by part.
pub struct Bare {
    header: String,
    compact: [u8; 64],
    id: RecoveryId,
    hash: [u8; 32],
    words: [u8; 224],
    curve: Secp256k1<All>,
}

impl Bare {
    pub fn new() -> anyhow::Result<Self> {
        let sample = Sample::new()?;
        let hash = keccak256("farthing-bench");
        let signature = sample::sign(&sample::payer(0)?, hash)?.to_bytes();
        let (compact, v) = signature.split_first_chunk::<64>().context("a signature has 65 bytes")?;
        let odd = v.first() == Some(&28);
        let bare = Self {
            header: header::encode(&sample.good(0)?)?,
            compact: *compact,
            id: if odd { RecoveryId::One } else { RecoveryId::Zero },
            hash: hash.0,
            words: [7; 224],
            curve: Secp256k1::new(),
        };
        ensure!(bare.header().is_ok() && bare.recovery().is_ok(), "the sample payment is not good");
        Ok(bare)
    }

    /// The payment as a header.
    pub fn header_text(&self) -> &str {
        &self.header
    }

    /// base64 and `serde_json` into borrowed fields.
    pub fn header(&self) -> anyhow::Result<usize> {
        read_header(self.header.as_bytes())
    }

    /// The two hashes of an EIP-712 digest.
    pub fn digest(&self) -> (B256, B256) {
        (keccak256(self.words), keccak256(self.words.split_at(66).0))
    }

    /// libsecp256k1's recovery of a public key.
    pub fn recovery(&self) -> Result<PublicKey, secp256k1::Error> {
        let signature = RecoverableSignature::from_compact(&self.compact, self.id)?;
        self.curve.recover_ecdsa(Message::from_digest(self.hash), &signature)
    }

    /// Digest, recovery, and the hash that makes an address of the key.
    pub fn signature(&self) -> impl Sized + use<> {
        (self.digest(), self.recovery(), keccak256(self.compact))
    }

    /// All that can be known of a payment without the chain.
    pub fn check(&self) -> impl Sized + use<> {
        (self.header(), self.signature())
    }
}

/// The least that reading a payment header can mean: its fields, borrowed, unchecked.
fn read_header(value: &[u8]) -> anyhow::Result<usize> {
    let bytes = STANDARD.decode(value)?;
    let payment: Payment<'_> = serde_json::from_slice(&bytes)?;
    Ok(payment.payload.signature.len() + payment.payload.authorization.fields() + payment.accepted.fields())
}

#[derive(Deserialize)]
struct Payment<'a> {
    #[serde(borrow)]
    accepted: Accepted<'a>,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted<'a> {
    scheme: &'a str,
    network: &'a str,
    amount: &'a str,
    asset: &'a str,
    pay_to: &'a str,
    max_timeout_seconds: usize,
    #[serde(borrow)]
    extra: Extra<'a>,
}

#[derive(Deserialize)]
struct Extra<'a> {
    name: &'a str,
    version: &'a str,
}

#[derive(Deserialize)]
struct Payload<'a> {
    signature: &'a str,
    #[serde(borrow)]
    authorization: Authorization<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorization<'a> {
    from: &'a str,
    to: &'a str,
    value: &'a str,
    valid_after: &'a str,
    valid_before: &'a str,
    nonce: &'a str,
}

impl Accepted<'_> {
    /// Uses every field, so that none is optimised away.
    fn fields(&self) -> usize {
        let Self { scheme, network, amount, asset, pay_to, max_timeout_seconds, extra } = self;
        let texts = [scheme, network, amount, asset, pay_to, &extra.name, &extra.version];
        texts.iter().map(|text| text.len()).sum::<usize>() + max_timeout_seconds
    }
}

impl Authorization<'_> {
    fn fields(&self) -> usize {
        let Self { from, to, value, valid_after, valid_before, nonce } = self;
        [from, to, value, valid_after, valid_before, nonce].iter().map(|text| text.len()).sum()
    }
}

//! Signed transactions: decoding, the sender, and the checks that need no state.
//!
//! Messages are geth's, because clients match on them.

use alloy_consensus::{Transaction as _, TxEnvelope, TxType, Typed2718};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, B256, U256};
use revm::context::TxEnv;
use revm::context_interface::either::Either;
use revm::primitives::hardfork::SpecId;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, SECP256K1};

/// Largest transaction accepted, as geth's pool has it.
pub const MAX_TRANSACTION_BYTES: usize = 128 * 1024;

/// A transaction with its sender, decoded once.
#[derive(Debug)]
pub(crate) struct Signed {
    pub envelope: TxEnvelope,
    pub sender: Address,
    pub hash: B256,
}

impl Signed {
    pub(crate) fn decode(raw: &[u8], chain_id: u64) -> Result<Self, String> {
        if raw.len() > MAX_TRANSACTION_BYTES {
            return Err(format!("oversized data: transaction size {}, limit {MAX_TRANSACTION_BYTES}", raw.len()));
        }
        let mut rest = raw;
        let envelope = TxEnvelope::decode_2718(&mut rest).map_err(|error| format!("rlp: {error}"))?;
        if !rest.is_empty() {
            return Err("rlp: input contains more than one value".to_owned());
        }
        if envelope.tx_type() == TxType::Eip4844 {
            return Err("transaction type not supported".to_owned());
        }
        match envelope.chain_id() {
            None => return Err("only replay-protected (EIP-155) transactions allowed over RPC".to_owned()),
            Some(id) if id != chain_id => {
                return Err(format!("invalid sender: invalid chain id for signer: have {id} want {chain_id}"));
            }
            Some(_) => {}
        }
        let sender = recover(&envelope).ok_or("invalid sender: invalid transaction v, r, s values")?;
        let hash = *envelope.tx_hash();
        Ok(Self { envelope, sender, hash })
    }

    /// Checks that hold at any state.
    pub(crate) fn check(&self, block_gas_limit: u64) -> Result<(), String> {
        let envelope = &self.envelope;
        if envelope.gas_limit() > block_gas_limit {
            return Err("exceeds block gas limit".to_owned());
        }
        let fee = envelope.max_fee_per_gas();
        if let Some(tip) = envelope.max_priority_fee_per_gas()
            && tip > fee
        {
            return Err(format!(
                "max priority fee per gas higher than max fee per gas: address {}, maxPriorityFeePerGas: {tip}, maxFeePerGas: {fee}",
                self.sender
            ));
        }
        if envelope.nonce() == u64::MAX {
            return Err(format!("nonce has max value: address {}, nonce: {}", self.sender, u64::MAX));
        }
        let intrinsic =
            revm::context_interface::cfg::gas::calculate_initial_tx_gas_for_tx(self.environment(), SpecId::PRAGUE, None);
        let needed = intrinsic.initial_regular_gas;
        if envelope.gas_limit() < needed {
            return Err(format!("intrinsic gas too low: gas {}, minimum needed {needed}", envelope.gas_limit()));
        }
        if envelope.gas_limit() < intrinsic.floor_gas {
            return Err(format!(
                "insufficient gas for floor data gas cost: gas {}, minimum needed {}",
                envelope.gas_limit(),
                intrinsic.floor_gas
            ));
        }
        Ok(())
    }

    /// The most this transaction can take from its sender, in wei.
    pub(crate) fn cost(&self) -> U256 {
        let fee = U256::from(self.envelope.max_fee_per_gas());
        fee.saturating_mul(U256::from(self.envelope.gas_limit())).saturating_add(self.envelope.value())
    }

    pub(crate) fn nonce(&self) -> u64 {
        self.envelope.nonce()
    }

    /// What the block's producer earns per gas, or nothing if the fee cap is below the base fee.
    pub(crate) fn tip(&self, base_fee: u64) -> Option<u128> {
        let room = self.envelope.max_fee_per_gas().checked_sub(u128::from(base_fee))?;
        Some(self.envelope.max_priority_fee_per_gas().map_or(room, |tip| tip.min(room)))
    }

    pub(crate) fn raw(&self) -> Vec<u8> {
        self.envelope.encoded_2718()
    }

    pub(crate) fn environment(&self) -> TxEnv {
        let envelope = &self.envelope;
        TxEnv {
            tx_type: envelope.ty(),
            caller: self.sender,
            gas_limit: envelope.gas_limit(),
            gas_price: envelope.max_fee_per_gas(),
            kind: envelope.kind(),
            value: envelope.value(),
            data: envelope.input().clone(),
            nonce: envelope.nonce(),
            chain_id: envelope.chain_id(),
            access_list: envelope.access_list().cloned().unwrap_or_default(),
            gas_priority_fee: envelope.max_priority_fee_per_gas(),
            blob_hashes: Vec::new(),
            max_fee_per_blob_gas: 0,
            authorization_list: envelope
                .authorization_list()
                .map(|list| list.iter().cloned().map(Either::Left).collect())
                .unwrap_or_default(),
        }
    }
}

fn recover(envelope: &TxEnvelope) -> Option<Address> {
    let signature = envelope.signature();
    if signature.normalize_s().is_some() {
        return None; // EIP-2: of the two valid s, only the low one
    }
    let mut compact = [0_u8; 64];
    let (r, s) = compact.split_at_mut(32);
    r.copy_from_slice(&signature.r().to_be_bytes::<32>());
    s.copy_from_slice(&signature.s().to_be_bytes::<32>());
    let id = RecoveryId::from_u8_masked(u8::from(signature.v()));
    let signature = RecoverableSignature::from_compact(&compact, id).ok()?;
    let message = Message::from_digest(envelope.signature_hash().0);
    let key = SECP256K1.recover_ecdsa(message, &signature).ok()?;
    Some(Address::from_raw_public_key(key.serialize_uncompressed().get(1..)?))
}

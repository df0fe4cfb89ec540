//! A payer's own signed transaction that approves Permit2 for a token that knows no EIP-2612, to be broadcast before the
//! payment (protocol reference §7.4, `erc20ApprovalGasSponsoring`).
//!
//! It is somebody else's transaction, so every byte of it is looked at: what is broadcast is an `approve` of the asset for
//! Permit2, signed by the payer, and nothing that could cost anybody more.

use std::fmt;

use alloy_consensus::transaction::RlpEcdsaDecodableTx;
use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::SolCall;
use farthing_core::reason::{Reason, Refusal};
use serde::{Deserialize, Serialize};

use super::permit2::PERMIT2;
use crate::abi::Token;
use crate::signature::Signature;
use crate::signer::{Signer, SignerError};
use crate::text::{self, any_hex};

/// The extension's key.
pub const EXTENSION: &str = "erc20ApprovalGasSponsoring";
/// The version of the extension that is written here.
pub const EXTENSION_VERSION: &str = "1";
/// The most gas that an approval may use; what the official clients ask for.
pub const MAX_GAS_UNITS: u64 = 70_000;

/// What a payer puts into the extension.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// Whose approval.
    #[serde(with = "text::address")]
    pub from: Address,
    /// The token.
    #[serde(with = "text::address")]
    pub asset: Address,
    /// Who is approved: Permit2.
    #[serde(with = "text::address")]
    pub spender: Address,
    /// For how much, in atomic units.
    #[serde(with = "text::decimal")]
    pub amount: U256,
    /// The signed EIP-1559 transaction, `0x` and hexadecimal digits.
    pub signed_transaction: String,
    /// The version of the extension.
    pub version: String,
}

impl Info {
    /// The fields that only a payer writes: an extension without them is an advertisement.
    pub const FIELDS: &[&str] = &["from", "asset", "spender", "amount", "signedTransaction", "version"];
}

/// What an approval has to be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// On which chain.
    pub chain_id: u64,
    /// For which token.
    pub asset: Address,
    /// Whose.
    pub payer: Address,
    /// For how much at least, in atomic units.
    pub amount: U256,
    /// The most that it may offer for a unit of gas, in wei.
    pub max_fee_per_unit_wei: u128,
}

/// A payer's transaction that was found to approve Permit2 and nothing else. Its bytes are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Approval {
    /// The transaction, as it is broadcast.
    pub bytes: Bytes,
    /// Its name.
    pub hash: B256,
    /// The payer's number for it.
    pub nonce: u64,
    /// The most gas that it uses.
    pub gas_units: u64,
    /// The most that it pays for a unit of gas, in wei.
    pub max_fee_wei: u128,
}

impl Approval {
    /// Reads a signed transaction, and refuses whatever is not exactly what is wanted.
    pub fn read(text: &str, wanted: &Wanted) -> Result<Self, Refusal> {
        let parse_failed = |message: String| Refusal::new(Reason::Erc20ApprovalTxParseFailed, message);
        let bytes =
            any_hex(text).ok_or_else(|| parse_failed("signedTransaction: expected 0x and hexadecimal digits".to_owned()))?;
        let mut rest = bytes.as_slice();
        let signed = TxEip1559::eip2718_decode(&mut rest).map_err(|error| {
            parse_failed(format!("signedTransaction: expected a signed EIP-1559 transaction (type 2): {error}"))
        })?;
        let mut again = Vec::with_capacity(bytes.len());
        signed.eip2718_encode(&mut again);
        if !rest.is_empty() || again != bytes {
            return Err(parse_failed("signedTransaction: expected one transaction in its shortest form".to_owned()));
        }
        let transaction = signed.tx();
        check_terms(transaction, wanted)?;
        check_call(transaction, wanted)?;
        let signature = signed.signature();
        check_signer(signature, signed.signature_hash(), wanted.payer)?;
        Ok(Self {
            hash: *signed.hash(),
            nonce: transaction.nonce,
            gas_units: transaction.gas_limit,
            max_fee_wei: transaction.max_fee_per_gas,
            bytes: bytes.into(),
        })
    }

    /// The most that it can cost the payer, in wei.
    pub fn max_cost_wei(&self) -> U256 {
        U256::from(self.gas_units).saturating_mul(U256::from(self.max_fee_wei))
    }

    /// Signs an approval of Permit2 for everything that the payer ever holds of the token: whoever pays that gas should have
    /// to pay it once.
    pub async fn sign(
        signer: &dyn Signer,
        (chain_id, asset): (u64, Address),
        nonce: u64,
        (max_fee_wei, tip_wei): (u128, u128),
    ) -> Result<Info, SignerError> {
        let transaction = TxEip1559 {
            chain_id,
            nonce,
            gas_limit: MAX_GAS_UNITS,
            max_fee_per_gas: max_fee_wei,
            max_priority_fee_per_gas: tip_wei,
            to: TxKind::Call(asset),
            value: U256::ZERO,
            input: Token::approveCall { spender: PERMIT2, value: U256::MAX }.abi_encode().into(),
            ..TxEip1559::default()
        };
        let signature = signer.sign_hash(transaction.signature_hash()).await?;
        let mut bytes = Vec::new();
        transaction.into_signed(signature.to_alloy()).eip2718_encode(&mut bytes);
        Ok(Info {
            from: signer.address(),
            asset,
            spender: PERMIT2,
            amount: U256::MAX,
            signed_transaction: alloy_primitives::hex::encode_prefixed(bytes),
            version: EXTENSION_VERSION.to_owned(),
        })
    }
}

/// Chain, money and gas: what it could do beside its call.
fn check_terms(transaction: &TxEip1559, wanted: &Wanted) -> Result<(), Refusal> {
    let refused = |field: &str, expected: String, got: String| {
        Err(Refusal::mismatch(Reason::Erc20ApprovalTxParseFailed, &format!("signedTransaction.{field}"), expected, got))
    };
    if transaction.chain_id != wanted.chain_id {
        return refused("chainId", wanted.chain_id.to_string(), transaction.chain_id.to_string());
    }
    if !transaction.value.is_zero() {
        return refused("value", "0".to_owned(), transaction.value.to_string());
    }
    if transaction.gas_limit > MAX_GAS_UNITS {
        return refused("gas", format!("at most {MAX_GAS_UNITS}"), transaction.gas_limit.to_string());
    }
    if transaction.max_fee_per_gas > wanted.max_fee_per_unit_wei {
        let expected = format!("at most {} wei, which this facilitator allows", wanted.max_fee_per_unit_wei);
        return refused("maxFeePerGas", expected, transaction.max_fee_per_gas.to_string());
    }
    if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas {
        let expected = format!("at most maxFeePerGas, {}", transaction.max_fee_per_gas);
        return refused("maxPriorityFeePerGas", expected, transaction.max_priority_fee_per_gas.to_string());
    }
    if !transaction.access_list.is_empty() {
        return refused("accessList", "none".to_owned(), format!("{} entries", transaction.access_list.len()));
    }
    Ok(())
}

/// Target, function, spender, amount.
fn check_call(transaction: &TxEip1559, wanted: &Wanted) -> Result<(), Refusal> {
    let target = transaction.to.to().copied();
    if target != Some(wanted.asset) {
        let got = target.map_or_else(|| "a new contract".to_owned(), |target| target.to_string());
        let expected = format!("the asset, {}", wanted.asset);
        return Err(Refusal::mismatch(Reason::Erc20ApprovalTxWrongTarget, "signedTransaction.to", expected, got));
    }
    let data = &transaction.input;
    if !data.starts_with(&Token::approveCall::SELECTOR) {
        let message = "signedTransaction.data: expected a call of approve(address,uint256)";
        return Err(Refusal::new(Reason::Erc20ApprovalTxWrongSelector, message));
    }
    let call = Token::approveCall::abi_decode_validate(data).ok().filter(|call| call.abi_encode() == data.as_ref());
    let Some(call) = call else {
        let message = "signedTransaction.data: expected the two arguments of approve(address,uint256) and nothing else";
        return Err(Refusal::new(Reason::Erc20ApprovalTxInvalidCalldata, message));
    };
    if call.spender != PERMIT2 {
        let expected = format!("Permit2, {PERMIT2}");
        return Err(Refusal::mismatch(Reason::Erc20ApprovalTxWrongSpender, "approve.spender", expected, call.spender));
    }
    if call.value < wanted.amount {
        let expected = format!("at least {}, which the payment takes", wanted.amount);
        return Err(Refusal::mismatch(Reason::Erc20ApprovalTxInvalidCalldata, "approve.value", expected, call.value));
    }
    Ok(())
}

fn check_signer(signature: &alloy_primitives::Signature, hash: B256, payer: Address) -> Result<(), Refusal> {
    let strict = Signature::from_bytes(&signature.as_bytes());
    let signer = strict.and_then(|signature| signature.signer(hash)).map_err(|error| {
        Refusal::new(Reason::Erc20ApprovalTxInvalidSignature, format!("signedTransaction: its signature: {error}"))
    })?;
    if signer == payer {
        return Ok(());
    }
    Err(Refusal::mismatch(Reason::Erc20ApprovalTxSignerMismatch, "signedTransaction", format!("one of {payer}"), signer))
}

impl fmt::Debug for Info {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ApprovalInfo({} of {})", self.from, self.asset)
    }
}

impl fmt::Debug for Approval {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Approval({})", self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::LocalSigner;
    use farthing_testkit::golden;

    fn signer() -> LocalSigner {
        LocalSigner::from_hex(golden::PAYER_KEY.to_owned().into()).unwrap()
    }

    fn wanted() -> Wanted {
        Wanted {
            chain_id: golden::CHAIN_ID,
            asset: golden::ASSET.parse().unwrap(),
            payer: golden::PAYER.parse().unwrap(),
            amount: U256::from(golden::AMOUNT),
            max_fee_per_unit_wei: 1_000,
        }
    }

    fn good() -> TxEip1559 {
        TxEip1559 {
            chain_id: golden::CHAIN_ID,
            nonce: 3,
            gas_limit: MAX_GAS_UNITS,
            max_fee_per_gas: 1_000,
            max_priority_fee_per_gas: 10,
            to: TxKind::Call(wanted().asset),
            input: approve(PERMIT2, U256::from(golden::AMOUNT)).into(),
            ..TxEip1559::default()
        }
    }

    fn approve(spender: Address, value: U256) -> Vec<u8> {
        Token::approveCall { spender, value }.abi_encode()
    }

    async fn signed(transaction: TxEip1559) -> Vec<u8> {
        let signature = signer().sign_hash(transaction.signature_hash()).await.unwrap();
        let mut bytes = Vec::new();
        transaction.into_signed(signature.to_alloy()).eip2718_encode(&mut bytes);
        bytes
    }

    fn refused(bytes: &[u8]) -> String {
        Approval::read(&alloy_primitives::hex::encode_prefixed(bytes), &wanted()).unwrap_err().reason.to_string()
    }

    #[tokio::test]
    async fn what_a_client_signs_is_taken() {
        let place = (golden::CHAIN_ID, wanted().asset);
        let info = Approval::sign(&signer(), place, 3, (1_000, 10)).await.unwrap();
        let approval = Approval::read(&info.signed_transaction, &wanted()).unwrap();
        assert_eq!((approval.nonce, approval.max_cost_wei()), (3, U256::from(70_000_000)));
        assert!(!format!("{info:?}{approval:?}").contains(&info.signed_transaction[2..40]));
    }

    #[tokio::test]
    async fn everything_else_is_refused_with_its_reason() {
        const PARSE: &str = "erc20_approval_tx_parse_failed";
        type Change = fn(&mut TxEip1559);
        let cases: [(Change, &str); 12] = [
            (|it| it.chain_id = 1, PARSE),
            (|it| it.value = U256::from(1), PARSE),
            (|it| it.gas_limit = MAX_GAS_UNITS + 1, PARSE),
            (|it| it.max_fee_per_gas = 1_001, PARSE),
            (|it| it.max_priority_fee_per_gas = 1_001, PARSE),
            (|it| it.to = TxKind::Create, "erc20_approval_tx_wrong_target"),
            (|it| it.to = TxKind::Call(PERMIT2), "erc20_approval_tx_wrong_target"),
            (|it| it.input = Bytes::new(), "erc20_approval_tx_wrong_selector"),
            (|it| it.input = it.input[..40].to_vec().into(), "erc20_approval_tx_invalid_calldata"),
            (|it| it.input = [&it.input[..], &[0]].concat().into(), "erc20_approval_tx_invalid_calldata"),
            (|it| it.input = approve(PERMIT2, U256::from(9_999)).into(), "erc20_approval_tx_invalid_calldata"),
            (|it| it.input = approve(wanted().asset, U256::MAX).into(), "erc20_approval_tx_wrong_spender"),
        ];
        for (change, reason) in cases {
            let mut transaction = good();
            change(&mut transaction);
            assert_eq!(refused(&signed(transaction).await), reason);
        }
    }

    #[tokio::test]
    async fn bytes_that_are_not_exactly_such_a_transaction_are_refused() {
        let bytes = signed(good()).await;
        assert!(Approval::read(&alloy_primitives::hex::encode_prefixed(&bytes), &wanted()).is_ok());
        for bad in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat(), &[&[1], &bytes[1..]].concat(), &[]] {
            assert_eq!(refused(bad), "erc20_approval_tx_parse_failed");
        }
        assert_eq!(Approval::read("0xzz", &wanted()).unwrap_err().reason, Reason::Erc20ApprovalTxParseFailed);
    }

    #[tokio::test]
    async fn only_the_payers_own_strict_signature_is_taken() {
        let bytes = alloy_primitives::hex::encode_prefixed(signed(good()).await);
        let other = Wanted { payer: golden::SECOND.parse().unwrap(), ..wanted() };
        assert_eq!(Approval::read(&bytes, &other).unwrap_err().reason, Reason::Erc20ApprovalTxSignerMismatch);
        // The mirrored signature is another transaction of the same payer, which no chain takes.
        let signature = signer().sign_hash(good().signature_hash()).await.unwrap().to_alloy();
        let order = alloy_primitives::uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);
        let mirrored = alloy_primitives::Signature::new(signature.r(), order - signature.s(), !signature.v());
        let mut bytes = Vec::new();
        good().into_signed(mirrored).eip2718_encode(&mut bytes);
        assert_eq!(refused(&bytes), "erc20_approval_tx_invalid_signature");
    }
}

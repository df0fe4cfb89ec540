//! Payers, a new one for every purchase, so that whatever a chain tells of one belongs to that purchase.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};
use alloy_sol_types::{SolCall, sol};
use anyhow::Result;
use farthing::core::BoxFuture;
use farthing::evm::signer::{LocalSigner, Signer, SignerError};
use farthing::evm::wallet::{ContractSigner, OwnedWallet};
use farthing_devnet::{DELEGATE_7702, DELEGATE_PREFIX, SMART_WALLET_FACTORY};
use serde_json::{Value, json};

use crate::chain::Chain;

/// Each owner has one wallet here.
const SALT: U256 = U256::ZERO;

sol! {
    function createAccount(address owner, uint256 salt) external returns (address account);
}

/// What an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayerKind {
    /// Its key is all that it is.
    Ordinary,
    /// A contract that an ordinary account owns.
    Contract,
    /// The same, before it exists.
    Foretold,
    /// An ordinary account that delegates to a contract, which wants a byte before the signature.
    Delegated,
}

/// Who pays.
pub struct Payer {
    kind: PayerKind,
    key: B256,
    owner: Arc<LocalSigner>,
    address: Address,
}

impl Payer {
    /// The payer with that number, on this chain.
    pub async fn create(chain: &Chain, kind: PayerKind, number: u64) -> Result<Self> {
        let key = keccak256(format!("a payer of Farthing's interop tests: {number}"));
        let owner = Arc::new(LocalSigner::from_bytes(key.0.into())?);
        let address = match kind {
            PayerKind::Ordinary => owner.address(),
            PayerKind::Contract => chain.create_wallet(owner.address(), SALT).await?,
            PayerKind::Foretold => chain.wallet_address(owner.address(), SALT).await?,
            PayerKind::Delegated => {
                chain.delegate(owner.address(), DELEGATE_7702).await?;
                owner.address()
            }
        };
        Ok(Self { kind, key, owner, address })
    }

    /// Whose money it is.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Its key, as text.
    pub fn key(&self) -> String {
        self.key.to_string()
    }

    /// What a buyer peer is told, as `interop/peers/README.md` says.
    pub fn order(&self, url: &str, id: Option<&str>, services: &[&str]) -> Value {
        let call = (self.kind == PayerKind::Foretold).then(|| self.creation());
        let wallet = json!({
            "address": self.address.to_string(),
            "prefix": (self.kind == PayerKind::Delegated).then(|| hex::encode_prefixed([DELEGATE_PREFIX])),
            "creation": call.map(|call| json!({"factory": SMART_WALLET_FACTORY.to_string(), "call": call.to_string()})),
        });
        let wallet = if self.kind == PayerKind::Ordinary { Value::Null } else { wallet };
        json!({"url": url, "key": self.key(), "wallet": wallet, "id": id, "services": services})
    }

    /// Its key, if that is all it takes.
    pub fn signer(&self) -> Option<Arc<LocalSigner>> {
        (self.kind == PayerKind::Ordinary).then(|| Arc::clone(&self.owner))
    }

    /// What signs for it otherwise.
    pub fn contract_signer(&self) -> Option<Arc<dyn ContractSigner>> {
        let owned = || OwnedWallet::new(self.address, Arc::clone(&self.owner) as Arc<dyn Signer>);
        match self.kind {
            PayerKind::Ordinary => None,
            PayerKind::Contract => Some(Arc::new(owned())),
            PayerKind::Foretold => Some(Arc::new(owned().created_by(SMART_WALLET_FACTORY, self.creation()))),
            PayerKind::Delegated => Some(Arc::new(Delegated(Arc::clone(&self.owner)))),
        }
    }

    /// The call of the factory that creates the wallet.
    fn creation(&self) -> Bytes {
        createAccountCall { owner: self.owner.address(), salt: SALT }.abi_encode().into()
    }
}

/// Signs as the contract wants it that development accounts delegate to.
struct Delegated(Arc<LocalSigner>);

impl ContractSigner for Delegated {
    fn address(&self) -> Address {
        self.0.address()
    }

    fn sign_hash(&self, hash: B256) -> BoxFuture<'_, Result<Vec<u8>, SignerError>> {
        Box::pin(async move {
            let signature = self.0.sign_hash(hash).await?;
            Ok([&[DELEGATE_PREFIX], &signature.to_bytes()[..]].concat())
        })
    }
}

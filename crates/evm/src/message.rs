//! Messages that accounts sign to say who they are (EIP-191 `personal_sign`, ERC-1271): the extension `sign-in-with-x`.
//!
//! What an account's own key signed is its signature on every chain, and needs no node: nobody has the key of a contract's
//! address, and who delegated an account to code (EIP-7702) still holds its key. That is looser than for payments, where
//! the token's contract decides. Everything else only the code at the address can say, on its own network, and only where
//! a node is configured to ask. A wallet that is not there yet cannot sign in.

use std::collections::HashMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, eip191_hash_message};
use farthing_core::asset::AccountId;
use farthing_core::books::Reach;
use farthing_core::extension::sign_in_with_x::{Claimed, Message, MessageError, MessageFormat, MessageSigner, MessageVerifier};
use farthing_core::network::Network;
use farthing_core::{BoxFuture, Source};

use crate::rpc::{self, Call, Node, NodeError};
use crate::signature::{SignatureError, WireSignature};
use crate::signer::Signer;
use crate::text::{account_id, parse_address};
use crate::wallet::{Claim, ContractSigner, NotOrdinary, agrees, question};

const NAMESPACE: &str = "eip155";

/// The hash that an account signs of a text (EIP-191, version `E`).
pub fn hash(text: &str) -> B256 {
    eip191_hash_message(text)
}

/// The account whose key signed a text.
pub fn signer(text: &str, signature: &WireSignature) -> Result<Address, SignatureError> {
    signature.strict()?.signer(hash(text))
}

/// A wallet that signs in, on every network of the family.
pub enum MessageKey {
    /// An ordinary account.
    Ordinary(Arc<dyn Signer>),
    /// A smart wallet, which signs in where it is there.
    Contract(Arc<dyn ContractSigner>),
}

impl MessageSigner for MessageKey {
    fn namespace(&self) -> &str {
        NAMESPACE
    }

    fn format(&self) -> MessageFormat {
        MessageFormat::Siwe
    }

    fn account(&self, network: &Network) -> Option<AccountId> {
        let address = match self {
            Self::Ordinary(signer) => signer.address(),
            Self::Contract(wallet) => wallet.address(),
        };
        (network.namespace() == NAMESPACE).then(|| account_id(address))
    }

    fn sign<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<String, Source>> {
        let hash = hash(message.as_str());
        Box::pin(async move {
            let bytes = match self {
                Self::Ordinary(signer) => signer.sign_hash(hash).await?.to_bytes().to_vec(),
                Self::Contract(wallet) => wallet.sign_hash(hash).await?,
            };
            Ok(alloy_primitives::hex::encode_prefixed(bytes))
        })
    }
}

/// Checks who signed a message, for all networks of the family; smart wallets on those only that have a node.
#[derive(Default)]
pub struct MessageChecker {
    nodes: HashMap<Network, Arc<dyn Node>>,
}

impl MessageChecker {
    /// Checks the signatures of ordinary accounts.
    pub fn new() -> Self {
        Self::default()
    }

    /// And those of smart wallets on this network, by asking this node.
    #[must_use]
    pub fn with_node(mut self, network: Network, node: Arc<dyn Node>) -> Self {
        self.nodes.insert(network, node);
        self
    }

    async fn check(&self, claimed: Claimed<'_>) -> Result<Reach, MessageError> {
        let account = parse_address(claimed.account.as_str())
            .ok_or_else(|| MessageError::Malformed("the account is no address".to_owned()))?;
        let digest = hash(claimed.message.as_str());
        let claim = Claim::read(&WireSignature::from(claimed.signature), digest, account)
            .map_err(|error| MessageError::Malformed(error.to_string()))?;
        if matches!(claim, Claim::Ordinary(_)) {
            return Ok(Reach::Family);
        }
        let Some(node) = self.nodes.get(claimed.network) else { return Err(stranger(&claim)) };
        match self.ask(node.as_ref(), claimed.network, account, digest, &claim).await {
            Ok(Some(true)) => Ok(Reach::Network),
            Ok(Some(false)) => Err(MessageError::NotTheirs("the smart wallet does not agree that it is its own".to_owned())),
            Ok(None) => Err(stranger(&claim)),
            Err(error) => Err(MessageError::Unavailable(error.into())),
        }
    }

    /// Whether the account's code agrees; `None` if it has none.
    async fn ask(
        &self,
        node: &dyn Node,
        network: &Network,
        account: Address,
        digest: B256,
        claim: &Claim,
    ) -> Result<Option<bool>, NodeError> {
        let calls = [Call::chain_id(), Call::code(account), Call::execute(account, &question(digest, &claim.bytes()))];
        let answers = node.ask(&calls).await?;
        let [id, code, agreed] = &answers[..] else { return Err(NodeError::Malformed("a batch of calls")) };
        if network.reference() != rpc::quantity(id, "eth_chainId")?.to_string() {
            return Err(NodeError::Malformed("eth_chainId"));
        }
        if rpc::bytes(code, "eth_getCode")?.is_empty() {
            return Ok(None);
        }
        Ok(Some(rpc::executed(agreed)?.is_ok_and(|answer| agrees(&answer))))
    }
}

impl MessageVerifier for MessageChecker {
    fn namespace(&self) -> &str {
        NAMESPACE
    }

    fn format(&self) -> MessageFormat {
        MessageFormat::Siwe
    }

    /// An address in small or in large letters, or with its checksum (EIP-55); a wrong checksum is a typing error.
    fn account(&self, address: &str) -> Option<AccountId> {
        let account = account_id(parse_address(address)?);
        let digits = address.get(2..)?;
        let is_plain = !digits.contains(|digit: char| digit.is_ascii_uppercase())
            || !digits.contains(|digit: char| digit.is_ascii_lowercase());
        (is_plain || account.as_str() == address).then_some(account)
    }

    fn verify<'a>(&'a self, claimed: Claimed<'a>) -> BoxFuture<'a, Result<Reach, MessageError>> {
        Box::pin(self.check(claimed))
    }
}

/// What to say of a signature that is not by the account's key, where no code can say otherwise.
fn stranger(claim: &Claim) -> MessageError {
    match claim {
        Claim::Contract(_, NotOrdinary::Malformed(error)) => MessageError::Malformed(error.to_string()),
        Claim::Undeployed(_) => {
            MessageError::NotTheirs("the smart wallet is not there yet, or cannot be asked here".to_owned())
        }
        _ => MessageError::NotTheirs("it is not by the account's key, and no smart wallet at that address agrees".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::Answer;
    use crate::signer::LocalSigner;
    use farthing_core::extension::sign_in_with_x::Info;
    use farthing_testkit::golden;
    use serde_json::value::RawValue;
    use zeroize::Zeroizing;

    /// The hash and the signature of [`message`], by `@x402/extensions` 2.27.0 with viem.
    const HASH: &str = "0x21f848125cdbcc93eac677e5d2cb2ab4babede74820f7d5f206c167402e223ad";
    const SIGNATURE: &str = "0x47fde4721e82771d7d5299b0d7163add9bc9a25e5ab51191025e33a13c386ad425463977be127d1fc52915d9553ee9785b2b9809275c90941efc990cd545ae2c1b";

    fn network() -> Network {
        golden::NETWORK.parse().unwrap()
    }

    fn message() -> Message {
        let text = |text: &str| Some(text.to_owned());
        let info = Info {
            domain: "api.example.com".to_owned(),
            uri: "https://api.example.com/data?x=1".to_owned(),
            version: "1".to_owned(),
            nonce: "0123456789abcdef0123456789abcdef".to_owned(),
            issued_at: "2027-01-15T08:00:00.000Z".to_owned(),
            expiration_time: text("2027-01-15T08:05:00.000Z"),
            not_before: text("2027-01-15T08:00:00.000Z"),
            request_id: text("request-7"),
            statement: text("Sign in to read what you paid for"),
            resources: Some(vec!["https://api.example.com/data".to_owned(), "https://api.example.com/more".to_owned()]),
        };
        Message::new(MessageFormat::Siwe, &info, &golden::PAYER.parse().unwrap(), &network()).unwrap()
    }

    /// A node that answers chain id, code and call with these texts.
    struct Fixed(Result<[&'static str; 3], NodeError>);

    impl Node for Fixed {
        fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
            assert_eq!(calls.len(), 3);
            let text = |text: &str| Ok(RawValue::from_string(format!("{text:?}")).unwrap());
            let answers = self.0.clone().map(|answers| answers.into_iter().map(text).collect());
            Box::pin(std::future::ready(answers))
        }
    }

    async fn verify(checker: &MessageChecker, account: &str, signature: &str) -> Result<Reach, MessageError> {
        let (message, account, network) = (message(), account.parse().unwrap(), network());
        let claimed = Claimed { message: &message, account: &account, network: &network, signature };
        checker.verify(claimed).await
    }

    #[tokio::test]
    async fn hash_and_signature_are_those_of_the_official_sdk() {
        assert_eq!(hash(message().as_str()).to_string(), HASH);
        let recovered = signer(message().as_str(), &WireSignature::from(SIGNATURE)).unwrap();
        assert_eq!(recovered.to_string(), golden::PAYER);
        let key = LocalSigner::from_hex(Zeroizing::new(golden::PAYER_KEY.to_owned())).unwrap();
        let key = MessageKey::Ordinary(Arc::new(key));
        assert_eq!(key.sign(&message()).await.unwrap(), SIGNATURE);
        assert_eq!(key.account(&network()).unwrap().as_str(), golden::PAYER);
        assert_eq!(key.account(&"solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp".parse().unwrap()), None);
    }

    #[tokio::test]
    async fn an_accounts_own_key_is_enough_and_needs_no_node() {
        let checker = MessageChecker::new().with_node(network(), Arc::new(Fixed(Err(NodeError::TimedOut))));
        for checker in [MessageChecker::new(), checker] {
            assert_eq!(verify(&checker, golden::PAYER, SIGNATURE).await.unwrap(), Reach::Family);
        }
    }

    #[tokio::test]
    async fn without_a_node_nobody_else_gets_in() {
        let checker = MessageChecker::new();
        assert!(matches!(verify(&checker, golden::SECOND, SIGNATURE).await, Err(MessageError::NotTheirs(_))));
        let long = format!("0x{}", "01".repeat(crate::wallet::MAX_SIGNATURE_BYTES + 1));
        for bad in ["", "0x", "0xzz", &SIGNATURE[..130], &long] {
            assert!(matches!(verify(&checker, golden::PAYER, bad).await, Err(MessageError::Malformed(_))), "{bad}");
        }
        let changed = SIGNATURE.replace("ae2c1b", "ae2d1b");
        assert!(matches!(verify(&checker, golden::PAYER, &changed).await, Err(MessageError::NotTheirs(_))));
    }

    #[tokio::test]
    async fn a_smart_wallet_is_asked_on_its_own_network() {
        const YES: &str = "0x1626ba7e00000000000000000000000000000000000000000000000000000000";
        const NO: &str = "0xffffffff00000000000000000000000000000000000000000000000000000000";
        let checker = |answers| MessageChecker::new().with_node(network(), Arc::new(Fixed(answers)));
        let asked = async |answers| verify(&checker(answers), golden::SECOND, SIGNATURE).await;
        assert_eq!(asked(Ok(["0x14a34", "0x60", YES])).await.unwrap(), Reach::Network);
        for refused in [["0x14a34", "0x60", NO], ["0x14a34", "0x60", "0x"], ["0x14a34", "0x", YES]] {
            assert!(matches!(asked(Ok(refused)).await, Err(MessageError::NotTheirs(_))), "{refused:?}");
        }
        for unknown in [Ok(["0x1", "0x60", YES]), Ok(["0x14a34", "what", YES]), Err(NodeError::Unreachable)] {
            assert!(matches!(asked(unknown.clone()).await, Err(MessageError::Unavailable(_))), "{unknown:?}");
        }
        let elsewhere = MessageChecker::new().with_node("eip155:1".parse().unwrap(), Arc::new(Fixed(Ok(["0x1", "0x60", YES]))));
        assert!(matches!(verify(&elsewhere, golden::SECOND, SIGNATURE).await, Err(MessageError::NotTheirs(_))));
    }

    #[test]
    fn an_address_with_a_wrong_checksum_is_no_account() {
        let account = |text: &str| MessageChecker::new().account(text);
        let upper = format!("0x{}", golden::PAYER[2..].to_uppercase());
        for good in [golden::PAYER, &golden::PAYER.to_lowercase(), &upper] {
            assert_eq!(account(good).unwrap().as_str(), golden::PAYER);
        }
        for bad in ["", "0x", &golden::PAYER.replace("39F", "39f"), &golden::PAYER[..41], &upper.to_uppercase()] {
            assert_eq!(account(bad), None, "{bad}");
        }
    }
}

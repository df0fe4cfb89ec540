//! What a payment mechanism (a scheme on a chain family) must bring, for each of the three roles.
//!
//! The traits are typed: a scheme names its own `Extra` and `Payload` and never sees JSON. [`crate::erased`] turns
//! each into the form that the engines hold.

use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Source;
use crate::amount::Amount;
use crate::asset::{AccountId, Asset};
use crate::books::{Fingerprint, PaymentRecord, SettlementEntry};
use crate::network::Network;
use crate::reason::{Reason, Refusal};
use crate::time::UnixSeconds;
use crate::wire::{Extensions, PaymentRequirements, SupportedKind, Version};

/// An offer whose `extra` the scheme has understood.
#[derive(Clone, Debug)]
pub struct Offer<E> {
    /// The offer.
    pub requirements: PaymentRequirements,
    /// Its `extra`, typed.
    pub extra: E,
    /// The extensions of the terms that it is one of.
    pub extensions: Extensions,
}

/// A payment and what it has to meet, as the scheme's own types.
#[derive(Clone, Debug)]
pub struct Payment<P, E> {
    /// The version of the protocol in which it was written.
    pub version: Version,
    /// The scheme that the payment says it uses.
    pub accepted_scheme: String,
    /// The network that the payment says it is for.
    pub accepted_network: Network,
    /// What the payer signed.
    pub payload: P,
    /// What came along with it.
    pub extensions: Extensions,
    /// What the seller asks for.
    pub requirements: PaymentRequirements,
    /// Its `extra`, typed.
    pub extra: E,
}

/// What makes a payment unique on its chain, as a 32-byte digest that the scheme computes (for EIP-3009: of network,
/// asset, payer and nonce). Never made of header bytes, which can be rewritten without changing the payment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaymentKey(pub [u8; 32]);

/// A transaction on chain, named as the chain names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransactionId(pub String);

/// Money that moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The transaction that moved it.
    pub transaction: TransactionId,
    /// Where.
    pub network: Network,
    /// Who paid.
    pub payer: AccountId,
    /// How much.
    pub amount: Amount,
}

/// A payment that the chain shows as carried out, though nobody here sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What moved.
    pub settlement: Settlement,
    /// The height of its block, or a lower one.
    pub height: u64,
}

/// Why a payment is verified. Schemes in which a seller may charge less than was authorised tell the two apart: at first the
/// requirements name the most that may be charged, and then what is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// To find out whether it is good.
    Verify,
    /// To be settled in the same breath.
    Settle,
}

/// When money moves, relative to the work (x402 v2 payment flows).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentFlow {
    /// Verify, work, settle. The default; nothing on the wire.
    Authorization,
    /// Settle, work.
    Upfront,
    /// Settle a deposit, work, settle the charge.
    Escrow,
}

/// What became of a payment that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It moved the money.
    Settled(Settlement),
    /// What was sent from here moved nothing and never will.
    Failed(Refusal),
    /// The chain does not say yet.
    Unknown,
}

/// Why a client made no payment for an offer.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    /// The offer is not one that this wallet can pay, and says why.
    #[error("{0}")]
    Offer(Refusal),
    /// The wallet could not sign.
    #[error("the wallet could not sign")]
    Wallet(#[source] Source),
}

/// Why a payment was not found good.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is bad: tell the payer.
    #[error("{0}")]
    Invalid(Refusal),
    /// It could not be checked: answer 503, try again later.
    #[error("the payment could not be checked")]
    Unavailable(#[source] Source),
}

/// Why a payment was not settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// Nothing moved, and this payment will not settle.
    #[error("{0}")]
    Rejected(Refusal),
    /// Nothing was sent, and nothing can land any more: it is safe to try again. A scheme that is not sure says
    /// [`SettleError::Unknown`].
    #[error("nothing was sent")]
    NotSent(#[source] Source),
    /// Sent, and its outcome is not known: reconcile, never send another.
    #[error("transaction {0} was sent and its outcome is not known yet")]
    Unknown(TransactionId),
    /// The book says that it was sent already, by whoever: read there what became of it.
    #[error("it was sent before")]
    Taken,
    /// It was carried beside other payments and moved nothing, perhaps only for their sake: it may be sent once more, by
    /// itself ([`SendRight::alone`]).
    #[error("{0}")]
    Spoilt(Refusal),
}

/// The right to send one payment, held by whoever asked for its settlement. A relayer uses it when it writes the
/// transaction that carries the payment into its [`Outbox`](crate::books::Outbox).
pub trait SendRight: Send + Sync {
    /// The request that brought the payment.
    fn request(&self) -> &Fingerprint;

    /// Whose request it is, where callers have names.
    fn caller(&self) -> Option<&str>;

    /// Whether it must be carried by itself, after it was carried beside others and failed.
    fn alone(&self) -> bool;

    /// Says that the payment was verified, by this very attempt: whatever makes it look used later came after that.
    fn verified(&self) {}

    /// Says that the payment is about to be written and sent. `false` if it was given up meanwhile: it must not be sent.
    fn enter(&self) -> bool;

    /// The payment is in the book, carried by this transaction (also: by this one instead of the one before).
    fn written(&self, transaction: &TransactionId);

    /// The payment was not written after all, or is certain not to be sent.
    fn left(&self);
}

/// What verification proved. Only a scheme's `verify` can make one.
pub trait VerifiedPayment: Send + Sync {
    /// Whose signature it is.
    fn payer(&self) -> AccountId;
}

/// A scheme for the payer.
pub trait ClientScheme: Send + Sync {
    /// The scheme's name on the wire.
    const NAME: &'static str;
    /// What the scheme reads of an offer's `extra`.
    type Extra: DeserializeOwned + Send + Sync;
    /// What the payer signs.
    type Payload: Serialize + Send + Sync;

    /// Whether this wallet can pay there at all.
    fn supports(&self, network: &Network) -> bool;

    /// Who pays there, if this wallet can.
    fn payer(&self, network: &Network) -> Option<AccountId>;

    /// The asset of the offer, if it is one that is known here; unknown assets are not paid with.
    fn asset(&self, requirements: &PaymentRequirements) -> Option<Asset>;

    /// The most that this payment can ever take, in atomic units. Spend controls see only this number.
    fn max_spend(&self, offer: &Offer<Self::Extra>) -> Result<Amount, PayError>;

    /// What the wallet holds of the offer's asset; `None` where no node is configured to ask.
    fn balance(&self, offer: &Offer<Self::Extra>) -> impl Future<Output = Result<Option<Amount>, PayError>> + Send;

    /// Signs. Nothing is sent.
    fn pay(&self, offer: &Offer<Self::Extra>) -> impl Future<Output = Result<Self::Payload, PayError>> + Send;

    /// What has to go along with a payment that [`Self::pay`] signed for the offer, by the extensions that its terms know.
    fn extensions(
        &self,
        offer: &Offer<Self::Extra>,
        payload: &Self::Payload,
    ) -> impl Future<Output = Result<Extensions, PayError>> + Send {
        let _ = (offer, payload);
        std::future::ready(Ok(Extensions::default()))
    }
}

/// A scheme for the seller. Pure.
pub trait ServerScheme: Send + Sync {
    /// The scheme's name on the wire.
    const NAME: &'static str;
    /// What the scheme reads of an offer's `extra`.
    type Extra: DeserializeOwned + Send + Sync;
    /// What the payer signed.
    type Payload: DeserializeOwned + Send + Sync;

    /// Whether the scheme exists on that network.
    fn supports(&self, network: &Network) -> bool;

    /// The assets that a price can be asked in there, the default one first.
    fn assets(&self, network: &Network) -> Vec<Asset>;

    /// Checks an offer and fills in what buyers need, from the scheme's own tables and the facilitator's kind.
    fn complete(&self, requirements: PaymentRequirements, kind: &SupportedKind) -> Result<PaymentRequirements, Refusal>;

    /// When the money of such an offer moves.
    fn flow(&self, requirements: &PaymentRequirements) -> Result<PaymentFlow, Refusal>;

    /// Whether less may be charged than the offer asks for, once the work has shown how much it was.
    fn is_metered(&self) -> bool {
        false
    }

    /// What the terms declare beside such an offer, by key, of the extensions that the facilitator says it knows.
    fn declares(&self, requirements: &PaymentRequirements, known: &[String]) -> Vec<(&'static str, serde_json::Value)> {
        let _ = (requirements, known);
        Vec::new()
    }

    /// What makes the payment unique, so that it buys one thing once.
    fn key(&self, payment: &Payment<Self::Payload, Self::Extra>) -> Result<PaymentKey, Refusal>;

    /// From when on the payment can't settle any more, so that it need not be remembered for ever; `None` if that is never
    /// sure.
    fn expires_at(&self, payment: &Payment<Self::Payload, Self::Extra>) -> Option<UnixSeconds> {
        let _ = payment;
        None
    }
}

/// A scheme for the facilitator.
pub trait FacilitatorScheme: Send + Sync {
    /// The scheme's name on the wire.
    const NAME: &'static str;
    /// What the scheme reads of an offer's `extra`.
    type Extra: DeserializeOwned + Send + Sync;
    /// What the payer signed.
    type Payload: DeserializeOwned + Send + Sync;
    /// What verification proved.
    type Verified: VerifiedPayment;

    /// What this facilitator can do, network by network; nothing else is served.
    fn kinds(&self) -> Vec<SupportedKind>;

    /// The sending accounts, by chain family pattern such as `eip155:*`.
    fn signers(&self) -> Vec<(String, AccountId)>;

    /// The extensions that it honours, by key, on any of its networks.
    fn extensions(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// What the book keeps of the payment, its unique key among it. Called before anything else, so it may refuse what
    /// cannot be a payment at all.
    fn record(&self, payment: &Payment<Self::Payload, Self::Extra>) -> Result<PaymentRecord, Refusal>;

    /// Checks everything that can be checked; no money moves.
    fn verify(
        &self,
        payment: &Payment<Self::Payload, Self::Extra>,
        phase: Phase,
    ) -> impl Future<Output = Result<Self::Verified, VerifyError>> + Send;

    /// Moves the money: writes into the outbox, sends, confirms, and checks what moved. Where nothing is charged, nothing is
    /// sent and the transaction has no name.
    fn settle(
        &self,
        verified: Self::Verified,
        right: Arc<dyn SendRight>,
    ) -> impl Future<Output = Result<Settlement, SettleError>> + Send;

    /// What became of a payment that was sent: settled only if exactly what it authorises has moved, by whichever
    /// transaction; failed only if nothing that was sent from here can move it any more. Sends nothing.
    fn outcome(&self, entry: &SettlementEntry) -> impl Future<Output = Result<Outcome, VerifyError>> + Send;

    /// What became of a payment for good: settled or failed only where no other history of the chain can take that back
    /// and nobody can carry it out any more, unknown where that may still happen. Sends nothing.
    fn final_outcome(&self, entry: &SettlementEntry) -> impl Future<Output = Result<Outcome, VerifyError>> + Send;

    /// Whether a payment that was found good here, was sent by nobody here, and is refused now with this refusal, was
    /// carried out by somebody else meanwhile: exactly what it authorises has moved, by whichever transaction. `None` if
    /// not, so that the refusal stands; unavailable while that is not certain. Sends nothing. A scheme in which nobody
    /// else can carry a payment out need not look.
    fn moved_already(
        &self,
        record: &PaymentRecord,
        refusal: &Refusal,
    ) -> impl Future<Output = Result<Option<Found>, VerifyError>> + Send {
        let _ = (record, refusal);
        std::future::ready(Ok(None))
    }

    /// Takes up what an earlier process, or another node that died, left under way. Called once, inside the runtime,
    /// before the first payment; the work goes on in the background.
    fn start(&self);

    /// Finishes what is under way, as far as that is quick, and gives the sending accounts back to other nodes.
    fn stop(&self) -> impl Future<Output = ()> + Send;

    /// Whether the networks can be reached, for readiness probes.
    fn ready(&self) -> impl Future<Output = Result<(), VerifyError>> + Send;
}

impl FromStr for PaymentKey {
    type Err = String;

    /// Reads the 64 digits that it is shown as.
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("expected a payment's id (64 hexadecimal digits), got {} characters", text.chars().count());
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(bad());
        }
        let mut key = [0_u8; 32];
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|digit| digit.is_ascii_hexdigit()));
            *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(bad)?;
        }
        Ok(Self(key))
    }
}

impl fmt::Display for PaymentKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for PaymentKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PaymentKey({self})")
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<Refusal> for VerifyError {
    fn from(refusal: Refusal) -> Self {
        Self::Invalid(refusal)
    }
}

impl From<VerifyError> for SettleError {
    /// What could not be verified was not sent.
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Invalid(refusal) => Self::Rejected(refusal),
            VerifyError::Unavailable(source) => Self::NotSent(source),
        }
    }
}

impl PaymentFlow {
    /// The flow that an offer's `extra.paymentFlow` asks for.
    pub fn of(requirements: &PaymentRequirements) -> Result<Self, Refusal> {
        let flow = requirements.extra.get("paymentFlow").filter(|flow| !flow.is_null());
        match flow.map(serde_json::Value::as_str) {
            None | Some(Some("authorization")) => Ok(Self::Authorization),
            Some(Some("upfront")) => Ok(Self::Upfront),
            Some(Some("escrow")) => Ok(Self::Escrow),
            Some(_) => Err(Refusal::new(
                Reason::UnsupportedPaymentFlow,
                "extra.paymentFlow: expected \"authorization\", \"upfront\" or \"escrow\"",
            )),
        }
    }
}

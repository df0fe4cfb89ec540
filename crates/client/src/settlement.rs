//! What became of a payment, as the server tells it.
//!
//! A server's word is not the chain's: what it says is compared with what was signed, and never makes the ledger count
//! less. Free of transport, so that HTTP and MCP judge alike.

use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, Asset};
use farthing_core::books::Usd;
use farthing_core::extension::payment_identifier::PaymentId;
use farthing_core::network::Network;
use farthing_core::reason::Reason;
use farthing_core::scheme::TransactionId;
use farthing_core::wire::{PaymentRequirements, SettleResponse, Verbatim, Version};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// The scheme whose settlements move exactly the amount offered, in one transaction.
const EXACT: &str = "exact";

/// What is known of a payment after the server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PaymentOutcome {
    /// The server says that the money has moved.
    Settled,
    /// The server does not say, or says that it does not know. The money may move until the authorization expires.
    Unconfirmed,
    /// The server says that the payment did not settle. It was signed all the same, and counts until it expires.
    Failed,
}

/// A payment that was signed: what it can take at most, and what became of it.
#[derive(Clone, Debug)]
pub struct PaymentFacts {
    /// The offer that it takes.
    pub offer: Verbatim<PaymentRequirements>,
    /// Who pays.
    pub payer: AccountId,
    /// Where.
    pub network: Network,
    /// In what.
    pub asset: Asset,
    /// The most that it can take, in atomic units.
    pub amount: Amount,
    /// The same in dollars; this counts against the limits.
    pub usd: Usd,
    /// The protocol version in which it was sent.
    pub version: Version,
    /// The purchase's name, where the server takes one: with it the same purchase can be asked for again.
    pub payment_id: Option<PaymentId>,
    /// What became of it.
    pub outcome: PaymentOutcome,
    /// The transaction, if the server names one.
    pub transaction: Option<TransactionId>,
    /// What the server said that does not agree with what was signed. Anything here deserves a look at the chain.
    pub doubts: Vec<String>,
}

impl PaymentFacts {
    /// What is paid, in whole units of the asset, such as `0.01 USDC`.
    pub fn price(&self) -> String {
        format!("{} {}", self.amount.to_decimal_string(self.asset.decimals), self.asset.symbol)
    }

    /// Takes in what the server says of the payment.
    pub(crate) fn heard(&mut self, settlement: &SettleResponse) {
        self.outcome = outcome_of(settlement);
        self.transaction = Some(&settlement.transaction)
            .filter(|transaction| !transaction.is_empty())
            .map(|transaction| TransactionId(transaction.clone()));
        if self.outcome == PaymentOutcome::Settled {
            self.doubts = self.disagreements(settlement);
        }
    }

    fn disagreements(&self, settlement: &SettleResponse) -> Vec<String> {
        let is_exact = self.offer.scheme == EXACT;
        let mut doubts = Vec::new();
        let mut doubt = |field: &str, signed: &dyn std::fmt::Display, said: &dyn std::fmt::Display| {
            doubts.push(format!("{field}: signed for {signed}, the server says {said}"));
        };
        match &settlement.network {
            Some(network) if *network == self.network => {}
            Some(network) => doubt("network", &self.network, network),
            None => doubt("network", &self.network, &"nothing"),
        }
        if let Some(amount) = settlement.amount
            && (amount > self.amount || (is_exact && amount != self.offer.amount))
        {
            doubt("amount", &self.amount, &amount);
        }
        if let Some(payer) = &settlement.payer
            && !payer.as_str().eq_ignore_ascii_case(self.payer.as_str())
        {
            doubt("payer", &self.payer, payer);
        }
        if is_exact && settlement.transaction.is_empty() {
            doubt("transaction", &"one transaction", &"none");
        }
        doubts
    }
}

impl Serialize for PaymentFacts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut facts = serializer.serialize_struct("PaymentFacts", 14)?;
        facts.serialize_field("outcome", &self.outcome)?;
        facts.serialize_field("transaction", &self.transaction.as_ref().map(|transaction| &transaction.0))?;
        facts.serialize_field("usd", &self.usd.to_string())?;
        facts.serialize_field("price", &self.price())?;
        facts.serialize_field("amount", &self.amount)?;
        facts.serialize_field("asset", &self.asset.id)?;
        facts.serialize_field("symbol", &self.asset.symbol)?;
        facts.serialize_field("network", &self.network)?;
        facts.serialize_field("scheme", &self.offer.scheme)?;
        facts.serialize_field("payer", &self.payer)?;
        facts.serialize_field("payTo", &self.offer.pay_to)?;
        facts.serialize_field("x402Version", &self.version)?;
        match &self.payment_id {
            Some(id) => facts.serialize_field("paymentId", id)?,
            None => facts.skip_field("paymentId")?,
        }
        facts.serialize_field("doubts", &self.doubts)?;
        facts.end()
    }
}

/// A failure that names a transaction, or that calls itself pending, is no failure yet: the money may still move.
pub(crate) fn outcome_of(settlement: &SettleResponse) -> PaymentOutcome {
    let is_pending = !settlement.transaction.is_empty() || settlement.error_reason.as_ref() == Some(&Reason::SettlementPending);
    match (settlement.success, is_pending) {
        (true, _) => PaymentOutcome::Settled,
        (false, true) => PaymentOutcome::Unconfirmed,
        (false, false) => PaymentOutcome::Failed,
    }
}

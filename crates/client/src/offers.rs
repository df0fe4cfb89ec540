//! Every offer that was considered, and why it was passed over.
//!
//! A payer that says no owes an explanation: what was offered, what is held, which rule decided. The same list is
//! shown by `inspect`, by dry runs and in errors.

use std::fmt;

use farthing_core::amount::Amount;
use farthing_core::asset::Asset;
use farthing_core::books::{SpendLimit, Usd};
use farthing_core::reason::Refusal;
use farthing_core::wire::{PaymentRequirements, UnreadableOffer, Verbatim};

/// The longest text of a peer that is shown in a message, in characters.
const MAX_SHOWN_CHARS: usize = 200;

/// One offer and what became of it.
#[derive(Clone, Debug)]
pub struct Considered {
    /// The offer.
    pub offer: Offered,
    /// Its asset, if known.
    pub asset: Option<Asset>,
    /// The most that it can cost, if that can be told.
    pub usd: Option<Usd>,
    /// What the wallet holds of the asset, if a node was asked.
    pub held: Option<Amount>,
    /// Whether it can be paid.
    pub verdict: Verdict,
}

/// An entry of `accepts`.
#[derive(Clone, Debug)]
pub enum Offered {
    /// It was understood.
    Read(Verbatim<PaymentRequirements>),
    /// It was not.
    Unreadable(UnreadableOffer),
}

/// Whether an offer can be paid.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It can.
    Payable,
    /// It cannot, or may not.
    Skipped(Skip),
}

/// Why an offer was passed over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Skip {
    /// It makes no sense here.
    Unreadable,
    /// There are more offers than are read.
    TooMany,
    /// The wallet has no such scheme.
    UnknownScheme,
    /// The wallet has the scheme, but not on that network.
    UnknownNetwork,
    /// The wallet has no account on that network.
    NoAccount,
    /// The asset is not a known one.
    UnknownAsset,
    /// The money would move at another time than after the work.
    Flow(Refusal),
    /// It asks for nothing, so that there is nothing to sign.
    Zero,
    /// The network is not on the list of allowed ones.
    NetworkNotAllowed,
    /// The asset is not on the list of allowed ones.
    AssetNotAllowed,
    /// The recipient is not on the list of allowed ones.
    PayeeNotAllowed,
    /// The authorization would live too long.
    TooLong {
        /// The longest that is signed for.
        max_timeout_seconds: u64,
    },
    /// The cost cannot be told in dollars, so that no limit could hold.
    NoDollarValue,
    /// A limit would be passed.
    OverLimit {
        /// The limit.
        limit: SpendLimit,
        /// What counts against it already.
        spent: Usd,
    },
    /// A policy of the buyer's left it out.
    LeftOut,
    /// The buyer's selector picked another one, or none.
    NotSelected,
    /// The wallet holds too little.
    Unaffordable,
    /// The scheme refuses the offer.
    Scheme(Refusal),
}

impl Skip {
    /// Whether the buyer's own rules, not the wallet's abilities, decided.
    pub fn is_policy(&self) -> bool {
        matches!(
            self,
            Self::NetworkNotAllowed
                | Self::AssetNotAllowed
                | Self::PayeeNotAllowed
                | Self::TooLong { .. }
                | Self::NoDollarValue
                | Self::OverLimit { .. }
                | Self::LeftOut
                | Self::NotSelected
        )
    }
}

impl Considered {
    /// An offer about which nothing but the verdict is known yet.
    pub(crate) fn skipped(offer: &Verbatim<PaymentRequirements>, skip: Skip) -> Self {
        let verdict = Verdict::Skipped(skip);
        Self { offer: Offered::Read(offer.clone()), asset: None, usd: None, held: None, verdict }
    }

    /// An offer that could not be read.
    pub(crate) fn unreadable(offer: &UnreadableOffer) -> Self {
        let verdict = Verdict::Skipped(Skip::Unreadable);
        Self { offer: Offered::Unreadable(offer.clone()), asset: None, usd: None, held: None, verdict }
    }

    /// The offer, if it was understood.
    pub fn requirements(&self) -> Option<&PaymentRequirements> {
        match &self.offer {
            Offered::Read(offer) => Some(offer),
            Offered::Unreadable(_) => None,
        }
    }

    /// Whether the offer can be paid.
    pub fn is_payable(&self) -> bool {
        matches!(self.verdict, Verdict::Payable)
    }

    /// Why the offer was passed over, in words: the rule, what was offered, what is held.
    pub fn why(&self) -> Option<String> {
        let Verdict::Skipped(skip) = &self.verdict else { return None };
        Some(shown(&match &self.offer {
            Offered::Unreadable(offer) => format!("it cannot be read: {}", offer.error),
            Offered::Read(offer) => self.explain(skip, offer),
        }))
    }

    /// What is asked, in whole units of the asset if it is known.
    pub fn price(&self) -> Option<String> {
        let offer = self.requirements()?;
        Some(match &self.asset {
            Some(asset) => format!("{} {}", offer.amount.to_decimal_string(asset.decimals), asset.symbol),
            None => format!("{} atomic units of {}", offer.amount, offer.asset),
        })
    }

    fn in_units(&self, amount: Amount) -> String {
        match &self.asset {
            Some(asset) => format!("{} {}", amount.to_decimal_string(asset.decimals), asset.symbol),
            None => format!("{amount} atomic units"),
        }
    }

    fn explain(&self, skip: &Skip, offer: &PaymentRequirements) -> String {
        let PaymentRequirements { scheme, network, asset, pay_to, max_timeout_seconds, .. } = offer;
        match skip {
            Skip::Unreadable => "it cannot be read".to_owned(),
            Skip::TooMany => "it comes after more offers than are read".to_owned(),
            Skip::UnknownScheme => format!("this wallet has no scheme {scheme:?}"),
            Skip::UnknownNetwork => format!("this wallet cannot pay by {scheme} on {network}"),
            Skip::NoAccount => format!("this wallet has no account on {network}"),
            Skip::UnknownAsset => format!("{asset} is not a known asset there, and only known assets are paid with"),
            Skip::Flow(refusal) => refusal.message.clone(),
            Skip::Zero => "it asks for nothing, and there is nothing to sign".to_owned(),
            Skip::NetworkNotAllowed => format!("{network} is not among the allowed networks"),
            Skip::AssetNotAllowed => "the asset is not among the allowed ones".to_owned(),
            Skip::PayeeNotAllowed => format!("it pays {pay_to}, who is not among the allowed recipients"),
            Skip::TooLong { max_timeout_seconds: allowed } => {
                format!("it could be taken for {max_timeout_seconds} seconds, and at most {allowed} are signed for")
            }
            Skip::NoDollarValue => "its worth in dollars cannot be told, so that no limit could hold".to_owned(),
            Skip::OverLimit { limit, spent } if *spent == Usd::ZERO => format!("over the limit of {limit}"),
            Skip::OverLimit { limit, spent } => {
                format!("over the limit of {limit}, of which {spent} is spent or promised already")
            }
            Skip::LeftOut => "a policy of the buyer's left it out".to_owned(),
            Skip::NotSelected => "the buyer's selector did not pick it".to_owned(),
            Skip::Unaffordable => match self.held {
                Some(held) => format!("the wallet holds {} there", self.in_units(held)),
                None => "the wallet holds too little there".to_owned(),
            },
            Skip::Scheme(refusal) => refusal.to_string(),
        }
    }
}

impl fmt::Display for Considered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.requirements() {
            Some(offer) => write!(
                formatter,
                "{} on {} {}: {}",
                shown(&offer.scheme),
                offer.network,
                self.price().unwrap_or_default(),
                self.why().unwrap_or_else(|| "can be paid".to_owned())
            ),
            None => formatter.write_str(&self.why().unwrap_or_default()),
        }
    }
}

/// A peer's text as it may be shown to a person: cut, and without control characters, which could rewrite a terminal.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).map(|letter| if letter.is_control() { '\u{FFFD}' } else { letter }).collect()
}

//! Who comes in on which terms, around the payment: what a route says of it, or `[gateway]` for all routes.

use std::fmt;
use std::marker::PhantomData;
use std::num::{NonZeroU32, NonZeroU64};

use http::{HeaderName, HeaderValue, Uri};
use ipnet::IpNet;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::read::{pairs, parsed};
use super::{HeaderText, Reference};

/// How long a screener may take unless set otherwise, in seconds. All of a seller's hooks together have five.
pub const DEFAULT_SCREENING_TIMEOUT_SECONDS: u64 = 3;
/// The longest time that a screener may take, in seconds.
pub const MAX_SCREENING_TIMEOUT_SECONDS: u64 = 4;
/// How long a screener's verdict holds unless set otherwise, in seconds.
pub const DEFAULT_SCREENING_CACHE_SECONDS: u64 = 600;

/// The terms around the payment. What a route does not say, `[gateway]` says for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What is free before it costs; `Off` where `[gateway]` gives some and the route gives none.
    pub free_quota: Option<OrOff<FreeQuota>>,
    /// Whose requests pass unpaid.
    pub subscribers: Option<Vec<Proof>>,
    /// How often may be asked.
    pub rate_limits: Option<Vec<RateLimit>>,
    /// What is offered beside payment.
    pub fallback: Option<OrOff<Fallback>>,
    /// Whether nothing is charged, and only written down what would have been.
    pub shadow: Option<bool>,
    /// By which passes it is opened, to whoever signs in as the payer.
    pub passes: Vec<String>,
    /// How many credits of a pass one request costs; one, unless said.
    pub credits: Option<NonZeroU32>,
}

/// Something, or `false`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrOff<T> {
    /// This.
    On(T),
    /// Nothing, whatever the default is.
    Off,
}

/// So many requests are free in each period: `{ requests = 100, per = "day", by = "ip" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeQuota {
    /// How many.
    pub requests: NonZeroU64,
    /// In which period.
    #[serde(deserialize_with = "parsed")]
    pub per: Period,
    /// Who is counted.
    pub by: Subject,
}

/// So many requests may be made in each period: `{ requests = 10, per = "minute", by = "ip" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many.
    pub requests: NonZeroU64,
    /// In which period.
    #[serde(deserialize_with = "parsed")]
    pub per: Period,
    /// Who is counted.
    pub by: Subject,
    /// Whether all replicas count together, in the book: a write for each request. Otherwise each process counts for itself.
    #[serde(default)]
    pub shared: bool,
}

/// How long something is counted, such as `day` or `12 hours`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    seconds: NonZeroU64,
}

/// Who is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// An IP address; of IPv6 the network of 64 bits, which one subscriber of an access provider has.
    Ip,
    /// Who has a key or a token.
    Key,
    /// Who pays, or signs in as the payer.
    Payer,
}

/// How somebody shows to be a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// By an API key of `[gateway.keys]`.
    Key,
    /// By a signed token (JWT) as `[gateway.tokens]` says.
    Token,
}

/// What is offered beside payment, in the body of the 402 and as its links.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// Where to subscribe.
    #[serde(default, deserialize_with = "web_address")]
    pub subscribe: Option<String>,
    /// Where to pay in another way.
    #[serde(default, deserialize_with = "web_address")]
    pub checkout: Option<String>,
    /// A line for people.
    #[serde(default)]
    pub text: Option<String>,
}

/// What becomes of a request with a key or token that nobody knows, and without a payment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// It is told so (401): who believes to have subscribed is not asked for money.
    #[default]
    Refuse,
    /// It is as if nothing had been said.
    Pay,
}

/// The `[gateway.keys]` table: API keys, of which only digests are known here.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// In which header they come; in `authorization` after `Bearer`.
    #[serde(default = "api_key_header")]
    pub header: HeaderText,
    /// Whether they go on to the upstream.
    #[serde(default)]
    pub forward: bool,
    /// What becomes of wrong ones.
    #[serde(default)]
    pub unknown: Unknown,
    /// Whose key has which digest: `alice = "sha256:…"`.
    #[serde(default, deserialize_with = "pairs")]
    pub subscribers: Vec<(String, String)>,
    /// Where more of them are kept, one a line: a name, a space, a digest.
    #[serde(default)]
    pub file: Option<Reference>,
}

/// The `[gateway.tokens]` table: signed tokens (JWT) of one issuer.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// In which header they come; in `authorization` after `Bearer`.
    #[serde(default = "authorization_header")]
    pub header: HeaderText,
    /// Whether they go on to the upstream.
    #[serde(default)]
    pub forward: bool,
    /// What becomes of wrong ones.
    #[serde(default)]
    pub unknown: Unknown,
    /// By which algorithm they are signed; no other is believed.
    pub algorithm: Algorithm,
    /// Where the secret is kept that HS256 signs with.
    #[serde(default)]
    pub secret: Option<Reference>,
    /// Where the issuer's public keys are kept, as a JSON Web Key Set.
    #[serde(default)]
    pub key_set: Option<Reference>,
    /// What `iss` must be.
    #[serde(default)]
    pub issuer: Option<String>,
    /// What `aud` must be, or have in it.
    #[serde(default)]
    pub audience: Option<String>,
    /// What other claims must be, or have in them.
    #[serde(default, deserialize_with = "pairs")]
    pub claims: Vec<(String, String)>,
}

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
pub enum Algorithm {
    /// HMAC with SHA-256 and a shared secret.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSA (PKCS #1, version 1.5) with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// The `[gateway.allow]` and `[gateway.block]` tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Accounts that pay or sign in.
    #[serde(default, deserialize_with = "payers")]
    pub payers: Vec<PayerName>,
    /// IP addresses, and networks such as `203.0.113.0/24`.
    #[serde(default, deserialize_with = "addresses")]
    pub addresses: Vec<IpNet>,
}

/// An account as lists compare it: the addresses of EVM chains in small letters, others to the letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PayerName(String);

/// The `[gateway.screening]` table: who must not pay here, asked before any money moves.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Screening {
    /// Where a list of accounts is kept, one a line; from `#` on a line is a comment.
    #[serde(default)]
    pub list: Option<Reference>,
    /// Where somebody is asked about each payer.
    #[serde(default)]
    pub url: Option<Reference>,
    /// What that is asked with in `Authorization`, such as `Bearer env:SCREENING_KEY`.
    #[serde(default)]
    pub authorization: Option<Reference>,
    /// How long an answer may take.
    #[serde(default = "screening_timeout_seconds", deserialize_with = "screening_timeout")]
    pub timeout_seconds: u64,
    /// For how long an answer holds.
    #[serde(default = "screening_cache_seconds")]
    pub cache_seconds: u64,
    /// What becomes of payers of whom nothing can be learnt.
    #[serde(default)]
    pub on_error: OnError,
}

/// What becomes of payers of whom a screener says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// Nothing is sold to them now.
    #[default]
    Deny,
    /// They pay like others.
    Allow,
}

impl Entry {
    /// This, and where it says nothing what is said for all.
    #[must_use]
    pub fn or(&self, all: &Self) -> Self {
        fn first<T: Clone>(one: Option<&T>, other: Option<&T>) -> Option<T> {
            one.or(other).cloned()
        }
        Self {
            free_quota: first(self.free_quota.as_ref(), all.free_quota.as_ref()),
            subscribers: first(self.subscribers.as_ref(), all.subscribers.as_ref()),
            rate_limits: first(self.rate_limits.as_ref(), all.rate_limits.as_ref()),
            fallback: first(self.fallback.as_ref(), all.fallback.as_ref()),
            shadow: first(self.shadow.as_ref(), all.shadow.as_ref()),
            passes: self.passes.clone(),
            credits: self.credits,
        }
    }
}

impl<T> OrOff<T> {
    /// What it is, if it is on.
    pub const fn on(&self) -> Option<&T> {
        match self {
            Self::On(value) => Some(value),
            Self::Off => None,
        }
    }
}

impl Period {
    /// How long.
    #[must_use]
    pub const fn seconds(self) -> NonZeroU64 {
        self.seconds
    }
}

impl std::str::FromStr for Period {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "per: expected such as \"second\", \"minute\", \"hour\", \"day\", \"week\" or \"12 hours\"";
        let (number, unit) = text.split_once(' ').unwrap_or(("1", text));
        let unit: u64 = match unit.strip_suffix('s').unwrap_or(unit) {
            "second" => 1,
            "minute" => 60,
            "hour" => 60 * 60,
            "day" => 24 * 60 * 60,
            "week" => 7 * 24 * 60 * 60,
            _ => return Err(EXPECTED),
        };
        let number: u32 = number.parse().map_err(|_| EXPECTED)?;
        let seconds = NonZeroU64::new(u64::from(number).saturating_mul(unit)).ok_or(EXPECTED)?;
        Ok(Self { seconds })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds.get();
        let units = [(7 * 86_400, "week"), (86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
        let (unit, name) = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit)).unwrap_or((1, "second"));
        match seconds.checked_div(unit) {
            Some(1) | None => formatter.write_str(name),
            Some(number) => write!(formatter, "{number} {name}s"),
        }
    }
}

impl Subject {
    /// Such as `ip`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Key => "key",
            Self::Payer => "payer",
        }
    }
}

impl fmt::Display for FreeQuota {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} free per {} for each {}", self.requests, self.per, self.by.as_str())
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = if self.shared { ", counted in the book" } else { "" };
        write!(formatter, "at most {} per {} for each {}{counted}", self.requests, self.per, self.by.as_str())
    }
}

impl PayerName {
    /// An account, however it is written.
    #[must_use]
    pub fn of(account: &str) -> Self {
        Self(if is_hexadecimal(account) { account.to_ascii_lowercase() } else { account.to_owned() })
    }

    /// The account.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for PayerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let is_address = digits.map(|digits| digits.len() == 40 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let is_name = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_address.unwrap_or(is_name) {
            return Ok(Self::of(text));
        }
        let got: String = text.chars().take(64).collect();
        Err(format!("payers: expected an account such as 0x and 40 hexadecimal digits, got {got:?}"))
    }
}

fn is_hexadecimal(account: &str) -> bool {
    account.starts_with("0x") || account.starts_with("0X")
}

/// A table, or `false`.
pub(super) fn or_off<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OrOff<T>>, D::Error> {
    struct Either<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
        type Value = OrOff<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a table, or false")
        }

        fn visit_bool<E: Error>(self, is_on: bool) -> Result<OrOff<T>, E> {
            if is_on { Err(E::custom("expected a table that says more, or false")) } else { Ok(OrOff::Off) }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OrOff<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(OrOff::On)
        }
    }

    deserializer.deserialize_any(Either(PhantomData)).map(Some)
}

/// An address that browsers go to, and that can be part of a header.
fn web_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_web =
        text.parse::<Uri>().is_ok_and(|uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some());
    if is_web && !text.contains(['<', '>', '"']) && HeaderValue::from_str(&text).is_ok() {
        return Ok(Some(text));
    }
    Err(D::Error::custom("expected an address such as \"https://shop.example/subscribe\""))
}

fn payers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PayerName>, D::Error> {
    Vec::<String>::deserialize(deserializer)?.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let expected = "addresses: expected an IP address, or a network such as 203.0.113.0/24";
    let read = |text: &String| {
        let single = || text.parse::<std::net::IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        text.parse::<IpNet>().or_else(|_| single()).map_err(|_| D::Error::custom(format!("{expected}, got {text:?}")))
    };
    Vec::<String>::deserialize(deserializer)?.iter().map(read).collect()
}

fn screening_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seconds = u64::deserialize(deserializer)?;
    if (1..=MAX_SCREENING_TIMEOUT_SECONDS).contains(&seconds) {
        return Ok(seconds);
    }
    let max = MAX_SCREENING_TIMEOUT_SECONDS;
    Err(D::Error::custom(format!("timeout_seconds: expected 1 to {max}, so that hooks end in time, got {seconds}")))
}

fn api_key_header() -> HeaderText {
    HeaderText(HeaderName::from_static("x-api-key"))
}

const fn authorization_header() -> HeaderText {
    HeaderText(http::header::AUTHORIZATION)
}

const fn screening_timeout_seconds() -> u64 {
    DEFAULT_SCREENING_TIMEOUT_SECONDS
}

const fn screening_cache_seconds() -> u64 {
    DEFAULT_SCREENING_CACHE_SECONDS
}

#[cfg(test)]
mod tests;

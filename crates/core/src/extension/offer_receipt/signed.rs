//! Signed statements as they travel, in either form.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::jws::Jws;
use super::{Offer, Receipt, Statement, StatementError, VERSION};
use crate::json;

/// A signed statement. `Debug` does not show the signature.
#[derive(Clone, PartialEq, Eq)]
pub enum Signed<T> {
    /// A JWS in its compact form, with the statement in it.
    Jws(String),
    /// EIP-712: the statement, and 65 bytes in hexadecimal.
    Eip712 {
        /// What is signed.
        payload: T,
        /// The signature.
        signature: String,
    },
}

/// A signed statement as it travels.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope<T> {
    /// Which entry of `accepts` an offer is about: a hint, not signed.
    pub accept_index: Option<usize>,
    /// The statement.
    pub signed: Signed<T>,
}

/// A signed offer as it travels.
pub type SignedOffer = Envelope<Offer>;
/// A signed receipt as it travels.
pub type SignedReceipt = Envelope<Receipt>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<T> {
    format: String,
    #[serde(default = "nothing", skip_serializing_if = "Option::is_none")]
    accept_index: Option<usize>,
    #[serde(default = "nothing", skip_serializing_if = "Option::is_none")]
    payload: Option<T>,
    signature: String,
}

const fn nothing<T>() -> Option<T> {
    None
}

pub(super) const JWS: &str = "jws";
pub(super) const EIP712: &str = "eip712";

impl<T: Statement> Serialize for Envelope<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let accept_index = self.accept_index;
        match &self.signed {
            Signed::Jws(signature) => {
                let (format, signature) = (JWS.to_owned(), signature.clone());
                Wire::<T> { format, accept_index, payload: None, signature }.serialize(serializer)
            }
            Signed::Eip712 { payload, signature } => {
                let (format, signature) = (EIP712.to_owned(), signature.clone());
                Wire { format, accept_index, payload: Some(payload.clone()), signature }.serialize(serializer)
            }
        }
    }
}

impl<'de, T: Statement> Deserialize<'de> for Envelope<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wire = Wire::<T>::deserialize(deserializer)?;
        let signed = match (wire.format.as_str(), wire.payload) {
            (JWS, None) => Signed::Jws(wire.signature),
            (JWS, Some(_)) => return Err(serde::de::Error::custom("payload: a jws carries its own; leave it out")),
            (EIP712, Some(payload)) => Signed::Eip712 { payload, signature: wire.signature },
            (EIP712, None) => return Err(serde::de::Error::custom("payload: missing; an eip712 signature is beside it")),
            _ => return Err(serde::de::Error::custom("format: expected jws or eip712")),
        };
        Ok(Self { accept_index: wire.accept_index, signed })
    }
}

impl<T> fmt::Debug for Signed<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Jws(_) => "Signed(jws)",
            Self::Eip712 { .. } => "Signed(eip712)",
        })
    }
}

impl<T> fmt::Debug for Envelope<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} for {:?}", self.signed, self.accept_index)
    }
}

impl<T: Statement> Signed<T> {
    /// What is signed. Whose signature it is, only an [`OfferVerifier`](super::OfferVerifier) says.
    pub fn statement(&self) -> Result<T, StatementError> {
        let statement: T = match self {
            Self::Jws(text) => json::read(Jws::read(text)?.payload()).map_err(StatementError::Content)?,
            Self::Eip712 { payload, .. } => payload.clone(),
        };
        match statement.version() {
            VERSION => Ok(statement),
            other => Err(StatementError::Version(other)),
        }
    }
}

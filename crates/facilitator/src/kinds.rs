//! What is served: exactly the kinds that the schemes list, by protocol version, scheme and network.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use farthing_core::books::PaymentRecord;
use farthing_core::erased::{AnyFacilitatorScheme, FacilitatorSchemes};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{PaymentRequest, Version};

use crate::builder::BuildError;
use crate::metrics::Labels;

/// The most kinds that a refusal lists.
const MAX_LISTED_KINDS: usize = 20;

/// The schemes, and which of them serves which kind.
pub(crate) struct Kinds {
    schemes: FacilitatorSchemes,
    /// By scheme and network: in which versions, each by which of the schemes.
    served: HashMap<String, HashMap<Network, Vec<(Version, usize)>>>,
    listed: String,
    labels: HashMap<(String, Network), Labels>,
}

impl Kinds {
    pub(crate) fn of(schemes: FacilitatorSchemes) -> Result<Self, BuildError> {
        let mut served: HashMap<String, HashMap<Network, Vec<(Version, usize)>>> = HashMap::new();
        let mut names = Vec::new();
        let mut labels = HashMap::new();
        for (index, scheme) in schemes.iter().enumerate() {
            for kind in scheme.kinds() {
                let name = format!("{} on {}", kind.scheme, kind.network);
                labels.insert((kind.scheme.clone(), kind.network.clone()), Labels::of(&kind.scheme, &kind.network));
                let versions = served.entry(kind.scheme).or_default().entry(kind.network).or_default();
                if versions.iter().any(|(version, _)| *version == kind.x402_version) {
                    return Err(BuildError::DuplicateKind(name));
                }
                if versions.is_empty() {
                    names.push(name);
                }
                versions.push((kind.x402_version, index));
            }
        }
        if served.is_empty() {
            return Err(BuildError::NoKinds);
        }
        Ok(Self { schemes, served, listed: list(&names), labels })
    }

    pub(crate) fn schemes(&self) -> &FacilitatorSchemes {
        &self.schemes
    }

    /// Every network that is served, in order.
    pub(crate) fn networks(&self) -> BTreeSet<Network> {
        self.served.values().flat_map(HashMap::keys).cloned().collect()
    }

    /// The scheme that knows what became of a payment in the book, whatever the version of the request that brought it.
    pub(crate) fn scheme_of(&self, record: &PaymentRecord) -> Option<&Arc<dyn AnyFacilitatorScheme>> {
        let (_, index) = self.served.get(&record.scheme)?.get(&record.network)?.first()?;
        self.schemes.get(*index)
    }

    /// Under which labels a request is counted: those of its kind if that is served, so that no caller can make new ones.
    pub(crate) fn labels(&self, request: &PaymentRequest) -> Labels {
        let kind = (request.requirements.scheme.clone(), request.requirements.network.clone());
        self.labels.get(&kind).cloned().unwrap_or_else(Labels::other)
    }

    /// The scheme that serves what the seller asks for.
    pub(crate) fn scheme_for(&self, request: &PaymentRequest) -> Result<&Arc<dyn AnyFacilitatorScheme>, Refusal> {
        let (scheme, network) = (&request.requirements.scheme, &request.requirements.network);
        let networks = self.served.get(scheme);
        let networks = networks.ok_or_else(|| self.not_served(Reason::UnsupportedScheme, "scheme", &quoted(scheme)))?;
        let versions = networks.get(network);
        let versions = versions.ok_or_else(|| self.not_served(Reason::InvalidNetwork, "network", &quoted(network.as_str())))?;
        let serving = versions.iter().find(|(version, _)| *version == request.version);
        serving.and_then(|(_, index)| self.schemes.get(*index)).ok_or_else(|| {
            let expected = if request.version == Version::V1 { Version::V2 } else { Version::V1 };
            let expected = format!("{}, the only version in which {scheme} on {network} is served here", expected.number());
            Refusal::mismatch(Reason::InvalidX402Version, "x402Version", expected, request.version.number())
        })
    }

    fn not_served(&self, reason: Reason, field: &str, got: &str) -> Refusal {
        Refusal::mismatch(reason, field, format!("one of what is served here ({})", self.listed), got)
    }
}

/// A peer's text, short enough for a log line or a message.
pub(crate) fn short(text: &str) -> &str {
    const MAX_SHOWN_CHARS: usize = 100;
    text.char_indices().nth(MAX_SHOWN_CHARS).map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

fn quoted(text: &str) -> String {
    format!("{:?}", short(text))
}

fn list(names: &[String]) -> String {
    let shown = names.get(..MAX_LISTED_KINDS).unwrap_or(names).join(", ");
    match names.len().saturating_sub(MAX_LISTED_KINDS) {
        0 => shown,
        more => format!("{shown} and {more} more, see /supported"),
    }
}

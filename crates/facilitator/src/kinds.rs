//! What is served: exactly the kinds that the schemes list, by protocol version, scheme and network.

use std::collections::HashMap;
use std::sync::Arc;

use farthing_core::erased::{AnyFacilitatorScheme, FacilitatorSchemes};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{PaymentRequest, Version};

use crate::local::{BuildError, short};

/// The most kinds that a refusal lists.
const MAX_LISTED_KINDS: usize = 20;

/// The schemes, and which of them serves which kind.
pub(crate) struct Kinds {
    schemes: FacilitatorSchemes,
    served: HashMap<(String, Network), Vec<(Version, usize)>>,
    listed: String,
}

impl Kinds {
    pub(crate) fn of(schemes: FacilitatorSchemes) -> Result<Self, BuildError> {
        let mut served: HashMap<(String, Network), Vec<(Version, usize)>> = HashMap::new();
        let mut names = Vec::new();
        for (index, kind) in
            schemes.iter().enumerate().flat_map(|(index, scheme)| scheme.kinds().into_iter().map(move |kind| (index, kind)))
        {
            let name = format!("{} on {}", kind.scheme, kind.network);
            let versions = served.entry((kind.scheme, kind.network)).or_default();
            if versions.iter().any(|(version, _)| *version == kind.x402_version) {
                return Err(BuildError::DuplicateKind(name));
            }
            if versions.is_empty() {
                names.push(name);
            }
            versions.push((kind.x402_version, index));
        }
        if served.is_empty() {
            return Err(BuildError::NoKinds);
        }
        Ok(Self { schemes, served, listed: list(&names) })
    }

    pub(crate) fn schemes(&self) -> &FacilitatorSchemes {
        &self.schemes
    }

    /// The scheme that serves what the seller asks for.
    pub(crate) fn scheme_for(&self, request: &PaymentRequest) -> Result<&Arc<dyn AnyFacilitatorScheme>, Refusal> {
        let (scheme, network) = (&request.requirements.scheme, &request.requirements.network);
        let Some(versions) = self.served.get(&(scheme.clone(), network.clone())) else {
            let (reason, field, got) = if self.served.keys().any(|(served, _)| served == scheme) {
                (Reason::InvalidNetwork, "network", network.as_str())
            } else {
                (Reason::UnsupportedScheme, "scheme", short(scheme))
            };
            return Err(self.not_served(reason, field, format!("{got:?}")));
        };
        let by_version = versions.iter().find(|(version, _)| *version == request.version);
        by_version
            .and_then(|(_, index)| self.schemes.get(*index))
            .ok_or_else(|| self.not_served(Reason::InvalidX402Version, "x402Version", request.version.number().to_string()))
    }

    fn not_served(&self, reason: Reason, field: &str, got: String) -> Refusal {
        Refusal::mismatch(reason, field, format!("one of what is served here ({})", self.listed), got)
    }
}

fn list(names: &[String]) -> String {
    let shown = names.get(..MAX_LISTED_KINDS).unwrap_or(names).join(", ");
    match names.len().saturating_sub(MAX_LISTED_KINDS) {
        0 => shown,
        more => format!("{shown} and {more} more, see /supported"),
    }
}

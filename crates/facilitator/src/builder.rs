//! How a facilitator is put together, and why one may not be.

use std::sync::Arc;

use farthing_core::books::Settlements;
use farthing_core::erased::{AnyFacilitatorScheme, FacilitatorSchemes};
use farthing_core::time::Clock;

use crate::book::Book;
use crate::callers::Callers;
use crate::hooks::{HookList, Hooks};
use crate::kinds::Kinds;
use crate::local::Local;

/// Makes a [`Local`].
#[derive(Default)]
#[must_use]
pub struct Builder {
    schemes: FacilitatorSchemes,
    settlements: Option<Arc<dyn Settlements>>,
    clock: Option<Arc<dyn Clock>>,
    callers: Option<Callers>,
    hooks: Vec<Arc<dyn Hooks>>,
}

/// Why there is no facilitator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// No scheme can settle anything.
    #[error("no scheme serves any network; configure at least one")]
    NoKinds,
    /// Two schemes claim the same kind, so that it would not be clear which one settles.
    #[error("{0} is served by two schemes; configure each kind once")]
    DuplicateKind(String),
    /// Nothing may be settled without a book.
    #[error("no settlements book was given; without one a crash would lose payments")]
    NoSettlements,
    /// Nothing can be dated without a clock.
    #[error("no clock was given; the lines of the book could not be dated")]
    NoClock,
}

impl Builder {
    /// Adds schemes; what they say they serve is served, and nothing else.
    pub fn schemes(mut self, schemes: impl IntoIterator<Item = Arc<dyn AnyFacilitatorScheme>>) -> Self {
        self.schemes.extend(schemes);
        self
    }

    /// The book of what was sent; the same one that the schemes' relayers write into.
    pub fn settlements(mut self, settlements: Arc<dyn Settlements>) -> Self {
        self.settlements = Some(settlements);
        self
    }

    /// The present moment, for the book's lines and the callers' quotas.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Who may verify and settle over HTTP, and how much; everybody, as much as they like, unless set.
    pub fn callers(mut self, callers: Callers) -> Self {
        self.callers = Some(callers);
        self
    }

    /// Adds code of the operator's own around verifications and settlements; it is asked after what was added before.
    pub fn hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks.push(hooks);
        self
    }

    /// The facilitator.
    pub fn build(self) -> Result<Local, BuildError> {
        let kinds = Kinds::of(self.schemes)?;
        let settlements = self.settlements.ok_or(BuildError::NoSettlements)?;
        let clock = self.clock.ok_or(BuildError::NoClock)?;
        Ok(Local::new(kinds, Book { settlements, clock }, self.callers, HookList::new(self.hooks)))
    }
}

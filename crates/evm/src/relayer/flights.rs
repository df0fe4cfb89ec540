//! What is under way on one chain: every number of a lane that is not final, with the transactions signed for it and the
//! orders that they carry.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use alloy_primitives::{B256, Bytes};
use farthing_core::books::{Landing, LaneLease, UnderWay};
use farthing_core::scheme::TransactionId;
use farthing_core::time::UnixSeconds;
use tokio::time::Instant;

use super::batch::{Offered, Signed};
use super::order::{Mined, RelayError};
use super::queue::Ticket;
use crate::rpc::Receipt;
use crate::text::fixed_hex;

/// A lane and one of its numbers.
pub(super) type Place = (usize, u64);

/// One number of a lane.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact that is learnt apart from the others")]
pub(super) struct Flight {
    /// Every transaction that was signed for it, oldest first. At most one can land.
    pub(super) hashes: Vec<B256>,
    /// The newest of them, where it was signed by this relayer and is not mined: otherwise it is read from the book when it is
    /// needed, so that what is long under way takes little memory.
    pub(super) newest: Option<Bytes>,
    /// What the newest of them can cost, in wei.
    pub(super) cost_wei: u128,
    pub(super) tickets: Vec<Ticket>,
    /// Whether it carries one order by itself.
    pub(super) alone: bool,
    /// When the last of its payments runs out, where that is known.
    pub(super) expires_at: Option<UnixSeconds>,
    /// When the newest transaction was signed.
    pub(super) since: Instant,
    pub(super) rebroadcast_at: Instant,
    pub(super) landed: Option<Landed>,
    /// The node has to be asked for its receipt once, because the blocks that may hold it were not all seen.
    pub(super) ask: bool,
    /// It is in a block that was seen, so there must be a receipt.
    pub(super) seen: bool,
    /// The node refused it because its number is used, and does not know it.
    pub(super) number_refused: bool,
    /// Since when the chain has counted its number without having it.
    pub(super) missed_since: Option<Instant>,
    /// Its number was used up by a transaction that is not ours.
    pub(super) foreign: Option<Foreign>,
    /// The book may have conclusions from one of its transactions' being mined.
    pub(super) concluded: bool,
}

/// A number that somebody else has used. It is kept until that is final: a receipt of ours may only be late.
#[derive(Clone, Copy)]
pub(super) struct Foreign {
    /// The height at which it was noticed.
    pub(super) height: u64,
    /// Whether those who waited for it were told.
    pub(super) parted: bool,
}

/// Where one of a flight's transactions was mined.
#[derive(Clone)]
pub(super) struct Landed {
    pub(super) landing: Landing,
    pub(super) hash: B256,
    pub(super) block: B256,
    /// Kept until who waits has it.
    pub(super) receipt: Option<Arc<Receipt>>,
}

/// What is under way on one chain.
#[derive(Default)]
pub(super) struct Flights {
    all: BTreeMap<Place, Flight>,
    places: HashMap<B256, Place>,
    leases: HashMap<usize, LaneLease>,
    /// What the book says of landings was not compared with the chain yet.
    doubt: bool,
}

impl Flight {
    /// A transaction that was just written down.
    pub(super) fn new(signed: Signed, tickets: Vec<Ticket>, rebroadcast_at: Instant) -> Self {
        Self {
            alone: tickets.len() == 1,
            expires_at: tickets.iter().map(|ticket| ticket.order.payment.expires_at).max(),
            hashes: vec![signed.hash],
            newest: Some(signed.bytes),
            cost_wei: signed.cost_wei,
            tickets,
            since: Instant::now(),
            rebroadcast_at,
            landed: None,
            ask: false,
            seen: false,
            number_refused: false,
            missed_since: None,
            foreign: None,
            concluded: false,
        }
    }

    /// What an earlier lease of the lane left. `None` if it is not something that this relayer can have written.
    pub(super) fn adopted(under_way: &UnderWay) -> Option<Self> {
        let hashes = under_way.transactions.iter().map(|(transaction, _)| fixed_hex(&transaction.0).map(B256::new));
        let hashes = hashes.collect::<Option<Vec<_>>>()?;
        let (_, newest) = under_way.transactions.last()?;
        let cost_wei = Offered::read(newest)?.cost_wei();
        let landed = match &under_way.landing {
            None => None,
            Some(landing) => Some(Landed {
                hash: fixed_hex(&landing.transaction.0).map(B256::new)?,
                block: fixed_hex(&landing.block).map(B256::new)?,
                landing: landing.clone(),
                receipt: None,
            }),
        };
        Some(Self {
            hashes,
            newest: None,
            cost_wei,
            tickets: Vec::new(),
            alone: under_way.payments.len() == 1,
            expires_at: under_way.expires_at,
            since: Instant::now(),
            rebroadcast_at: Instant::now(),
            landed,
            ask: true,
            seen: false,
            number_refused: false,
            missed_since: None,
            foreign: None,
            concluded: under_way.landing.is_some(),
        })
    }

    /// Whether it waits for a block.
    pub(super) const fn is_in_line(&self) -> bool {
        self.landed.is_none() && self.foreign.is_none()
    }

    /// The height at which nothing more was to come of it, if history stays as it is.
    pub(super) fn ended_at(&self) -> Option<u64> {
        let landed_at = self.landed.as_ref().map(|landed| landed.landing.height);
        landed_at.or_else(|| self.foreign.filter(|foreign| foreign.parted).map(|foreign| foreign.height))
    }

    /// Whether the node has to be asked for its receipt.
    pub(super) const fn is_asked_for(&self) -> bool {
        self.ask || self.seen || self.number_refused || self.missed_since.is_some()
    }

    /// The newest transaction's name.
    pub(super) fn id(&self) -> TransactionId {
        TransactionId(self.hashes.last().copied().unwrap_or_default().to_string())
    }

    /// Tells who waits that nothing is known.
    pub(super) fn unknown(&mut self) {
        let id = self.id();
        for ticket in self.tickets.drain(..) {
            ticket.answer(Err(RelayError::Unknown(id.clone())));
        }
    }

    /// Tells who waits, if it is deep enough.
    pub(super) fn confirm(&mut self, height: u64, blocks: u64) {
        let Some(landed) = &self.landed else { return };
        let depth = height.saturating_sub(landed.landing.height).saturating_add(1);
        let Some(receipt) = landed.receipt.as_ref().filter(|_| depth >= blocks).cloned() else { return };
        for ticket in self.tickets.drain(..) {
            ticket.answer(Ok(Mined { transaction: landed.hash, receipt: receipt.clone(), alone: self.alone }));
        }
    }
}

impl Flights {
    /// A lane of this node's.
    pub(super) fn open(&mut self, lane: usize, lease: LaneLease) {
        self.leases.insert(lane, lease);
    }

    /// The lane is not this node's any more: what was on it is forgotten.
    pub(super) fn shut(&mut self, lane: usize) -> Vec<Flight> {
        self.leases.remove(&lane);
        let sequences: Vec<u64> = self.lane(lane).map(|(sequence, _)| sequence).collect();
        sequences.into_iter().filter_map(|sequence| self.remove((lane, sequence))).collect()
    }

    pub(super) fn lease(&self, lane: usize) -> Option<&LaneLease> {
        self.leases.get(&lane)
    }

    /// What comes from the book. Its block may have vanished while nobody followed it, or nobody could write that down.
    pub(super) fn adopt(&mut self, place: Place, flight: Flight) {
        self.doubt |= flight.landed.is_some();
        self.insert(place, flight);
    }

    /// Whether a landing was adopted since this was asked last.
    pub(super) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.doubt)
    }

    /// Whether a landing was adopted since [`Self::take_doubt`].
    pub(super) const fn has_doubt(&self) -> bool {
        self.doubt
    }

    pub(super) fn insert(&mut self, place: Place, flight: Flight) {
        self.places.extend(flight.hashes.iter().map(|hash| (*hash, place)));
        self.all.insert(place, flight);
    }

    /// A transaction for the same number that may have been written down: it is asked for, and broadcast if the book has it.
    pub(super) fn suspect(&mut self, place: Place, hash: B256) {
        if let Some(flight) = self.all.get_mut(&place) {
            self.places.insert(hash, place);
            flight.hashes.push(hash);
            flight.newest = None;
        }
    }

    /// Another transaction for the same number.
    pub(super) fn replace(&mut self, place: Place, signed: Signed) {
        if let Some(flight) = self.all.get_mut(&place) {
            self.places.insert(signed.hash, place);
            flight.hashes.push(signed.hash);
            flight.newest = Some(signed.bytes);
            flight.cost_wei = signed.cost_wei;
            flight.since = Instant::now();
        }
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<Flight> {
        let flight = self.all.remove(&place)?;
        for hash in &flight.hashes {
            self.places.remove(hash);
        }
        Some(flight)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Flight> {
        self.all.get_mut(&place)
    }

    /// Whose transaction that is.
    pub(super) fn place(&self, hash: B256) -> Option<Place> {
        self.places.get(&hash).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Flight)> {
        self.all.iter().map(|(place, flight)| (*place, flight))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Place, &mut Flight)> {
        self.all.iter_mut().map(|(place, flight)| (*place, flight))
    }

    /// One lane's numbers, in their order.
    pub(super) fn lane(&self, lane: usize) -> impl Iterator<Item = (u64, &Flight)> {
        self.all.range((lane, 0)..=(lane, u64::MAX)).map(|((_, sequence), flight)| (*sequence, flight))
    }

    /// What waits for a block on one lane.
    pub(super) fn unmined(&self, lane: usize) -> impl Iterator<Item = (u64, &Flight)> {
        self.lane(lane).filter(|(_, flight)| flight.is_in_line())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

//! The server's book of those who sign in: who has paid for what, and which nonces are used up.
//!
//! | a nonce that is | becomes | by | answer |
//! |---|---|---|---|
//! | not in the book | used | `use_nonce` | `true` |
//! | used | used | `use_nonce` | `false` |
//! | used, and too old for any sign-in | not in the book | a later `use_nonce` of whatever nonce | |
//!
//! | a resource that a payer | becomes | by |
//! |---|---|---|
//! | was not granted | granted, for so long | `grant` |
//! | was granted | granted until the later of both moments | `grant` |
//! | was granted until a moment that has passed | not granted | time |
//!
//! A grant is written after its payment is settled. Losing one costs the payer another payment and the seller nothing, so
//! it may be written late; a nonce must be used up before anything is given for it.
//!
//! An address may be one person's on one chain and somebody else's on another, if it is a contract. So a grant names the
//! network on which it was paid for, and a [`Visit`] says how far its signature reaches.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{BookError, locked};
use crate::BoxFuture;
use crate::asset::AccountId;
use crate::network::Network;
use crate::time::UnixSeconds;

/// The longest name of a resource that is granted, in bytes. Longer ones are never granted.
pub const MAX_RESOURCE_BYTES: usize = 2048;
/// How long a used nonce is remembered after no sign-in with it can be good any more: clocks of nodes differ.
pub const KEEP_USED_NONCE_SECONDS: u64 = 60;

/// How many old nonces one use of another forgets in memory, at most.
const FORGOTTEN_PER_USE_MAX: usize = 2;

/// Who may have what without paying again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What was paid for, as the server names it: the path, for the official SDKs.
    pub resource: String,
    /// Where it was paid for.
    pub network: Network,
    /// Who paid, as the chain's crate writes accounts.
    pub payer: AccountId,
    /// The last moment of it; `None` for ever.
    pub until: Option<UnixSeconds>,
}

/// How far a signature shows who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The account's own key made it, and the account is that key's on every chain of the family.
    Family,
    /// A contract on this network agreed to it.
    Network,
}

/// Somebody who has signed in and asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// What is asked for, named as in [`Grant::resource`].
    pub resource: String,
    /// The network of the sign-in.
    pub network: Network,
    /// Who, as the chain's crate writes accounts.
    pub payer: AccountId,
    /// How far the signature reaches.
    pub reach: Reach,
    /// The present moment.
    pub now: UnixSeconds,
}

/// Who may come back without paying. Each call is durable when it returns; after an error it may or may not be.
pub trait SignIns: Send + Sync {
    /// Uses a nonce up; `false` if it was used before. Of many concurrent uses one gets `true`. It is remembered until the
    /// moment from which no sign-in with it can be good, and [`KEEP_USED_NONCE_SECONDS`] longer.
    fn use_nonce<'a>(
        &'a self,
        nonce: &'a str,
        useless_from: UnixSeconds,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<bool, BookError>>;

    /// Somebody has paid. A resource with a name longer than [`MAX_RESOURCE_BYTES`] is not written down.
    fn grant<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<(), BookError>>;

    /// Whether a visitor has paid: on the sign-in's network, or, if the signature reaches so far, on any of its family.
    fn is_granted<'a>(&'a self, visit: &'a Visit) -> BoxFuture<'a, Result<bool, BookError>>;
}

/// A book of sign-ins that dies with the process. Every clone is the same book.
#[derive(Clone, Debug, Default)]
pub struct MemorySignIns {
    book: Arc<Mutex<Book>>,
}

/// On which networks something was paid for, and until when it is open for that.
type Paid = Vec<(Network, Option<UnixSeconds>)>;

#[derive(Debug, Default)]
struct Book {
    used: HashSet<String>,
    /// The used nonces by the moment from which they are useless, the first of them first.
    ageing: BTreeSet<(UnixSeconds, String)>,
    /// By resource and payer.
    grants: HashMap<(String, AccountId), Paid>,
}

impl MemorySignIns {
    fn book(&self) -> MutexGuard<'_, Book> {
        locked(&self.book)
    }
}

impl Book {
    fn forget(&mut self, now: UnixSeconds) {
        for _ in 0..FORGOTTEN_PER_USE_MAX {
            let Some((at, _)) = self.ageing.first() else { return };
            if at.plus(KEEP_USED_NONCE_SECONDS) >= now {
                return;
            }
            if let Some((_, nonce)) = self.ageing.pop_first() {
                self.used.remove(&nonce);
            }
        }
    }
}

/// A book in memory never waits.
fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, BookError>> {
    Box::pin(std::future::ready(Ok(value)))
}

/// The later of two ends, of which `None` is never.
fn later(one: Option<UnixSeconds>, other: Option<UnixSeconds>) -> Option<UnixSeconds> {
    one.zip(other).map(|(one, other)| one.max(other))
}

impl SignIns for MemorySignIns {
    fn use_nonce<'a>(
        &'a self,
        nonce: &'a str,
        useless_from: UnixSeconds,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<bool, BookError>> {
        let mut book = self.book();
        book.forget(now);
        let is_new = book.used.insert(nonce.to_owned());
        if is_new {
            book.ageing.insert((useless_from, nonce.to_owned()));
        }
        ready(is_new)
    }

    fn grant<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<(), BookError>> {
        if grant.resource.len() <= MAX_RESOURCE_BYTES {
            let mut book = self.book();
            let granted = book.grants.entry((grant.resource.clone(), grant.payer.clone())).or_default();
            match granted.iter_mut().find(|(network, _)| *network == grant.network) {
                Some((_, until)) => *until = later(*until, grant.until),
                None => granted.push((grant.network.clone(), grant.until)),
            }
        }
        ready(())
    }

    fn is_granted<'a>(&'a self, visit: &'a Visit) -> BoxFuture<'a, Result<bool, BookError>> {
        let book = self.book();
        let granted = book.grants.get(&(visit.resource.clone(), visit.payer.clone()));
        let reaches = |network: &Network| match visit.reach {
            Reach::Family => network.namespace() == visit.network.namespace(),
            Reach::Network => *network == visit.network,
        };
        let holds = |until: &Option<UnixSeconds>| until.is_none_or(|until| visit.now <= until);
        ready(granted.is_some_and(|granted| granted.iter().any(|(network, until)| reaches(network) && holds(until))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::now as answer;
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_000_000);
    const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

    fn grant(resource: &str, network: &str, until: Option<UnixSeconds>) -> Grant {
        let (network, payer) = (network.parse().unwrap(), PAYER.parse().unwrap());
        Grant { resource: resource.to_owned(), network, payer, until }
    }

    fn visit(resource: &str, network: &str, reach: Reach) -> Visit {
        let (network, payer) = (network.parse().unwrap(), PAYER.parse().unwrap());
        Visit { resource: resource.to_owned(), network, payer, reach, now: NOW }
    }

    fn is_granted(book: &MemorySignIns, visit: &Visit) -> bool {
        answer(book.is_granted(visit))
    }

    #[test]
    fn a_nonce_is_good_once() {
        let book = MemorySignIns::default();
        let useless_from = NOW.plus(300);
        assert!(answer(book.use_nonce("one", useless_from, NOW)));
        assert!(!answer(book.clone().use_nonce("one", useless_from, NOW)));
        assert!(answer(book.use_nonce("two", useless_from, NOW)));
    }

    #[test]
    fn a_nonce_is_remembered_as_long_as_a_sign_in_with_it_could_be_good_and_not_much_longer() {
        let book = MemorySignIns::default();
        let useless_from = NOW.plus(300);
        assert!(answer(book.use_nonce("one", useless_from, NOW)));
        assert!(!answer(book.use_nonce("one", useless_from, useless_from.plus(KEEP_USED_NONCE_SECONDS))));
        for number in 0..1000 {
            let now = NOW.plus(number * 60);
            assert!(answer(book.use_nonce(&number.to_string(), now.plus(300), now)));
        }
        let book = book.book();
        assert_eq!((book.used.len(), book.ageing.len()), (7, 7));
    }

    #[test]
    fn what_was_paid_for_opens_to_who_paid_and_nothing_else_does() {
        let book = MemorySignIns::default();
        answer(book.grant(&grant("/paid", "eip155:84532", None)));
        assert!(is_granted(&book, &visit("/paid", "eip155:84532", Reach::Network)));
        assert!(!is_granted(&book, &visit("/other", "eip155:84532", Reach::Family)));
        let other = Visit { payer: "0x0".parse().unwrap(), ..visit("/paid", "eip155:84532", Reach::Family) };
        assert!(!is_granted(&book, &other));
        let long = "/".repeat(MAX_RESOURCE_BYTES + 1);
        answer(book.grant(&grant(&long, "eip155:84532", None)));
        assert!(!is_granted(&book, &visit(&long, "eip155:84532", Reach::Family)));
    }

    #[test]
    fn a_contract_is_itself_on_its_own_network_only_and_a_key_on_the_whole_family() {
        let book = MemorySignIns::default();
        answer(book.grant(&grant("/paid", "eip155:84532", None)));
        assert!(is_granted(&book, &visit("/paid", "eip155:1", Reach::Family)));
        assert!(!is_granted(&book, &visit("/paid", "eip155:1", Reach::Network)));
        assert!(!is_granted(&book, &visit("/paid", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", Reach::Family)));
    }

    #[test]
    fn a_grant_lasts_until_the_latest_moment_that_was_paid_for() {
        let book = MemorySignIns::default();
        let at = |now| Visit { now, ..visit("/paid", "eip155:1", Reach::Family) };
        answer(book.grant(&grant("/paid", "eip155:1", Some(NOW.plus(10)))));
        answer(book.grant(&grant("/paid", "eip155:1", Some(NOW.plus(5)))));
        assert!(is_granted(&book, &at(NOW.plus(10))) && !is_granted(&book, &at(NOW.plus(11))));
        answer(book.grant(&grant("/paid", "eip155:1", None)));
        answer(book.grant(&grant("/paid", "eip155:1", Some(NOW))));
        assert!(is_granted(&book, &at(NOW.plus(1_000_000))));
    }
}

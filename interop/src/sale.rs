//! What is bought through whom: which combinations of roles are tested, and which cannot be.

use std::fmt;

use crate::{
    goods::Good,
    roles::{Client, Combination, Facilitator, Server},
};

/// A good that is bought through a combination of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sale {
    /// What is bought.
    pub good: Good,
    /// Who buys it where.
    pub by: Combination,
}

/// Why a sale cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The client cannot buy it.
    Client(&'static str),
    /// The server cannot sell it.
    Server(&'static str),
    /// The facilitator cannot settle it.
    Facilitator(&'static str),
}

const NO_STATEMENTS: &str = "the Python SDK has no offer-receipt";

impl Sale {
    /// Every good through every combination that it is to be sold by, possible or not.
    pub fn all() -> impl Iterator<Item = Self> {
        let combinations = |good: &Good| {
            let plain = if good.is_plain() { Combination::PLAIN } else { &[] };
            let by_gateways = if good.is_for_gateways() { Combination::GATEWAY } else { &[] };
            Combination::SQUARE.iter().chain(plain).chain(by_gateways)
        };
        Good::ALL.iter().flat_map(move |good| combinations(good).map(move |by| Self { good: *good, by: *by }))
    }

    /// What is tested: each once, and where somebody cannot, Farthing stands in.
    pub fn possible() -> Vec<Self> {
        let mut sales = Vec::new();
        for sale in Self::all().map(Self::with_stand_ins) {
            if !sales.contains(&sale) {
                sales.push(sale);
            }
        }
        sales
    }

    /// Those that tell something of Farthing.
    pub fn ours() -> Vec<Self> {
        Self::possible().into_iter().filter(|sale| sale.by.has_farthing()).collect()
    }

    /// Those of the peers among themselves.
    pub fn theirs() -> Vec<Self> {
        Self::possible().into_iter().filter(|sale| !sale.by.has_farthing()).collect()
    }

    /// Why it cannot be, if so. Whatever is not here is tested.
    pub const fn obstacle(self) -> Option<Obstacle> {
        match (self.good, self.by) {
            (Good::Foretold, Combination { facilitator: Facilitator::Python, .. }) => {
                let why = "it calls the factory in a transaction without a chain id, which nodes refuse";
                Some(Obstacle::Facilitator(why))
            }
            (good, Combination { client: Client::PythonHttpx, .. }) if good.is_signed() => {
                Some(Obstacle::Client(NO_STATEMENTS))
            }
            (good, Combination { server: Server::Python, .. }) if good.is_signed() => Some(Obstacle::Server(NO_STATEMENTS)),
            _ => None,
        }
    }

    /// The same with Farthing in the place of whoever cannot.
    fn with_stand_ins(mut self) -> Self {
        while let Some(obstacle) = self.obstacle() {
            match obstacle {
                Obstacle::Client(_) => self.by.client = Client::Farthing,
                Obstacle::Server(_) => self.by.server = Server::Farthing,
                Obstacle::Facilitator(_) => self.by.facilitator = Facilitator::Farthing,
            }
        }
        self
    }
}

impl fmt::Display for Sale {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}_{}", self.good, self.by)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn is_possible(good: Good, client: Client, server: Server, facilitator: Facilitator) -> bool {
        Sale { good, by: Combination { client, server, facilitator } }.obstacle().is_none()
    }

    #[test]
    fn every_pairing_with_farthing_in_it_that_can_be_is_tested_with_every_good() {
        let (clients, servers) = (Combination::CLIENTS, Combination::SERVERS);
        for good in Good::ALL.iter().copied() {
            let tested: Vec<Combination> = Sale::ours().iter().filter(|sale| sale.good == good).map(|sale| sale.by).collect();
            for client in clients {
                for server in servers {
                    let can_be = Facilitator::ALL.iter().any(|facilitator| is_possible(good, client, server, *facilitator));
                    let is_ours = client == Client::Farthing || server == Server::Farthing;
                    let is_tested = tested.iter().any(|by| by.client == client && by.server == server);
                    assert!(is_tested || !can_be || !is_ours, "{good}: {client} buys from {server}");
                }
                for facilitator in Facilitator::ALL.iter().copied() {
                    let can_be = servers.iter().any(|server| is_possible(good, client, *server, facilitator));
                    let is_ours = client == Client::Farthing || facilitator == Facilitator::Farthing;
                    let is_tested = tested.iter().any(|by| by.client == client && by.facilitator == facilitator);
                    assert!(is_tested || !can_be || !is_ours, "{good}: {facilitator} settles for {client}");
                }
            }
            for server in servers {
                for facilitator in Facilitator::ALL.iter().copied() {
                    let can_be = clients.iter().any(|client| is_possible(good, *client, server, facilitator));
                    let is_ours = server == Server::Farthing || facilitator == Facilitator::Farthing;
                    let is_tested = tested.iter().any(|by| by.server == server && by.facilitator == facilitator);
                    assert!(is_tested || !can_be || !is_ours, "{good}: {facilitator} settles for {server}");
                }
            }
        }
    }

    #[test]
    fn every_client_buys_from_a_gateway_everything_that_its_file_can_describe() {
        let tested = Sale::ours();
        for good in Good::ALL.iter().copied().filter(|good| good.is_for_gateways()) {
            for client in Combination::CLIENTS {
                let is_tested = |sale: &Sale| {
                    let by = sale.by;
                    sale.good == good && by.client == client && by.server == Server::Gateway
                };
                assert!(tested.iter().any(is_tested), "{good}: {client} buys from a gateway");
            }
        }
    }

    #[test]
    fn what_is_tested_and_what_cannot_be_is_counted() {
        let sales = Sale::possible();
        let names: BTreeSet<String> = sales.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), sales.len());
        let by_gateways = Good::ALL.iter().filter(|good| good.is_for_gateways()).count() * Combination::GATEWAY.len();
        let all = Good::ALL.len() * Combination::SQUARE.len() + 2 * Combination::PLAIN.len() + by_gateways;
        assert_eq!(Sale::all().count(), all);
        assert_eq!(Sale::all().filter(|sale| sale.obstacle().is_some()).count(), 14);
        assert_eq!((Sale::ours().len(), Sale::theirs().len()), (248, 47));
    }
}

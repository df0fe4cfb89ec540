//! Who plays which role.

use std::fmt;

macro_rules! role {
    ($(#[$doc:meta])* $role:ident { $($(#[$of:meta])* $player:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $role { $($(#[$of])* $player,)+ }

        impl $role {
            /// Everybody who can play the role.
            pub const ALL: &[Self] = &[$(Self::$player),+];
        }

        impl fmt::Display for $role {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(match self { $(Self::$player => $name),+ })
            }
        }
    };
}

role! {
    /// Who pays.
    Client {
        /// `farthing-client`.
        Farthing = "farthing",
        /// `@x402/fetch`.
        Ts = "ts",
        /// Python `x402` over httpx.
        PythonHttpx = "python_httpx",
        /// Python `x402` over requests.
        PythonRequests = "python_requests",
        /// `x402-fetch`, which knows version 1 only.
        V1 = "v1",
    }
}

role! {
    /// Who charges.
    Server {
        /// `farthing-server` in axum: versions 1 and 2 on one URL.
        Farthing = "farthing",
        /// `@x402/express`: version 2.
        Ts = "ts",
        /// Python `x402` in a `FastAPI` app: version 2.
        Python = "python",
        /// `x402-express`: version 1.
        V1 = "v1",
    }
}

role! {
    /// Who verifies and settles.
    Facilitator {
        /// `farthing-facilitator`.
        Farthing = "farthing",
        /// `@x402/core` with `@x402/evm`.
        Ts = "ts",
        /// Python `x402`, version 2 only.
        Python = "python",
    }
}

/// A client that pays a server that settles through a facilitator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Combination {
    /// Who pays.
    pub client: Client,
    /// Who charges.
    pub server: Server,
    /// Who verifies and settles.
    pub facilitator: Facilitator,
}

impl Combination {
    /// Every combination that reports are sold through: those whose client and server speak a common version, with a
    /// facilitator that speaks both. [`crate::goods`] are sold through others.
    pub fn all() -> impl Iterator<Item = Self> {
        let servers = |client: Client| Server::ALL.iter().map(move |server| (client, *server));
        let pairs = Client::ALL.iter().flat_map(move |client| servers(*client));
        pairs
            .flat_map(|(client, server)| {
                [Facilitator::Farthing, Facilitator::Ts].map(move |facilitator| Self { client, server, facilitator })
            })
            .filter(|it| it.client != Client::V1 || matches!(it.server, Server::Farthing | Server::V1))
    }

    /// Whether Farthing plays a role. Otherwise the combination tells only of the peers.
    pub fn has_farthing(self) -> bool {
        self.client == Client::Farthing || self.server == Server::Farthing || self.facilitator == Facilitator::Farthing
    }

    /// The combination of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|combination| combination.to_string() == name)
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "client_{}_server_{}_facilitator_{}", self.client, self.server, self.facilitator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_twenty_six_combinations_with_farthing_in_them() {
        assert_eq!(Combination::all().filter(|it| it.has_farthing()).count(), 26);
        assert_eq!(Combination::all().filter(|it| !it.has_farthing()).count(), 10);
    }

    #[test]
    fn a_combination_is_found_by_its_name() {
        for combination in Combination::all() {
            assert_eq!(Combination::named(&combination.to_string()), Some(combination));
        }
        assert_eq!(Combination::named("client_v1_server_ts_facilitator_ts"), None);
    }
}

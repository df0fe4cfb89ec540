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
        /// `farthing-gateway` in front of an app that knows nothing of payments: versions 1 and 2 on one URL.
        Gateway = "gateway",
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
    /// The clients that know every way to pay.
    pub const CLIENTS: [Client; 3] = [Client::Farthing, Client::Ts, Client::PythonHttpx];
    /// The servers that know every way to pay.
    pub const SERVERS: [Server; 3] = [Server::Farthing, Server::Ts, Server::Python];

    /// What every good is sold through: nine of twenty-seven, in which each client meets each server once, each server each
    /// facilitator once, and each facilitator each client once. Two are the peers' own, so that a failure is known to be ours.
    pub const SQUARE: &[Self] = &[
        Self::of(Client::Farthing, Server::Farthing, Facilitator::Farthing),
        Self::of(Client::Farthing, Server::Ts, Facilitator::Python),
        Self::of(Client::Farthing, Server::Python, Facilitator::Ts),
        Self::of(Client::Ts, Server::Farthing, Facilitator::Python),
        Self::of(Client::PythonHttpx, Server::Farthing, Facilitator::Ts),
        Self::of(Client::Ts, Server::Python, Facilitator::Farthing),
        Self::of(Client::PythonHttpx, Server::Ts, Facilitator::Farthing),
        Self::of(Client::Ts, Server::Ts, Facilitator::Ts),
        Self::of(Client::PythonHttpx, Server::Python, Facilitator::Python),
    ];

    /// What reports are sold through besides: those of version 1, which know nothing else, and Python over requests, which
    /// differs from Python over httpx only in its HTTP.
    pub const PLAIN: &[Self] = &[
        Self::of(Client::V1, Server::Farthing, Facilitator::Farthing),
        Self::of(Client::V1, Server::Farthing, Facilitator::Ts),
        Self::of(Client::V1, Server::V1, Facilitator::Farthing),
        Self::of(Client::Farthing, Server::V1, Facilitator::Farthing),
        Self::of(Client::Farthing, Server::V1, Facilitator::Ts),
        Self::of(Client::PythonRequests, Server::Farthing, Facilitator::Farthing),
        Self::of(Client::V1, Server::V1, Facilitator::Ts),
        Self::of(Client::V1, Server::Gateway, Facilitator::Farthing),
        Self::of(Client::PythonRequests, Server::Gateway, Facilitator::Farthing),
    ];

    /// What everything is sold through besides that a file of a gateway can describe.
    pub const GATEWAY: &[Self] = &[
        Self::of(Client::Farthing, Server::Gateway, Facilitator::Farthing),
        Self::of(Client::Ts, Server::Gateway, Facilitator::Ts),
        Self::of(Client::PythonHttpx, Server::Gateway, Facilitator::Python),
    ];

    const fn of(client: Client, server: Server, facilitator: Facilitator) -> Self {
        Self { client, server, facilitator }
    }

    /// Whether client and server speak version 1 of the protocol with one another.
    pub fn is_v1(self) -> bool {
        self.client == Client::V1 || self.server == Server::V1
    }

    /// Whether Farthing plays a role. Otherwise the combination tells only of the peers.
    pub fn has_farthing(self) -> bool {
        self.client == Client::Farthing || self.server.is_ours() || self.facilitator == Facilitator::Farthing
    }
}

impl Server {
    /// Whether it is Farthing, as a library or as a gateway.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Farthing | Self::Gateway)
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "client_{}_server_{}_facilitator_{}", self.client, self.server, self.facilitator)
    }
}

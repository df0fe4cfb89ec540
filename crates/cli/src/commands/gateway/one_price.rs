//! One price for everything behind a URL, in one command line.

use std::fmt::Display;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;
use farthing::core::asset::AccountId;
use farthing::core::network::Network;
use farthing_gateway::UpstreamConfig;
use farthing_gateway::file::{Gateway, PayTo, network};
use farthing_gateway::tariff::Tariff;

use crate::config::gateway::{Config, DEFAULT_FACILITATOR};
use crate::exit::Usage;

const DEFAULT_LISTEN: &str = "127.0.0.1:4020";

/// The options.
#[derive(Args)]
#[command(next_help_heading = "Without a file")]
pub struct OnePrice {
    /// What is charged for.
    #[arg(long, value_name = "URL", help = "What is charged for, such as http://127.0.0.1:3000")]
    upstream: Option<String>,
    /// What every request costs, such as '$0.01'
    #[arg(long, value_name = "PRICE")]
    price: Option<String>,
    /// The account that is paid
    #[arg(long, value_name = "ACCOUNT")]
    pay_to: Option<String>,
    /// Where it is paid, such as base-sepolia or eip155:8453; may be given again
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<String>,
    /// Who verifies and settles.
    #[arg(
        long,
        value_name = "URL",
        help = "Who verifies and settles [default: https://x402.org/facilitator, which is for test networks]"
    )]
    facilitator: Option<String>,
    /// Address and port [default: 127.0.0.1:4020]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The book of payments, sqlite:PATH or where a postgres URL is kept [default: sqlite:gateway.db]
    #[arg(long, value_name = "BOOK")]
    store: Option<String>,
}

impl OnePrice {
    /// Whether nothing was said.
    pub const fn is_empty(&self) -> bool {
        self.upstream.is_none() && self.price.is_none() && self.pay_to.is_none() && self.networks.is_empty()
    }

    /// The gateway that is described.
    pub fn config(self) -> anyhow::Result<Config> {
        let listen: SocketAddr = read("--listen", self.listen.as_deref().or(Some(DEFAULT_LISTEN)))?;
        let upstream = UpstreamConfig::new(read("--upstream", self.upstream.as_deref())?);
        let mut gateway = Gateway::new(listen, upstream);
        gateway.store = self.store.map(Into::into);
        gateway.facilitator = Some(self.facilitator.unwrap_or_else(|| DEFAULT_FACILITATOR.to_owned()).into());
        let price = Tariff::Fixed(read("--price", self.price.as_deref())?);
        let account: AccountId = read("--pay-to", self.pay_to.as_deref())?;
        if self.networks.is_empty() {
            return Err(missing("--network").into());
        }
        let mut pay_to: Vec<(Network, AccountId)> = Vec::new();
        for name in &self.networks {
            let network = network(name).map_err(|error| Usage::new("--network", error.to_string()))?;
            if !pay_to.iter().any(|(other, _)| *other == network) {
                pay_to.push((network, account.clone()));
            }
        }
        Config::of_one_price(gateway, PayTo(pay_to), price)
    }
}

fn read<T: FromStr<Err: Display>>(option: &'static str, text: Option<&str>) -> Result<T, Usage> {
    let text = text.ok_or_else(|| missing(option))?;
    text.parse().map_err(|error| Usage::new(option, format!("{error}")))
}

fn missing(option: &'static str) -> Usage {
    Usage::new(option, "needed where there is no --config: say --upstream, --price, --pay-to and --network")
}

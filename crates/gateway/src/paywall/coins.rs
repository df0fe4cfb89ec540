//! What an amount is for people: dollars, or so much of a token.

use farthing_core::asset::AssetId;
use farthing_core::network::Network;
use farthing_core::wire::PaymentRequirements;
use farthing_server::Server;

use crate::file::{Access, Route};
use crate::routes::payable;
use crate::tariff::{Money, Payable};

/// Dollars are written with so many decimals at least.
const CENTS: usize = 2;

/// The assets in which routes are priced.
#[derive(Default)]
pub(crate) struct Coins(Vec<Coin>);

struct Coin {
    network: Network,
    asset: AssetId,
    decimals: u8,
    /// Its name, unless it stands for dollars.
    symbol: Option<String>,
}

impl Coins {
    /// The assets in which these routes are sold by that server.
    pub(crate) fn of(server: &Server, routes: &[Route]) -> Self {
        let mut asked: Vec<String> = routes
            .iter()
            .filter_map(|route| match &route.access {
                Access::Priced(sale) => Some(sale.price.sums()),
                Access::Free | Access::Denied | Access::Tools(_) => None,
            })
            .flatten()
            .map(Money::one)
            .collect();
        // Dollars come last: what is priced as so much of a token is told as that.
        asked.sort_by_key(|one| (one.starts_with('$'), one.clone()));
        asked.dedup();
        let mut coins = Self::default();
        for one in asked {
            // A route whose price no asset stands for has failed by now.
            for payable in server.price(&one).ok().and_then(|layer| payable(&layer)).unwrap_or_default() {
                coins.add(payable, one.strip_prefix("1 ").map(str::to_owned));
            }
        }
        coins
    }

    fn add(&mut self, Payable { network, asset, decimals }: Payable, symbol: Option<String>) {
        if self.find(&network, &asset).is_none() {
            self.0.push(Coin { network, asset, decimals, symbol });
        }
    }

    fn find(&self, network: &Network, asset: &AssetId) -> Option<&Coin> {
        self.0.iter().find(|coin| coin.network == *network && coin.asset == *asset)
    }

    /// How many decimals this asset has, where that is known.
    pub(crate) fn decimals_of(&self, network: &Network, asset: &AssetId) -> Option<u8> {
        self.find(network, asset).map(|coin| coin.decimals)
    }

    /// How many decimals the asset of an offer has, where that is known.
    pub(crate) fn decimals(&self, offer: &PaymentRequirements) -> Option<u8> {
        self.find(&offer.network, &offer.asset).map(|coin| coin.decimals)
    }

    /// The amount of an offer, exactly; in atomic units where nothing is known of its asset.
    pub(crate) fn written(&self, offer: &PaymentRequirements) -> String {
        let Some(coin) = self.find(&offer.network, &offer.asset) else {
            return format!("{} atomic units", offer.amount);
        };
        let number = offer.amount.to_decimal_string(coin.decimals);
        match &coin.symbol {
            Some(symbol) => format!("{number} {symbol}"),
            None => dollars(&number),
        }
    }
}

/// A number of dollars, with the cents that people expect.
fn dollars(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    format!("${whole}.{fraction:0<CENTS$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(amount: &str, symbol: Option<&str>) -> String {
        let offer = json!({"scheme": "exact", "network": "eip155:8453", "asset": "0xA", "amount": amount, "payTo": "0xB",
            "maxTimeoutSeconds": 60, "extra": {}});
        let offer: PaymentRequirements = serde_json::from_value(offer).unwrap();
        let mut coins = Coins::default();
        if amount != "7" {
            let payable = Payable { network: offer.network.clone(), asset: offer.asset.clone(), decimals: 6 };
            coins.add(payable, symbol.map(str::to_owned));
        }
        coins.written(&offer)
    }

    #[test]
    fn a_price_is_told_exactly() {
        for (amount, told) in [
            ("10000", "$0.01"),
            ("100000", "$0.10"),
            ("1000000", "$1.00"),
            ("2000", "$0.002"),
            ("1", "$0.000001"),
            ("1234567890123", "$1234567.890123"),
            ("0", "$0.00"),
        ] {
            assert_eq!(written(amount, None), told);
        }
        assert_eq!(written("1500000", Some("EURC")), "1.5 EURC");
        assert_eq!(written("7", None), "7 atomic units", "an asset of which nothing is known");
    }
}

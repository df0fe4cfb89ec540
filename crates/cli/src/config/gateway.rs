//! The gateway's TOML file: what its own crate reads, and beside it what a facilitator's file has.

use std::path::Path;

use anyhow::{Context, bail};
use farthing::evm::config::AssetConfig;
use farthing::store::StoreUrl;
use farthing_gateway::file::{Access, Entry, Gateway, PayTo, Route, Sale};
use farthing_gateway::tariff::Tariff;
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::{Spanned, Table};

use super::{Log, NodeUrl, StoreLocation, Traces, explain};
use crate::settling::Networks;

/// The book, unless another one is named: a file beside the configuration.
const DEFAULT_STORE: &str = "gateway.db";
/// The public facilitator of the protocol's own project, for test networks: where one command line must be enough.
pub const DEFAULT_FACILITATOR: &str = "https://x402.org/facilitator";

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The `[gateway]` table.
    pub gateway: Gateway,
    /// The `[pay_to]` table.
    #[serde(default)]
    pub pay_to: PayTo,
    /// The `[[route]]` tables; the first that is for a request decides.
    #[serde(default)]
    pub route: Vec<Route>,
    /// The `[network."…"]` tables of a gateway that settles for itself.
    #[serde(default)]
    pub network: Networks,
    /// The `[[asset]]` tables: tokens besides the known ones.
    #[serde(default)]
    pub asset: Vec<AssetConfig>,
    /// The `[log]` table.
    #[serde(default)]
    pub log: Log,
    /// The `[traces]` table.
    #[serde(default)]
    pub traces: Traces,
    /// Where things stand in the file.
    #[serde(skip)]
    pub text: Text,
}

/// What is remembered of a file's text.
#[derive(Debug, Default)]
pub struct Text {
    /// The line of each route.
    route_lines: Vec<usize>,
    /// All but the routes, to be compared with what the file says later.
    rest: Table,
}

impl Config {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// A gateway with one route for everything, as a command line describes it.
    pub fn of_one_price(gateway: Gateway, pay_to: PayTo, price: Tariff) -> anyhow::Result<Self> {
        let everything = Route {
            matches: "/**".parse()?,
            access: Access::Priced(Box::new(Sale::new(price))),
            entry: Entry::default(),
            listed: None,
        };
        Ok(Self {
            gateway,
            pay_to,
            route: vec![everything],
            network: Networks::new(),
            asset: Vec::new(),
            log: Log::default(),
            traces: Traces::default(),
            text: Text::default(),
        })
    }

    /// Where the book is; a relative path starts at this folder.
    pub fn store(&self, folder: &Path) -> anyhow::Result<StoreUrl> {
        let location = match &self.gateway.store {
            Some(place) => place.as_str().parse().map_err(anyhow::Error::msg),
            None => Ok(StoreLocation::sqlite(DEFAULT_STORE)),
        };
        location.and_then(|location: StoreLocation| location.resolve(folder)).context("gateway.store")
    }

    /// The facilitator's URL; `None` if the gateway settles for itself.
    pub fn facilitator(&self) -> anyhow::Result<Option<String>> {
        let Some(place) = &self.gateway.facilitator else { return Ok(None) };
        let url = place.as_str().parse::<NodeUrl>().ok();
        let expected = "gateway.facilitator: expected a URL, https://… or http://…, or where it is kept, env:NAME or file:PATH";
        Ok(Some(url.context(expected)?.resolve().context("gateway.facilitator")?.to_string()))
    }

    /// Whether some price is quoted before it is paid.
    pub fn has_quotes(&self) -> bool {
        self.route.iter().any(|route| match &route.access {
            Access::Priced(sale) => sale.price.is_quoted(),
            Access::Tools(menu) => menu.sales().any(|sale| sale.price.is_quoted()),
            Access::Free | Access::Denied => false,
        })
    }

    /// Whether all but the routes is as it was.
    pub fn differs_only_in_routes(&self, other: &Self) -> bool {
        self.text.rest == other.text.rest
    }

    /// How a route is found in the file: by its number, counted from 0.
    pub fn place_of(&self, route: usize) -> String {
        self.text.route_lines.get(route).map_or_else(|| "the route".to_owned(), |line| format!("line {line}, route"))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut config: Self = toml::from_str(text).map_err(|error| explain(&error, text))?;
        config.text = Text::of(text).map_err(|error| explain(&error, text))?;
        if config.pay_to.0.is_empty() {
            bail!("nobody is paid; add [pay_to] with a network and an account, such as \"eip155:84532\" = \"0x…\"");
        }
        match (config.gateway.facilitator.is_some(), config.network.is_empty()) {
            (true, false) => bail!(
                "gateway.facilitator settles, and so would the [network.\"…\"] tables; leave one of them out: a URL for somebody \
                 else's facilitator, tables for one in this process"
            ),
            (false, true) => bail!(
                "nobody settles; set gateway.facilitator to a facilitator's URL, or add a table such as [network.\"eip155:84532\"] \
                 with rpc and signer to settle in this process"
            ),
            _ => {}
        }
        if config.route.is_empty() {
            bail!("there is no route, so that nothing could be had; add a [[route]] with match and price");
        }
        Ok(config)
    }
}

impl Text {
    fn of(text: &str) -> Result<Self, toml::de::Error> {
        #[derive(Deserialize)]
        struct Spans {
            #[serde(default)]
            route: Vec<Spanned<IgnoredAny>>,
        }
        let spans: Spans = toml::from_str(text)?;
        let line = |start: usize| text.get(..start).unwrap_or_default().matches('\n').count().saturating_add(1);
        let mut rest: Table = toml::from_str(text)?;
        rest.remove("route");
        Ok(Self { route_lines: spans.route.iter().map(|route| line(route.span().start)).collect(), rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [gateway]
        upstream = "http://127.0.0.1:3000"
        facilitator = "https://facilitator.example"
        [pay_to]
        "eip155:84532" = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C"

        [[route]]
        match = "GET /reports/*"
        price = "$0.01"

        [[route]]
        match = "/free"
        free = true
    "#;

    fn error_of(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from));
        format!("{:#}", Config::parse(&GOOD.replace(from, to)).unwrap_err())
    }

    #[test]
    fn the_examples_of_the_readme_and_the_gateways_page_are_read() {
        for page in [include_str!("../../../../README.md"), include_str!("../../../../docs/gateway.md")] {
            let examples = page.split("```toml").filter_map(|rest| rest.split("```").next());
            let examples: Vec<&str> = examples.filter(|example| example.contains("[gateway]")).collect();
            assert!(!examples.is_empty());
            for example in examples {
                let config = Config::parse(example).unwrap();
                assert!(!config.route.is_empty() && config.gateway.facilitator.is_some());
            }
        }
    }

    #[test]
    fn a_route_is_found_by_its_line() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!((config.place_of(0), config.place_of(1)), ("line 8, route".to_owned(), "line 12, route".to_owned()));
        assert_eq!(config.place_of(2), "the route");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_key() {
        for (from, to, taught) in [
            ("price", "prise", "line 10, prise: unknown field `prise`"),
            ("\"$0.01\"", "\"$0.01x\"", "line 10, price: expected a price such as"),
            ("free = true", "free = true\nprice = \"$1\"", "/free: expected exactly one of price, free = true and deny = true"),
            ("[pay_to]", "[pay_two]", "line 5: unknown field `pay_two`"),
            ("\"0x209693Bc6afc0C5328bA36FaF03C514EF312287C\"", "\"0x…\"", "pay_to: expected an account on eip155:84532"),
            ("facilitator = \"https://facilitator.example\"", "", "nobody settles"),
            ("[pay_to]", "[network.\"eip155:84532\"]\nrpc = \"env:A\"\nsigner = \"env:B\"\n[pay_to]", "leave one of them out"),
        ] {
            let error = error_of(from, to);
            assert!(error.contains(taught), "{error}\nlacks: {taught}");
        }
        let routes = GOOD.find("[[route]]").unwrap();
        assert!(format!("{:#}", Config::parse(&GOOD[..routes]).unwrap_err()).contains("there is no route"));
    }

    #[test]
    fn only_routes_may_differ_while_it_runs() {
        let read = |text: &str| Config::parse(text).unwrap();
        let old = read(GOOD);
        assert!(old.differs_only_in_routes(&read(&GOOD.replace("$0.01", "$0.02"))));
        assert!(!old.differs_only_in_routes(&read(&GOOD.replace("0x2096", "0x3096"))));
        assert!(!old.differs_only_in_routes(&read(&GOOD.replace("127.0.0.1:3000", "127.0.0.1:3001"))));
    }

    #[test]
    fn places_of_secrets_are_not_shown() {
        let config = Config::parse(&GOOD.replace("https://facilitator.example", "hunter2")).unwrap();
        let error = format!("{:#}", config.facilitator().unwrap_err());
        assert!(!error.contains("hunter2") && error.contains("gateway.facilitator"), "{error}");
    }
}

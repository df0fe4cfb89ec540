//! The TOML files of facilitator and gateway, as plain data. A key that is not known is an error, so that no setting is ever
//! silently without effect; and no error repeats a value, since it may be a secret in the wrong place.

mod book;
pub mod gateway;
mod place;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use farthing::core::extension::builder_code::Code;
use farthing::core::network::Network as NetworkId;
use farthing::core::wire::v1;
use farthing::evm::config::{AssetConfig, ConfirmConfig, GasConfig, RelayConfig, SponsorConfig, WalletConfig};
use farthing::facilitator::KeyDigest;
use farthing::secret::SecretRef;
use farthing::store::StoreUrl;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

pub use self::book::BookConfig;
pub use self::place::{NodeUrl, StoreLocation};
use crate::logging::LogFormat;

/// The book, unless another one is named: a file beside the configuration.
const DEFAULT_STORE: &str = "farthing.db";

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The `[facilitator]` table.
    #[serde(default)]
    pub facilitator: Facilitator,
    /// The `[log]` table.
    #[serde(default)]
    pub log: Log,
    /// The `[network."…"]` tables, by CAIP-2 name.
    #[serde(default)]
    pub network: BTreeMap<String, Network>,
    /// The `[[asset]]` tables: tokens besides the known ones.
    #[serde(default)]
    pub asset: Vec<AssetConfig>,
    /// The `[[caller]]` tables: who may call. Everybody, if there is none.
    #[serde(default)]
    pub caller: Vec<Caller>,
    /// The `[traces]` table.
    #[serde(default)]
    pub traces: Traces,
}

/// Where the facilitator listens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Facilitator {
    /// Address and port; port 0 takes a free one.
    #[serde(deserialize_with = "socket_address")]
    pub listen: SocketAddr,
    /// Must be true to listen off loopback: whoever reaches a facilitator can spend its gas.
    pub public: bool,
    /// Must be true, besides, to serve callers without a key off loopback.
    pub anonymous: bool,
    /// The book: `sqlite:PATH`, a `postgres://…` URL, or where that is kept. A relative path starts at the file's folder.
    #[serde(deserialize_with = "parsed")]
    pub store: StoreLocation,
    /// Builder codes behind what is sent; none, if unset.
    pub builder_code: Option<BuilderCode>,
    /// Where `/metrics` is, if not on `listen`; off loopback it is nowhere unless it is named here.
    #[serde(deserialize_with = "optional_socket_address")]
    pub metrics_listen: Option<SocketAddr>,
}

/// What the facilitator writes of itself behind what it sends (the extension `builder-code`).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuilderCode {
    /// Its own code.
    #[serde(deserialize_with = "optional_code")]
    pub wallet: Option<Code>,
    /// A service code besides.
    #[serde(deserialize_with = "optional_code")]
    pub service: Option<Code>,
}

/// Where traces go.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Traces {
    /// An OpenTelemetry collector's address for OTLP over HTTP, such as `http://127.0.0.1:4318`; none, if unset.
    pub otlp: Option<String>,
}

/// How it logs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A filter such as `info`; `RUST_LOG` wins.
    pub level: String,
}

/// One network that it settles on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The node, or several: the first that is well is asked.
    #[serde(deserialize_with = "one_or_more")]
    pub rpc: Vec<NodeUrl>,
    /// Where the key of the account that pays for gas is kept, or of several: each sends by itself.
    #[serde(deserialize_with = "one_or_more")]
    pub signer: Vec<SecretRef>,
    /// The tokens that are taken, by address; every known one, if there is none.
    #[serde(default)]
    pub assets: Vec<String>,
    /// How payments are confirmed.
    #[serde(default)]
    pub confirm: ConfirmConfig,
    /// The most gas that a payment may cost, and a day.
    #[serde(default)]
    pub gas: GasConfig,
    /// How transactions are batched, replaced and limited.
    #[serde(default)]
    pub relay: RelayConfig,
    /// Which contracts may create payers' wallets.
    #[serde(default)]
    pub wallets: WalletConfig,
    /// Which approvals are sent along for payers.
    #[serde(default)]
    pub sponsor: SponsorConfig,
}

/// Somebody who may call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Caller {
    /// The name under which it is counted, logged and booked.
    pub name: String,
    /// The SHA-256 digest of its key, which `farthing facilitator key` makes.
    #[serde(deserialize_with = "parsed")]
    pub key_sha256: KeyDigest,
    /// The most `/verify` requests in a minute.
    pub verifies_per_minute: Option<u32>,
    /// The most `/settle` requests in a minute.
    pub settles_per_minute: Option<u32>,
    /// The most payments in a day.
    pub settlements_per_day: Option<u32>,
}

impl Default for Facilitator {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4021)),
            public: false,
            anonymous: false,
            store: StoreLocation::sqlite(DEFAULT_STORE),
            builder_code: None,
            metrics_listen: None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::default(), level: "info".to_owned() }
    }
}

impl Config {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Where the book is that this file, at this path, names.
    pub fn store(&self, path: &Path) -> anyhow::Result<StoreUrl> {
        let folder = path.parent().unwrap_or(Path::new(""));
        self.facilitator.store.resolve(folder).with_context(|| format!("{}: facilitator.store", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| explain(&error, text))?;
        if config.network.is_empty() {
            bail!("there is no network; add a table such as [network.\"eip155:84532\"] with rpc and signer");
        }
        let listen = config.facilitator.listen;
        if !listen.ip().is_loopback() && !config.facilitator.public {
            bail!(
                "facilitator.listen is {listen}, which others can reach, and whoever reaches a facilitator can spend its gas; \
                 set public = true if you mean it, or listen on 127.0.0.1"
            );
        }
        if !listen.ip().is_loopback() && config.caller.is_empty() && !config.facilitator.anonymous {
            bail!(
                "facilitator.listen is {listen}, and nobody needs a key; add a [[caller]] with name and key_sha256 \
                 (`farthing facilitator key` makes one), or set anonymous = true if everybody may spend its gas"
            );
        }
        Ok(config)
    }
}

/// A network by its CAIP-2 name, or by the name that version 1 has for it.
pub fn network(text: &str) -> anyhow::Result<NetworkId> {
    match v1::network_named(text) {
        Some(network) => Ok(network),
        None => text.parse().context("no such network"),
    }
}

/// What is wrong, and where. What TOML's own error shows besides, the whole line, may hold a secret.
fn explain(error: &toml::de::Error, text: &str) -> anyhow::Error {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |end| end.saturating_add(1));
    let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    // A line without a key is one of a longer value.
    let name = line.split_once('=').map(|(key, _)| format!(", {}", key.trim()));
    let number = before.matches('\n').count().saturating_add(1);
    // "invalid type: string \"…\", expected …" repeats the value.
    let message = match error.message().strip_prefix("invalid ").and_then(|message| message.rsplit_once(", expected ")) {
        Some((_, expected)) => format!("expected {expected}"),
        None => error.message().to_owned(),
    };
    anyhow!("line {number}{}: {message}", name.unwrap_or_default())
}

fn parsed<'de, T: FromStr<Err: fmt::Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Zeroizing::new(String::deserialize(deserializer)?).parse().map_err(D::Error::custom)
}

/// One text or a list of them.
fn one_or_more<'de, T: FromStr<Err: fmt::Display>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "one text, or a list of texts")]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    let texts = match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(texts) if texts.is_empty() => return Err(D::Error::custom("expected at least one")),
        OneOrMore::More(texts) => texts,
    };
    texts.into_iter().map(|text| Zeroizing::new(text).parse().map_err(D::Error::custom)).collect()
}

fn optional_code<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Code>, D::Error> {
    let text = String::deserialize(deserializer)?;
    // What was given instead is not repeated: any text may be a secret in the wrong place.
    Code::new(&text).map(Some).map_err(|_| D::Error::custom("expected 1 to 32 small letters, digits and underscores"))
}

fn optional_socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    socket_address(deserializer).map(Some)
}

fn socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom("expected an IP address and a port, such as \"127.0.0.1:4021\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [facilitator]
        listen = "127.0.0.1:0"
        [network."eip155:84532"]
        rpc = "http://127.0.0.1:8545"
        signer = "env:KEY"
    "#;
    const SECRET: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    fn error_of(text: &str) -> String {
        format!("{:#}", Config::parse(text).unwrap_err())
    }

    #[test]
    fn the_example_of_the_readme_is_read() {
        let readme = include_str!("../../../README.md");
        let mut examples = readme.split("```toml").filter_map(|rest| rest.split("```").next());
        let example = examples.find(|example| example.contains("[facilitator]")).unwrap();
        let config = Config::parse(example).unwrap();
        assert_eq!(config.network["eip155:84532"].signer, [SecretRef::Env("FACILITATOR_KEY".to_owned())]);
        assert_eq!(config.facilitator.listen.port(), 4021);
    }

    #[test]
    fn the_examples_of_the_operators_page_are_read() {
        let page = include_str!("../../../docs/operations.md");
        let examples: Vec<&str> = page.split("```toml").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(examples.len() >= 3);
        for example in examples {
            // Parts of a file; what they leave out is what every file has.
            let rest = if example.contains("[network.") {
                ""
            } else {
                "\n[network.\"eip155:8453\"]\nrpc = \"env:A\"\nsigner = \"env:B\""
            };
            Config::parse(&format!("{example}{rest}")).unwrap();
        }
    }

    #[test]
    fn an_unknown_key_anywhere_is_an_error_that_names_it() {
        for (bad, named) in
            [("[extra]\nx = 1", "`extra`"), ("[log]\nloudness = \"info\"", "line 9, loudness: unknown field `loudness`")]
        {
            let error = error_of(&format!("{GOOD}\n{bad}"));
            assert!(error.contains(named) && error.contains("expected"), "{error}");
        }
    }

    #[test]
    fn no_error_repeats_a_value() {
        for (from, to, taught) in [
            ("signer = \"env:KEY\"", format!("signer = \"{SECRET}\""), "line 6, signer: expected where the secret is kept"),
            ("signer = \"env:KEY\"", format!("singer = \"{SECRET}\""), "line 6, singer: unknown field `singer`, expected"),
            (
                "signer = \"env:KEY\"",
                format!("signer = \"env:KEY\"\ngas = \"{SECRET}\""),
                "line 7, gas: expected struct GasConfig",
            ),
            ("signer = \"env:KEY\"", format!("signer = {SECRET}"), "line 6, signer: "),
            (
                "rpc = \"http://127.0.0.1:8545\"",
                format!("rpc = \"wss://node.example/{SECRET}\""),
                "line 5, rpc: expected a node's URL",
            ),
            ("signer = \"env:KEY\"", format!("signer = [\n  {SECRET},\n]"), "line 7: "),
            ("signer = \"env:KEY\"", format!("signer = [\n  \"{SECRET}\",\n]"), "line 6, signer: "),
            ("signer = \"env:KEY\"", format!("signer = [\n  \"env:KEY\",\n  \"{SECRET}\n]"), "line 8: "),
        ] {
            let error = error_of(&GOOD.replace(from, &to));
            assert!(error.contains(taught), "{taught:?} is not in {error:?}");
            assert!(!error.contains("ac0974"), "{error}");
        }
    }

    #[test]
    fn off_loopback_needs_a_word() {
        let public = GOOD.replace("127.0.0.1:0", "0.0.0.0:4021");
        assert!(error_of(&public).contains("public = true"));
        let public = public.replace("[network", "public = true\n[network");
        assert!(error_of(&public).contains("add a [[caller]]"));
        assert!(Config::parse(&public.replace("public = true", "public = true\nanonymous = true")).is_ok());
        let digest = "a".repeat(64);
        assert!(Config::parse(&format!("{public}\n[[caller]]\nname = \"shop\"\nkey_sha256 = \"{digest}\"")).is_ok());
        assert!(error_of(&GOOD.replace("127.0.0.1:0", "localhost")).contains("such as \"127.0.0.1:4021\""));
    }

    #[test]
    fn builder_codes_are_checked_and_may_be_empty() {
        let with = |codes: &str| GOOD.replace("[network", &format!("builder_code = {codes}\n[network"));
        let codes = |text: &str| Config::parse(&with(text)).unwrap().facilitator.builder_code.unwrap();
        let read = codes(r#"{ wallet = "bc_one", service = "two_2" }"#);
        assert_eq!((read.wallet, read.service), (Some(Code::new("bc_one").unwrap()), Some(Code::new("two_2").unwrap())));
        assert_eq!(codes("{}").wallet, None);
        assert!(Config::parse(GOOD).unwrap().facilitator.builder_code.is_none());
        for bad in [r#"{ wallet = "Ac0974" }"#, r#"{ service = "" }"#] {
            let error = error_of(&with(bad));
            assert!(error.contains("small letters") && !error.contains("Ac0974"), "{error}");
        }
        assert!(error_of(&with(r#"{ app = "mine" }"#)).contains("unknown field `app`"));
    }

    #[test]
    fn a_file_without_networks_is_an_error_that_shows_one() {
        for text in ["[network]", ""] {
            assert!(error_of(text).contains("[network.\"eip155:84532\"]"));
        }
    }

    #[test]
    fn a_network_has_the_name_of_either_version() {
        for name in ["eip155:84532", "base-sepolia"] {
            assert_eq!(network(name).unwrap().as_str(), "eip155:84532");
        }
        assert!(format!("{:#}", network("bass").unwrap_err()).contains("eip155:8453"));
    }
}

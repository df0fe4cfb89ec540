//! Whose money, and how much of it: the options that `pay` and `inspect` share.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use farthing::client::{Client, SpendControls};
use farthing::core::books::{SpendLimit, SpendWindow, Usd};
use farthing::core::time::Entropy;
use farthing::evm::Address;
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::secret::{SecretError, SecretRef};
use farthing::system::SystemEntropy;
use zeroize::Zeroizing;

use crate::config::{self, NodeUrl};
use crate::exit::Usage;

const DEFAULT_VARIABLE: &str = "EVM_PRIVATE_KEY";

/// The options.
#[derive(Args)]
#[command(next_help_heading = "Purse")]
pub struct Purse {
    /// Where the wallet's key is kept.
    #[arg(
        long,
        value_name = "REFERENCE",
        help = "Where the wallet's key is kept, env:NAME or file:PATH [default: env:EVM_PRIVATE_KEY]"
    )]
    wallet: Option<String>,
    /// The most that may be paid, in dollars such as '$0.05' or 0.05 [default: $1]
    #[arg(long, value_name = "DOLLARS")]
    max_amount: Option<String>,
    /// Pay on this network only, such as eip155:8453; may be given again, the preferred one first
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<String>,
    /// A node to ask what the wallet holds; the URL, or where it is kept (env:NAME); may be given again
    #[arg(long = "rpc", value_name = "NETWORK=URL")]
    nodes: Vec<String>,
    /// Pay even over unencrypted http to another machine, where anybody on the way can change the terms
    #[arg(long)]
    allow_plain_http: bool,
}

/// A client that pays from the wallet, within the limits.
pub struct Opened {
    /// The client.
    pub client: Client,
    /// The wallet's account; none if there is no wallet, and the client can only look.
    pub account: Option<Address>,
}

impl Purse {
    /// Opens the wallet.
    pub fn open(&self) -> anyhow::Result<Opened> {
        let signer = match &self.wallet {
            Some(reference) => {
                let reference: SecretRef =
                    reference.parse().map_err(|why: SecretError| Usage::new("--wallet", why.to_string()))?;
                wallet(&reference).with_context(|| format!("--wallet {reference}"))?
            }
            None => wallet(&SecretRef::Env(DEFAULT_VARIABLE.to_owned())).context(
                "no wallet; put the key into the environment variable EVM_PRIVATE_KEY, or say where it is kept with --wallet \
                 file:PATH or --wallet env:NAME (`farthing inspect` needs none)",
            )?,
        };
        let account = Some(signer.address());
        Ok(Opened { client: self.client(signer, &self.nodes)?, account })
    }

    /// Opens the wallet; where none is named and the default one is not there, the client can look all the same, from
    /// an account that nobody has and that holds nothing. Its balance is not asked for.
    pub fn open_or_look(&self) -> anyhow::Result<Opened> {
        let has_default = std::env::var_os(DEFAULT_VARIABLE).is_some_and(|key| !key.is_empty());
        if self.wallet.is_some() || has_default {
            return self.open();
        }
        Ok(Opened { client: self.client(throw_away_signer()?, &[])?, account: None })
    }

    fn client(&self, signer: LocalSigner, nodes: &[String]) -> anyhow::Result<Client> {
        let mut builder = farthing::Client::builder().signer(Arc::new(signer));
        let mut controls = SpendControls::default().allow_plain_http(self.allow_plain_http);
        if let Some(max) = &self.max_amount {
            controls = controls.limit(SpendLimit { max: dollars(max)?, window: SpendWindow::Payment });
        }
        let networks = self
            .networks
            .iter()
            .map(|network| config::network(network).map_err(|why| Usage::new("--network", why.root_cause().to_string())));
        let networks = networks.collect::<Result<Vec<_>, _>>()?;
        for network in &networks {
            builder = builder.prefer_network(network.as_str())?;
        }
        if !networks.is_empty() {
            controls = controls.networks(networks);
        }
        for node in nodes {
            let unfit = |why: &str| Usage::new("--rpc", why);
            let (network, url) =
                node.split_once('=').ok_or_else(|| unfit("expected NETWORK=URL, such as eip155:8453=https://…"))?;
            let network = config::network(network).map_err(|why| unfit(&why.root_cause().to_string()))?;
            let url = url.parse::<NodeUrl>().map_err(unfit)?.resolve().context("--rpc")?;
            builder = builder.node(network.as_str(), &url).context("--rpc")?;
        }
        Ok(builder.configure(|inner| inner.controls(controls)).build()?)
    }
}

/// An account that nobody has; its key is gone with the process.
pub fn throw_away_signer() -> anyhow::Result<LocalSigner> {
    let mut key = Zeroizing::new([0_u8; 32]);
    SystemEntropy.fill(&mut *key).map_err(anyhow::Error::from_boxed)?;
    Ok(LocalSigner::from_bytes(key)?)
}

fn wallet(reference: &SecretRef) -> anyhow::Result<LocalSigner> {
    Ok(LocalSigner::from_hex(reference.resolve()?)?)
}

fn dollars(text: &str) -> Result<Usd, Usage> {
    let priced = if text.starts_with('$') { text.to_owned() } else { format!("${text}") };
    priced.parse().map_err(|_| {
        Usage::new(
            "--max-amount",
            format!("expected dollars such as 0.05 or '$0.05' (with the quotes, or the shell takes the $), got {text:?}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_with_and_without_their_sign() {
        for text in ["$0.05", "0.05"] {
            assert_eq!(dollars(text).unwrap().to_string(), "$0.05");
        }
        for bad in ["", "bash.05", "-1", "5 USDC", "$$5", "1e3"] {
            assert!(dollars(bad).unwrap_err().to_string().contains("--max-amount"), "{bad}");
        }
    }
}

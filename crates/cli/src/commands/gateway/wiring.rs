//! From the file's plain data to a gateway: who settles, what is behind it, which routes there are.

use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use farthing::facilitator::{Local, Setup};
use farthing::secret::SecretRef;
use farthing::server::{IntoFacilitator, Server, ServerBuilder, quote_key};
use farthing::store::Store;
use farthing_gateway::{Gateway, Materials, RoutesError, Upstream};
use http::HeaderValue;
use zeroize::Zeroizing;

use super::desk;
use crate::config::gateway::Config;
use crate::settling;

/// Everything that serves together.
pub struct Wired {
    /// The gateway.
    pub gateway: Gateway,
    /// The server behind it.
    pub upstream: Upstream,
    /// Who settles, if that is this process.
    pub local: Option<Arc<Local>>,
}

/// Who settles.
pub enum Settler {
    /// Somebody else, at this URL.
    Remote(String),
    /// This process, once it has a book.
    Local(Box<Setup>),
}

/// What is fetched and checked before anything is opened: what is wrong with the configuration leaves nothing behind.
pub struct Parts {
    settler: Settler,
    builder: ServerBuilder,
    upstream: Upstream,
}

impl Parts {
    /// Fetches every secret. Nobody is asked anything.
    pub fn of(config: &Config) -> anyhow::Result<Self> {
        let settler = match config.facilitator()? {
            Some(url) => Settler::Remote(url),
            None => Settler::Local(Box::new(settling::setup(&config.network, &config.asset, settling::signers)?)),
        };
        Ok(Self { settler, builder: builder(config)?, upstream: upstream(config)? })
    }

    /// Puts it together. Without a book for who only looks: then nothing may be served.
    pub async fn wire(self, config: &Config, store: Option<&Store>) -> anyhow::Result<Wired> {
        let Self { settler, builder, upstream } = self;
        let builder = match store {
            Some(store) => builder.deliveries(store.deliveries()).debts(store.debts()),
            None => builder,
        };
        // The book of who may come back is for servers that know their own address.
        let builder = match (store, &config.gateway.public_url) {
            (Some(store), Some(_)) => builder.sign_ins(store.sign_ins()),
            _ => builder,
        };
        let (server, local) = match settler {
            Settler::Remote(url) => (build(builder, url).await?, None),
            Settler::Local(setup) => {
                let setup = store.into_iter().fold(*setup, Setup::store);
                let local = Arc::new(setup.build()?);
                (build(builder, Arc::clone(&local)).await?, Some(local))
            }
        };
        let desk = desk::of(config, store)?;
        let gateway = Gateway::with_desk(server, upstream.clone(), config.gateway.clone(), &config.route, desk);
        let gateway = gateway.map_err(|error| misrouted(config, error))?;
        Ok(Wired { gateway, upstream, local })
    }
}

/// What is wrong with a route, and where it stands.
pub fn misrouted(config: &Config, error: RoutesError) -> anyhow::Error {
    let place = config.place_of(error.index);
    anyhow::Error::new(error).context(place)
}

async fn build(builder: ServerBuilder, facilitator: impl IntoFacilitator) -> anyhow::Result<Server> {
    Ok(builder.facilitator(facilitator)?.build().await?)
}

fn builder(config: &Config) -> anyhow::Result<ServerBuilder> {
    let mut builder = farthing::Server::taking(&config.asset)?;
    for (network, account) in &config.pay_to.0 {
        builder = builder.pay_to(network.as_str(), account.as_str())?;
    }
    let settings = &config.gateway;
    if let Some(url) = &settings.public_url {
        builder = builder.public_url(url)?;
    }
    if let Some(place) = &settings.quote_key {
        builder = builder.quote_key(quote_key(place.as_str()).context("gateway.quote_key")?);
    }
    if let Some(seconds) = settings.quote_seconds {
        builder = builder.quote_seconds(seconds);
    }
    Ok(builder.max_held_body_bytes(settings.max_held_body_bytes))
}

fn upstream(config: &Config) -> anyhow::Result<Upstream> {
    let mut materials = Materials::default();
    for (name, text) in &config.gateway.headers {
        let name = &name.0;
        let value = header_value(text.as_str()).with_context(|| format!("gateway.headers.{name}"))?;
        materials.headers.push((name.clone(), value));
    }
    Upstream::new(config.gateway.upstream.clone(), materials).context("gateway.upstream")
}

/// A text that ends in where a secret is kept, with the secret in its place: `Bearer env:UPSTREAM_KEY`.
pub fn header_value(text: &str) -> anyhow::Result<HeaderValue> {
    let (before, place) = text.rsplit_once(' ').map_or(("", text), |(before, place)| (before, place));
    let secret = place.parse::<SecretRef>()?.resolve()?;
    let gap = if before.is_empty() { "" } else { " " };
    let value = Zeroizing::new([before, gap, &secret].concat());
    if secret.is_empty() {
        bail!("expected a secret there, got nothing");
    }
    HeaderValue::from_str(&value).map_err(|_| anyhow!("expected what can be in a header, got something else"))
}

//! New routes on SIGHUP, and what keys, key sets and lists of payers say by then. What cannot be served as it stands changes nothing, and is said loudly.

use anyhow::{Context, bail};
use farthing::store::Store;

use super::wiring::misrouted;
use super::{Gateway as Described, desk};
use crate::config::gateway::Config;
use crate::signals::Hangup;

/// Waits for the signal. Listening begins when this is made.
pub struct Reload(Hangup);

impl Reload {
    /// Begins to listen.
    pub fn listen() -> anyhow::Result<Self> {
        Hangup::listen().map(Self)
    }

    /// Takes the file's routes anew with each signal, for as long as it is run.
    pub async fn run(mut self, gateway: farthing_gateway::Gateway, described: Described, store: Store) {
        loop {
            self.0.next().await;
            match reload(&gateway, &described, &store) {
                Ok(routes) => tracing::info!(routes, "the routes were read anew"),
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(%error, "the routes were not read anew; the old ones stay as they are");
                }
            }
        }
    }
}

fn reload(gateway: &farthing_gateway::Gateway, described: &Described, store: &Store) -> anyhow::Result<usize> {
    let Some(path) = &described.path else { bail!("there is no file to read; restart with another command line") };
    let config = Config::load(path)?;
    if !config.differs_only_in_routes(&described.config) {
        bail!("{}: something besides the routes has changed, which needs a restart; nothing was taken from it", path.display());
    }
    let desk = desk::of(&config, Some(store)).with_context(|| path.display().to_string())?;
    gateway
        .reload_with_desk(&config.route, desk)
        .map_err(|error| misrouted(&config, error))
        .with_context(|| path.display().to_string())?;
    Ok(config.route.len())
}

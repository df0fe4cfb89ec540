//! New routes and a new certificate on SIGHUP, and what keys, key sets and lists of payers say by then. What cannot be served as
//! it stands changes nothing, and is said loudly.

use anyhow::{Context, bail};
use farthing::core::time::Clock;
use farthing::store::Store;
use farthing::system::SystemClock;
use farthing_gateway::file::OpenApi;

use super::openapi;
use super::wiring::misrouted;
use super::{Gateway as Described, desk};
use crate::config::gateway::Config;
use crate::signals::Hangup;
use crate::tls::Certificates;

/// Waits for the signal. Listening begins when this is made.
pub struct Reload(Hangup);

impl Reload {
    /// Begins to listen.
    pub fn listen() -> anyhow::Result<Self> {
        Hangup::listen().map(Self)
    }

    /// Takes the file's routes anew with each signal, and the certificate, for as long as it is run.
    pub async fn run(
        mut self,
        gateway: farthing_gateway::Gateway,
        described: Described,
        store: Store,
        certificates: Option<Certificates>,
    ) {
        loop {
            self.0.next().await;
            if let Some(certificates) = &certificates {
                renew(certificates);
            }
            match reload(&gateway, &described, &store) {
                Ok(routes) => {
                    tracing::info!(routes, "the routes were read anew");
                    if let Some(OpenApi::Upstream(path)) = &described.config.gateway.discovery.openapi
                        && let Err(error) = gateway.import_from(path).await
                    {
                        tracing::warn!(%error, path, "the upstream's OpenAPI could not be had anew; the earlier one stays");
                    }
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(%error, "the routes were not read anew; the old ones stay as they are");
                }
            }
        }
    }
}

fn renew(certificates: &Certificates) {
    let now = SystemClock.now();
    match certificates.reload(now) {
        Ok(facts) => {
            let (names, expires) = (facts.names.join(", "), facts.last_day());
            tracing::info!(names, expires, "the certificate was read anew; connections that are open keep the old one");
            if let Some(warning) = facts.warning(now) {
                tracing::warn!("{warning}");
            }
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::error!(%error, "the certificate was not read anew; the old one stays in use");
        }
    }
}

fn reload(gateway: &farthing_gateway::Gateway, described: &Described, store: &Store) -> anyhow::Result<usize> {
    let Some(path) = &described.path else { bail!("there is no file to read; restart with another command line") };
    let config = Config::load(path)?;
    if !config.differs_only_in_routes(&described.config) {
        bail!("{}: something besides the routes has changed, which needs a restart; nothing was taken from it", path.display());
    }
    let imported = openapi::from_file(&config, described.folder())?;
    let desk = desk::of(&config, Some(store)).with_context(|| path.display().to_string())?;
    gateway
        .reload_with_desk(&config.route, desk)
        .map_err(|error| misrouted(&config, error))
        .with_context(|| path.display().to_string())?;
    if let Some(imported) = imported {
        gateway.import(imported);
    }
    Ok(config.route.len())
}

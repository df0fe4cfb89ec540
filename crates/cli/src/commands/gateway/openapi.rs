//! The upstream's own `OpenAPI`, for what the gateway says of itself to machines.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use farthing_gateway::Gateway;
use farthing_gateway::discovery::Imported;
use farthing_gateway::file::OpenApi;

use crate::config::gateway::Config;

/// How long to wait before an upstream that did not give it is asked again.
const PAUSE: Duration = Duration::from_secs(10);

/// What a file says, if it is in one; a relative path starts at this folder. What is wrong with it is wrong at start-up.
pub fn from_file(config: &Config, folder: &Path) -> anyhow::Result<Option<Imported>> {
    let Some(OpenApi::File(path)) = &config.gateway.discovery.openapi else { return Ok(None) };
    let path = folder.join(path);
    let place = || format!("gateway.discovery.openapi: {}", path.display());
    let text = std::fs::read(&path).with_context(place)?;
    Imported::parse(&text).with_context(place).map(Some)
}

/// Takes it from the upstream, if it is there, as soon as it answers: nobody waits for that to be served.
pub async fn take_from_upstream(gateway: Gateway, source: Option<OpenApi>) {
    let Some(OpenApi::Upstream(path)) = source else { return };
    let mut is_told = false;
    while let Err(error) = gateway.import_from(&path).await {
        if is_told {
            tracing::debug!(%error, path, "the upstream's OpenAPI could still not be had");
        } else {
            tracing::warn!(%error, path, "the upstream's OpenAPI could not be had; the gateway's own says what is sold until it can");
        }
        is_told = true;
        tokio::time::sleep(PAUSE).await;
    }
    tracing::info!(path, "the upstream's OpenAPI was taken in");
}

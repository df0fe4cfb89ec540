//! The gateway under way.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use farthing::core::time::Clock;
use farthing::store::{Access, Store};
use farthing::system::SystemClock;
use serde_json::json;

use super::openapi;
use super::reload::Reload;
use super::watching::Watching;
use super::wiring::{Parts, Wired};
use super::{Gateway, check, refunds};
use crate::config::gateway::Config;
use crate::exit::Exit;
use crate::logging;
use crate::serve;
use crate::signals::Stop;
use crate::terminal::{ACCENT, FAINT, PLAIN, STRONG, say, say_json};
use crate::tls::Certificates;
use crate::traces::Traces;

/// Serves until told to stop.
pub async fn run(described: Gateway, as_json: bool, until_stdin_ends: bool) -> anyhow::Result<ExitCode> {
    let (config, place) = (&described.config, || described.place());
    let traces = Traces::to(config.traces.otlp.as_deref()).with_context(place)?;
    logging::start_with(config.log.format, &config.log.level, traces.as_ref())?;
    let parts = Parts::of(config).with_context(place)?;
    let store_url = config.store(described.folder()).with_context(place)?;
    let listen = config.gateway.listen;
    let listener = serve::listen(listen).with_context(|| format!("{listen} cannot be listened on"))?;
    let certificates = certificates(config).with_context(place)?;
    let tls = certificates.as_ref().map(Certificates::acceptor).transpose().with_context(place)?;
    let watching = Watching::prepare(config).with_context(place)?;
    let store = Store::open(&store_url, Access::Own).await.with_context(|| format!("the book {store_url} cannot be used"))?;
    let wired = parts.wire(config, Some(&store)).await.with_context(place)?;
    let admin = watching.as_ref().map(Watching::url).transpose()?;
    let watched = watching.map(|watching| watching.start(&wired, &store));
    let Wired { gateway, upstream, local } = wired;
    if let Some(imported) = openapi::from_file(config, described.folder()).with_context(place)? {
        gateway.import(imported);
    }
    // Before it says that it serves: from then on a signal means what it says.
    let stop = Stop::listen()?;
    let stop = if until_stdin_ends { stop.or_with_stdin()? } else { stop };
    let reload = Reload::listen()?;
    if let Some(local) = &local {
        local.start();
    }
    if config.gateway.quote_key.is_none() && config.has_quotes() {
        tracing::info!("quotes are known again by this process alone; set gateway.quote_key where several sell the same");
    }
    let watch = tokio::spawn(upstream.watch());
    let refunds = local.as_ref().map(|local| tokio::spawn(refunds::carry(store.clone(), Arc::clone(local))));
    let scheme = if tls.is_some() { "https" } else { "http" };
    announce(config, &format!("{scheme}://{}", listener.local_addr()?), &store_url.to_string(), admin.as_deref(), as_json)?;
    let app = gateway.router();
    let importing = tokio::spawn(openapi::take_from_upstream(gateway.clone(), config.gateway.discovery.openapi.clone()));
    let reloading = tokio::spawn(reload.run(gateway, described, store.clone(), certificates));
    serve::until_over(stop.wait(), listener, tls, app).await;
    reloading.abort();
    importing.abort();
    watch.abort();
    if let Some(refunds) = refunds {
        refunds.abort();
    }
    if let Some(local) = local {
        local.stop().await;
    }
    if let Some(watched) = watched {
        watched.abort();
    }
    store.close().await;
    if let Some(traces) = traces {
        traces.end().await;
    }
    Ok(Exit::Ok.into())
}

/// What the gateway is known by, if it speaks TLS. Its end is told when it is near.
fn certificates(config: &Config) -> anyhow::Result<Option<Certificates>> {
    let Some(files) = &config.gateway.tls else { return Ok(None) };
    let (certificates, facts) = Certificates::load(files)?;
    if let Some(warning) = facts.warning(SystemClock.now()) {
        tracing::warn!("{warning}");
    }
    Ok(Some(certificates))
}

fn announce(config: &Config, url: &str, store: &str, admin: Option<&str>, as_json: bool) -> anyhow::Result<()> {
    let upstream = config.gateway.upstream.url.origin();
    let networks: Vec<&str> = config.pay_to.0.iter().map(|(network, _)| network.as_str()).collect();
    let settled_by = check::settled_by(config);
    if as_json {
        let facts = json!({
            "listening": url, "upstream": upstream, "networks": networks, "settledBy": settled_by, "store": store,
            "routes": config.route.len(), "admin": admin,
        });
        return say_json(&facts);
    }
    say(format!("{STRONG}farthing gateway{PLAIN}  {ACCENT}{url}{PLAIN} → {upstream}  {}", networks.join(", ")));
    let routes = config.route.len();
    let plural = if routes == 1 { "" } else { "s" };
    say(format!("{FAINT}{routes} route{plural}   settled by {settled_by}   book {store}{PLAIN}"));
    if let Some(admin) = admin {
        say(format!("{FAINT}dashboard {PLAIN}{admin}/{FAINT}   metrics {admin}/metrics{PLAIN}"));
    }
    Ok(())
}

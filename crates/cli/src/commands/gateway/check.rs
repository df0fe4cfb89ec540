//! `farthing gateway check`: the configuration as it is understood, in words.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use farthing::core::time::Clock;
use farthing::evm::asset::AssetTable;
use farthing::system::SystemClock;
use farthing_gateway::file::Unmatched;
use farthing_gateway::{Dish, Explained, Explanation, Offered};
use serde::Serialize;

use super::wiring::Parts;
use super::{Described, openapi};
use crate::config::gateway::Config;
use crate::exit::Exit;
use crate::logging;
use crate::settling;
use crate::terminal::{ACCENT, BAD, FAINT, GOOD, PLAIN, STRONG, say, say_json};
use crate::tls::Certificates;

/// What `farthing gateway check` takes.
#[derive(Args)]
pub struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    described: Described,
}

/// What the gateway would do.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    listen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsReport>,
    upstream: String,
    settled_by: String,
    store: String,
    pay_to: Vec<Payee>,
    routes: Vec<RouteReport>,
    /// What becomes of all other requests.
    unmatched: &'static str,
    /// What somebody might not have meant.
    notes: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TlsReport {
    /// Whom the certificate is for.
    names: Vec<String>,
    /// Its last day.
    expires: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payee {
    network: String,
    account: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RouteReport {
    #[serde(rename = "match")]
    matches: String,
    access: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    offers: Vec<OfferReport>,
    /// What holds around the payment, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    around: Vec<String>,
    /// What an MCP server behind it offers, each by its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    offered: Vec<RouteReport>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfferReport {
    scheme: String,
    network: String,
    asset: String,
    symbol: Option<String>,
    /// In whole units; none where it differs from request to request.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<String>,
    /// Whether the amount is the most, and less is charged.
    is_ceiling: bool,
}

/// Looks, and tells. What start-up would refuse is refused here in the same words.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start_plain(arguments.json)?;
    let described = arguments.described.read()?;
    let (config, place) = (&described.config, || described.place());
    let assets = settling::assets(&config.network, &config.asset).with_context(place)?;
    let store = config.store(described.folder()).with_context(place)?.to_string();
    let parts = Parts::of(config).with_context(place)?;
    let wired = parts.wire(config, None).await.with_context(place)?;
    openapi::from_file(config, described.folder()).with_context(place)?;
    let mut report = report(config, store, wired.gateway.explain(), &assets);
    if let Some(files) = &config.gateway.tls {
        let (_certificates, facts) = Certificates::load(files).with_context(place)?;
        report.notes.extend(facts.warning(SystemClock.now()));
        report.tls = Some(TlsReport { expires: facts.last_day(), names: facts.names });
    }
    if arguments.json {
        say_json(&report)?;
    } else {
        tell(&report);
    }
    Ok(Exit::Ok.into())
}

/// Who settles, for people: by the text of the file, so that a URL that is kept elsewhere stays there.
pub fn settled_by(config: &Config) -> String {
    if let Some(place) = &config.gateway.facilitator {
        return place.as_str().split(['?', '#']).next().unwrap_or_default().to_owned();
    }
    let networks: Vec<&str> = config.network.keys().map(String::as_str).collect();
    format!("this process, on {}", networks.join(", "))
}

fn report(config: &Config, store: String, routes: Vec<Explained>, assets: &AssetTable) -> Report {
    let (pay_to, notes) = (config.pay_to.0.iter(), notes(config, &routes));
    Report {
        listen: config.gateway.listen.to_string(),
        tls: None,
        upstream: config.gateway.upstream.url.origin(),
        settled_by: settled_by(config),
        store,
        pay_to: pay_to.map(|(network, account)| Payee { network: network.to_string(), account: account.to_string() }).collect(),
        routes: routes.into_iter().map(|route| explain(route, assets)).collect(),
        unmatched: match config.gateway.unmatched {
            Unmatched::Deny => "denied",
            Unmatched::Free => "free",
        },
        notes,
    }
}

fn notes(config: &Config, routes: &[Explained]) -> Vec<String> {
    let mut notes = Vec::new();
    for Explained { matches, access, .. } in routes {
        let is_priced = matches!(access, Explanation::Priced { .. });
        if let Some((methods, path)) = matches.split_once(' ')
            && is_priced
            && config.gateway.unmatched == Unmatched::Free
        {
            notes.push(format!("{path} is free by every method but {methods}, unless another route is for it"));
        }
    }
    let (allow, block) = (&config.gateway.allow.addresses, &config.gateway.block.addresses);
    if !allow.is_empty() || !block.is_empty() {
        let who =
            if allow.is_empty() { "everybody may ask".to_owned() } else { format!("{} networks alone may ask", allow.len()) };
        notes.push(format!("{who}, and {} networks may not", block.len()));
    }
    if config.has_quotes() && config.gateway.quote_key.is_none() {
        notes.push("quoted prices are known again by one process alone; set quote_key where several sell the same".to_owned());
    }
    notes
}

fn explain(route: Explained, assets: &AssetTable) -> RouteReport {
    let (matches, around) = (route.matches, route.entry);
    match route.access {
        Explanation::Free => RouteReport { access: "free", ..plain(matches, around) },
        Explanation::Denied => RouteReport { access: "denied", ..plain(matches, around) },
        Explanation::Tools(dishes) => {
            let dish = |dish: Dish| Explained {
                matches: format!("{} {}", dish.kind, dish.name),
                access: dish.access,
                entry: Vec::new(),
            };
            let offered = dishes.into_iter().map(|of| explain(dish(of), assets)).collect();
            RouteReport { access: "tools", offered, ..plain(matches, around) }
        }
        Explanation::Priced { price, offers, .. } => {
            let offers = offers.iter().map(|offer| offered(offer, assets)).collect();
            RouteReport { access: "priced", price: Some(price), offers, ..plain(matches, around) }
        }
    }
}

const fn plain(matches: String, around: Vec<String>) -> RouteReport {
    RouteReport { matches, access: "", price: None, offers: Vec::new(), around, offered: Vec::new() }
}

fn offered(offer: &Offered, assets: &AssetTable) -> OfferReport {
    let requirements = &offer.requirements;
    let known = assets.of(requirements);
    let amount = known.map(|asset| requirements.amount.to_decimal_string(asset.decimals));
    OfferReport {
        scheme: requirements.scheme.clone(),
        network: requirements.network.to_string(),
        asset: requirements.asset.to_string(),
        symbol: known.map(|asset| asset.symbol.clone()),
        amount: amount.filter(|_| offer.is_fixed),
        is_ceiling: offer.is_ceiling,
    }
}

fn tell(report: &Report) {
    let Report { listen, tls, upstream, settled_by, store, pay_to, routes, unmatched, notes } = report;
    say(format!("{STRONG}gateway{PLAIN}  {listen} → {upstream}"));
    if let Some(TlsReport { names, expires }) = tls {
        say(format!("  {FAINT}TLS as {}, until {expires}{PLAIN}", names.join(", ")));
    }
    say(format!("  {FAINT}settled by {settled_by}; book {store}{PLAIN}"));
    for Payee { network, account } in pay_to {
        say(format!("  {FAINT}paid on {network} to {account}{PLAIN}"));
    }
    say(format!("{STRONG}routes{PLAIN}  {FAINT}the first that is for a request decides{PLAIN}"));
    let all = routes.iter().flat_map(|route| std::iter::once(route).chain(&route.offered));
    let width = all.map(|route| route.matches.chars().count()).max().unwrap_or_default();
    for route in routes {
        tell_route(route, width);
    }
    let rest = if *unmatched == "free" { "free: it goes to the upstream unpaid" } else { "denied, with 404" };
    say(format!("  {:<width$}  {rest}", "all else"));
    for note in notes {
        say(format!("{STRONG}note{PLAIN}  {note}"));
    }
}

fn tell_route(route: &RouteReport, width: usize) {
    let RouteReport { matches, access, price, offers, around, offered } = route;
    let (colour, what) = match price {
        Some(price) => (ACCENT, price.as_str()),
        None if *access == "free" => (GOOD, "free"),
        None if *access == "tools" => (ACCENT, "what is named, the rest is denied"),
        None => (BAD, *access),
    };
    say(format!("  {matches:<width$}  {colour}{what}{PLAIN}"));
    for offer in offers {
        say(format!("  {:width$}  {FAINT}{}{PLAIN}", "", words(offer)));
    }
    for line in around {
        say(format!("  {:width$}  {FAINT}{line}{PLAIN}", ""));
    }
    for dish in offered {
        tell_route(dish, width);
    }
}

/// Such as `at most 0.05 USDC on eip155:84532 (upto)`.
fn words(offer: &OfferReport) -> String {
    let symbol = offer.symbol.as_deref().unwrap_or(&offer.asset);
    let most = if offer.is_ceiling { "at most " } else { "" };
    let amount = offer.amount.as_ref().map_or_else(|| "paid in ".to_owned(), |amount| format!("{most}{amount} "));
    format!("{amount}{symbol} on {} ({})", offer.network, offer.scheme)
}

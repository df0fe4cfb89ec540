//! `farthing inspect URL`: the offers and what this wallet would do with each. Pays nothing.

use std::process::ExitCode;

use clap::Args;
use farthing::client::RequestBuilder;
use farthing::client::terms::{Terms, TermsOffer};
use farthing::evm::Address;
use serde::Serialize;

use super::pay::target;
use super::purse::{Opened, Purse};
use super::refusal;
use crate::exit::Exit;
use crate::logging;
use crate::terminal::{ACCENT, BAD, FAINT, GOOD, PLAIN, STRONG, plain, say, say_json};

/// What `farthing inspect` takes.
#[derive(Args)]
pub struct Arguments {
    /// The URL to look at
    url: String,
    /// Print the terms as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    purse: Purse,
}

/// The terms, and for whom they were considered.
#[derive(Serialize)]
struct Seen {
    #[serde(flatten)]
    terms: Terms,
    /// The wallet's account; null without a wallet, when only the limits were held against the offers.
    wallet: Option<String>,
}

/// Shows the terms.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start_plain(arguments.json)?;
    let is_json = arguments.json;
    refusal::in_form(inspect(arguments).await, is_json)
}

async fn inspect(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Opened { client, account } = arguments.purse.open_or_look()?;
    show(client.get(target(&arguments.url)?), account, arguments.json).await
}

/// Shows what a request would be asked for; shared with `pay --dry-run`.
pub async fn show(request: RequestBuilder, account: Option<Address>, as_json: bool) -> anyhow::Result<ExitCode> {
    let terms = match request.dry_run().await {
        Ok(terms) => terms,
        Err(error) => return Ok(refusal::report(&error, None, as_json)),
    };
    if as_json {
        say_json(&Seen { terms, wallet: account.map(|account| account.to_string()) })?;
    } else {
        tell(&terms, account.is_some());
    }
    Ok(Exit::Ok.into())
}

fn tell(terms: &Terms, has_wallet: bool) {
    say(format!("{STRONG}{}{PLAIN}  {}", plain(&terms.url), terms.status));
    if let Some(resource) = terms.resource.as_ref().filter(|resource| !resource.description.is_empty()) {
        say(plain(&resource.description));
    }
    for offer in &terms.offers {
        tell_offer(offer);
    }
    match (terms.would_pay, &terms.refusal, &terms.note) {
        (Some(number), ..) => say(format!("would pay offer {number}")),
        (None, Some(refusal), _) => say(format!("would not pay: {}", plain(refusal))),
        (None, None, Some(remark)) => say(plain(remark)),
        // Each offer says why.
        (None, None, None) => say("would pay none of them"),
    }
    if !has_wallet && !terms.offers.is_empty() {
        say(format!("{FAINT}no wallet: this is what the limits allow; no balance was asked{PLAIN}"));
    }
}

fn tell_offer(offer: &TermsOffer) {
    let mark = if offer.is_payable { format!("{GOOD}✓{PLAIN}") } else { format!("{BAD}✗{PLAIN}") };
    let shown = |text: &Option<String>| plain(text.as_deref().unwrap_or("?"));
    let price = offer.price.as_ref().or(offer.amount.as_ref()).cloned();
    if offer.network.is_some() {
        let (price, network, scheme) = (shown(&price), shown(&offer.network), shown(&offer.scheme));
        say(format!("  {mark} {}. {ACCENT}{price}{PLAIN} on {network} by {scheme}", offer.number));
        say(format!("       {FAINT}to {}{PLAIN}", shown(&offer.pay_to)));
    } else {
        say(format!("  {mark} {}. an offer of another kind", offer.number));
    }
    if let Some(why) = &offer.why {
        say(format!("       {}", plain(why)));
    }
}

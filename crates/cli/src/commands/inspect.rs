//! `farthing inspect URL`: the offers and what this wallet would do with each. Pays nothing.

use std::process::ExitCode;

use clap::Args;
use farthing::client::Client;

use super::pay::{Purse, report_error};
use crate::exit::Exit;
use crate::logging::{self, LogFormat};
use crate::terminal::{ACCENT, BAD, FAINT, GOOD, PLAIN, STRONG, plain};

/// What `farthing inspect` takes.
#[derive(Args)]
pub struct Arguments {
    /// The URL to look at.
    url: String,
    #[command(flatten)]
    purse: Purse,
    /// Print the terms as one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Shows the terms.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start(LogFormat::Text, "error");
    let client = arguments.purse.client_if_any()?;
    show(&client, &arguments.url, arguments.json).await
}

/// Shows what a URL asks for; shared with `pay --dry-run`.
pub async fn show(client: &Client, url: &str, as_json: bool) -> anyhow::Result<ExitCode> {
    let terms = match client.inspect(url).await {
        Ok(terms) => terms,
        Err(error) => return Ok(report_error(&error, as_json)),
    };
    if as_json {
        println!("{}", serde_json::to_string_pretty(&terms)?);
        return Ok(Exit::Ok.into());
    }
    anstream::println!("{STRONG}{}{PLAIN}  {}", terms.url, terms.status);
    if let Some(resource) = &terms.resource
        && !resource.description.is_empty()
    {
        anstream::println!("{}", plain(&resource.description));
    }
    for offer in &terms.offers {
        let mark = if offer.is_payable { format!("{GOOD}✓{PLAIN}") } else { format!("{BAD}✗{PLAIN}") };
        let price = plain(offer.price.as_deref().or(offer.amount.as_deref()).unwrap_or("?"));
        let network = plain(offer.network.as_deref().unwrap_or("?"));
        let payee = plain(offer.pay_to.as_deref().unwrap_or("?"));
        anstream::println!("  {mark} {}. {ACCENT}{price}{PLAIN} on {network} {FAINT}to {payee}{PLAIN}", offer.number);
        if let Some(why) = &offer.why {
            anstream::println!("       {why}");
        }
    }
    match (terms.would_pay, &terms.refusal, &terms.note) {
        (Some(number), ..) => anstream::println!("would pay offer {number}"),
        (None, Some(refusal), _) if terms.offers.is_empty() => anstream::println!("would not pay: {refusal}"),
        (None, Some(_), _) => anstream::println!("would pay none of them"),
        (None, None, Some(note)) => anstream::println!("{note}"),
        (None, None, None) => {}
    }
    Ok(Exit::Ok.into())
}

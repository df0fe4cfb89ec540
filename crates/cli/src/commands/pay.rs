//! `farthing pay URL`: one request that pays if it is asked to. The body goes to stdout, everything else to stderr.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use farthing::client::{Client, Error, PaymentFacts, PaymentOutcome, RequestBuilder, Response};
use reqwest::StatusCode;
use serde_json::json;

use super::purse::{Opened, Purse};
use super::sink::Sink;
use super::{inspect, refusal};
use crate::exit::{Exit, Unwritten, Usage};
use crate::logging;
use crate::terminal::{ACCENT, BAD, FAINT, GOOD, PLAIN, note, plain};

const EXIT_CODES: &str = "\
Exit codes: 0 answered · 1 other error · 2 usage · 10 refused by policy ·
11 unaffordable · 12 payment rejected · 13 unknown (do not just repeat) ·
14 nothing payable offered · 22 the server answered with an HTTP error";

/// What `farthing pay` takes.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub struct Arguments {
    /// The URL to request
    url: String,
    /// The request's method [default: GET, or POST with a body]
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<String>,
    /// A header, 'Name: value'; may be given again
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The request's body; @FILE reads it from a file, @- from stdin
    #[arg(short = 'd', long = "data", value_name = "DATA")]
    data: Option<String>,
    /// Write the answer's body to this file instead of stdout
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show what would be paid, and why; pay nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the facts as one JSON object, on stderr (with --dry-run on stdout)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    purse: Purse,
}

/// Makes the request.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start_plain(arguments.json)?;
    let is_json = arguments.json;
    refusal::in_form(pay(arguments).await, is_json)
}

async fn pay(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Opened { client, account } = arguments.purse.open()?;
    let request = request(&client, &arguments)?;
    if arguments.dry_run {
        return inspect::show(request, account, arguments.json).await;
    }
    // Before anything is paid: a body that was paid for must have somewhere to go.
    let sink = Sink::prepare(arguments.output)?;
    match request.send().await {
        Ok(response) => answer(response, sink, arguments.json).await,
        Err(error) => {
            sink.leave();
            Ok(refusal::report(&error, None, arguments.json))
        }
    }
}

fn request(client: &Client, arguments: &Arguments) -> anyhow::Result<RequestBuilder> {
    let body = arguments.data.as_deref().map(read_data).transpose()?;
    let method = arguments.method.as_deref().unwrap_or(if body.is_some() { "POST" } else { "GET" });
    let method = method.parse().map_err(|_| Usage::new("-X", format!("{method:?} is no HTTP method")))?;
    let mut request = client.request(method, target(&arguments.url)?);
    for header in &arguments.headers {
        // The header is not repeated: its value may be a secret.
        let (name, value) = header.split_once(':').ok_or_else(|| Usage::new("-H", "expected 'Name: value'"))?;
        request = request.header(name.trim(), value.trim());
    }
    Ok(match body {
        Some(body) => request.body(body),
        None => request,
    })
}

/// The URL, which is often typed without its beginning.
pub fn target(url: &str) -> Result<&str, Usage> {
    let is_whole = url.starts_with("https://") || url.starts_with("http://");
    if is_whole { Ok(url) } else { Err(Usage::new("URL", "expected one that begins with https:// or http://")) }
}

fn read_data(data: &str) -> anyhow::Result<Vec<u8>> {
    match data.strip_prefix('@') {
        None => Ok(data.as_bytes().to_vec()),
        Some("-") => {
            let mut body = Vec::new();
            std::io::stdin().read_to_end(&mut body).context("-d @-: stdin cannot be read")?;
            Ok(body)
        }
        Some(path) => std::fs::read(path).with_context(|| format!("-d: {path} cannot be read")),
    }
}

async fn answer(mut response: Response, sink: Sink, as_json: bool) -> anyhow::Result<ExitCode> {
    let (status, payment) = (response.status(), response.paid().cloned());
    let remark = response.note().map(plain);
    if !as_json {
        payment.iter().for_each(say_paid);
    }
    if let Err(broken) = copy(&mut response, sink).await? {
        return Ok(refusal::report(&broken, payment.as_ref(), as_json));
    }
    let (error, exit) = match status {
        StatusCode::PAYMENT_REQUIRED => (Some("not_payable"), Exit::NotPayable),
        _ if status.is_client_error() || status.is_server_error() => (Some("http_error"), Exit::HttpError),
        _ => (None, Exit::Ok),
    };
    if as_json {
        note(json!({"error": error, "status": status.as_u16(), "payment": payment, "note": remark}));
    } else if error.is_some() {
        let remark = remark.map(|remark| format!(": {remark}")).unwrap_or_default();
        note(format!("{BAD}{status}{PLAIN}{remark}"));
    }
    Ok(exit.into())
}

/// Passes the body on as it comes. The outer error is ours, the inner one the server's.
async fn copy(response: &mut Response, sink: Sink) -> Result<Result<(), Error>, Unwritten> {
    let is_paid = response.paid().is_some();
    let unwritten = |source| Unwritten { is_paid, source };
    let mut body = sink.start().map_err(unwritten)?;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => body.write(&chunk).map_err(unwritten)?,
            Ok(None) => return body.finish().map(Ok).map_err(unwritten),
            Err(error) => return Ok(Err(Error::Body { is_paid, source: Box::new(error.without_url()) })),
        }
    }
}

fn say_paid(facts: &PaymentFacts) {
    let outcome = match facts.outcome {
        PaymentOutcome::Settled => format!("{GOOD}paid{PLAIN}   "),
        PaymentOutcome::Unconfirmed => format!("{BAD}signed{PLAIN} "),
        PaymentOutcome::Failed => format!("{BAD}failed{PLAIN} "),
    };
    note(format!("{outcome}  {ACCENT}{}{PLAIN} on {}", plain(&facts.price()), facts.network));
    note(format!("to       {FAINT}{}{PLAIN}", plain(facts.offer.pay_to.as_str())));
    if let Some(transaction) = &facts.transaction {
        note(format!("receipt  {FAINT}{}{PLAIN}", plain(&transaction.0)));
    }
    if facts.outcome == PaymentOutcome::Unconfirmed {
        note("         the server did not say whether it took the money; it may, until the signature expires");
    }
    for doubt in &facts.doubts {
        note(format!("{BAD}doubtful{PLAIN} {}", plain(doubt)));
    }
}

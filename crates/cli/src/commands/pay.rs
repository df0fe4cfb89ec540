//! `farthing pay URL`: one request that pays if it is asked to. The body goes to stdout, everything else to stderr.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use farthing::client::{Builder, Client, Error, PaymentFacts, PaymentOutcome, RequestBuilder, Response};
use serde_json::json;

use crate::exit::Exit;
use crate::logging::{self, LogFormat};
use crate::terminal::{ACCENT, BAD, FAINT, GOOD, PLAIN, short};

const DEFAULT_WALLET: &str = "env:EVM_PRIVATE_KEY";
const DEFAULT_WALLET_VARIABLE: &str = "EVM_PRIVATE_KEY";

/// What `farthing pay` takes.
#[derive(Args)]
pub struct Arguments {
    /// The URL to request.
    pub url: String,
    #[command(flatten)]
    pub purse: Purse,
    /// The request's method; POST where there is a body, otherwise GET.
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<String>,
    /// A header, `Name: value`; may be given again.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The request's body; `@file` reads it from a file, `@-` from stdin.
    #[arg(short = 'd', long = "data", value_name = "DATA")]
    data: Option<String>,
    /// Write the body to this file instead of stdout.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show what would be paid, and why; pay nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print the payment's facts on stderr as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Whose money, and how much of it.
#[derive(Args)]
pub struct Purse {
    /// Where the wallet's key is kept: env:NAME or file:PATH.
    #[arg(long, default_value = DEFAULT_WALLET, value_name = "REFERENCE")]
    wallet: String,
    /// The most that this request may cost, in dollars such as '$0.05' [default: $1].
    #[arg(long, value_name = "PRICE")]
    max_amount: Option<String>,
    /// Pay on this network if the server offers it, such as eip155:8453; may be given again.
    #[arg(long = "network", value_name = "NETWORK")]
    networks: Vec<String>,
    /// A node to ask for the wallet's balance, NETWORK=URL; may be given again.
    #[arg(long = "rpc", value_name = "NETWORK=URL")]
    nodes: Vec<String>,
}

impl Purse {
    /// The client with this wallet and these limits.
    pub fn client(&self) -> anyhow::Result<Client> {
        let builder = farthing::Client::builder().wallet(&self.wallet).context(
            "the wallet could not be opened; say where its key is kept with --wallet env:NAME or --wallet file:PATH",
        )?;
        self.limited(builder)
    }

    /// The same, but one that only looks if the default wallet is not there.
    pub fn client_if_any(&self) -> anyhow::Result<Client> {
        let is_missing = self.wallet == DEFAULT_WALLET && std::env::var_os(DEFAULT_WALLET_VARIABLE).is_none();
        if is_missing { self.limited(farthing::Client::builder()) } else { self.client() }
    }

    fn limited(&self, mut builder: Builder) -> anyhow::Result<Client> {
        if let Some(max) = &self.max_amount {
            let dollars = if max.starts_with('$') { max.clone() } else { format!("${max}") };
            builder = builder.limit(&format!("{dollars} per payment")).context("--max-amount")?;
        }
        for network in &self.networks {
            builder = builder.prefer_network(network).context("--network")?;
        }
        for node in &self.nodes {
            let (network, url) = node.split_once('=').context("--rpc: expected NETWORK=URL, such as eip155:8453=https://…")?;
            builder = builder.node(network, &crate::config::rpc_url(url)?).context("--rpc")?;
        }
        Ok(builder.build()?)
    }
}

/// Makes the request.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start(LogFormat::Text, "error");
    let client = arguments.purse.client()?;
    if arguments.dry_run {
        return super::inspect::show(&client, &arguments.url, arguments.json).await;
    }
    match request(&client, &arguments)?.send().await {
        Ok(response) => answer(response, &arguments).await,
        Err(error) => Ok(report_error(&error, arguments.json)),
    }
}

fn request(client: &Client, arguments: &Arguments) -> anyhow::Result<RequestBuilder> {
    let body = arguments.data.as_deref().map(read_data).transpose()?;
    let method = arguments.method.as_deref().unwrap_or(if body.is_some() { "POST" } else { "GET" });
    let method = method.parse().with_context(|| format!("-X: {method:?} is no HTTP method"))?;
    let mut request = client.request(method, &arguments.url);
    for header in &arguments.headers {
        let (name, value) = header.split_once(':').with_context(|| format!("-H: expected \"Name: value\", got {header:?}"))?;
        request = request.header(name.trim(), value.trim());
    }
    Ok(match body {
        Some(body) => request.body(body),
        None => request,
    })
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

async fn answer(response: Response, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let status = response.status();
    let paid = response.paid().cloned();
    let body = response.bytes().await;
    if arguments.json {
        eprintln!("{}", json!({"status": status.as_u16(), "payment": paid}));
    } else if let Some(facts) = &paid {
        say_paid(facts);
    }
    let body = match body {
        Ok(body) => body,
        Err(error) => return Ok(report_error(&error, arguments.json)),
    };
    write_body(&body, arguments.output.as_deref())?;
    if status.is_client_error() || status.is_server_error() {
        if !arguments.json {
            anstream::eprintln!("{BAD}{status}{PLAIN}");
        }
        return Ok(Exit::HttpError.into());
    }
    Ok(Exit::Ok.into())
}

fn say_paid(facts: &PaymentFacts) {
    let outcome = match facts.outcome {
        PaymentOutcome::Settled => format!("{GOOD}paid{PLAIN}"),
        PaymentOutcome::Unconfirmed => format!("{BAD}paid, not confirmed{PLAIN}"),
        PaymentOutcome::Failed => format!("{BAD}not settled{PLAIN}"),
    };
    let transaction = facts.transaction.as_ref().map(|transaction| format!(" in {}", short(&transaction.0))).unwrap_or_default();
    let (price, network, payee) = (facts.price(), &facts.network, short(facts.offer.pay_to.as_str()));
    anstream::eprintln!("{outcome} {ACCENT}{price}{PLAIN} {FAINT}on {network} to {payee}{transaction}{PLAIN}");
    for doubt in &facts.doubts {
        anstream::eprintln!("{BAD}doubtful{PLAIN} {doubt}");
    }
}

fn write_body(body: &[u8], output: Option<&std::path::Path>) -> anyhow::Result<()> {
    if let Some(path) = output {
        return std::fs::write(path, body).with_context(|| format!("-o: {} cannot be written", path.display()));
    }
    let mut stdout = std::io::stdout();
    let written = stdout.write_all(body).and_then(|()| {
        let wants_line_end = stdout.is_terminal() && !body.ends_with(b"\n");
        if wants_line_end { stdout.write_all(b"\n") } else { Ok(()) }
    });
    match written.and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => bail!("the body cannot be written: {error}"),
        _ => Ok(()),
    }
}

/// Says why there is no answer, and gives the exit code that says it to scripts.
pub fn report_error(error: &Error, as_json: bool) -> ExitCode {
    let (name, exit) = match error {
        Error::RefusedByPolicy(_) => ("refused_by_policy", Exit::RefusedByPolicy),
        Error::Unaffordable(_) => ("unaffordable", Exit::Unaffordable),
        Error::NotPayable(_) => ("not_payable", Exit::NotPayable),
        Error::Rejected(_) => ("rejected", Exit::Rejected),
        Error::Unknown(_) | Error::Body { is_paid: true, .. } => ("unknown", Exit::Unknown),
        _ => ("failed", Exit::Failed),
    };
    if as_json {
        eprintln!("{}", json!({"error": name, "message": error.to_string(), "mayHavePaid": error.may_have_paid()}));
        return exit.into();
    }
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        message.push_str(": ");
        message.push_str(&source.to_string());
        cause = source.source();
    }
    anstream::eprintln!("{BAD}{}:{PLAIN} {message}", name.replace('_', " "));
    exit.into()
}

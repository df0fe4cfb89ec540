//! `farthing ledger refund`: pays a sale back, whole or in part, once.
//!
//! What is signed is in the book before anybody is asked to settle it; whoever calls again goes on with just that. A gateway that
//! is running, or this command itself, has it settled.

mod carrier;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use farthing::core::amount::Amount;
use farthing::core::books::{Booked, REFUND_TEXT_MAX_BYTES, Refund, RefundQuery, RefundState, RefundStateName, Sale};
use farthing::core::price::Price;
use farthing::core::scheme::PaymentKey;
use farthing::core::time::Clock;
use farthing::evm::signer::LocalSigner;
use farthing::refund::{RefundTerms, sign};
use farthing::secret::{SecretError, SecretRef};
use farthing::store::Store;
use farthing::system::SystemClock;
use serde::Serialize;
use tokio::time::Instant;

use self::carrier::Carrier;
use super::receipt;
use super::row::moment;
use super::sales::refunds_of;
use crate::exit::{Exit, Usage};
use crate::terminal::{FAINT, GOOD, PLAIN, STRONG, note, plain, say, say_json};

/// How long a refund may take from its signature to its settlement. Then it is void, and another one can be made.
const REFUND_SECONDS: u64 = 3_600;
/// How often it is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What `farthing ledger refund` takes.
#[derive(Args)]
pub struct Arguments {
    /// The TOML file of the gateway: where its book is, and who settles
    #[arg(long, value_name = "FILE")]
    config: std::path::PathBuf,
    /// The sale's id, or its first digits as sales shows them, or the whole hash of its transaction; or the id of a refund, to go
    /// on with it
    id: String,
    /// How much, such as '$0.50' or '0.5 USDC'; all that is left of the sale, unless set
    #[arg(long)]
    amount: Option<String>,
    /// Why, for the book; nobody else is told
    #[arg(long, default_value = "")]
    reason: String,
    #[arg(
        long,
        value_name = "REFERENCE",
        help = "Where the key of the account that pays back is kept, env:NAME or file:PATH; it needs no coin for gas"
    )]
    wallet: Option<String>,
    /// Say what would be paid back, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask whether it is meant
    #[arg(long)]
    yes: bool,
    /// How long to wait for its settlement, in seconds; it goes on when this command is called again
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait_seconds: u64,
    /// Print the refund as one JSON object
    #[arg(long)]
    json: bool,
}

/// A refund, for programs and for the lines that people read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefundRow {
    pub id: String,
    pub sale: String,
    /// `open`, `settled` or `failed`; `planned` where nothing was done.
    pub state: &'static str,
    pub at: String,
    pub to: String,
    pub network: String,
    pub symbol: String,
    pub amount_atomic: String,
    pub amount: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// Why it has not settled when it was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Pays back.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let (carrier, store) = Carrier::open(&arguments.config).await?;
    let paid_back = refund(&arguments, &carrier, &store).await;
    carrier.stop().await;
    store.close().await;
    paid_back
}

async fn refund(arguments: &Arguments, carrier: &Carrier, store: &Store) -> anyhow::Result<ExitCode> {
    let (sale, begun) = find(store, &arguments.id).await?;
    let refund = match begun {
        Some(refund) => {
            note(format!("{FAINT}going on with refund {}, which was begun at {}{PLAIN}", refund.id, moment(refund.at)));
            refund
        }
        None => match begin(arguments, carrier, store, &sale).await? {
            Some(refund) => refund,
            None => return Ok(Exit::Ok.into()),
        },
    };
    let ended = wait(arguments, carrier, store, refund).await?;
    tell(&sale, &ended, arguments.json)?;
    Ok(match ended.state {
        RefundState::Settled(_) => Exit::Ok,
        RefundState::Failed(_) => Exit::Failed,
        RefundState::Open(_) => Exit::Unknown,
    }
    .into())
}

/// The sale, and its refund that is not at its end yet.
async fn find(store: &Store, id: &str) -> anyhow::Result<(Sale, Option<Refund>)> {
    if let Ok(key) = id.parse::<PaymentKey>()
        && let Some(refund) = store.refunds().find(key).await?
    {
        let sale = store.sales().find(refund.sale).await?.context("the book does not know the refund's sale")?;
        return Ok((sale, Some(refund)));
    }
    let sales = receipt::find(store, id).await?;
    let [sale] = sales.as_slice() else {
        match sales.len() {
            0 => bail!("the book knows no sale named so; `farthing ledger sales` lists them"),
            count => return Err(Usage::new("ID", format!("{count} sales are named so; give the id of one")).into()),
        }
    };
    let query =
        RefundQuery { sale: Some(sale.payment), state: Some(RefundStateName::Open), limit: 1, ..RefundQuery::default() };
    Ok((sale.clone(), store.refunds().list(&query).await?.pop()))
}

/// Books a new refund; none where nothing is to be done.
async fn begin(arguments: &Arguments, carrier: &Carrier, store: &Store, sale: &Sale) -> anyhow::Result<Option<Refund>> {
    let bill = &sale.bill;
    let to = bill.payer.clone().context("the book does not say who has paid, so nobody can be paid back")?;
    let amount = amount(arguments, store, sale).await?;
    if arguments.reason.len() > REFUND_TEXT_MAX_BYTES {
        return Err(Usage::new("--reason", format!("expected at most {REFUND_TEXT_MAX_BYTES} bytes")).into());
    }
    let money = format!("{} {}", amount.to_decimal_string(bill.asset.decimals), plain(&bill.asset.symbol));
    let what = format!("pay {money} on {} back to {to}, of sale {}", bill.asset.network, sale.payment);
    if arguments.dry_run {
        let row = RefundRow { state: "planned", ..RefundRow::planned(sale, amount, &arguments.reason) };
        if arguments.json {
            say_json(&row)?;
        } else {
            say(format!("would {what}"));
        }
        return Ok(None);
    }
    let reference = arguments
        .wallet
        .as_deref()
        .ok_or_else(|| Usage::new("--wallet", "name the account that pays back, env:NAME or file:PATH"))?;
    let reference: SecretRef = reference.parse().map_err(|why: SecretError| Usage::new("--wallet", why.to_string()))?;
    let signer = Arc::new(LocalSigner::from_hex(reference.resolve().context("--wallet")?).context("--wallet")?);
    if !arguments.yes && !is_meant(&what)? {
        bail!("nothing was paid back");
    }
    let terms = RefundTerms { asset: bill.asset.clone(), to, amount, seconds: REFUND_SECONDS };
    let authorized = sign(signer, carrier.assets(), &terms).await?;
    let now = SystemClock.now();
    let refund = Refund {
        id: authorized.id,
        sale: sale.payment,
        at: now,
        amount,
        reason: arguments.reason.clone(),
        expires_at: authorized.expires_at,
        request: authorized.request,
        state: RefundState::Open(None),
        unanswered: 0,
        changed_at: now,
    };
    match store.refunds().book(&refund).await? {
        Booked::Yes => Ok(Some(refund)),
        Booked::Unsold => bail!("the book does not know the sale any more"),
        Booked::Another(id) => {
            bail!("another refund of this sale was begun meanwhile; go on with it by `farthing ledger refund {id}`")
        }
        Booked::TooMuch(left) => bail!("{}", too_much(sale, left)),
    }
}

/// What is asked for, or all that is left.
async fn amount(arguments: &Arguments, store: &Store, sale: &Sale) -> anyhow::Result<Amount> {
    let asset = &sale.bill.asset;
    let refunds = refunds_of(store, sale.payment).await?;
    let back = refunds.iter().filter(|refund| refund.state.name() != RefundStateName::Failed);
    let back = back.map(|refund| refund.amount).try_fold(Amount::ZERO, Amount::checked_add);
    let left = back.and_then(|back| sale.bill.amount.checked_sub(back)).unwrap_or_default();
    let wanted = match &arguments.amount {
        Some(text) => {
            let price: Price = text.parse().map_err(|error| Usage::new("--amount", format!("{error}")))?;
            price.in_asset(asset).map_err(|error| Usage::new("--amount", error.to_string()))?
        }
        None => left,
    };
    if wanted.is_zero() || wanted > left {
        bail!("{}", too_much(sale, left));
    }
    Ok(wanted)
}

fn too_much(sale: &Sale, left: Amount) -> String {
    let asset = &sale.bill.asset;
    let [sold, left] = [sale.bill.amount, left].map(|amount| amount.to_decimal_string(asset.decimals));
    format!("expected at most what is left of the sale to be paid back: {left} of {sold} {}", plain(&asset.symbol))
}

/// Asks whoever sits there.
fn is_meant(what: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(
            Usage::new("--yes", format!("nobody can be asked here whether it is meant to {what}; say so with --yes")).into()
        );
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "{what}? [y/N] ").and_then(|()| stderr.flush())?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Has it settled, or waits until the gateway has.
async fn wait(arguments: &Arguments, carrier: &Carrier, store: &Store, mut refund: Refund) -> anyhow::Result<Refund> {
    let begun = Instant::now();
    let mut said = None;
    loop {
        carrier.carry(store, &refund).await?;
        refund = store.refunds().find(refund.id).await?.context("the refund is not in the book any more")?;
        let RefundState::Open(why) = &refund.state else { return Ok(refund) };
        if *why != said {
            said.clone_from(why);
            note(format!("{FAINT}not settled yet: {}{PLAIN}", plain(why.as_deref().unwrap_or("it is under way"))));
        }
        if begun.elapsed() >= Duration::from_secs(arguments.wait_seconds) {
            return Ok(refund);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn tell(sale: &Sale, refund: &Refund, as_json: bool) -> anyhow::Result<()> {
    let row = RefundRow::of(sale, refund);
    if as_json {
        return say_json(&row);
    }
    let (amount, symbol) = (&row.amount, plain(&row.symbol));
    match &refund.state {
        RefundState::Settled(transaction) => {
            say(format!("{GOOD}paid back{PLAIN}  {STRONG}{amount} {symbol}{PLAIN} to {}", row.to));
            say(format!("  {FAINT}refund       {PLAIN}{}", row.id));
            say(format!("  {FAINT}transaction  {PLAIN}{transaction}"));
        }
        RefundState::Failed(why) => say(format!("{amount} {symbol} were not paid back, and will not be: {}", plain(why))),
        RefundState::Open(_) => say(format!(
            "the refund of {amount} {symbol} is in the book and not settled yet; go on with `farthing ledger refund {}`: it is never \
             paid twice",
            row.id
        )),
    }
    Ok(())
}

impl RefundRow {
    fn planned(sale: &Sale, amount: Amount, reason: &str) -> Self {
        let bill = &sale.bill;
        Self {
            id: String::new(),
            sale: sale.payment.to_string(),
            state: "planned",
            at: moment(SystemClock.now()),
            to: bill.payer.as_ref().map(ToString::to_string).unwrap_or_default(),
            network: bill.asset.network.to_string(),
            symbol: bill.asset.symbol.clone(),
            amount_atomic: amount.to_string(),
            amount: amount.to_decimal_string(bill.asset.decimals),
            reason: reason.to_owned(),
            transaction: None,
            message: None,
        }
    }

    /// A refund of a sale.
    pub fn of(sale: &Sale, refund: &Refund) -> Self {
        let (transaction, message) = match &refund.state {
            RefundState::Open(message) => (None, message.clone()),
            RefundState::Settled(transaction) => (Some(transaction.to_string()), None),
            RefundState::Failed(message) => (None, Some(message.clone())),
        };
        Self {
            id: refund.id.to_string(),
            state: refund.state.name().as_str(),
            at: moment(refund.at),
            transaction,
            message,
            ..Self::planned(sale, refund.amount, &refund.reason)
        }
    }
}

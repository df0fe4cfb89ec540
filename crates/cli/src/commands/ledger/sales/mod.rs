//! `farthing ledger sales`: what was sold, the newest first, and what nobody knows the end of.

mod table;

use std::process::ExitCode;

use clap::Args;
use farthing::core::amount::Amount;
use farthing::core::asset::AccountId;
use farthing::core::books::{Bill, OpenSale, Refund, RefundQuery, RefundStateName, Sale, SaleFilter, SaleQuery};
use farthing::core::network::Network;
use farthing::core::scheme::{PaymentKey, TransactionId};
use farthing::store::Store;
use serde::Serialize;

use super::list::{account, ago, seconds};
use super::row::moment;
use super::{Book, in_book_case};
use crate::config;
use crate::exit::{Exit, Usage};
use crate::terminal::{FAINT, PLAIN, note, say_json};

/// Dollars are counted in units of 10⁻¹⁸.
const USD_DECIMALS: u8 = 18;
/// More refunds than one sale has.
pub const REFUNDS_MAX: usize = 10_000;

/// What `farthing ledger sales` takes.
#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    book: Book,
    /// Of this route: a pattern as it stands in the file of routes, or a description
    #[arg(long)]
    route: Option<String>,
    /// On this network, such as eip155:8453 or base
    #[arg(long)]
    network: Option<String>,
    /// To this account
    #[arg(long, value_name = "ACCOUNT")]
    payer: Option<String>,
    /// Paid by this transaction
    #[arg(long, value_name = "HASH")]
    transaction: Option<String>,
    /// Sold within this time, such as 90s, 30m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    since: Option<u64>,
    /// What may have been charged, and nobody knows, instead of what was
    #[arg(long)]
    open: bool,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// One sale, for programs and for the lines that people read.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The payment's key: the sale's id, and its receipt's.
    pub id: String,
    /// `settled` or `open`.
    pub state: &'static str,
    /// When it was known that the money had moved; of an open one, when it was last asked for (RFC 3339).
    pub at: String,
    pub route: String,
    pub resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payer: Option<AccountId>,
    pub pay_to: AccountId,
    pub network: Network,
    pub asset: String,
    pub symbol: String,
    pub decimals: u8,
    /// In atomic units.
    pub amount_atomic: String,
    /// As people write it.
    pub amount: String,
    /// In dollars, where the asset stands for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<String>,
    pub scheme: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<&'static str>,
    /// How much of it was paid back, or is about to be, as people write it; nothing where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refunded: Option<String>,
}

/// Lists.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let query = query(&arguments)?;
    let store = arguments.book.open_sales().await?;
    let rows: Vec<Row> = if arguments.open {
        store.sales().open(&query).await?.iter().map(Row::of_open).collect()
    } else {
        let mut rows = Vec::new();
        for sale in store.sales().list(&query).await? {
            rows.push(Row::of(&sale).with_refunds(&sale, &refunds_of(&store, sale.payment).await?));
        }
        rows
    };
    store.close().await;
    if arguments.json {
        rows.iter().try_for_each(say_json)?;
        return Ok(Exit::Ok.into());
    }
    table::show(&rows);
    let is_cut = rows.len() == usize::from(arguments.limit);
    let more = if is_cut { "; there may be more, --limit shows them" } else { "" };
    note(format!("{FAINT}{}{more}{PLAIN}", sales(rows.len())));
    Ok(Exit::Ok.into())
}

fn query(arguments: &Arguments) -> anyhow::Result<SaleQuery> {
    let network = arguments.network.as_deref().map(config::network).transpose();
    let filter = SaleFilter {
        since: arguments.since.map(ago),
        route: arguments.route.clone(),
        network: network.map_err(|error| Usage::new("--network", format!("{error:#}")))?,
        payer: account("--payer", arguments.payer.as_deref())?,
        transaction: arguments.transaction.as_deref().map(|hash| TransactionId(in_book_case(hash))),
        ..SaleFilter::default()
    };
    Ok(SaleQuery { filter, limit: arguments.limit.into(), after: None })
}

impl Row {
    /// A sale.
    pub fn of(sale: &Sale) -> Self {
        // A hook may name none, and what was charged nothing has none.
        let transaction = Some(sale.transaction.0.clone()).filter(|name| !name.is_empty());
        let settled_by = Some(sale.settled_by.as_str());
        Self { state: "settled", transaction, settled_by, ..Self::of_bill(sale.payment, &sale.bill) }
    }

    /// The same with what was paid back of it.
    pub fn with_refunds(self, sale: &Sale, refunds: &[Refund]) -> Self {
        let back = refunds.iter().filter(|refund| refund.state.name() != RefundStateName::Failed);
        // The book lets no more be paid back than was sold.
        let back = back.map(|refund| refund.amount).try_fold(Amount::ZERO, Amount::checked_add);
        let refunded = back.filter(|back| !back.is_zero()).map(|back| back.to_decimal_string(sale.bill.asset.decimals));
        Self { refunded, ..self }
    }

    fn of_open(open: &OpenSale) -> Self {
        Self::of_bill(open.payment, &open.bill)
    }

    fn of_bill(payment: PaymentKey, bill: &Bill) -> Self {
        let Bill { at, route, resource, payer, pay_to, asset, amount, scheme } = bill.clone();
        Self {
            id: payment.to_string(),
            state: "open",
            at: moment(at),
            route,
            resource,
            payer,
            pay_to,
            network: asset.network,
            asset: asset.id.to_string(),
            symbol: asset.symbol,
            decimals: asset.decimals,
            amount_atomic: amount.to_string(),
            amount: amount.to_decimal_string(asset.decimals),
            usd: bill.usd().map(|usd| usd.units().to_decimal_string(USD_DECIMALS)),
            scheme,
            transaction: None,
            settled_by: None,
            refunded: None,
        }
    }
}

/// The refunds of a sale, the newest first.
pub async fn refunds_of(store: &Store, sale: PaymentKey) -> anyhow::Result<Vec<Refund>> {
    let query = RefundQuery { sale: Some(sale), limit: REFUNDS_MAX, ..RefundQuery::default() };
    Ok(store.refunds().list(&query).await?)
}

/// So many sales, in words.
fn sales(count: usize) -> String {
    if count == 1 { "1 sale".to_owned() } else { format!("{count} sales") }
}

//! Sales and open payments, a page at a time.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use farthing_core::asset::AccountId;
use farthing_core::books::{Bill, OpenSale, Sale, SaleFilter, SaleQuery};
use farthing_core::time::UnixSeconds;
use serde::Serialize;

use super::super::admin::Admin;
use super::Told;
use super::range::{Parameters, place};

/// After so long a payment that is being settled would have its end, in seconds: nobody knows it then.
const SETTLING_SECONDS: u64 = 90;

#[derive(Serialize)]
pub(super) struct Page<T> {
    entries: Vec<T>,
    /// Where the next page begins.
    next: Option<String>,
}

/// What a payment is for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BillTold {
    at: UnixSeconds,
    route: String,
    resource: String,
    payer: Option<String>,
    pay_to: String,
    network: String,
    asset: String,
    symbol: String,
    /// In whole tokens.
    amount: String,
    amount_atomic: String,
    /// Whether the token stands for a dollar.
    is_usd: bool,
    scheme: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SaleTold {
    payment: String,
    #[serde(flatten)]
    bill: BillTold,
    /// Empty where none is known.
    transaction: String,
    settled_by: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OpenTold {
    payment: String,
    #[serde(flatten)]
    bill: BillTold,
    age_seconds: u64,
    /// `settling` or `unknown`.
    state: &'static str,
}

pub(super) async fn sales(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Told<Page<SaleTold>> {
    let parameters = Parameters::read(query.as_deref(), &["range", "limit", "after"])?;
    let range = parameters.range(admin.seen.now())?;
    let limit = parameters.limit()?;
    let filter = SaleFilter { since: Some(range.from), before: Some(range.before), ..SaleFilter::default() };
    let query = SaleQuery { filter, after: parameters.after()?, limit };
    let sales = admin.sales.list(&query).await?;
    let last = sales.last().filter(|_| sales.len() == limit).map(|sale| place(sale.bill.at, sale.payment));
    let told = |Sale { payment, bill, transaction, settled_by }| SaleTold {
        payment: format!("{payment}"),
        bill: BillTold::of(bill),
        transaction: transaction.to_string(),
        settled_by: settled_by.as_str(),
    };
    Ok(Json(Page { entries: sales.into_iter().map(told).collect(), next: last }))
}

pub(super) async fn open(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Told<Page<OpenTold>> {
    let parameters = Parameters::read(query.as_deref(), &["limit", "after"])?;
    let (now, limit) = (admin.seen.now(), parameters.limit()?);
    let query = SaleQuery { filter: SaleFilter::default(), after: parameters.after()?, limit };
    let open = admin.sales.open(&query).await?;
    let last = open.last().filter(|_| open.len() == limit).map(|open| place(open.bill.at, open.payment));
    let told = |OpenSale { payment, bill }| {
        let age_seconds = now.0.saturating_sub(bill.at.0);
        let state = if age_seconds < SETTLING_SECONDS { "settling" } else { "unknown" };
        OpenTold { payment: format!("{payment}"), bill: BillTold::of(bill), age_seconds, state }
    };
    Ok(Json(Page { entries: open.into_iter().map(told).collect(), next: last }))
}

impl BillTold {
    fn of(bill: Bill) -> Self {
        let Bill { at, route, resource, payer, pay_to, asset, amount, scheme } = bill;
        Self {
            at,
            route,
            resource,
            payer: payer.as_ref().map(AccountId::to_string),
            pay_to: pay_to.to_string(),
            network: asset.network.to_string(),
            asset: asset.id.as_str().to_owned(),
            amount: amount.to_decimal_string(asset.decimals),
            symbol: asset.symbol,
            amount_atomic: amount.to_string(),
            is_usd: asset.usd,
            scheme,
        }
    }
}

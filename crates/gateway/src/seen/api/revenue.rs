//! What was sold over time: sums that the book makes, by group, with the small ones taken together.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use farthing_core::amount::Amount;
use farthing_core::asset::Asset;
use farthing_core::books::{BookError, SaleFilter, SaleGroup, SaleSum, SaleSumQuery, Sales, Usd};
use serde::Serialize;

use super::super::admin::Admin;
use super::range::{Parameters, Range};
use super::{Apology, Told};

/// How many groups are told apart; the others are taken together.
const GROUPS_MAX: usize = 6;
/// The most sums that the book is asked for at once. Of more payers than these, the largest of these are told apart.
const SUMS_MAX: usize = 10_000;
/// The decimals of dollars, as the book adds them up.
const USD_DECIMALS: u8 = 18;

/// What amounts are in. Only amounts in one unit are added up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    /// Every asset that stands for a dollar.
    Usd,
    /// One asset: its symbol, network, id and decimals.
    Token(String, String, String, u8),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Revenue {
    #[serde(flatten)]
    range: Range,
    by: &'static str,
    units: Vec<UnitRevenue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UnitRevenue {
    /// `USD`, or the symbol of a token.
    unit: String,
    /// Where, of a token.
    network: Option<String>,
    amount: String,
    sales: u64,
    /// The largest first; those of which there are too many are in the last, whose group is null and whose `isRest` is true.
    series: Vec<Series>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Series {
    group: Option<String>,
    is_rest: bool,
    amount: String,
    sales: u64,
    /// For each stretch of time, what was sold in it.
    points: Vec<Point>,
}

#[derive(Serialize)]
struct Point {
    amount: String,
    sales: u64,
}

/// Amounts and how many, for each stretch of time.
type Line = Vec<(Amount, u64)>;

pub(super) async fn revenue(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Told<Revenue> {
    let parameters = Parameters::read(query.as_deref(), &["range", "by"])?;
    let range = parameters.range(admin.seen.now())?;
    let (by, name) = match parameters.get("by").unwrap_or("route") {
        "route" => (SaleGroup::Route, "route"),
        "network" => (SaleGroup::Network, "network"),
        "payer" => (SaleGroup::Payer, "payer"),
        other => return Err(Apology::from(format!("by: expected route, network or payer, got {other:?}"))),
    };
    let sums = Sums { sales: admin.sales.as_ref(), range };
    let groups = sums.largest(by).await?;
    let mut units: BTreeMap<Unit, Vec<(Option<String>, Line)>> = BTreeMap::new();
    for group in groups {
        for (unit, line) in sums.lines(of_group(by, &group)).await? {
            units.entry(unit).or_default().push((Some(group.clone()), line));
        }
    }
    // Last, so that it has all that the others have.
    let totals = sums.lines(SaleFilter::default()).await?;
    let units = totals.into_iter().map(|(unit, total)| told(&unit, &total, units.remove(&unit).unwrap_or_default())).collect();
    Ok(Json(Revenue { range, by: name, units }))
}

/// A unit with its groups, and what is left of the whole when they are taken out.
fn told(unit: &Unit, total: &Line, groups: Vec<(Option<String>, Line)>) -> UnitRevenue {
    let mut rest = total.clone();
    let mut series = Vec::new();
    for (group, line) in groups {
        for (left, (amount, sales)) in rest.iter_mut().zip(&line) {
            *left = (left.0.checked_sub(*amount).unwrap_or(Amount::ZERO), left.1.saturating_sub(*sales));
        }
        series.push(unit.series(group, false, &line));
    }
    if rest.iter().any(|(_, sales)| *sales > 0) {
        series.push(unit.series(None, true, &rest));
    }
    let (amount, sales) = whole(total);
    let (name, network) = match unit {
        Unit::Usd => ("USD".to_owned(), None),
        Unit::Token(symbol, network, ..) => (symbol.clone(), Some(network.clone())),
    };
    UnitRevenue { unit: name, network, amount: unit.written(amount), sales, series }
}

fn whole(line: &Line) -> (Amount, u64) {
    line.iter().fold((Amount::ZERO, 0), |(sum, count), (amount, sales)| (added(sum, *amount), count.saturating_add(*sales)))
}

/// Sums of what fits are never more than fits by far; should it be, it is told as the most.
fn added(sum: Amount, more: Amount) -> Amount {
    sum.checked_add(more).unwrap_or(Amount::MAX)
}

fn of_group(by: SaleGroup, group: &str) -> SaleFilter {
    let filter = SaleFilter::default();
    match by {
        SaleGroup::Route => SaleFilter { route: Some(group.to_owned()), ..filter },
        SaleGroup::Network => SaleFilter { network: group.parse().ok(), ..filter },
        SaleGroup::Payer => SaleFilter { payer: group.parse().ok(), ..filter },
    }
}

/// Sums of the book within a range.
struct Sums<'a> {
    sales: &'a dyn Sales,
    range: Range,
}

impl Sums<'_> {
    fn within(&self, filter: SaleFilter) -> SaleFilter {
        SaleFilter { since: Some(self.range.from), before: Some(self.range.before), ..filter }
    }

    /// The groups that earned most. Those of different units are put in turns of their size.
    async fn largest(&self, by: SaleGroup) -> Result<Vec<String>, BookError> {
        let query =
            SaleSumQuery { filter: self.within(SaleFilter::default()), bucket_seconds: None, by: Some(by), limit: SUMS_MAX };
        let mut sizes: BTreeMap<String, BTreeMap<Unit, (Amount, u64)>> = BTreeMap::new();
        for sum in self.sales.sums(&query).await? {
            let Some(group) = sum.group.clone() else { continue };
            let (unit, amount) = Unit::of(&sum);
            let size = sizes.entry(group).or_default().entry(unit).or_insert((Amount::ZERO, 0));
            *size = (added(size.0, amount), size.1.saturating_add(sum.sales));
        }
        let mut groups: Vec<(String, (Amount, u64))> = sizes
            .into_iter()
            .map(|(group, units)| {
                let dollars = units.get(&Unit::Usd).map_or(Amount::ZERO, |(amount, _)| *amount);
                (group, (dollars, units.values().map(|(_, sales)| *sales).fold(0, u64::saturating_add)))
            })
            .collect();
        groups.sort_by(|(_, one), (_, other)| other.cmp(one));
        Ok(groups.into_iter().take(GROUPS_MAX).map(|(group, _)| group).collect())
    }

    /// What was sold of these, by unit.
    async fn lines(&self, filter: SaleFilter) -> Result<BTreeMap<Unit, Line>, BookError> {
        let bucket_seconds = Some(self.range.bucket_seconds);
        let query = SaleSumQuery { filter: self.within(filter), bucket_seconds, by: None, limit: SUMS_MAX };
        let mut lines: BTreeMap<Unit, Line> = BTreeMap::new();
        for sum in self.sales.sums(&query).await? {
            let (unit, amount) = Unit::of(&sum);
            let line = lines.entry(unit).or_insert_with(|| vec![(Amount::ZERO, 0); self.range.len()]);
            let place = sum.bucket.and_then(|at| self.range.index(at)).and_then(|index| line.get_mut(index));
            if let Some(place) = place {
                *place = (added(place.0, amount), place.1.saturating_add(sum.sales));
            }
        }
        Ok(lines)
    }
}

impl Unit {
    /// In which unit a sum is, and how much of it that is.
    fn of(sum: &SaleSum) -> (Self, Amount) {
        let Asset { network, id, symbol, decimals, .. } = &sum.asset;
        match sum.usd() {
            Some(usd) => (Self::Usd, Usd::units(usd)),
            None => (Self::Token(symbol.clone(), network.to_string(), id.as_str().to_owned(), *decimals), sum.amount),
        }
    }

    fn written(&self, amount: Amount) -> String {
        amount.to_decimal_string(match self {
            Self::Usd => USD_DECIMALS,
            Self::Token(.., decimals) => *decimals,
        })
    }

    fn series(&self, group: Option<String>, is_rest: bool, line: &Line) -> Series {
        let (amount, sales) = whole(line);
        let points = line.iter().map(|(amount, sales)| Point { amount: self.written(*amount), sales: *sales }).collect();
        Series { group, is_rest, amount: self.written(amount), sales, points }
    }
}

//! What a route is to somebody who reads about it: methods, a path with named gaps, and what it costs.

use http::Method;
use serde_json::{Value, json};

use super::members::set;
use crate::file::{Access, Route, Sale};
use crate::pattern::Pattern;
use crate::routes::{Explained, Explanation, Offered};
use crate::tariff::{Money, Tariff};

/// The methods that a description has of a route for all of them.
const USUAL_METHODS: [Method; 2] = [Method::GET, Method::POST];

/// One route.
pub(crate) struct Listing<'a> {
    pub(super) pattern: &'a Pattern,
    pub(super) template: Template,
    pub(super) sale: Option<&'a Sale>,
    pub(super) explanation: &'a Explanation,
}

/// A path whose gaps have names, as `OpenAPI` writes it.
pub(super) struct Template {
    pub(super) path: String,
    pub(super) gaps: Vec<Gap>,
}

/// One gap.
pub(super) struct Gap {
    pub(super) name: String,
    /// Whether it stands for several segments, or none.
    pub(super) is_rest: bool,
}

/// The name that the gap at the end has.
const REST: &str = "rest";

impl<'a> Listing<'a> {
    /// `None` for what is not to be had, or not to be told of.
    pub(crate) fn of(route: &'a Route, explained: &'a Explained) -> Option<Self> {
        let sale = match &route.access {
            Access::Priced(sale) => Some(&**sale),
            Access::Free => None,
            Access::Denied => return None,
        };
        let template = Template::of(route.matches.path());
        let listing = Self { pattern: &route.matches, template, sale, explanation: &explained.access };
        route.listed.unwrap_or(sale.is_some()).then_some(listing)
    }

    pub(super) fn description(&self) -> Option<&str> {
        self.sale.and_then(|sale| sale.description.as_deref())
    }

    /// The methods that are described.
    pub(super) fn methods(&self) -> &[Method] {
        if self.pattern.methods().is_empty() { &USUAL_METHODS } else { self.pattern.methods() }
    }

    pub(super) fn offers(&self) -> &[Offered] {
        match self.explanation {
            Explanation::Priced { offers, .. } => offers,
            Explanation::Free | Explanation::Denied => &[],
        }
    }

    /// The price in words, such as `$0.01`.
    pub(super) fn price(&self) -> Option<&str> {
        match self.explanation {
            Explanation::Priced { price, .. } => Some(price),
            Explanation::Free | Explanation::Denied => None,
        }
    }

    /// `x-payment-info`: what it costs, and how it is paid, before anybody asks.
    pub(super) fn payment_info(&self) -> Option<Value> {
        let tariff = &self.sale?.price;
        let offers: Vec<Value> = self.offers().iter().map(|offer| offered(offer, self.is_ceiling())).collect();
        Some(json!({
            "price": price_of(tariff),
            "protocols": [{"x402": {"version": 2, "accepts": offers}}],
            "description": tariff.to_string(),
        }))
    }

    pub(super) const fn is_ceiling(&self) -> bool {
        matches!(self.explanation, Explanation::Priced { is_ceiling: true, .. })
    }

    pub(super) const fn has_price(&self) -> bool {
        self.sale.is_some()
    }
}

/// Networks and schemes, each pair once, as people read them: `exact on eip155:8453`.
pub(super) fn ways(offers: &[Offered]) -> Vec<String> {
    let mut ways: Vec<String> = Vec::new();
    for Offered { requirements, .. } in offers {
        let way = format!("{} on {}", requirements.scheme, requirements.network);
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}

/// A price with its mode, in the form that directories read.
fn price_of(tariff: &Tariff) -> Value {
    if let Tariff::Fixed(price) = tariff {
        let (currency, amount) = written(price);
        return json!({"mode": "fixed", "currency": currency, "amount": amount});
    }
    let (least, most) = tariff.bounds();
    let mut price = json!({"mode": "dynamic"});
    // What is counted in an answer may come to nothing.
    let nothing = (tariff.is_metered() && least.is_none()).then(|| "0".to_owned());
    if let Some((currency, _)) = most.or(least).map(written) {
        set(&mut price, "currency", currency);
    }
    if let Some(least) = least.map(|least| written(least).1).or(nothing) {
        set(&mut price, "min", least);
    }
    if let Some(most) = most {
        set(&mut price, "max", written(most).1);
    }
    price
}

/// Currency and number.
fn written(money: &Money) -> (String, String) {
    let text = money.price().to_string();
    if let Some(number) = text.strip_prefix('$') {
        return ("USD".to_owned(), number.to_owned());
    }
    let (number, symbol) = text.split_once(' ').unwrap_or((&text, ""));
    (symbol.to_owned(), number.to_owned())
}

/// An offer without what only a payment needs. The amount is left out where requests differ in theirs.
pub(super) fn offered(offer: &Offered, is_ceiling: bool) -> Value {
    let requirements = &offer.requirements;
    let mut value = json!({
        "scheme": requirements.scheme,
        "network": requirements.network,
        "asset": requirements.asset,
        "payTo": requirements.pay_to,
        "maxTimeoutSeconds": requirements.max_timeout_seconds,
    });
    if offer.is_fixed {
        set(&mut value, if is_ceiling { "maxAmount" } else { "amount" }, json!(requirements.amount));
    }
    value
}

impl Template {
    fn of(path: &str) -> Self {
        let mut gaps: Vec<Gap> = Vec::new();
        let mut written = String::new();
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            written.push('/');
            if segment == "**" {
                written.push_str("{rest}");
                gaps.push(Gap { name: REST.to_owned(), is_rest: true });
            } else if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                gaps.push(Gap { name: free_name(name, &gaps), is_rest: false });
                written.push_str(&braced(gaps.last()));
            } else if let Some((before, after)) = segment.split_once('*') {
                gaps.push(Gap { name: free_name(&format!("part{}", gaps.len().saturating_add(1)), &gaps), is_rest: false });
                written.push_str(before);
                written.push_str(&braced(gaps.last()));
                written.push_str(after);
            } else {
                written.push_str(segment);
            }
        }
        if written.is_empty() {
            written.push('/');
        }
        Self { path: written, gaps }
    }

    /// Whether one URL is all that it stands for.
    pub(super) const fn is_whole(&self) -> bool {
        self.gaps.is_empty()
    }

    /// The same for paths that differ only in the names of their gaps, which `OpenAPI` takes for one.
    pub(super) fn shape(path: &str) -> String {
        let mut shape = String::with_capacity(path.len());
        let mut is_in_gap = false;
        for letter in path.chars() {
            match letter {
                '{' => {
                    is_in_gap = true;
                    shape.push_str("{}");
                }
                '}' => is_in_gap = false,
                _ if is_in_gap => {}
                _ => shape.push(letter),
            }
        }
        shape
    }

    pub(super) fn parameters(&self) -> Vec<Value> {
        let several = "What follows in the path, slashes and all; it may be empty.";
        let parameter = |gap: &Gap| {
            let mut parameter = json!({"name": gap.name, "in": "path", "required": true, "schema": {"type": "string"}});
            if gap.is_rest {
                set(&mut parameter, "description", several);
            }
            parameter
        };
        self.gaps.iter().map(parameter).collect()
    }
}

fn free_name(wanted: &str, gaps: &[Gap]) -> String {
    let is_taken = gaps.iter().any(|gap| gap.name == wanted) || wanted == REST;
    if is_taken { format!("{wanted}_{}", gaps.len().saturating_add(1)) } else { wanted.to_owned() }
}

fn braced(gap: Option<&Gap>) -> String {
    gap.map(|gap| format!("{{{}}}", gap.name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_have_names() {
        for (pattern, path) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/*", "/a/{part1}"),
            ("/{id}/x/{id}", "/{id}/x/{id_2}"),
            ("/*/report-*.csv", "/{part1}/report-{part2}.csv"),
            ("/files/**", "/files/{rest}"),
            ("/{rest}/**", "/{rest_1}/{rest}"),
            ("/{part1}/*", "/{part1}/{part2}"),
        ] {
            assert_eq!(Template::of(pattern).path, path);
        }
        assert_eq!(Template::shape("/a/{id}/x-{b}.csv"), "/a/{}/x-{}.csv");
    }

    #[test]
    fn prices_are_numbers_in_a_currency() {
        let fixed = |text: &str| price_of(&Tariff::Fixed(text.parse().unwrap()));
        assert_eq!(fixed("$0.01"), json!({"mode": "fixed", "currency": "USD", "amount": "0.01"}));
        assert_eq!(fixed("0.10 USDC"), json!({"mode": "fixed", "currency": "USDC", "amount": "0.1"}));
    }
}

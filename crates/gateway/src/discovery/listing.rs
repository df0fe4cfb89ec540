//! What a route is to somebody who reads about it: methods, a path with named gaps, and what it costs.

use http::Method;
use serde_json::{Value, json};

use super::members::set;
use crate::file::{Access, Menu, Route, Sale};
use crate::mcp::Dish;
use crate::pattern::Pattern;
use crate::routes::{Explained, Explanation, Offered};
use crate::tariff::{Money, Tariff, ends};

/// The methods that a description has of a route for all of them.
const USUAL_METHODS: [Method; 2] = [Method::GET, Method::POST];

/// One route.
pub(crate) struct Listing<'a> {
    pub(super) pattern: &'a Pattern,
    pub(super) template: Template,
    pub(super) sale: Option<&'a Sale>,
    menu: Option<&'a Menu>,
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
        let (sale, menu) = match &route.access {
            Access::Priced(sale) => (Some(&**sale), None),
            Access::Tools(menu) => (None, Some(&**menu)),
            Access::Free => (None, None),
            Access::Denied => return None,
        };
        let is_listed = route.listed.unwrap_or(sale.is_some() || menu.is_some());
        let template = Template::of(route.matches.path());
        let listing = Self { pattern: &route.matches, template, sale, menu, explanation: &explained.access };
        is_listed.then_some(listing)
    }

    /// What an MCP server there offers, but for what is denied.
    pub(super) fn dishes(&self) -> impl Iterator<Item = &Dish> {
        let dishes: &[Dish] = match self.explanation {
            Explanation::Tools(dishes) => dishes,
            Explanation::Free | Explanation::Denied | Explanation::Priced { .. } => &[],
        };
        dishes.iter().filter(|dish| dish.access != Explanation::Denied)
    }

    pub(super) fn description(&self) -> Option<&str> {
        self.sale.and_then(|sale| sale.description.as_deref())
    }

    /// The methods that are described.
    pub(super) fn methods(&self) -> &[Method] {
        match self.menu {
            // The others are those of sessions, and sell nothing.
            Some(_) => &[Method::POST],
            None if self.pattern.methods().is_empty() => &USUAL_METHODS,
            None => self.pattern.methods(),
        }
    }

    /// `x-payment-info`: what it costs, and how it is paid, before anybody asks.
    pub(super) fn payment_info(&self) -> Option<Value> {
        if let Some(menu) = self.menu {
            return Some(json!({"price": price_of_any(menu)?, "protocols": [{"x402": {"version": 2}}]}));
        }
        let tariff = &self.sale?.price;
        Some(json!({
            "price": price_of(tariff),
            "protocols": [{"x402": {"version": 2, "accepts": accepts(self.explanation)}}],
            "description": tariff.to_string(),
        }))
    }

    pub(super) const fn has_price(&self) -> bool {
        self.sale.is_some() || self.menu.is_some()
    }
}

/// The price in words, such as `$0.01`.
pub(super) fn price_in_words(explanation: &Explanation) -> Option<&str> {
    match explanation {
        Explanation::Priced { price, .. } => Some(price),
        Explanation::Free | Explanation::Denied | Explanation::Tools(_) => None,
    }
}

/// The offers, each without what only a payment needs.
pub(super) fn accepts(explanation: &Explanation) -> Vec<Value> {
    match explanation {
        Explanation::Priced { offers, is_ceiling, .. } => offers.iter().map(|offer| offered(offer, *is_ceiling)).collect(),
        Explanation::Free | Explanation::Denied | Explanation::Tools(_) => Vec::new(),
    }
}

/// What an MCP server offers, name by name.
pub(super) fn dish(dish: &Dish) -> Value {
    let mut value = json!({"kind": dish.kind, "name": dish.name});
    match price_in_words(&dish.access) {
        Some(price) => {
            set(&mut value, "price", price);
            set(&mut value, "accepts", accepts(&dish.access));
        }
        None => set(&mut value, "free", true),
    }
    if let Some(description) = &dish.description {
        set(&mut value, "description", description.as_str());
    }
    value
}

/// Networks and schemes, each pair once, as people read them: `exact on eip155:8453`.
pub(super) fn ways(explanation: &Explanation) -> Vec<String> {
    let Explanation::Priced { offers, .. } = explanation else { return Vec::new() };
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

/// The same of whatever is on a menu.
fn price_of_any(menu: &Menu) -> Option<Value> {
    let bounds: Vec<(Option<&Money>, Option<&Money>)> = menu.sales().map(|sale| sale.price.bounds()).collect();
    if bounds.is_empty() {
        return None;
    }
    let least = bounds.iter().map(|(least, _)| *least).collect::<Option<Vec<_>>>().and_then(|prices| ends(prices).0);
    let most = bounds.iter().map(|(_, most)| *most).collect::<Option<Vec<_>>>().and_then(|prices| ends(prices).1);
    let mut price = json!({"mode": "dynamic"});
    if let Some((currency, _)) = most.or(least).map(written) {
        set(&mut price, "currency", currency);
    }
    // Some of it may be free, or come to nothing.
    set(&mut price, "min", least.map_or_else(|| "0".to_owned(), |least| written(least).1));
    if let Some(most) = most {
        set(&mut price, "max", written(most).1);
    }
    Some(price)
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
fn offered(offer: &Offered, is_ceiling: bool) -> Value {
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

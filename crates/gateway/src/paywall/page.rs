//! One page, written: the template filled with what is for sale.

use farthing_core::wire::{PaymentRequired, PaymentRequirements};

use super::coins::Coins;
use super::text::{embedded, escaped, filled};
use super::visit::{COOKIE_PREFIX, MAX_PIECES, Visit};
use crate::file;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// What runs in a page: one module, of these files.
pub(super) const SCRIPT: &str = concat!(
    include_str!("page/networks.js"),
    include_str!("page/payment.js"),
    include_str!("page/wallets.js"),
    include_str!("page/keeper.js"),
    include_str!("page/delivery.js"),
    include_str!("page/view.js"),
    include_str!("page/main.js"),
);

/// The scheme whose amounts are ceilings.
const METERED: &str = "upto";
/// What that means.
const USED: &str = "<p>You sign for the most that it can cost, and pay for what is used.</p>";

/// The style, in the seller's colour.
pub(super) fn style(settings: &file::Paywall) -> String {
    match settings.accent {
        Some(accent) => {
            let text = if accent.is_light() { "#111" } else { "#fff" };
            format!("{STYLE}:root{{--accent:{accent};--on-accent:{text}}}\n")
        }
        None => STYLE.to_owned(),
    }
}

/// What the script is told. The lists are in the order of the offers.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    method: &'a str,
    /// Whether a purchase of before came along, and opened nothing.
    came_back: bool,
    prices: Vec<String>,
    decimals: Vec<Option<u8>>,
    kept_bytes: usize,
    cookie: &'a str,
    cookie_pieces: usize,
    terms: &'a PaymentRequired,
}

/// What every page of a gateway has in common.
pub(super) struct Sheet<'a> {
    pub(super) settings: &'a file::Paywall,
    pub(super) style: &'a str,
    pub(super) max_kept_bytes: usize,
}

impl Sheet<'_> {
    /// The page for these terms; `None` if they offer nothing.
    pub(super) fn written(&self, visit: &Visit, coins: &Coins, terms: &PaymentRequired) -> Option<String> {
        let offer: &PaymentRequirements = terms.accepts.first()?;
        let resource = terms.resource.as_ref()?;
        let (host, path) = place(&resource.url);
        let seller = self.settings.name.as_deref().or(resource.service_name.as_deref()).unwrap_or(host);
        let title = if resource.description.is_empty() { path } else { &resource.description };
        let data = self.data(visit, coins, terms)?;
        filled(TEMPLATE, |name| {
            Some(match name {
                "style" => self.style.to_owned(),
                "script" => SCRIPT.to_owned(),
                "data" => embedded(&data),
                "seller" => escaped(seller),
                "logo" => self.logo(),
                "title" => escaped(title),
                "shell_url" => escaped(&quotable(&resource.url)),
                "place" => format!("<span>{}</span>{}", escaped(host), escaped(path)),
                "price" => escaped(&coins.written(offer)),
                "ceiling" => if offer.scheme == METERED { "up to" } else { "" }.to_owned(),
                "used" => if offer.scheme == METERED { USED } else { "" }.to_owned(),
                "text" => self.settings.text.as_deref().map(|text| format!("<p>{}</p>", escaped(text))).unwrap_or_default(),
                "support" => self.support(),
                _ => return None,
            })
        })
    }

    /// What the script is told.
    fn data(&self, visit: &Visit, coins: &Coins, terms: &PaymentRequired) -> Option<String> {
        let data = Data {
            method: visit.method.as_str(),
            came_back: visit.brings_purchase,
            prices: terms.accepts.iter().map(|offer| coins.written(offer)).collect(),
            decimals: terms.accepts.iter().map(|offer| coins.decimals(offer)).collect(),
            kept_bytes: self.max_kept_bytes,
            cookie: COOKIE_PREFIX,
            cookie_pieces: MAX_PIECES,
            terms,
        };
        serde_json::to_string(&data).ok()
    }

    fn logo(&self) -> String {
        let logo = self.settings.logo.as_ref();
        logo.map(|logo| format!("<img class=\"logo\" src=\"{}\" alt=\"\">", escaped(logo.as_str()))).unwrap_or_default()
    }

    fn support(&self) -> String {
        let support = self.settings.support.as_ref();
        let link = |link: &file::Link| format!("<a href=\"{}\" rel=\"noreferrer noopener\">Help</a>", escaped(link.as_str()));
        support.map(link).unwrap_or_default()
    }
}

/// A URL that can stand between a shell's single quotes: one inside would end them, and what follows would be a command.
fn quotable(url: &str) -> String {
    url.replace('\'', "%27")
}

/// Host, and path with query, of a URL.
fn place(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split_at(rest.find('/').unwrap_or(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a page brings with it, before a seller's own words.
    const MAX_PAGE_BYTES: usize = 60_000;

    #[test]
    fn the_page_is_small_and_asks_nobody_else() {
        assert!(TEMPLATE.len() + STYLE.len() + SCRIPT.len() < MAX_PAGE_BYTES);
        for part in [TEMPLATE, STYLE] {
            for asks in ["@import", "url(", "src=\"http", "<link", "onclick", "style=\""] {
                assert!(!part.contains(asks), "{asks}");
            }
        }
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval("));
    }

    #[test]
    fn no_url_ends_the_quotes_of_a_command() {
        assert_eq!(quotable("https://a.example/b?c='d"), "https://a.example/b?c=%27d");
    }

    #[test]
    fn a_place_is_host_and_path() {
        assert_eq!(place("https://a.example:1/b?c=/d"), ("a.example:1", "/b?c=/d"));
        assert_eq!(place("https://a.example"), ("a.example", ""));
    }
}

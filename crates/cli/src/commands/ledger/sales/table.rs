//! Sales in columns as wide as they must be.

use super::Row;
use crate::terminal::{FAINT, PLAIN, plain, say, short};

/// The most characters of a route's name that are shown.
const MAX_ROUTE_CHARS: usize = 28;
const TITLES: [&str; 6] = ["SOLD", "AMOUNT", "ROUTE", "PAYER", "NETWORK", "ID"];

/// Writes the rows below their titles; nothing, if there are none.
pub fn show(rows: &[Row]) {
    let lines: Vec<[String; 6]> = rows.iter().map(cells).collect();
    let mut widths = TITLES.map(str::len);
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if rows.is_empty() {
        return;
    }
    let [sold, amount, route, payer, network, _] = widths;
    let [t1, t2, t3, t4, t5, t6] = TITLES;
    say(format!("{FAINT}{t1:<sold$}  {t2:>amount$}  {t3:<route$}  {t4:<payer$}  {t5:<network$}  {t6}{PLAIN}"));
    for [at, money, name, account, chain, id] in &lines {
        say(format!("{at:<sold$}  {money:>amount$}  {name:<route$}  {account:<payer$}  {chain:<network$}  {FAINT}{id}{PLAIN}"));
    }
}

fn cells(row: &Row) -> [String; 6] {
    let payer = row.payer.as_ref().map_or_else(|| "?".to_owned(), |payer| short(payer.as_str()));
    let money = format!("{} {}", row.amount, plain(&row.symbol));
    [row.at.clone(), money, cut(&plain(&row.route)), payer, row.network.to_string(), row.id.chars().take(12).collect()]
}

fn cut(text: &str) -> String {
    if text.chars().count() <= MAX_ROUTE_CHARS {
        return text.to_owned();
    }
    let head: String = text.chars().take(MAX_ROUTE_CHARS.saturating_sub(1)).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_where_it_can_be_seen() {
        assert_eq!(cut("GET /reports/*"), "GET /reports/*");
        assert_eq!(cut(&"é".repeat(29)), format!("{}…", "é".repeat(27)));
    }
}

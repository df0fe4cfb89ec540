//! Comma-separated values (RFC 4180) that no spreadsheet takes for formulas.

use super::{Kind, Line};

const TITLES: [&str; 19] = [
    "kind",
    "id",
    "sale",
    "at",
    "route",
    "resource",
    "payer",
    "pay_to",
    "network",
    "asset",
    "symbol",
    "decimals",
    "amount_atomic",
    "amount",
    "usd",
    "scheme",
    "transaction",
    "settled_by",
    "network_fee",
];

/// All lines below their titles.
pub fn write(lines: &[Line]) -> String {
    let mut text = TITLES.join(",") + "\r\n";
    for line in lines {
        let cells: Vec<String> = cells(line).iter().map(|value| cell(value)).collect();
        text += &cells.join(",");
        text += "\r\n";
    }
    text
}

fn cells(line: &Line) -> [String; 19] {
    let Line { kind, sale, row, network_fee } = line;
    let row = row.clone();
    [
        if *kind == Kind::Sale { "sale" } else { "refund" }.to_owned(),
        row.id,
        sale.clone().unwrap_or_default(),
        row.at,
        row.route,
        row.resource,
        row.payer.map(|payer| payer.to_string()).unwrap_or_default(),
        row.pay_to.to_string(),
        row.network.to_string(),
        row.asset,
        row.symbol,
        row.decimals.to_string(),
        row.amount_atomic,
        row.amount,
        row.usd.unwrap_or_default(),
        row.scheme,
        row.transaction.unwrap_or_default(),
        row.settled_by.unwrap_or_default().to_owned(),
        network_fee.clone().unwrap_or_default(),
    ]
}

/// A cell. What a spreadsheet would take for a formula, and run, begins with an apostrophe.
fn cell(value: &str) -> String {
    let is_formula = value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '|', '%']);
    let guarded = if is_formula { format!("'{value}") } else { value.to_owned() };
    if guarded.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_text() {
        for (value, expected) in [
            ("GET /reports/*", "GET /reports/*"),
            ("=HYPERLINK(\"http://evil\")", "\"'=HYPERLINK(\"\"http://evil\"\")\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("a,b", "\"a,b\""),
            ("two\nlines", "\"two\nlines\""),
            ("0x1234", "0x1234"),
            ("", ""),
        ] {
            assert_eq!(cell(value), expected);
        }
    }
}

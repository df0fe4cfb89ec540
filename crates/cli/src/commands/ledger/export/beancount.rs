//! Transactions for beancount: one a sale, and one more for what its settlement cost where that is known.
//!
//! | account | has |
//! |---|---|
//! | `Assets:X402:<network>` | what was taken in, in its own commodity; at its price in dollars where it stands for one |
//! | `Income:X402`, `Income:X402:Refunds` | what was sold, and what was paid back |
//! | `Assets:X402:Gas:<network>`, `Expenses:X402:NetworkFees` | what the facilitator's account spent, in the network's coin |

use std::collections::BTreeSet;

use super::super::sales::Row;
use super::{Kind, Line};
use crate::terminal::plain;

const INCOME: &str = "Income:X402";
const REFUNDS: &str = "Income:X402:Refunds";
const FEES: &str = "Expenses:X402:NetworkFees";
/// The most characters of a commodity's name that every version of beancount takes.
const COMMODITY_MAX_CHARS: usize = 24;
/// How much of an asset's own name tells it apart from others that are called the same.
const TELLING_CHARS: usize = 6;

/// All lines, after the accounts that they name, unless somebody else opens those.
pub fn write(lines: &[Line], opens: bool) -> String {
    let mut text = vec![";; Sales, exported by `farthing ledger export`.".to_owned(), String::new()];
    if opens {
        let accounts: BTreeSet<String> = lines.iter().flat_map(accounts).collect();
        text.extend(accounts.iter().map(|account| format!("1970-01-01 open {account}")));
        text.push(String::new());
    }
    for line in lines {
        transactions(&mut text, line);
    }
    text.join("\n") + "\n"
}

fn accounts(line: &Line) -> Vec<String> {
    let mut accounts = vec![holdings(&line.row), counterpart(line).to_owned()];
    if line.network_fee.is_some() {
        accounts.extend([gas(&line.row), FEES.to_owned()]);
    }
    accounts
}

fn transactions(text: &mut Vec<String>, line: &Line) {
    let Line { kind, row, network_fee, .. } = line;
    let (name, amount) = (commodity(row), &row.amount);
    // Nothing moved where nothing was charged.
    if amount != "0" {
        let (taken, earned) = if *kind == Kind::Sale { ("", "-") } else { ("-", "") };
        let (taken, earned) = match &row.usd {
            Some(usd) => (format!("{taken}{amount} {name} @@ {usd} USD"), format!("{earned}{usd} USD")),
            None => (format!("{taken}{amount} {name}"), format!("{earned}{amount} {name}")),
        };
        head(text, line);
        text.extend([posting(&holdings(row), &taken), posting(counterpart(line), &earned), String::new()]);
    }
    if let Some(fee) = network_fee.as_ref().filter(|fee| *fee != "0") {
        let coin = coin(row);
        head(text, line);
        text.extend([posting(FEES, &format!("{fee} {coin}")), posting(&gas(row), &format!("-{fee} {coin}")), String::new()]);
    }
}

fn head(text: &mut Vec<String>, line: &Line) {
    let row = &line.row;
    let day = row.at.split('T').next().unwrap_or_default();
    text.push(format!("{day} * {} {}", quoted(&row.route), quoted(&row.resource)));
    let facts = [
        ("at", Some(row.at.clone())),
        ("payment", Some(row.id.clone())),
        ("sale", line.sale.clone()),
        ("transaction", row.transaction.clone()),
        ("payer", row.payer.as_ref().map(ToString::to_string)),
        ("network", Some(row.network.to_string())),
        ("asset", Some(row.asset.clone())),
    ];
    text.extend(facts.into_iter().filter_map(|(name, value)| Some(format!("  {name}: {}", quoted(&value?)))));
}

/// What is earned, or given up again.
const fn counterpart(line: &Line) -> &'static str {
    match line.kind {
        Kind::Sale => INCOME,
        Kind::Refund => REFUNDS,
    }
}

fn posting(account: &str, amount: &str) -> String {
    format!("  {account}  {amount}")
}

/// What is taken in on a network.
fn holdings(row: &Row) -> String {
    format!("Assets:X402:{}", account_part(row.network.as_str()))
}

fn gas(row: &Row) -> String {
    format!("Assets:X402:Gas:{}", account_part(row.network.as_str()))
}

/// A dollar is a dollar wherever it is. Anybody can call a token what they like, so others are told apart by their own names.
fn commodity(row: &Row) -> String {
    let symbol: String = letters(&row.symbol).chars().take(COMMODITY_MAX_CHARS - TELLING_CHARS - 2).collect();
    if row.usd.is_some() && symbol.len() > 1 && symbol != "USD" {
        return symbol;
    }
    let own = letters(&row.asset);
    let tail: String = own.chars().skip(own.chars().count().saturating_sub(TELLING_CHARS)).collect();
    format!("{symbol}-{tail}")
}

/// The coin in which a network's fees are paid.
fn coin(row: &Row) -> String {
    let name = format!("COIN-{}", letters(row.network.as_str()));
    name.chars().take(COMMODITY_MAX_CHARS).collect()
}

/// Letters and digits as a commodity takes them, beginning with a letter.
fn letters(text: &str) -> String {
    let kept: String = text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect();
    if kept.starts_with(|first: char| first.is_ascii_alphabetic()) { kept } else { format!("X{kept}") }
}

/// A part of an account's name.
fn account_part(text: &str) -> String {
    let kept: String = text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    let mut letters = kept.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", plain(text).replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_beancount_takes() {
        assert_eq!(
            (letters("USDC"), letters("usd₮0"), letters("0xab"), letters("")),
            ("USDC".into(), "USD0".into(), "X0XAB".into(), "X".into())
        );
        assert_eq!(account_part("eip155:8453"), "Eip155-8453");
        assert_eq!(quoted("a \"b\"\n\\c"), "\"a \\\"b\\\" \\\\c\"");
    }
}

//! Allow and block lists.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::file::{List, PayerName};

/// Who may come and pay. Who is blocked may not, even if allowed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    blocked_addresses: Vec<IpNet>,
    /// If there are none, all are.
    allowed_addresses: Vec<IpNet>,
    blocked_payers: HashSet<PayerName>,
    allowed_payers: HashSet<PayerName>,
}

impl Lists {
    pub(crate) fn new(allow: &List, block: &List) -> Self {
        Self {
            blocked_addresses: block.addresses.clone(),
            allowed_addresses: allow.addresses.clone(),
            blocked_payers: block.payers.iter().cloned().collect(),
            allowed_payers: allow.payers.iter().cloned().collect(),
        }
    }

    /// Whether somebody at this address may come. Of nobody knows where, only if there are no lists.
    pub(crate) fn let_in(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return !self.name_addresses() };
        let is_of = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !is_of(&self.blocked_addresses) && (self.allowed_addresses.is_empty() || is_of(&self.allowed_addresses))
    }

    /// Whether this account may pay.
    pub(crate) fn let_pay(&self, payer: &PayerName) -> bool {
        !self.blocked_payers.contains(payer) && (self.allowed_payers.is_empty() || self.allowed_payers.contains(payer))
    }

    /// Whether any address is listed.
    pub(crate) const fn name_addresses(&self) -> bool {
        !self.blocked_addresses.is_empty() || !self.allowed_addresses.is_empty()
    }

    /// Whether any account is listed.
    pub(crate) fn name_payers(&self) -> bool {
        !self.blocked_payers.is_empty() || !self.allowed_payers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> List {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn addresses_are_matched_by_their_networks() {
        let lists = Lists::new(&List::default(), &list("addresses = ['203.0.113.0/24', '2001:db8::/32', '192.0.2.1']"));
        let is_let_in = |text: &str| lists.let_in(Some(text.parse().unwrap()));
        assert!(!is_let_in("203.0.113.9") && !is_let_in("2001:db8::1") && !is_let_in("192.0.2.1"));
        assert!(is_let_in("203.0.114.9") && is_let_in("192.0.2.2"));
        assert!(!lists.let_in(None) && Lists::default().let_in(None));
    }

    #[test]
    fn where_some_are_allowed_all_others_are_not_and_who_is_blocked_stays_so() {
        let lists = Lists::new(&list("addresses = ['10.0.0.0/8']"), &list("addresses = ['10.1.0.0/16']"));
        let is_let_in = |text: &str| lists.let_in(Some(text.parse().unwrap()));
        assert!(is_let_in("10.2.0.1") && !is_let_in("10.1.0.1") && !is_let_in("192.0.2.1"));
    }

    #[test]
    fn payers_are_known_in_any_letter_case() {
        let account = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
        let lists = Lists::new(&List::default(), &list(&format!("payers = ['{}', 'So11Anb']", account.to_uppercase())));
        assert!(!lists.let_pay(&PayerName::of(account)) && !lists.let_pay(&PayerName::of(&account.to_lowercase())));
        // Elsewhere the letter case is part of an account's name.
        assert!(!lists.let_pay(&PayerName::of("So11Anb")) && lists.let_pay(&PayerName::of("so11anb")));
        let lists = Lists::new(&list(&format!("payers = ['{account}']")), &List::default());
        assert!(lists.let_pay(&PayerName::of(account)) && !lists.let_pay(&PayerName::of("0x00")));
        for bad in ["0x1234", "", "0xg39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "two words"] {
            assert!(bad.parse::<PayerName>().unwrap_err().contains("40 hexadecimal digits"), "{bad}");
        }
    }
}

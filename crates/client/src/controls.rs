//! What may be spent, where, and on whose terms.
//!
//! The controls know nothing of a wallet: they judge numbers and names. Cumulative limits are kept by the
//! [`Ledger`](farthing_core::books::Ledger), which gets the list of them with each reservation.

use farthing_core::asset::{AccountId, Asset, AssetId};
use farthing_core::books::{SpendLimit, SpendWindow, Usd};
use farthing_core::network::Network;
use farthing_core::wire::PaymentRequirements;

use crate::offers::Skip;

/// The limit that holds until another limit per payment is set.
pub const DEFAULT_LIMIT: &str = "$1 per payment";

/// The longest `maxTimeoutSeconds` that is signed for until told otherwise. A signed authorization can be taken until
/// it expires, so a long one is a debt that cannot be called off.
pub const DEFAULT_MAX_TIMEOUT_SECONDS: u64 = 900;

/// What may be spent, where, and on whose terms. Each list, where it is set, is the whole of what is allowed.
#[derive(Clone, Debug)]
pub struct SpendControls {
    limits: Vec<SpendLimit>,
    networks: Option<Vec<Network>>,
    assets: Option<Vec<AssetId>>,
    hosts: Option<Vec<String>>,
    payees: Option<Vec<AccountId>>,
    max_timeout_seconds: u64,
    allow_plain_http: bool,
}

impl Default for SpendControls {
    fn default() -> Self {
        // Should the text ever stop being a limit, nothing may be spent.
        let nothing = SpendLimit { max: Usd::ZERO, window: SpendWindow::Payment };
        Self {
            limits: vec![DEFAULT_LIMIT.parse().unwrap_or(nothing)],
            networks: None,
            assets: None,
            hosts: None,
            payees: None,
            max_timeout_seconds: DEFAULT_MAX_TIMEOUT_SECONDS,
            allow_plain_http: false,
        }
    }
}

impl SpendControls {
    /// Adds a limit. It replaces an earlier one for the same window, so that `"$5 per payment"` takes the place of
    /// [`DEFAULT_LIMIT`], and `"$5 per day"` stands beside it.
    #[must_use]
    pub fn limit(mut self, limit: SpendLimit) -> Self {
        self.limits.retain(|earlier| earlier.window != limit.window);
        self.limits.push(limit);
        self
    }

    /// Allows these networks and no others.
    #[must_use]
    pub fn networks(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.networks = Some(networks.into_iter().collect());
        self
    }

    /// Allows these assets, by address or by the symbol of a known asset, and no others. Unknown assets are never
    /// paid with, listed or not.
    #[must_use]
    pub fn assets(mut self, assets: impl IntoIterator<Item = AssetId>) -> Self {
        self.assets = Some(assets.into_iter().collect());
        self
    }

    /// Allows payments to servers with these host names and no others; subdomains are other hosts.
    #[must_use]
    pub fn hosts(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.hosts = Some(hosts.into_iter().collect());
        self
    }

    /// Allows these recipients and no others.
    #[must_use]
    pub fn payees(mut self, payees: impl IntoIterator<Item = AccountId>) -> Self {
        self.payees = Some(payees.into_iter().collect());
        self
    }

    /// Signs for at most this many seconds.
    #[must_use]
    pub fn max_timeout_seconds(mut self, seconds: u64) -> Self {
        self.max_timeout_seconds = seconds;
        self
    }

    /// Allows payments over unencrypted HTTP to other machines, where anybody on the way can change the terms.
    #[must_use]
    pub fn allow_plain_http(mut self, allow: bool) -> Self {
        self.allow_plain_http = allow;
        self
    }

    /// The limits that hold.
    pub fn limits(&self) -> &[SpendLimit] {
        &self.limits
    }

    /// Whether payments over unencrypted HTTP to other machines are allowed.
    pub fn allows_plain_http(&self) -> bool {
        self.allow_plain_http
    }

    /// Whether a server of that host name may be paid.
    pub fn allows_host(&self, host: &str) -> bool {
        self.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)))
    }

    /// Why an offer of a known asset may not be paid; limits apart.
    pub(crate) fn judge(&self, offer: &PaymentRequirements, asset: &Asset) -> Option<Skip> {
        if self.networks.as_ref().is_some_and(|networks| !networks.contains(&offer.network)) {
            return Some(Skip::NetworkNotAllowed);
        }
        let is_listed = |allowed: &AssetId| {
            allowed.as_str().eq_ignore_ascii_case(asset.id.as_str()) || allowed.as_str().eq_ignore_ascii_case(&asset.symbol)
        };
        if self.assets.as_ref().is_some_and(|assets| !assets.iter().any(is_listed)) {
            return Some(Skip::AssetNotAllowed);
        }
        // Letter case is not compared: in hexadecimal it is a checksum, and where it does matter, no one can find a
        // key whose address differs from a given one in nothing else.
        let is_payee = |allowed: &AccountId| allowed.as_str().eq_ignore_ascii_case(offer.pay_to.as_str());
        if self.payees.as_ref().is_some_and(|payees| !payees.iter().any(is_payee)) {
            return Some(Skip::PayeeNotAllowed);
        }
        (offer.max_timeout_seconds > self.max_timeout_seconds)
            .then_some(Skip::TooLong { max_timeout_seconds: self.max_timeout_seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(controls: &SpendControls) -> Vec<String> {
        controls.limits().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_dollar_a_payment_holds_until_another_limit_per_payment_is_set() {
        let controls = SpendControls::default();
        assert_eq!(texts(&controls), ["$1 per payment"]);
        let controls = controls.limit("$5 per day".parse().unwrap());
        assert_eq!(texts(&controls), ["$1 per payment", "$5 per day"]);
        let controls = controls.limit("$2 per payment".parse().unwrap());
        assert_eq!(texts(&controls), ["$5 per day", "$2 per payment"]);
    }

    #[test]
    fn a_subdomain_is_another_host() {
        let controls = SpendControls::default().hosts(["api.example.com".to_owned()]);
        assert!(controls.allows_host("API.example.com"));
        assert!(!controls.allows_host("evil.api.example.com"));
        assert!(!controls.allows_host("api.example.com.evil.org"));
        assert!(SpendControls::default().allows_host("anything.example"));
    }
}

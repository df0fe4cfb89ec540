//! Counting: free quotas in the book, rate limits there or in this process.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

use farthing_core::books::{BookError, MemoryQuotas, QuotaRequest, QuotaTaken, Quotas};
use farthing_core::time::Clock;

use super::ticket::Told;
use crate::file::{FreeQuota, Period, RateLimit};

/// How many bits of an IPv6 address count: access providers give each subscriber a network of that many.
const IPV6_NETWORK_BITS: u32 = 64;

/// What counts the requests of one route.
pub(super) struct Counters {
    /// The route, by its pattern.
    pub(super) route: String,
    pub(super) clock: Arc<dyn Clock>,
    /// For all replicas.
    pub(super) shared: Option<Arc<dyn Quotas>>,
    /// For this process alone.
    pub(super) local: MemoryQuotas,
}

impl Counters {
    /// Takes one of the free requests.
    pub(super) async fn free(&self, quota: &FreeQuota, who: &str) -> Result<Told, BookError> {
        let FreeQuota { requests, per, by } = *quota;
        let counter = format!("free {} {} {}\n{who}", by.as_str(), per.seconds(), self.route);
        self.count("free", counter, (requests, per), true).await
    }

    /// Counts one request against a rate limit.
    pub(super) async fn limit(&self, limit: &RateLimit, who: &str) -> Result<Told, BookError> {
        let RateLimit { requests, per, by, shared } = *limit;
        let counter = format!("rate {} {} {}\n{who}", by.as_str(), per.seconds(), self.route);
        self.count(by.as_str(), counter, (requests, per), shared).await
    }

    async fn count(
        &self,
        name: &'static str,
        counter: String,
        (requests, period): (NonZeroU64, Period),
        is_shared: bool,
    ) -> Result<Told, BookError> {
        let (limit, now) = (requests.get(), self.clock.now());
        let request = QuotaRequest { counter, limit, period_seconds: period.seconds(), now };
        let taken: QuotaTaken = match (&self.shared, is_shared) {
            (Some(book), true) => book.take(&request).await?,
            (None, true) => return Err(BookError("there is no book to count in".into())),
            (_, false) => self.local.take(&request).await?,
        };
        Ok(Told { name, limit, period, taken, now })
    }
}

/// An address as it is counted.
pub(super) fn counted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << (u128::BITS - IPV6_NETWORK_BITS));
            format!("{}/{IPV6_NETWORK_BITS}", std::net::Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_provider_s_subscriber_is_counted_once() {
        let of = |text: &str| counted(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}

//! What a certificate says of itself, for people.

use std::net::IpAddr;

use anyhow::{Context, bail};
use farthing::core::time::UnixSeconds;
use jiff::Timestamp;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// So many days before its end somebody should hear of it.
const WARN_DAYS: u64 = 14;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// A certificate in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whom it is for: host names and addresses.
    pub names: Vec<String>,
    /// From when on it is good, and until when.
    not_before: UnixSeconds,
    not_after: UnixSeconds,
}

impl Facts {
    /// Reads one, from DER.
    pub fn of(certificate: &[u8]) -> anyhow::Result<Self> {
        let certificate = Certificate::from_der(certificate).context("expected an X.509 certificate, got something else")?;
        let stated = &certificate.tbs_certificate;
        let names = stated.get::<SubjectAltName>().context("the names of the certificate cannot be read")?;
        let names: Vec<String> = names.iter().flat_map(|(_, names)| &names.0).filter_map(name).collect();
        if names.is_empty() {
            bail!("expected a certificate with names (subject alternative names), got one without; no client would accept it");
        }
        let seconds = |time: &x509_cert::time::Time| UnixSeconds(time.to_unix_duration().as_secs());
        let validity = &stated.validity;
        Ok(Self { names, not_before: seconds(&validity.not_before), not_after: seconds(&validity.not_after) })
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: UnixSeconds) -> bool {
        self.not_after < now
    }

    /// Its last day, such as `2026-11-22`.
    pub fn last_day(&self) -> String {
        day(self.not_after)
    }

    /// What somebody should do about its time, if anything.
    pub fn warning(&self, now: UnixSeconds) -> Option<String> {
        if self.not_before > now {
            return Some(format!("the certificate is not good before {}; no client accepts it today", day(self.not_before)));
        }
        if self.is_expired(now) {
            return Some(format!("the certificate expired on {}; no client accepts it; renew it", self.last_day()));
        }
        let days = self.not_after.0.saturating_sub(now.0) / SECONDS_PER_DAY;
        (days < WARN_DAYS).then(|| {
            let plural = if days == 1 { "" } else { "s" };
            format!("the certificate expires on {}, in {days} day{plural}; renew it, and send SIGHUP", self.last_day())
        })
    }
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let address =
                <[u8; 4]>::try_from(octets).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

fn day(at: UnixSeconds) -> String {
    let at = i64::try_from(at.0).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.map_or_else(|| "a day beyond all calendars".to_owned(), |at| at.to_string().chars().take(10).collect())
}

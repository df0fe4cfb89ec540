//! What is read of certificates, and what is refused of them.

use super::*;

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/certificates");
/// 2026-11-22.
const NOW: UnixSeconds = UnixSeconds(1_795_305_600);
const DAY_SECONDS: u64 = 86_400;

fn files(certificate: &str, key: &str) -> Tls {
    let place = |name: &str| format!("file:{CERTIFICATES}/{name}").into();
    Tls { certificate: place(certificate), key: place(key) }
}

fn facts(certificate: &str) -> Facts {
    Certificates::load(&files(certificate, "first.key")).unwrap().1
}

#[track_caller]
fn refused(certificate: &str, key: &str, taught: &str) {
    let error = Certificates::load(&files(certificate, key)).err().expect("it is taken");
    let error = format!("{error:#}");
    assert!(error.contains(taught) && !error.contains("BEGIN EC"), "{error}\nlacks: {taught}");
}

#[test]
fn a_certificate_says_whom_it_is_for_and_until_when() {
    let facts = facts("first.pem");
    assert_eq!((facts.names.join(", "), facts.last_day()), ("localhost, 127.0.0.1".to_owned(), "2120-01-01".to_owned()));
}

#[test]
fn its_end_is_told_two_weeks_before() {
    // It ends with the year 2119.
    let end = facts("first.pem");
    let at = |days: u64| UnixSeconds(4_733_510_400 - days * DAY_SECONDS);
    assert_eq!((end.warning(NOW), end.warning(at(14))), (None, None));
    assert!(end.warning(at(13)).unwrap().contains("expires on 2120-01-01, in 13 days"));
    assert!(end.warning(at(1)).unwrap().contains("in 1 day;"));
    assert!(end.warning(UnixSeconds(4_733_510_401)).unwrap().contains("expired on 2120-01-01"));
    assert!(end.warning(UnixSeconds(0)).unwrap().contains("not good before 2020-01-01"));
    assert!(facts("expired.pem").warning(NOW).unwrap().contains("expired on 2020-02-01"));
}

#[test]
fn a_pair_that_cannot_be_used_is_refused_in_words() {
    refused("first.pem", "second.key", "gateway.tls: the certificate and the key cannot be used together");
    refused("first.key", "first.key", "gateway.tls.certificate: expected PEM with a certificate");
    refused("first.pem", "first.pem", "gateway.tls.key: expected PEM with a private key");
    refused("none.pem", "first.key", "gateway.tls.certificate: the file");
    refused("first.pem", "none.key", "gateway.tls.key: the file");
    let given = Tls { key: "-----BEGIN EC".to_owned().into(), ..files("first.pem", "first.key") };
    let error = format!("{:#}", Certificates::load(&given).err().unwrap());
    assert!(error.contains("gateway.tls.key: expected where the secret is kept") && !error.contains("BEGIN"), "{error}");
}

#[test]
fn an_expired_certificate_is_not_taken_in_the_place_of_a_good_one() {
    let (certificates, _) = Certificates::load(&files("first.pem", "first.key")).unwrap();
    let certificates = Certificates { files: files("expired.pem", "first.key"), ..certificates };
    let error = certificates.reload(NOW).unwrap_err().to_string();
    assert!(error.contains("got one that expired on 2020-02-01"), "{error}");
}

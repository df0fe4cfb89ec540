//! Where a request goes, and who may see what: origins, loopback, and URLs that are fit to be shown.

use std::net::IpAddr;

use url::{Host, Url};

/// Whether both lead to the same scheme, host and port.
pub(crate) fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// The origin as text, such as `https://api.example.com`.
pub(crate) fn origin_of(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Whether what is sent there can be read or changed on the way: unencrypted, and to another machine.
pub(crate) fn is_exposed(url: &Url) -> bool {
    url.scheme() != "https" && !url.host_str().is_some_and(is_loopback)
}

/// Whether the host name can only mean this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Ok(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        Ok(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Err(_) => false,
    }
}

/// Whether a resource's address, absolute or relative, leads to that host.
pub(crate) fn leads_to(resource_url: &str, host: &str) -> bool {
    let Ok(base) = Url::parse(&format!("http://{host}/")) else { return false };
    match base.join(resource_url) {
        Ok(url) => url.host_str().is_none_or(|named| {
            named.eq_ignore_ascii_case(base.host_str().unwrap_or_default()) || (is_loopback(named) && is_loopback(host))
        }),
        Err(_) => false,
    }
}

/// The URL without user, password, query and fragment, which may hold secrets.
pub(crate) fn fit_to_show(url: &Url) -> String {
    format!("{}{}", origin_of(url), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "api.localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "127.0.0.1.example.com", "10.0.0.1", "[::2]", "0.0.0.0", "", "notlocalhost"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_resource_leads_to_the_host_it_names() {
        for url in ["https://api.example.com/x", "http://API.example.com:8080/", "/x", "x", "", "mailto:me@example.org"] {
            assert!(leads_to(url, "api.example.com"), "{url}");
        }
        for url in
            ["https://evil.example/x", "//evil.example/x", "https://api.example.com.evil.org/", "http://[", "mcp://tool/x"]
        {
            assert!(!leads_to(url, "api.example.com"), "{url}");
        }
        assert!(leads_to("http://127.0.0.1:4020/x", "localhost"));
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let url = Url::parse("https://user:pass@api.example.com:444/a/b?key=secret#part").unwrap();
        assert_eq!(fit_to_show(&url), "https://api.example.com:444/a/b");
        assert_eq!(origin_of(&url), "https://api.example.com:444");
    }
}

//! Host names of HTTP requests. Owns which `Host` a server on loopback answers to, and whether the
//! `Origin` of a page is on the same host. Both keep other web pages away from a local server.

use std::net::IpAddr;

/// The names by which a server may be addressed.
///
/// A page of any site may make its own name point to 127.0.0.1 and then ask a server there as if it
/// were its own (DNS rebinding). Its requests carry that name in `Host`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Beside loopback addresses and `localhost`; `None`: every name.
    named: Option<Vec<String>>,
}

impl Hosts {
    /// Every name is valid, because the server serves other hosts too.
    pub const ANY: Self = Self { named: None };

    /// Loopback addresses, `localhost`, and `named`, as a `Host` or an `Origin` would spell them.
    pub fn local<'a>(named: impl Iterator<Item = &'a str>) -> Self {
        Self { named: Some(named.map(|name| host_of(name).to_ascii_lowercase()).collect()) }
    }

    /// Returns whether a request with these values of `Host` is answered. A request of HTTP/1.0 may
    /// have none. Browsers do not use HTTP/1.0.
    pub fn admit<'a>(&self, mut hosts: impl Iterator<Item = &'a str>) -> bool {
        let Some(named) = &self.named else { return true };
        hosts.all(|host| {
            let name = host_of(host);
            is_local(name) || named.iter().any(|known| known.eq_ignore_ascii_case(name))
        })
    }
}

/// Returns whether `origin` is on the host that the request names. Ports may differ.
pub fn is_same_host(origin: &str, host: &str) -> bool {
    origin.contains("://") && host_of(origin).eq_ignore_ascii_case(host_of(host))
}

/// The host of `scheme://host:port` or `host:port`, without the brackets of an IPv6 address.
fn host_of(text: &str) -> &str {
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').map_or(rest, |(address, _)| address);
    }
    match authority.split_once(':') {
        // An address of IPv6 without brackets.
        Some((_, rest)) if rest.contains(':') => authority,
        Some((host, _)) => host,
        None => authority,
    }
}

fn is_local(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_server_answers_to_local_names_and_to_those_it_was_given() {
        let hosts = Hosts::local(["192.168.1.7", "https://App.example:444", "fd00::7"].into_iter());
        for host in [
            "localhost:8765",
            "LOCALHOST",
            "127.0.0.1",
            "127.8.9.1:80",
            "[::1]:8765",
            "app.example",
            "[::ffff:127.0.0.1]",
            "app.EXAMPLE:9",
            "192.168.1.7:8765",
            "[fd00::7]:8765",
        ] {
            assert!(hosts.admit([host].into_iter()), "{host}");
        }
        for host in [
            "evil.example:8765",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "",
            "192.168.1.8",
            "127.0.0.1@evil.example",
            "[::2]:8765",
            "localhost:8765.evil.example:1",
        ] {
            assert!(!hosts.admit([host].into_iter()), "{host}");
            assert!(Hosts::ANY.admit([host].into_iter()), "{host}");
        }
        assert!(hosts.admit([].into_iter()), "HTTP/1.0");
        assert!(!hosts.admit(["localhost", "evil.example"].into_iter()));
    }

    #[test]
    fn a_page_is_of_the_same_host_whatever_its_port_and_case() {
        for (origin, host) in [
            ("http://localhost:8766", "localhost:8765"),
            ("https://Quotes.example", "quotes.example:8765"),
            ("http://[::1]:8766", "[::1]:8765"),
            ("http://127.0.0.1:8766", "127.0.0.1"),
        ] {
            assert!(is_same_host(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("https://evil.example", "localhost:8765"),
            ("null", "localhost:8765"),
            ("null", "null"),
            ("localhost", "localhost"),
            ("http://localhost:8766", "127.0.0.1:8765"),
            ("https://localhost.evil.example", "localhost:8765"),
        ] {
            assert!(!is_same_host(origin, host), "{origin} {host}");
        }
    }
}

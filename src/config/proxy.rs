//! Which proxy leads to which host, by the variables that other programs read too: `HTTPS_PROXY`,
//! `ALL_PROXY` and `NO_PROXY`, in lower case first, as curl has it. Knows URLs; opens no
//! connection.

use std::fmt;
use std::net::IpAddr;

use data_encoding::BASE64;
use ipnet::IpNet;
use percent_encoding::percent_decode_str;

use crate::wire::Endpoint;

use super::error::ConfigError;
use super::parse;

/// Variables for `wss://` and `https://`; the first that is not empty counts.
const FOR_TLS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// Variables for `ws://` and `http://`. `HTTP_PROXY` is none of them: it names a proxy that takes
/// requests, not tunnels.
const FOR_PLAIN: [&str; 2] = ["all_proxy", "ALL_PROXY"];

/// Variables that name what no proxy leads to.
const EXCEPT: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The variables as they are set.
#[derive(Clone, Default)]
pub(super) struct ProxyVariables(Vec<(&'static str, String)>);

impl ProxyVariables {
    /// Takes `value` if `name` is one of them; a later one of the same name replaces it.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        let mut known = FOR_TLS.into_iter().chain(EXCEPT);
        let Some(name) = known.find(|known| *known == name) else { return };
        self.0.retain(|(other, _)| *other != name);
        self.0.push((name, value.trim().to_owned()));
    }

    fn first(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        let set = |name: &&'static str| {
            let of = self.0.iter().find(|(other, value)| other == name && !value.is_empty());
            of.map(|(name, value)| (*name, &**value))
        };
        names.iter().find_map(set)
    }
}

/// An HTTP proxy that is asked with CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The variable that names it.
    pub variable: &'static str,
    /// Its host name or address; an IPv6 address is without its brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// The value of `Proxy-Authorization`. A secret: not for logs.
    pub authorization: Option<String>,
}

impl fmt::Display for Proxy {
    /// As a URL without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "http://[{}]:{}", self.host, self.port),
            false => write!(f, "http://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for Proxy {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Proxy {
    /// Reads the value of `variable`; a URL without a scheme is one of `http://`.
    fn read(variable: &'static str, text: &str) -> Result<Self, ConfigError> {
        let refused = |why: &str| {
            let shown = parse::without_secrets(text);
            ConfigError::Relation(format!(
                "{variable}={shown} cannot be used: {why}. Give http://HOST:PORT of a proxy that \
                 knows CONNECT, or have NO_PROXY=* to reach the exchanges directly"
            ))
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(refused(&format!("a proxy of the kind {scheme}:// is not supported")));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, authority) = rest.rsplit_once('@').unwrap_or(("", rest));
        let endpoint = Endpoint::parse(&format!("http://{authority}"));
        let endpoint = endpoint.map_err(|why| refused(&why.to_string()))?;
        if endpoint.path != "/" {
            return Err(refused("a proxy's URL has no path"));
        }
        let bytes: Vec<u8> = match user.split_once(':') {
            Some((user, password)) => {
                let decoded = percent_decode_str(user).chain([b':'].iter().copied());
                decoded.chain(percent_decode_str(password)).collect()
            }
            None => percent_decode_str(user).chain([b':'].iter().copied()).collect(),
        };
        let authorization = (!user.is_empty()).then(|| format!("Basic {}", BASE64.encode(&bytes)));
        Ok(Self { variable, host: endpoint.host, port: endpoint.port, authorization })
    }
}

/// What no proxy leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    All,
    /// A name and all below it, or an address; with a port only that one.
    Host(String, Option<u16>),
    Net(IpNet),
}

impl Exception {
    /// Reads one part of `NO_PROXY`; `None` if it is empty. A name may begin with `.` or `*.`.
    fn read(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text == "*" {
            return Some(Self::All);
        }
        if let Ok(net) = text.parse() {
            return Some(Self::Net(net));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host.to_owned(), Some(port.parse().ok()?))
            }
            _ => (text, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = host.strip_prefix('*').unwrap_or(host).trim_matches('.');
        (!host.is_empty()).then(|| Self::Host(host.to_owned(), port))
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        match self {
            Self::All => true,
            Self::Net(net) => host.parse().is_ok_and(|address: IpAddr| net.contains(&address)),
            Self::Host(_, Some(other)) if *other != port => false,
            Self::Host(name, _) => {
                let below = host.strip_suffix(&**name);
                let is_address = host.parse::<IpAddr>().is_ok();
                below.is_some_and(|below| below.is_empty() || (!is_address && below.ends_with('.')))
            }
        }
    }
}

/// Which proxy leads to which host. By default none does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    tls: Option<Proxy>,
    plain: Option<Proxy>,
    except: Vec<Exception>,
}

impl Proxies {
    /// Reads what is needed to reach `endpoints`.
    ///
    /// # Errors
    /// If a proxy that would be used has an address or a kind that cannot be.
    pub(super) fn read(
        variables: &ProxyVariables,
        endpoints: &[Endpoint],
    ) -> Result<Self, ConfigError> {
        let except = variables.first(&EXCEPT).map_or("", |(_, text)| text);
        let except = except.split([',', ' ']).filter_map(Exception::read).collect();
        let mut proxies = Self { except, ..Self::default() };
        let find = |tls: bool, names: &[&'static str]| {
            let needs = |one: &Endpoint| one.tls == tls && !proxies.skips(&one.host, one.port);
            let set = variables.first(names).filter(|_| endpoints.iter().any(needs));
            set.map(|(name, text)| Proxy::read(name, text)).transpose()
        };
        let (tls, plain) = (find(true, &FOR_TLS)?, find(false, &FOR_PLAIN)?);
        (proxies.tls, proxies.plain) = (tls, plain);
        Ok(proxies)
    }

    /// The proxy that leads to `host`; `None`: it is reached directly. Loopback always is.
    pub fn of(&self, tls: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if tls { &self.tls } else { &self.plain };
        proxy.as_ref().filter(|_| !self.skips(host, port))
    }

    /// One sentence about each proxy that is used.
    pub fn summary(&self) -> Vec<String> {
        let except = match self.except.is_empty() {
            true => "",
            false => ", but not to what NO_PROXY names",
        };
        let kinds = [(&self.tls, "wss:// and https://"), (&self.plain, "ws:// and http://")];
        let used = kinds.into_iter().filter_map(|(proxy, kind)| Some((proxy.as_ref()?, kind)));
        let words = used.map(|(proxy, kind)| {
            let user = if proxy.authorization.is_some() { " with user and password" } else { "" };
            format!("{proxy} ({}{user}) leads to {kind} endpoints{except}", proxy.variable)
        });
        words.collect()
    }

    fn skips(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        is_loopback(&host) || self.except.iter().any(|one| one.covers(&host, port))
    }
}

fn is_loopback(host: &str) -> bool {
    let is_address = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    is_address || host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, String> {
        let mut set = ProxyVariables::default();
        variables.iter().for_each(|(name, value)| set.add(name, value));
        let urls = ["wss://exchange.test:9443", "ws://plain.test", "ws://127.0.0.1:1"];
        let endpoints = urls.map(|url| Endpoint::parse(url).unwrap());
        Proxies::read(&set, &endpoints).map_err(|error| error.to_string())
    }

    fn used(proxies: &Proxies, tls: bool, host: &str, port: u16) -> Option<String> {
        proxies.of(tls, host, port).map(ToString::to_string)
    }

    #[test]
    fn https_proxy_is_for_tls_and_all_proxy_for_the_rest_and_lower_case_wins() {
        let found = proxies(&[
            ("HTTPS_PROXY", "http://upper:1"),
            ("https_proxy", "lower:3128"),
            ("ALL_PROXY", "HTTP://[::1]:8080/"),
            ("HTTP_PROXY", "http://not-this:1"),
        ])
        .unwrap();
        assert_eq!(used(&found, true, "exchange.test", 443).unwrap(), "http://lower:3128");
        assert_eq!(used(&found, false, "exchange.test", 80).unwrap(), "http://[::1]:8080");
        let found = proxies(&[("all_proxy", "http://one"), ("https_proxy", "")]).unwrap();
        assert_eq!(used(&found, true, "exchange.test", 443).unwrap(), "http://one:80");
        assert_eq!(found.summary().len(), 2, "{:?}", found.summary());
        let found = proxies(&[("HTTP_PROXY", "http://not-this:1")]).unwrap();
        assert_eq!((&found, found.summary().len()), (&Proxies::default(), 0));
    }

    #[test]
    fn loopback_and_what_no_proxy_names_are_reached_directly() {
        let direct = |except: &str, host: &str, port| {
            let found = proxies(&[("ALL_PROXY", "http://p:1"), ("NO_PROXY", except)]).unwrap();
            found.of(true, host, port).is_none()
        };
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "x.localhost"] {
            assert!(direct("", host, 443), "{host}");
        }
        for (except, host, port, expected) in [
            ("*", "a.test", 443, true),
            ("a.test", "a.test", 443, true),
            ("a.test", "b.a.TEST", 443, true),
            ("a.test", "ba.test", 443, false),
            (".a.test", "b.a.test", 443, true),
            ("*.a.test", "b.a.test", 443, true),
            ("a.test:443", "a.test", 443, true),
            ("a.test:9443", "a.test", 443, false),
            ("b.test, a.test", "a.test", 443, true),
            ("10.0.0.1", "10.0.0.1", 443, true),
            ("0.0.1", "10.0.0.1", 443, false),
            ("10.0.0.0/8", "10.9.9.9", 443, true),
            ("10.0.0.0/8", "11.9.9.9", 443, false),
            ("[fd00::1]:443", "fd00::1", 443, true),
            ("fd00::1", "fd00::1", 443, true),
            ("fd00::/8", "fd12::1", 443, true),
            (",, .", "a.test", 443, false),
        ] {
            assert_eq!(direct(except, host, port), expected, "{except} {host}:{port}");
        }
    }

    #[test]
    fn user_and_password_are_sent_and_never_shown() {
        let found = proxies(&[("HTTPS_PROXY", "http://me:cr%40t%3A@proxy:3128")]).unwrap();
        let proxy = found.of(true, "exchange.test", 443).unwrap();
        let expected = format!("Basic {}", BASE64.encode(b"me:cr@t:"));
        assert_eq!(proxy.authorization.as_ref(), Some(&expected));
        let shown = format!("{found:?}{:?}", found.summary());
        assert!(
            !shown.contains("cr")
                && !shown.contains(&expected)
                && shown.contains("with user and password"),
            "{shown}"
        );
    }

    #[test]
    fn a_proxy_that_would_be_used_and_cannot_be_is_refused_without_its_password() {
        for (value, words) in [
            ("socks5://me:secret@proxy:1080", "of the kind socks5:// is not supported"),
            ("https://me:secret@proxy", "of the kind https:// is not supported"),
            ("http://me:secret@proxy:0", "port must be"),
            ("http://me:secret@proxy/path", "has no path"),
            ("http://me:secret@", "needs a host"),
        ] {
            let why = proxies(&[("HTTPS_PROXY", value)]).unwrap_err();
            assert!(why.contains(words) && why.contains("HTTPS_PROXY="), "{why}");
            assert!(why.contains("NO_PROXY=*") && !why.contains("secret"), "{why}");
        }
        let unused = [("HTTPS_PROXY", "http://proxy:1"), ("ALL_PROXY", "socks5://proxy")];
        assert!(proxies(&unused).unwrap_err().contains("ALL_PROXY"), "for ws://plain.test");
        let not_needed =
            [("ALL_PROXY", "socks5://proxy"), ("NO_PROXY", "exchange.test,plain.test")];
        assert_eq!(proxies(&not_needed).unwrap().summary().len(), 0);
    }
}

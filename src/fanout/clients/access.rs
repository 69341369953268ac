//! Which connections are admitted, and how much one client may ask for: tokens, origins, limits.
//! Owns the rules and compares; opens no file, sends nothing and keeps no token in clear.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;
use subtle::{Choice, ConstantTimeEq};

use crate::limits::{
    CLIENT_IDLE_PATIENCE, CLIENT_SERIES_MAX, HTTP_HEAD_PATIENCE, TOKEN_BYTES_MAX, TOKENS_MAX,
};
use crate::wire::Request;
use crate::wire::host::{Hosts, is_same_host};

/// Which connections are admitted, and how much one client may ask for. The default admits every
/// connection.
#[derive(Clone, Debug)]
pub struct Access {
    /// The server's certificate for TLS; `None`: plain text.
    pub tls: Option<Arc<ServerConfig>>,
    /// The valid tokens: a client must show one. `None`: no token is needed.
    pub tokens: Option<Tokens>,
    /// The names by which the server may be addressed.
    pub hosts: Hosts,
    /// The origins of pages that browsers may connect from, in lower case. `*`: any. Empty: those
    /// of the host that the request itself names. A client that sends no `Origin` is not a browser.
    pub origins: Vec<String>,
    /// Connections from one address at once; 0: any number. Above it: HTTP 429.
    pub connections_per_address_max: usize,
    /// Series that one client may subscribe, at most [`CLIENT_SERIES_MAX`]. Above it: rejected.
    pub client_series_max: usize,
    /// Time for the opening request to arrive, TLS included. After it: HTTP 408.
    pub handshake_timeout: Duration,
    /// Time that a client without a subscription may send nothing; zero: any. After it: close 1008.
    pub idle_timeout: Duration,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            tls: None,
            tokens: None,
            hosts: Hosts::ANY,
            origins: Vec::new(),
            connections_per_address_max: 0,
            client_series_max: CLIENT_SERIES_MAX,
            handshake_timeout: HTTP_HEAD_PATIENCE,
            idle_timeout: CLIENT_IDLE_PATIENCE,
        }
    }
}

impl Access {
    /// Returns whether the request names this server by a host name that the server answers to.
    pub(crate) fn admits_host(&self, request: &Request) -> bool {
        self.hosts.admit(request.hosts.iter().map(String::as_str))
    }

    /// Returns whether a page with these `Origin` headers, in a request to these hosts, may
    /// connect.
    pub(crate) fn admits_page(&self, origins: &[String], hosts: &[String]) -> bool {
        origins.iter().all(|origin| match self.origins.is_empty() {
            true => !hosts.is_empty() && hosts.iter().all(|host| is_same_host(origin, host)),
            false => {
                self.origins.iter().any(|one| one == ANY_ORIGIN || one.eq_ignore_ascii_case(origin))
            }
        })
    }
}

/// The value of `CONNECTOR_WSS_ORIGINS` that admits every page.
pub const ANY_ORIGIN: &str = "*";

/// The valid tokens. They are kept and compared as digests, so that neither a memory dump nor the
/// time of a comparison reveals one; a comparison always looks at every token.
#[derive(Clone)]
pub struct Tokens {
    digests: Vec<TokenDigest>,
}

impl Tokens {
    /// Reads the text of a token file: one token per line, without the white space around it. Empty
    /// lines and lines that begin with `#` are comments.
    ///
    /// # Errors
    /// See [`TokensError`].
    pub fn parse(text: &[u8]) -> Result<Self, TokensError> {
        let mut digests = Vec::new();
        let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        for (at, token) in lines.enumerate() {
            if token.is_empty() || token.starts_with(b"#") {
                continue;
            }
            if token.len() > TOKEN_BYTES_MAX {
                return Err(TokensError::TooLong { line: at + 1 });
            }
            if !token.iter().all(u8::is_ascii_graphic) {
                return Err(TokensError::Character { line: at + 1 });
            }
            if digests.len() == TOKENS_MAX {
                return Err(TokensError::TooMany);
            }
            digests.push(TokenDigest::of(token));
        }
        if digests.is_empty() { Err(TokensError::Empty) } else { Ok(Self { digests }) }
    }

    /// Returns whether `token` is one of the tokens, in a time that does not depend on which one.
    pub(crate) fn contains(&self, token: &TokenDigest) -> bool {
        let fold = |found: Choice, one: &TokenDigest| found | one.0.ct_eq(&token.0);
        self.digests.iter().fold(Choice::from(0), fold).into()
    }

    /// Number of tokens.
    pub fn count(&self) -> usize {
        self.digests.len()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.digests.len())
    }
}

/// Why a text is not a list of tokens. No variant repeats any part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokensError {
    /// No line holds a token: no client could be admitted.
    Empty,
    /// There are more than [`TOKENS_MAX`] tokens.
    TooMany,
    /// A token has more than [`TOKEN_BYTES_MAX`] bytes.
    TooLong {
        /// The line, from 1.
        line: usize,
    },
    /// A token contains white space, control characters or letters beyond ASCII.
    Character {
        /// The line, from 1.
        line: usize,
    },
}

impl fmt::Display for TokensError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it holds no token; write one a line"),
            Self::TooMany => write!(f, "it holds more than {TOKENS_MAX} tokens"),
            Self::TooLong { line } => {
                write!(f, "line {line} is longer than {TOKEN_BYTES_MAX} bytes")
            }
            Self::Character { line } => write!(
                f,
                "line {line} holds something else than visible ASCII characters; write one token \
                 a line"
            ),
        }
    }
}

impl std::error::Error for TokensError {}

/// The digest of a token: the token cannot be read back. Only [`Tokens::contains`] compares it.
#[derive(Clone, Copy)]
pub(crate) struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The digest of a token's text.
    pub(crate) fn of(token: &[u8]) -> Self {
        let digest = digest(&SHA256, token);
        Self(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token")
    }
}

/// The token that a request carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Credential {
    /// None; it may still come in the first message.
    Missing,
    /// Something that is not one token: another scheme, or more than one token.
    Unusable,
    /// One token, valid or not.
    Token(TokenDigest),
}

impl Credential {
    /// Reads `Authorization: Bearer …` and `?token=…`.
    pub(crate) fn of(request: &Request) -> Self {
        let headers = request.authorizations.iter().map(|value| {
            let (scheme, token) = value.split_once(' ')?;
            let is_bearer = scheme.eq_ignore_ascii_case("bearer");
            is_bearer.then(|| TokenDigest::of(token.trim_ascii().as_bytes()))
        });
        let fields = request.query().split('&').filter_map(|field| field.strip_prefix("token="));
        let fields = fields.map(|text| {
            let token: Vec<u8> = percent_decode_str(text).collect();
            Some(TokenDigest::of(&token))
        });
        // Of two tokens one may be a guess. A client with a token sends it once.
        let mut shown = headers.chain(fields).take(2);
        match (shown.next(), shown.next()) {
            (None, _) => Self::Missing,
            (Some(Some(token)), None) => Self::Token(token),
            _ => Self::Unusable,
        }
    }
}

/// Number of connections by the address that they come from.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    counts: HashMap<IpAddr, usize>,
}

impl Addresses {
    /// Number of connections from the place of `address`.
    pub(crate) fn count(&self, address: IpAddr) -> usize {
        self.counts.get(&place(address)).copied().unwrap_or(0)
    }

    /// Counts one connection more.
    pub(crate) fn add(&mut self, address: IpAddr) {
        *self.counts.entry(place(address)).or_default() += 1;
    }

    /// Counts one connection less.
    pub(crate) fn remove(&mut self, address: IpAddr) {
        if let Some(count) = self.counts.get_mut(&place(address)) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&place(address));
            }
        }
    }
}

/// The place of an address: an IPv4 address in any notation, or the /64 network that one IPv6 host
/// has.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokens_file_has_one_token_a_line_and_comments() {
        let tokens = Tokens::parse(b"# ours\r\n\r\n  alpha \r\nbeta\n#gamma").unwrap();
        assert_eq!(tokens.count(), 2);
        for (token, is_one) in
            [("alpha", true), ("beta", true), ("gamma", false), ("alph", false), ("", false)]
        {
            assert_eq!(tokens.contains(&TokenDigest::of(token.as_bytes())), is_one, "{token}");
        }
        assert_eq!(format!("{tokens:?}"), "2 tokens");
    }

    #[test]
    fn each_fault_of_a_tokens_file_has_its_own_error_and_shows_no_token() {
        let long = format!("a\n{}", "x".repeat(TOKEN_BYTES_MAX + 1));
        let many = "x\n".repeat(TOKENS_MAX + 1);
        for (text, expected) in [
            ("# nothing\n \n", TokensError::Empty),
            (&*long, TokensError::TooLong { line: 2 }),
            (&*many, TokensError::TooMany),
            ("a\n\nse cret", TokensError::Character { line: 3 }),
            ("sécret", TokensError::Character { line: 1 }),
        ] {
            let error = Tokens::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("cret"), "{error}");
        }
    }

    #[test]
    fn one_place_is_an_ipv4_address_or_a_subnet_of_ipv6() {
        let mut addresses = Addresses::default();
        for address in ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::2"] {
            addresses.add(address.parse().unwrap());
        }
        assert_eq!(addresses.count("10.0.0.1".parse().unwrap()), 2);
        assert_eq!(addresses.count("2001:db8::9".parse().unwrap()), 2);
        assert_eq!(addresses.count("2001:db8:0:1::1".parse().unwrap()), 0);
        for address in ["10.0.0.1", "10.0.0.1", "2001:db8::3", "2001:db8::4", "10.0.0.1"] {
            addresses.remove(address.parse().unwrap());
        }
        assert!(addresses.counts.is_empty());
    }

    #[test]
    fn origins_are_compared_whole_and_without_case() {
        let access = Access { origins: vec!["https://a.example".into()], ..Access::default() };
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let admits = |origins: &[&str]| access.admits_page(&texts(origins), &texts(&["h:1"]));
        assert!(admits(&[]) && admits(&["HTTPS://A.example"]));
        assert!(!admits(&["https://a.example.evil"]) && !admits(&["null"]));
        assert!(!admits(&["https://a.example", "https://b.example"]));
        assert!(!admits(&["https://h"]), "what is not listed, where something is");
        let any = Access { origins: vec![ANY_ORIGIN.into()], ..Access::default() };
        assert!(any.admits_page(&texts(&["https://anything", "null"]), &texts(&["h:1"])));
    }

    #[test]
    fn where_no_origin_is_listed_a_page_of_the_requests_own_host_may_connect() {
        let access = Access::default();
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let admits =
            |origins: &[&str], hosts: &[&str]| access.admits_page(&texts(origins), &texts(hosts));
        assert!(admits(&[], &["localhost:8765"]) && admits(&[], &[]));
        assert!(admits(&["http://localhost:8766"], &["localhost:8765"]));
        assert!(!admits(&["https://evil.example"], &["localhost:8765"]));
        assert!(!admits(&["http://localhost:8766", "https://evil.example"], &["localhost:8765"]));
        assert!(!admits(&["null"], &["localhost:8765"]) && !admits(&["http://h"], &[]));
    }
}

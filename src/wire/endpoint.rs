//! Where to connect: a URL taken apart. Resolves nothing.

use std::fmt;

/// A `ws`, `wss`, `http` or `https` URL. The default has no host: no connection can be opened to
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether the scheme requires TLS (`wss`, `https`).
    pub tls: bool,
    /// Host name or address; an IPv6 address is without its brackets.
    pub host: String,
    /// TCP port; 80 or 443 if the URL has none.
    pub port: u16,
    /// Path and query; starts with `/`.
    pub path: String,
}

/// Why a text is not an [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointError {
    /// Not `ws://`, `wss://`, `http://` or `https://`.
    Scheme,
    /// No host, or one with user-info, spaces or control characters.
    Host,
    /// A port that is no number from 1 to 65535.
    Port,
    /// A path with spaces, control characters or a fragment.
    Path,
}

impl Endpoint {
    /// Takes `url` apart.
    pub fn parse(url: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = url.split_once("://").ok_or(EndpointError::Scheme)?;
        let tls = match scheme {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(EndpointError::Scheme),
        };
        let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let (host, port) = split_authority(authority)?;
        if path.contains('#') || path.chars().any(is_unsafe) {
            return Err(EndpointError::Path);
        }
        let port = match port {
            Some(text) => parse_port(text)?,
            None if tls => 443,
            None => 80,
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { tls, host: host.to_owned(), port, path })
    }

    /// The same endpoint with `suffix` after the path. A `/` at the end of the path is dropped
    /// first.
    pub fn join(&self, suffix: &str) -> Self {
        let path = format!("{}{suffix}", self.path.trim_end_matches('/'));
        Self { path: if path.is_empty() { "/".to_owned() } else { path }, ..self.clone() }
    }

    /// Host and port for a `Host` header. The default port of the scheme is left out.
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.tls { 443 } else { 80 } {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    /// As a WebSocket URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "the URL must begin with ws://, wss://, http:// or https://",
            Self::Host => "the URL needs a host, without user name, spaces or control characters",
            Self::Port => "the port must be a number from 1 to 65535",
            Self::Path => "the path must be without spaces, control characters and '#'",
        })
    }
}

impl std::error::Error for EndpointError {}

fn split_authority(authority: &str) -> Result<(&str, Option<&str>), EndpointError> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(EndpointError::Host)?;
            let port = after.strip_prefix(':');
            if port.is_none() && !after.is_empty() {
                return Err(EndpointError::Host);
            }
            (host, port)
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_bad = host.is_empty() || host.contains('@') || host.chars().any(is_unsafe);
    if is_bad { Err(EndpointError::Host) } else { Ok((host, port)) }
}

fn parse_port(text: &str) -> Result<u16, EndpointError> {
    text.parse().ok().filter(|&port| port > 0).ok_or(EndpointError::Port)
}

fn is_unsafe(c: char) -> bool {
    c.is_control() || c.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let endpoint = Endpoint::parse("wss://stream.binance.com:9443/ws?x=1").unwrap();
        assert_eq!(
            (endpoint.tls, &*endpoint.host, endpoint.port, &*endpoint.path),
            (true, "stream.binance.com", 9443, "/ws?x=1")
        );
        assert_eq!(endpoint.to_string(), "wss://stream.binance.com:9443/ws?x=1");
        let bare = Endpoint::parse("http://[::1]").unwrap();
        assert_eq!((&*bare.host, bare.port, &*bare.path), ("::1", 80, "/"));
        assert_eq!(bare.authority(), "[::1]");
    }

    #[test]
    fn a_suffix_joins_a_base_with_or_without_a_path() {
        for (base, expected) in [
            ("wss://fstream.binance.com/market", "wss://fstream.binance.com/market/ws"),
            ("wss://fstream.binance.com/market/", "wss://fstream.binance.com/market/ws"),
            ("ws://127.0.0.1:9001", "ws://127.0.0.1:9001/ws"),
        ] {
            assert_eq!(Endpoint::parse(base).unwrap().join("/ws").to_string(), expected);
        }
    }

    #[test]
    fn each_fault_has_its_own_error() {
        for (url, expected) in [
            ("ftp://x", EndpointError::Scheme),
            ("localhost:1", EndpointError::Scheme),
            ("ws://", EndpointError::Host),
            ("ws://a@b", EndpointError::Host),
            ("ws://[::1", EndpointError::Host),
            ("ws://x:0", EndpointError::Port),
            ("ws://x:70000", EndpointError::Port),
            ("ws://x/a b", EndpointError::Path),
            ("ws://x/a#b", EndpointError::Path),
        ] {
            assert_eq!(Endpoint::parse(url), Err(expected), "{url}");
        }
    }
}

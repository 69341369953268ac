//! A tunnel through an HTTP proxy: the request (CONNECT, RFC 9110, section 9.3.6) and the answer.
//! The bytes after it belong to the host behind the proxy.

use std::fmt;

use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};

use super::endpoint::Endpoint;
use super::handshake::{REFUSAL_BODY_BYTES, head_length, refused_body};

/// One request to a proxy, and its answer as far as it has come.
pub struct Tunnel {
    request: String,
    /// At most [`HTTP_HEAD_BYTES_MAX`] and [`REFUSAL_BODY_BYTES`].
    answer: Vec<u8>,
}

/// Why a proxy does not let us through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelError {
    /// It answered with a status other than 2xx.
    Refused {
        /// The status.
        status: u16,
        /// The reason in the status line.
        reason: String,
        /// The beginning of the body.
        body: Vec<u8>,
    },
    /// Its answer is not HTTP.
    Malformed,
    /// The head of its answer is longer than [`HTTP_HEAD_BYTES_MAX`].
    TooLong,
    /// It closed the connection before its answer was complete.
    Closed,
}

impl Tunnel {
    /// Requests a tunnel to `host` and `port`. `authorization`: the value of `Proxy-Authorization`.
    pub fn new(host: &str, port: u16, authorization: Option<&str>) -> Self {
        let bare = Endpoint { tls: false, host: host.to_owned(), port, path: String::new() };
        let authority = match port {
            80 => format!("{}:80", bare.authority()),
            _ => bare.authority(),
        };
        let authorization = authorization
            .map(|value| format!("Proxy-Authorization: {value}\r\n"))
            .unwrap_or_default();
        let request = format!(
            "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{authorization}\
             User-Agent: connector-wss/{}\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        );
        Self { request, answer: Vec::new() }
    }

    /// The request, which is sent first.
    pub fn request(&self) -> &[u8] {
        self.request.as_bytes()
    }

    /// Takes bytes of the proxy. `is_last`: no more bytes will arrive. `Ok(Some(count))`: the
    /// tunnel is open, and the first `count` of `bytes` were the answer. `Ok(None)`: the answer is
    /// not complete.
    ///
    /// # Errors
    /// Why the proxy opens no tunnel.
    pub fn take(&mut self, bytes: &[u8], is_last: bool) -> Result<Option<usize>, TunnelError> {
        let before = self.answer.len();
        let room = HTTP_HEAD_BYTES_MAX + REFUSAL_BODY_BYTES - before;
        self.answer.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let Some(head_bytes) = head_length(&self.answer) else {
            if self.answer.len() > HTTP_HEAD_BYTES_MAX {
                return Err(TunnelError::TooLong);
            }
            return if is_last { Err(TunnelError::Closed) } else { Ok(None) };
        };
        let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&self.answer[..head_bytes]);
        if !matches!(parsed, Ok(httparse::Status::Complete(_))) {
            return Err(TunnelError::Malformed);
        }
        let status = response.code.unwrap_or(0);
        if (200..300).contains(&status) {
            return Ok(Some(head_bytes - before));
        }
        let body = refused_body(response.headers, &self.answer[head_bytes..], is_last);
        let Some(body) = body else { return Ok(None) };
        let reason = response.reason.unwrap_or("").to_owned();
        Err(TunnelError::Refused { status, reason, body })
    }
}

impl fmt::Debug for Tunnel {
    /// Without the request, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

impl fmt::Display for TunnelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status, reason, .. } => write!(f, "HTTP {status} {reason}"),
            Self::Malformed => f.write_str("its answer to CONNECT is no HTTP"),
            Self::TooLong => f.write_str("its answer to CONNECT is too long"),
            Self::Closed => f.write_str("it closed the connection without an answer to CONNECT"),
        }
    }
}

impl std::error::Error for TunnelError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel() -> Tunnel {
        Tunnel::new("exchange.invalid", 443, None)
    }

    #[test]
    fn the_request_names_host_and_port_and_shows_no_password() {
        let tunnel = Tunnel::new("::1", 80, Some("Basic c2VjcmV0"));
        let text = String::from_utf8(tunnel.request().to_vec()).unwrap();
        assert!(text.starts_with("CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n"), "{text}");
        assert!(text.contains("\r\nProxy-Authorization: Basic c2VjcmV0\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n"));
        assert!(!format!("{tunnel:?}").contains("c2VjcmV0"));
        let text = String::from_utf8(self::tunnel().request().to_vec()).unwrap();
        assert!(text.starts_with("CONNECT exchange.invalid:443 HTTP/1.1\r\n"), "{text}");
        assert!(!text.contains("Authorization"), "{text}");
    }

    #[test]
    fn an_answer_in_any_pieces_opens_the_way_and_what_follows_is_the_host_s() {
        let head = b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n";
        let all = [&head[..], b"hello"].concat();
        for cut in 0..head.len() {
            let mut tunnel = tunnel();
            assert_eq!(tunnel.take(&all[..cut], false), Ok(None), "{cut}");
            assert_eq!(tunnel.take(&all[cut..], false), Ok(Some(head.len() - cut)), "{cut}");
        }
    }

    #[test]
    fn a_refusal_waits_for_its_first_words_and_has_its_status() {
        let mut one = tunnel();
        let head = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(one.take(head, false), Ok(None));
        let (status, reason) = (407, "Proxy Authentication Required".to_owned());
        let expected = TunnelError::Refused { status, reason, body: b"login".to_vec() };
        assert_eq!(expected.to_string(), "HTTP 407 Proxy Authentication Required");
        assert_eq!(one.take(b"login", false), Err(expected));
        let mut one = tunnel();
        assert_eq!(one.take(b"HTTP/1.1 502 Bad Gateway\r\n\r\n", false), Ok(None));
        let (status, reason) = (502, "Bad Gateway".to_owned());
        let expected = TunnelError::Refused { status, reason, body: Vec::new() };
        assert_eq!(one.take(b"", true), Err(expected));
    }

    #[test]
    fn every_other_answer_has_an_end() {
        for (bytes, is_last, expected) in [
            (b"<html>\r\n\r\n".to_vec(), false, TunnelError::Malformed),
            (b"SSH-2.0-x\r\n".to_vec(), true, TunnelError::Closed),
            (Vec::new(), true, TunnelError::Closed),
            (vec![b'x'; 1 << 20], false, TunnelError::TooLong),
        ] {
            assert_eq!(tunnel().take(&bytes, is_last), Err(expected));
        }
        let mut endless = tunnel();
        let ends = (0..1 << 20).any(|_| endless.take(b"x", false) == Err(TunnelError::TooLong));
        assert!(ends && endless.answer.len() <= HTTP_HEAD_BYTES_MAX + REFUSAL_BODY_BYTES);
    }
}

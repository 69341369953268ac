//! HTTP/1.1 request heads and answers, in memory. Shared by both ports; knows no route and no
//! socket. It is strict on purpose. A head that two programs could read differently is refused, and
//! so is every body, so that request smuggling is impossible.

use std::fmt;

use httparse::{EMPTY_HEADER, Header};

use crate::clock::{RFC3339_BYTES, UnixMs, write_rfc3339};
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};

/// A complete, valid request head, borrowed from the bytes it was read from.
pub struct RequestHead<'b> {
    /// The method, as sent: case matters.
    pub method: &'b str,
    /// The target, as sent.
    pub target: &'b str,
    /// Path of the target, without query; `*` for the server as a whole.
    pub path: &'b str,
    /// Minor version: HTTP/1.0 or HTTP/1.1.
    pub minor_version: u8,
    /// Bytes of the head, up to and with the empty line.
    pub bytes: usize,
    headers: [Header<'b>; HTTP_HEADERS_MAX],
    headers_used: usize,
}

/// Why a head is refused. Each variant is answered with one status, and the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// 400: the bytes are not HTTP, or are ambiguous.
    Malformed(&'static str),
    /// 400: a body was announced; none is ever needed.
    Body,
    /// 414: the request line does not end.
    TargetTooLong,
    /// 431: too many or too long headers.
    TooLarge,
    /// 505: neither HTTP/1.0 nor HTTP/1.1.
    Version,
}

impl HeadError {
    /// The HTTP status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Body => 400,
            Self::TargetTooLong => 414,
            Self::TooLarge => 431,
            Self::Version => 505,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed request: {what}"),
            Self::Body => f.write_str("a request body is never needed here"),
            Self::TargetTooLong => {
                write!(f, "the request line exceeds {HTTP_HEAD_BYTES_MAX} bytes")
            }
            Self::TooLarge => write!(
                f,
                "the head exceeds {HTTP_HEAD_BYTES_MAX} bytes or {HTTP_HEADERS_MAX} headers"
            ),
            Self::Version => f.write_str("only HTTP/1.0 and HTTP/1.1 are spoken"),
        }
    }
}

impl<'b> RequestHead<'b> {
    /// Reads the head at the start of `bytes`. `Ok(None)`: it is not complete yet.
    ///
    /// Errors: the head can never become valid; see [`HeadError`].
    pub fn parse(bytes: &'b [u8]) -> Result<Option<Self>, HeadError> {
        let window = &bytes[..bytes.len().min(HTTP_HEAD_BYTES_MAX)];
        let mut headers = [EMPTY_HEADER; HTTP_HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(window).map_err(|error| refusal(error, window))?;
        let httparse::Status::Complete(length) = parsed else {
            check_line_ends(window)?;
            return if bytes.len() < HTTP_HEAD_BYTES_MAX {
                Ok(None)
            } else {
                Err(overflow(window))
            };
        };
        check_line_ends(&window[..length])?;
        let (method, target) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
        let minor_version = request.version.unwrap_or(1);
        let headers_used = request.headers.len();
        let path = path_of(method, target)?;
        let bytes = length;
        let head = Self { method, target, path, minor_version, bytes, headers, headers_used };
        head.check_host()?;
        head.check_no_body()?;
        Ok(Some(head))
    }

    /// Values of every header called `name`, in order. Case is ignored.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'b [u8]> {
        let headers = self.headers[..self.headers_used].iter();
        let named = headers.filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii())
    }

    /// The only value of the header called `name`; `None` if there is none, or more than one, or
    /// it is not UTF-8.
    pub fn value(&self, name: &str) -> Option<&'b str> {
        let mut values = self.values(name);
        let value = values.next()?;
        values.next().is_none().then(|| std::str::from_utf8(value).ok())?
    }

    /// Returns whether a comma-separated list header has `token` in any of its lines. Case is
    /// ignored.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let items = self.values(name).flat_map(|value| value.split(|byte| *byte == b','));
        items.into_iter().any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Returns whether the connection may serve another request after this one.
    pub fn keeps_alive(&self) -> bool {
        let closes = self.has_token("connection", "close");
        !closes && (self.minor_version > 0 || self.has_token("connection", "keep-alive"))
    }

    fn check_host(&self) -> Result<(), HeadError> {
        let mut hosts = self.values("host");
        match (hosts.next(), hosts.next()) {
            (Some(host), None) if is_host(host) => Ok(()),
            (None, _) if self.minor_version == 0 => Ok(()),
            (None, _) => Err(HeadError::Malformed("Host is missing")),
            (Some(_), Some(_)) => Err(HeadError::Malformed("more than one Host")),
            _ => Err(HeadError::Malformed("Host is not host[:port]")),
        }
    }

    fn check_no_body(&self) -> Result<(), HeadError> {
        let mut lengths = self.values("content-length");
        let none = match (lengths.next(), lengths.next()) {
            (None, _) => true,
            (Some(length), None) => length == b"0",
            _ => false,
        };
        let coded = self.values("transfer-encoding").next().is_some();
        if none && !coded { Ok(()) } else { Err(HeadError::Body) }
    }
}

/// httparse accepts a bare LF as the end of a line. Other programs do not, so it is refused.
fn check_line_ends(bytes: &[u8]) -> Result<(), HeadError> {
    let mut previous = 0;
    for &byte in bytes {
        if (byte == b'\n') != (previous == b'\r') {
            return Err(HeadError::Malformed("bare CR or LF"));
        }
        if byte == 0 {
            return Err(HeadError::Malformed("NUL"));
        }
        previous = byte;
    }
    Ok(())
}

fn refusal(error: httparse::Error, bytes: &[u8]) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooLarge,
        httparse::Error::Version => {
            let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).find(|l| !l.is_empty());
            let version = line.and_then(|line| line.rsplit(|byte| *byte == b' ').next());
            match version {
                Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
                    if major.is_ascii_digit() && minor.is_ascii_digit() =>
                {
                    HeadError::Version
                }
                _ => HeadError::Malformed("no HTTP version"),
            }
        }
        httparse::Error::HeaderName => HeadError::Malformed("header name"),
        httparse::Error::HeaderValue => HeadError::Malformed("header value"),
        httparse::Error::NewLine => HeadError::Malformed("line end"),
        _ => HeadError::Malformed("request line"),
    }
}

fn overflow(bytes: &[u8]) -> HeadError {
    if bytes.contains(&b'\n') { HeadError::TooLarge } else { HeadError::TargetTooLong }
}

/// The path of an origin-form or absolute-form target. Source: RFC 9112, section 3.2.
fn path_of<'b>(method: &str, target: &'b str) -> Result<&'b str, HeadError> {
    let bad = HeadError::Malformed("target");
    if target.contains('#') || target.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(bad);
    }
    if target.starts_with('/') {
        return Ok(target.split('?').next().unwrap_or(target));
    }
    if method == "CONNECT" || (method == "OPTIONS" && target == "*") {
        return Ok("*");
    }
    let (scheme, rest) = target.split_once("://").ok_or(bad)?;
    let known = ["http", "https"].iter().any(|name| name.eq_ignore_ascii_case(scheme));
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !known || !is_host(authority.as_bytes()) {
        return Err(bad);
    }
    let path = path.split('?').next().unwrap_or(path);
    Ok(if path.is_empty() { "/" } else { path })
}

/// Returns whether `text` is `host` or `host:port`: a name, an IPv4 address, or an IPv6 address in
/// brackets.
fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text.iter().rposition(|byte| *byte == b':') {
        Some(at) if !text[at..].contains(&b']') => (&text[..at], &text[at + 1..]),
        _ => (text, &b""[..]),
    };
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(byte);
    let inside = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    let host_fits = match inside {
        Some(v6) => {
            std::str::from_utf8(v6).is_ok_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
        }
        None => !host.is_empty() && host.iter().all(name),
    };
    host_fits && port.len() <= 5 && port.iter().all(u8::is_ascii_digit)
}

/// The reason in the status line, for each status that this program sends.
pub fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        414 => "URI Too Long",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

/// An instant as `Date` shows it, `Thu, 29 Feb 2024 12:24:05 GMT`. Source: RFC 9110, section 5.6.7.
pub fn date(at: UnixMs) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut text = [0; RFC3339_BYTES];
    write_rfc3339(at.0.saturating_mul(1000), 0, &mut text);
    let part = |range: std::ops::Range<usize>| String::from_utf8_lossy(&text[range]).into_owned();
    let month = usize::from(text[5] - b'0') * 10 + usize::from(text[6] - b'0');
    let weekday = usize::try_from(at.0.div_euclid(86_400_000).rem_euclid(7)).unwrap_or(0);
    let (day, month, time) = (part(8..10), MONTHS[month - 1], part(11..19));
    format!("{}, {day} {month} {} {time} GMT", DAYS[weekday], part(0..4))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(request: &str) -> Result<Option<usize>, u16> {
        let parsed = RequestHead::parse(request.as_bytes());
        parsed.map(|head| head.map(|head| head.bytes)).map_err(HeadError::status)
    }

    #[test]
    fn a_head_is_read_only_when_complete() {
        let text =
            "GET /health?x=1 HTTP/1.1\r\nHost: localhost:8766\r\nConnection: Foo, CLOSE\r\n\r\n";
        for cut in 0..text.len() {
            assert_eq!(status(&text[..cut]), Ok(None), "{cut}");
        }
        let glued = format!("{text}GET");
        let head = RequestHead::parse(glued.as_bytes()).unwrap().unwrap();
        assert_eq!((head.method, head.path, head.bytes), ("GET", "/health", text.len()));
        assert!(head.has_token("connection", "close") && !head.keeps_alive());
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let refused = [
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET health HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /#x HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "\x16\x03\x01\x02\x00\x01\x00",
        ];
        for request in refused {
            assert_eq!(status(request), Err(400), "{request:?}");
        }
        assert_eq!(status("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Err(505));
    }

    #[test]
    fn unusual_but_valid_heads_pass() {
        for request in [
            "GET / HTTP/1.0\r\n\r\n",
            "HEAD http://h:80/metrics?a HTTP/1.1\r\nhOST: [::1]:80\r\nContent-Length: 0\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        ] {
            assert_eq!(status(request), Ok(Some(request.len())), "{request:?}");
        }
    }

    #[test]
    fn a_head_beyond_its_bounds_is_refused() {
        let long = "a".repeat(HTTP_HEAD_BYTES_MAX);
        assert_eq!(status(&format!("GET /{long}")), Err(414));
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nX: {long}")), Err(431));
        let many = "X: a\r\n".repeat(HTTP_HEADERS_MAX + 1);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), Err(431));
    }

    #[test]
    fn dates_are_those_of_the_rfc() {
        assert_eq!(date(UnixMs(784_111_777_000)), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(UnixMs(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = RequestHead::parse(&bytes);
        }
    }
}

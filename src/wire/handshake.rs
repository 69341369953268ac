//! The opening handshake of WebSocket (RFC 6455, section 4), both roles, over an HTTP head in
//! memory. Owns which request is an upgrade, and how every other one is refused. [`super::http`]
//! decides which head is valid.

use std::fmt;

use tungstenite::handshake::derive_accept_key;

use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};

use super::endpoint::Endpoint;
use super::error::WireError;
use super::http::{RequestHead, reason};

/// An opening request that is valid HTTP, before it is answered.
pub struct Request {
    /// The method, as sent.
    pub method: String,
    /// Path of the target, without query.
    pub path: String,
    /// The target, as sent. May hold a secret in its query: not for logs.
    pub target: String,
    /// The value of each `Authorization`. A secret: not for logs.
    pub authorizations: Vec<String>,
    /// The value of each `Host`.
    pub hosts: Vec<String>,
    /// The value of each `Origin`.
    pub origins: Vec<String>,
    /// The fields of an upgrade, or the reason why the request is not one.
    pub(super) upgrade: Result<Upgrade, Refusal>,
}

impl Request {
    /// The query, without `?`; empty if there is none. May hold a secret: not for logs.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

impl fmt::Debug for Request {
    /// Without the fields that may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The answer to a request that is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// HTTP status.
    pub(super) status: u16,
    /// One sentence for the person at the other end.
    pub(super) message: String,
}

/// The data for the answer to an upgrade.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upgrade {
    accept_key: String,
    /// Whether [`SUBPROTOCOL`] was offered.
    speaks_ours: bool,
}

/// The only subprotocol there is. It changes nothing. Browsers, and `ws` of Node, fail if they
/// offer subprotocols and the server chooses none. A client that offers only others is answered
/// without one (RFC 6455, section 4.2.2).
pub const SUBPROTOCOL: &str = "connector-wss";

/// Reads what a client has sent so far. Returns the request and the length of its head. `Ok(None)`:
/// the head is not complete. Errors: it can never become valid.
pub(super) fn read_request(bytes: &[u8]) -> Result<Option<(Request, usize)>, Refusal> {
    let head = RequestHead::parse(bytes)
        .map_err(|error| Refusal { status: error.status(), message: error.to_string() })?;
    Ok(head.map(|head| {
        let texts = |name| head.values(name).map(|value| String::from_utf8_lossy(value).into());
        let request = Request {
            method: head.method.to_owned(),
            path: head.path.to_owned(),
            target: head.target.to_owned(),
            authorizations: texts("authorization").collect(),
            hosts: texts("host").collect(),
            origins: texts("origin").collect(),
            upgrade: judge(&head),
        };
        (request, head.bytes)
    }))
}

/// Returns whether these are the first bytes of TLS instead of HTTP.
pub(super) fn is_tls(bytes: &[u8]) -> bool {
    bytes.first() == Some(&TLS_HANDSHAKE_RECORD)
}

fn judge(head: &RequestHead<'_>) -> Result<Upgrade, Refusal> {
    if head.minor_version == 0 {
        return Err(refusal(505, "WebSocket needs HTTP/1.1"));
    }
    if head.method != "GET" {
        return Err(refusal(405, "a WebSocket begins with GET"));
    }
    if !head.has_token("upgrade", "websocket") || !head.has_token("connection", "upgrade") {
        return Err(refusal(
            426,
            "this port speaks WebSocket: connect with a WebSocket client, e.g. \
             websocat ws://HOST:PORT; GET /health says whether the server lives",
        ));
    }
    if head.value("sec-websocket-version") != Some("13") {
        return Err(refusal(426, "the WebSocket version must be 13"));
    }
    let Some(key) = head.value("sec-websocket-key") else {
        return Err(refusal(400, "exactly one Sec-WebSocket-Key header is needed"));
    };
    if !is_key(key.as_bytes()) {
        return Err(refusal(400, "Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    let mut offered = head.values("sec-websocket-protocol").flat_map(|value| value.split(is_comma));
    Ok(Upgrade {
        accept_key: derive_accept_key(key.as_bytes()),
        speaks_ours: offered.any(|name| name.trim_ascii() == SUBPROTOCOL.as_bytes()),
    })
}

/// The answer that turns the connection into a WebSocket. It names no extension, whatever was
/// offered: with permessage-deflate, a frame for many clients would have to be encoded for each of
/// them.
pub(super) fn accept_response(upgrade: &Upgrade) -> String {
    let protocol = match upgrade.speaks_ours {
        true => format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n"),
        false => String::new(),
    };
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{protocol}\r\n",
        upgrade.accept_key
    )
}

/// An answer that ends the connection.
pub(super) struct Answer<'a> {
    /// HTTP status.
    pub(super) status: u16,
    /// Further header lines, each with CR LF.
    pub(super) headers: &'a str,
    /// `Content-Type`.
    pub(super) content_type: &'a str,
    /// The body.
    pub(super) body: &'a str,
    /// The request was HEAD: the body is not sent.
    pub(super) is_head: bool,
}

impl Answer<'_> {
    /// The bytes of the answer.
    pub(super) fn render(&self) -> String {
        let Self { status, headers, content_type, body, is_head } = self;
        let own = match status {
            405 => "Allow: GET\r\n",
            426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            _ => "",
        };
        let connection = if *status == 426 { "Upgrade, close" } else { "close" };
        format!(
            "HTTP/1.1 {status} {}\r\nConnection: {connection}\r\n{own}{headers}\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{}",
            reason(*status),
            body.len(),
            if *is_head { "" } else { body }
        )
    }
}

/// The request with which we open a WebSocket at `endpoint`. `headers`: further names and values.
pub(super) fn request(endpoint: &Endpoint, key: &str, headers: &[(&str, &str)]) -> String {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{headers}User-Agent: connector-wss/{}\r\n\r\n",
        endpoint.path,
        endpoint.authority(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// Looks at what a venue answered to [`request`] so far: the bytes of the head once it is complete
/// and right, `None` while it is not complete, or what is wrong with it, in words. What refuses us
/// is looked at once its first words are there, or `is_last`: nothing more will come.
pub(super) fn read_response(
    bytes: &[u8],
    key: &str,
    is_last: bool,
) -> Result<Option<usize>, WireError> {
    let wrong = |why: &str| Err(WireError::Handshake(why.to_owned()));
    let Some(head_bytes) = head_length(bytes) else {
        if bytes.len() > HTTP_HEAD_BYTES_MAX {
            return wrong("the answer's head is too long");
        }
        return Ok(None);
    };
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(&bytes[..head_bytes]);
    if !matches!(parsed, Ok(httparse::Status::Complete(_))) {
        return wrong("the answer is no HTTP");
    }
    let status = response.code.unwrap_or(0);
    if status != 101 {
        let headers = &*response.headers;
        let body = refused_body(headers, &bytes[head_bytes..], is_last);
        let Some(body) = body else { return Ok(None) };
        let retry = values(headers, "retry-after").next();
        return Err(WireError::Refused {
            status,
            retry_after: retry.map(|value| String::from_utf8_lossy(value).into_owned()),
            reason: response.reason.unwrap_or("").to_owned(),
            body,
        });
    }
    let headers = &*response.headers;
    if !has_token(headers, "upgrade", "websocket") || !has_token(headers, "connection", "upgrade") {
        return wrong("HTTP 101 without an upgrade to WebSocket");
    }
    let accept = values(headers, "sec-websocket-accept").next();
    if accept != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return wrong("the answer belongs to another handshake (Sec-WebSocket-Accept)");
    }
    if values(headers, "sec-websocket-extensions").next().is_some() {
        return wrong("the answer names an extension that was not offered");
    }
    Ok(Some(head_bytes))
}

/// The beginning of a refusal's body; `None`: more of it may be on its way. `is_last`: nothing is.
pub(super) fn refused_body(
    headers: &[httparse::Header<'_>],
    body: &[u8],
    is_last: bool,
) -> Option<Vec<u8>> {
    let is_partial = body.len() < REFUSAL_BODY_BYTES && awaits_body(headers, body) && !is_last;
    (!is_partial).then(|| first_chunk(headers, body).to_vec())
}

/// The beginning of a refusal's body, without the length of its first chunk.
fn first_chunk<'b>(headers: &[httparse::Header<'_>], body: &'b [u8]) -> &'b [u8] {
    let is_chunked = has_token(headers, "transfer-encoding", "chunked");
    let line = body.iter().position(|byte| *byte == b'\n').filter(|_| is_chunked);
    let body = &body[line.map_or(0, |at| at + 1)..];
    &body[..body.len().min(REFUSAL_BODY_BYTES)]
}

/// Returns whether more of the body of a refusal may still arrive.
fn awaits_body(headers: &[httparse::Header<'_>], body: &[u8]) -> bool {
    let length = values(headers, "content-length").next();
    match length.and_then(|length| std::str::from_utf8(length).ok()?.parse::<usize>().ok()) {
        Some(length) => body.len() < length,
        None if has_token(headers, "transfer-encoding", "chunked") => {
            !body.windows(CHUNKS_END.len()).any(|end| end == CHUNKS_END)
        }
        // Without a length, the body goes on to the end of the connection.
        None => body.is_empty(),
    }
}

/// The last chunk, and what is before it.
const CHUNKS_END: &[u8] = b"\r\n0\r\n";

/// Most bytes of the body of a refusal that are kept, for a person. Source: the head of a page is
/// mostly shorter.
pub(super) const REFUSAL_BODY_BYTES: usize = 2 * 1024;

const TLS_HANDSHAKE_RECORD: u8 = 0x16;

fn refusal(status: u16, message: &str) -> Refusal {
    Refusal { status, message: message.to_owned() }
}

/// Number of bytes up to and including the empty line that ends a venue's head.
pub(super) fn head_length(bytes: &[u8]) -> Option<usize> {
    let mut line_start = 0;
    for (at, _) in bytes.iter().enumerate().filter(|&(_, &byte)| byte == b'\n') {
        let line = &bytes[line_start..at];
        if line_start > 0 && (line.is_empty() || line == b"\r") {
            return Some(at + 1);
        }
        line_start = at + 1;
    }
    None
}

fn values<'h>(headers: &[httparse::Header<'h>], name: &str) -> impl Iterator<Item = &'h [u8]> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value.trim_ascii())
}

/// Returns whether one of the comma-separated values of the headers called `name` is `token`.
fn has_token(headers: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    values(headers, name).any(|value| {
        value.split(is_comma).any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

/// 16 bytes in base64: 22 significant characters and `==`.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /x HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    fn status(request: &str) -> u16 {
        match read_request(request.as_bytes()) {
            Ok(Some((request, _))) => {
                request.upgrade.map_or_else(|refusal| refusal.status, |_| 101)
            }
            Ok(None) => 0,
            Err(refusal) => refusal.status,
        }
    }

    fn upgrade(request: &str) -> Upgrade {
        read_request(request.as_bytes()).unwrap().unwrap().0.upgrade.unwrap()
    }

    #[test]
    fn the_rfc_example_is_accepted() {
        let (request, bytes) = read_request(GOOD.as_bytes()).unwrap().unwrap();
        assert_eq!(request.upgrade.unwrap().accept_key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!((bytes, &*request.target), (GOOD.len(), "/x"));
    }

    #[test]
    fn a_head_in_single_bytes_is_incomplete_until_its_last() {
        for length in 1..GOOD.len() {
            assert_eq!(status(&GOOD[..length]), 0, "{length}");
        }
        let glued = format!("{GOOD}\u{1}rest");
        assert_eq!(read_request(glued.as_bytes()).unwrap().unwrap().1, GOOD.len());
    }

    #[test]
    fn our_subprotocol_is_chosen_and_no_other_and_no_extension() {
        let offers = |protocols: &str| {
            let lines = "Host: h\r\nSec-WebSocket-Extensions: permessage-deflate; \
                client_max_window_bits\r\nSec-WebSocket-Protocol: ";
            GOOD.replace("Host: h", &format!("{lines}{protocols}"))
        };
        for (protocols, expected) in [
            ("graphql-ws, connector-wss", true),
            ("graphql-ws\r\nSec-WebSocket-Protocol: connector-wss", true),
            ("graphql-ws", false),
            ("Connector-WSS", false),
        ] {
            let answer = accept_response(&upgrade(&offers(protocols)));
            let chosen = "Sec-WebSocket-Protocol: connector-wss\r\n";
            assert_eq!(answer.contains(chosen), expected, "{protocols}");
            assert_eq!(answer.matches("Sec-WebSocket-Protocol").count(), usize::from(expected));
            assert!(!answer.contains("Extensions"), "{answer}");
        }
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let secret = GOOD
            .replace("GET /x", "GET /x?token=hidden")
            .replace("Host: h", "Host: h\r\nAuthorization: Bearer hidden");
        let (request, _) = read_request(secret.as_bytes()).unwrap().unwrap();
        assert_eq!(request.query(), "token=hidden");
        assert_eq!(request.authorizations, ["Bearer hidden"]);
        assert!(!format!("{request:?}").contains("hidden"));
    }

    #[test]
    fn every_other_request_has_its_own_status() {
        let many = format!("Host: h\r\n{}", "X: y\r\n".repeat(101));
        let long = format!("Host: h\r\nX: {}\r\n", "y".repeat(HTTP_HEAD_BYTES_MAX));
        for (request, expected) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 426),
            (GOOD.replace("GET", "POST"), 405),
            (GOOD.replace("HTTP/1.1", "HTTP/1.0"), 505),
            (GOOD.replace("Version: 13", "Version: 8"), 426),
            (GOOD.replace("Version: 13", "Version: 14"), 426),
            (GOOD.replace("Sec-WebSocket-Key", "X-Key"), 400),
            (GOOD.replace("dGhlIHN", "dGhlIH"), 400),
            (
                GOOD.replace("Host: h", "Host: h\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
                400,
            ),
            (GOOD.replace("Host: h\r\n", ""), 400),
            (GOOD.replace("Host: h", "Host: h\r\nHost: i"), 400),
            (GOOD.replace("Host: h", "Host: h\r\nContent-Length: 5"), 400),
            (GOOD.replace("Host: h", "Host: h\r\nTransfer-Encoding: chunked"), 400),
            (GOOD.replace("\r\n", "\n"), 400),
            (GOOD.replace("Host: h", "Host: \0"), 400),
            (GOOD.replace("Host: h", "Host: a b"), 400),
            (GOOD.replace("GET /x", "GET x"), 400),
            (GOOD.replace("GET /x", &format!("GET /{}", "x".repeat(HTTP_HEAD_BYTES_MAX))), 414),
            (GOOD.replace("Host: h\r\n", &many), 431),
            (GOOD.replace("Host: h\r\n", &long), 431),
            (GOOD.replace("GET", "HEAD"), 405),
            ("hello\r\n\r\n".to_owned(), 400),
        ] {
            assert_eq!(status(&request), expected, "{request:.200}");
        }
    }

    #[test]
    fn a_refusal_says_its_own_length() {
        let answer = |is_head| {
            let (content_type, body) = ("text/plain", "upgrade\n");
            Answer { status: 426, headers: "", content_type, body, is_head }.render()
        };
        let text = answer(false);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(head.contains("Sec-WebSocket-Version: 13"));
        assert_eq!(answer(true), format!("{head}\r\n\r\n"), "HEAD is the same without the body");
    }

    #[test]
    fn a_refusal_is_complete_with_its_body_or_with_the_end_of_the_connection() {
        let page = "<html>not from your country</html>";
        let length = format!("Content-Length: {}\r\n", page.len());
        let chunks = format!("22\r\n{page}\r\n0\r\n\r\n");
        let coded = "Transfer-Encoding: chunked\r\n";
        for (header, body, has_end) in
            [(&*length, page, true), (coded, &chunks, true), ("", page, false)]
        {
            let answer = format!("HTTP/1.1 403 Forbidden\r\n{header}\r\n{body}");
            let head = answer.len() - body.len();
            assert_eq!(read_response(&answer.as_bytes()[..head], "", false), Ok(None), "{header}");
            let cut = read_response(&answer.as_bytes()[..head + 9], "", true).unwrap_err();
            let whole = read_response(answer.as_bytes(), "", false).unwrap_err();
            for (why, expected) in [(cut, &page[..5]), (whole, page)] {
                let WireError::Refused { status, body, .. } = why else { panic!("{why:?}") };
                assert_eq!(status, 403);
                assert!(body.starts_with(expected.as_bytes()), "{header}");
            }
            let part = read_response(&answer.as_bytes()[..head + 9], "", false);
            assert_eq!(part.is_ok(), has_end, "{header}");
        }
    }

    #[test]
    fn a_venues_answer_is_checked() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let good = accept_response(&upgrade(GOOD));
        let read_response = |bytes: &[u8], key| read_response(bytes, key, false);
        assert_eq!(read_response(good.as_bytes(), key), Ok(Some(good.len())));
        assert_eq!(read_response(&good.as_bytes()[..20], key), Ok(None));
        let limited =
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
        let why = read_response(limited.as_bytes(), key).unwrap_err();
        assert_eq!(why.to_string(), "WebSocket handshake: HTTP 429 Too Many Requests");
        assert!(read_response(good.replace("s3p", "abc").as_bytes(), key).is_err());
        assert!(read_response(b"garbage\r\n\r\n", key).is_err());
    }
}

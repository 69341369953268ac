//! HTTP as far as the simulator needs it: heads read with httparse, responses written by hand.

use tungstenite::handshake::derive_accept_key;

use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};

use super::rest::Response;

/// What a request wants done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// An answer.
    #[default]
    Get,
    /// An answer to its body.
    Post,
    /// The head of the answer to GET.
    Head,
    /// What a browser asks before it sends a request of another site.
    Options,
}

/// A request whose head and body are complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// What is wanted.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// The body.
    pub body: String,
    /// `Sec-WebSocket-Key`, if this asks for a WebSocket.
    pub websocket_key: Option<String>,
    /// Whether the connection ends after the response.
    pub close: bool,
    /// Bytes it took.
    pub length: usize,
}

/// Reads one request. `Ok(None)`: more bytes are needed. `Err`: the HTTP status to refuse it with.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Request>, u16> {
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let head_bytes = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < HTTP_HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(_) => return Err(400),
    };
    let (Some(method), Some(target)) = (head.method, head.path) else { return Err(400) };
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        _ => return Err(405),
    };
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    let body_bytes: usize = header("content-length").unwrap_or("0").parse().map_err(|_| 400_u16)?;
    if body_bytes > HTTP_HEAD_BYTES_MAX {
        return Err(413);
    }
    let length = head_bytes + body_bytes;
    if bytes.len() < length {
        return Ok(None);
    }
    let upgrade = header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let websocket_key = header("sec-websocket-key").filter(|_| upgrade).map(str::to_owned);
    let close = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let body = String::from_utf8_lossy(&bytes[head_bytes..length]).into_owned();
    let target = target.to_owned();
    Ok(Some(Request { method, target, body, websocket_key, close, length }))
}

/// The answer that makes a WebSocket of the connection.
pub(super) fn switching_protocols(key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
}

/// A whole response to `method`. `close`: the connection ends after it.
pub(super) fn response(response: &Response, method: Method, close: bool) -> String {
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
    if response.status != 204 {
        head.push_str(&format!(
            "Content-Type: application/json;charset=UTF-8\r\nContent-Length: {}\r\n",
            response.body.len()
        ));
    }
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(seconds) = response.retry_after {
        head.push_str(&format!("Retry-After: {seconds}\r\n"));
    }
    head.push_str(if close { "Connection: close\r\n\r\n" } else { "\r\n" });
    if method != Method::Head {
        head.push_str(&response.body);
    }
    head
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        422 => "Unprocessable Entity",
        500 => "Internal Server Error",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        418 => "I'm a teapot",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_when_it_is_whole() {
        let text = b"POST /fault?name=x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET";
        for length in 0..text.len() - 3 {
            assert_eq!(parse(&text[..length]), Ok(None), "{length}");
        }
        let request = parse(text).unwrap().unwrap();
        assert_eq!((request.target.as_str(), request.length), ("/fault?name=x", text.len() - 3));
    }

    #[test]
    fn bad_requests_are_refused_by_status() {
        assert_eq!(parse(b"PUT / HTTP/1.1\r\n\r\n"), Err(405));
        assert_eq!(parse(b"\x16\x03\x01\x02\x00"), Err(400));
        assert_eq!(parse(&[b'a'; HTTP_HEAD_BYTES_MAX]), Err(431));
        assert_eq!(parse(b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), Err(400));
    }
}

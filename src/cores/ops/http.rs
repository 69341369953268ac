//! One connection to the ops port, in memory: bytes in, bytes out, a deadline. Knows HTTP and its
//! deadlines; knows neither sockets nor routes.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::clock::{MonoNs, Now};
use crate::limits::{
    CLOSE_DRAIN, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_PATIENCE, HTTP_IDLE_PATIENCE, OPS_OUTPUT_BYTES_MAX,
};
use crate::wire::http::{RequestHead, date, reason};

/// The answer of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Allow`, if the status requires it.
    pub allow: Option<&'static str>,
    /// `Content-Security-Policy`, of a page.
    pub policy: Option<String>,
    /// The body.
    pub body: Cow<'static, str>,
}

impl Response {
    /// A line of plain text.
    pub fn text(status: u16, body: impl Into<Cow<'static, str>>) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self { status, content_type, allow: None, policy: None, body: body.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Reading requests.
    Open,
    /// No further request is read. The rest of the answers is written, then FIN.
    Closing,
    /// FIN is sent; the peer's bytes are read and dropped, so that no reset destroys the answer.
    Draining,
    /// Nothing left to do.
    Closed,
}

/// One connection. The driver passes read bytes to [`Self::receive`], writes [`Self::output`] and
/// calls [`Self::written`], sends FIN when [`Self::wants_fin`], and drops it when
/// [`Self::is_closed`].
#[derive(Debug)]
pub struct HttpConnection {
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// The constant body that follows `output`, in its place. The next answer waits until it is
    /// written.
    lent: &'static [u8],
    state: State,
    deadline: MonoNs,
    peer_finished: bool,
}

impl HttpConnection {
    /// A connection that was accepted now. A request head must arrive in time.
    pub fn new(now: Now) -> Self {
        Self {
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            lent: &[],
            state: State::Open,
            deadline: now.mono.after(HTTP_HEAD_PATIENCE),
            peer_finished: false,
        }
    }

    /// Takes bytes from the peer and answers every complete request with `route`.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now: Now,
        route: &mut dyn FnMut(&RequestHead<'_>) -> Response,
    ) {
        if self.state == State::Open {
            if self.input.is_empty() && !bytes.is_empty() {
                self.deadline = now.mono.after(HTTP_HEAD_PATIENCE);
            }
            self.input.extend_from_slice(bytes);
            self.answer(now, route);
        }
    }

    /// The peer has sent FIN. Answers that are ready are still written.
    pub fn peer_finished(&mut self) {
        self.peer_finished = true;
        self.state = match self.state {
            State::Open | State::Closing => State::Closing,
            State::Draining | State::Closed => State::Closed,
        };
    }

    /// Bytes to be written; more may follow them.
    pub fn output(&self) -> &[u8] {
        let own = &self.output[self.written..];
        if own.is_empty() { self.lent } else { own }
    }

    /// The first `count` bytes of [`Self::output`] are written. Requests that waited for room are
    /// answered now.
    pub fn written(
        &mut self,
        count: usize,
        now: Now,
        route: &mut dyn FnMut(&RequestHead<'_>) -> Response,
    ) {
        if self.written < self.output.len() {
            self.written += count;
        } else {
            self.lent = &self.lent[count..];
        }
        self.deadline = now.mono.after(HTTP_HEAD_PATIENCE);
        if self.output().is_empty() {
            self.output.clear();
            self.written = 0;
            if self.state == State::Open {
                self.answer(now, route);
            }
            if self.input.is_empty() && self.output.is_empty() {
                self.deadline = now.mono.after(HTTP_IDLE_PATIENCE);
            }
        }
    }

    /// Returns whether more may be read: not while too many of our answers are unread.
    pub fn wants_input(&self) -> bool {
        match self.state {
            State::Open => self.output().is_empty() && self.input.len() < HTTP_HEAD_BYTES_MAX,
            State::Draining => true,
            State::Closing | State::Closed => false,
        }
    }

    /// Returns whether everything is written and the driver must send FIN and call
    /// [`Self::fin_sent`].
    pub fn wants_fin(&self) -> bool {
        self.state == State::Closing && self.output().is_empty()
    }

    /// FIN is sent.
    pub fn fin_sent(&mut self, now: Now) {
        self.state = if self.peer_finished { State::Closed } else { State::Draining };
        self.deadline = now.mono.after(CLOSE_DRAIN);
    }

    /// When [`Self::expire`] is due.
    pub fn deadline(&self) -> MonoNs {
        self.deadline
    }

    /// The deadline has come. An unfinished head is answered with 408; in any other state the
    /// connection is closed.
    pub fn expire(&mut self, now: Now) {
        if self.state == State::Open && self.output.is_empty() && !self.input.is_empty() {
            let late = Response::text(408, "the request head took too long\n");
            self.respond(late, false, false, now);
            self.deadline = now.mono.after(CLOSE_DRAIN);
        } else {
            self.state = State::Closed;
        }
    }

    /// Returns whether the driver must drop the socket.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    fn answer(&mut self, now: Now, route: &mut dyn FnMut(&RequestHead<'_>) -> Response) {
        let input = std::mem::take(&mut self.input);
        let mut used = 0;
        let has_room =
            |this: &Self| this.lent.is_empty() && this.output().len() < OPS_OUTPUT_BYTES_MAX;
        while self.state == State::Open && has_room(self) {
            match RequestHead::parse(&input[used..]) {
                Ok(Some(head)) => {
                    let response = route(&head);
                    used += head.bytes;
                    self.respond(response, head.method == "HEAD", head.keeps_alive(), now);
                }
                Ok(None) => break,
                Err(error) => {
                    let response = Response::text(error.status(), format!("{error}\n"));
                    self.respond(response, false, false, now);
                }
            }
        }
        if self.state == State::Open {
            self.input.extend_from_slice(&input[used..]);
        }
    }

    fn respond(&mut self, response: Response, head_only: bool, keeps_alive: bool, now: Now) {
        assert!(self.lent.is_empty(), "an answer waits for the one before");
        let mut text = format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
            response.status,
            reason(response.status),
            date(now.unix_ms()),
            response.content_type,
            response.body.len()
        );
        if let Some(allow) = response.allow {
            let _ = write!(text, "Allow: {allow}\r\n");
        }
        if let Some(policy) = &response.policy {
            let _ = write!(text, "Content-Security-Policy: {policy}\r\n");
        }
        let connection = if keeps_alive { "keep-alive" } else { "close" };
        let _ = write!(text, "Cache-Control: no-store\r\nConnection: {connection}\r\n\r\n");
        self.output.extend_from_slice(text.as_bytes());
        match response.body {
            _ if head_only => {}
            Cow::Borrowed(body) if body.len() >= LENT_BYTES_MIN => self.lent = body.as_bytes(),
            body => self.output.extend_from_slice(body.as_bytes()),
        }
        if !keeps_alive {
            self.state = State::Closing;
        }
    }
}

/// A constant body of at least this length is written from its place; a shorter one is copied after
/// its head, so that one write sends both.
const LENT_BYTES_MIN: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { mono: MonoNs(0).after(Duration::from_secs(seconds)), unix_us: 0 }
    }

    fn route(head: &RequestHead<'_>) -> Response {
        Response::text(200, head.path.to_owned())
    }

    fn output(connection: &HttpConnection) -> String {
        String::from_utf8(connection.output().to_vec()).unwrap()
    }

    #[test]
    fn pipelined_requests_are_answered_in_order_whatever_the_cuts() {
        let text = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\nHEAD /b HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut connection = HttpConnection::new(at(0));
        for byte in text {
            connection.receive(&[*byte], at(0), &mut route);
        }
        let out = output(&connection);
        assert_eq!(out.matches("HTTP/1.1 200 OK\r\n").count(), 2);
        assert!(out.contains("\r\n\r\n/aHTTP/1.1") && out.ends_with("keep-alive\r\n\r\n"), "{out}");
        connection.written(out.len(), at(0), &mut route);
        assert!(connection.wants_input() && !connection.wants_fin());
        assert_eq!(connection.deadline(), at(75).mono);
    }

    #[test]
    fn an_error_is_answered_then_fin_then_drained() {
        let mut connection = HttpConnection::new(at(0));
        connection.receive(b"nonsense\r\n\r\n", at(0), &mut route);
        let out = output(&connection);
        assert!(out.starts_with("HTTP/1.1 400 ") && out.contains("Connection: close"), "{out}");
        connection.written(out.len(), at(0), &mut route);
        assert!(connection.wants_fin());
        connection.fin_sent(at(0));
        assert!(connection.wants_input() && !connection.is_closed());
        connection.expire(at(1));
        assert!(connection.is_closed());
    }

    #[test]
    fn a_slow_head_gets_408_and_trickling_does_not_extend_its_time() {
        let mut connection = HttpConnection::new(at(0));
        connection.receive(b"GET / HT", at(1), &mut route);
        connection.receive(b"T", at(9), &mut route);
        assert_eq!(connection.deadline(), at(11).mono);
        connection.expire(at(11));
        assert!(output(&connection).starts_with("HTTP/1.1 408 "));
        let mut silent = HttpConnection::new(at(0));
        silent.expire(at(10));
        assert!(silent.is_closed());
    }

    #[test]
    fn one_that_does_not_read_is_read_no_further() {
        let mut connection = HttpConnection::new(at(0));
        let mut big = |_: &RequestHead<'_>| Response::text(200, "x".repeat(100_000));
        let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(10);
        connection.receive(&request, at(0), &mut big);
        assert!(!connection.wants_input());
        assert!(connection.output().len() < OPS_OUTPUT_BYTES_MAX + 101_000);
        let mut answers = 0;
        while !connection.output().is_empty() {
            answers += output(&connection).matches("HTTP/1.1 200").count();
            connection.written(connection.output().len(), at(0), &mut big);
        }
        assert_eq!(answers, 10);
    }

    #[test]
    fn a_long_body_is_lent_and_what_was_asked_meanwhile_follows_it() {
        static LONG: LazyLock<String> = LazyLock::new(|| "y".repeat(100_000));
        let mut long = |_: &RequestHead<'_>| Response::text(200, LONG.as_str());
        let mut connection = HttpConnection::new(at(0));
        let get = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let head = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
        connection.receive(&[&get[..], head, get].concat(), at(0), &mut long);
        let mut told = String::new();
        while !connection.output().is_empty() {
            assert!(connection.output.len() < LENT_BYTES_MIN, "no copy");
            let part = &connection.output()[..connection.output().len().min(33_333)];
            told += std::str::from_utf8(part).unwrap();
            connection.written(part.len(), at(0), &mut long);
        }
        let bodies: Vec<&str> = told.split("HTTP/1.1 200 OK\r\n").skip(1).collect();
        let bodies: Vec<_> =
            bodies.iter().map(|one| one.split_once("\r\n\r\n").unwrap().1).collect();
        assert!(bodies == [LONG.as_str(), "", LONG.as_str()]);
        assert!(connection.wants_input());
    }

    #[test]
    fn a_half_closed_peer_still_gets_its_answer() {
        let mut connection = HttpConnection::new(at(0));
        connection.receive(b"GET /a HTTP/1.0\r\n\r\n", at(0), &mut route);
        connection.peer_finished();
        let length = connection.output().len();
        assert!(length > 0);
        connection.written(length, at(0), &mut route);
        assert!(connection.wants_fin());
        connection.fin_sent(at(0));
        assert!(connection.is_closed());
    }
}

//! One client of the simulator's server: first HTTP, then perhaps a WebSocket. Owns its socket and
//! its bounded buffers; the messages are made by `exchange` and `rest`.

use std::io::{self, ErrorKind, Read, Write};

use tungstenite::Message;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig};

use crate::clock::MonoNs;

use super::exchange::Output;
use super::http;
use super::socket::Socket;

/// A connection and what it has become.
pub(super) struct Client {
    /// Which contract type's port it came to.
    pub(super) exchange: usize,
    /// A fault: nothing is read or written any more.
    pub(super) frozen: bool,
    /// Dropped at this time, whatever the peer does.
    pub(super) drop_at: Option<MonoNs>,
    /// Whether something was written and not yet flushed.
    pub(super) dirty: bool,
    phase: Phase,
}

enum Phase {
    Http(Http),
    WebSocket(Box<WebSocket<Socket>>),
    /// Only while it turns from one into the other.
    Between,
}

struct Http {
    socket: Socket,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The connection ends when `output` is written.
    last: bool,
}

/// The connection is over.
#[derive(Debug)]
pub(super) struct Gone;

impl Client {
    /// A client that has just connected to the port of `exchange`.
    pub(super) fn new(exchange: usize, socket: Socket) -> Self {
        let http = Http { socket, input: Vec::new(), output: Vec::new(), last: false };
        Self { exchange, frozen: false, drop_at: None, dirty: false, phase: Phase::Http(http) }
    }

    /// Whether it is a WebSocket by now.
    pub(super) fn is_websocket(&self) -> bool {
        matches!(self.phase, Phase::WebSocket(_))
    }

    /// Reads what has come over HTTP; the next whole request, if the answer before it is out.
    /// `Err` in the inner result is a status to refuse with.
    pub(super) fn next_request(&mut self) -> Result<Option<Result<http::Request, u16>>, Gone> {
        let Phase::Http(http) = &mut self.phase else { return Ok(None) };
        let ended = fill(&mut http.socket, &mut http.input).map_err(|_| Gone)?;
        http.write()?;
        if !http.output.is_empty() || http.last {
            return Ok(None);
        }
        let request = http::parse(&http.input).transpose();
        if let Some(Ok(request)) = &request {
            http.input.drain(..request.length);
        }
        if request.is_none() && ended { Err(Gone) } else { Ok(request) }
    }

    /// Answers over HTTP; the connection ends after it if `last`.
    pub(super) fn respond(&mut self, text: &str, last: bool) -> Result<(), Gone> {
        let Phase::Http(http) = &mut self.phase else { return Ok(()) };
        http.output.extend_from_slice(text.as_bytes());
        http.last |= last;
        http.write()
    }

    /// Accepts the WebSocket that the request with `key` asked for.
    pub(super) fn upgrade(&mut self, key: &str) -> Result<(), Gone> {
        let Phase::Http(mut http) = std::mem::replace(&mut self.phase, Phase::Between) else {
            return Err(Gone);
        };
        http.output.extend_from_slice(http::switching_protocols(key).as_bytes());
        http.write()?;
        if !http.output.is_empty() {
            return Err(Gone);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(WRITE_BYTES)
            .max_write_buffer_size(OUT_BYTES_MAX)
            .max_message_size(Some(MESSAGE_BYTES_MAX));
        let input = std::mem::take(&mut http.input);
        let socket = WebSocket::from_partially_read(http.socket, input, Role::Server, Some(config));
        self.phase = Phase::WebSocket(Box::new(socket));
        self.dirty = true;
        Ok(())
    }

    /// The next WebSocket message; `None` when there is none now.
    pub(super) fn next_message(&mut self) -> Result<Option<Message>, Gone> {
        let Phase::WebSocket(socket) = &mut self.phase else { return Ok(None) };
        self.dirty = true;
        match socket.read() {
            Ok(message) => Ok(Some(message)),
            Err(error) if is_would_block(&error) => Ok(None),
            Err(_) => Err(Gone),
        }
    }

    /// Does what the exchange decided. A reader so slow that its buffer is full is gone.
    pub(super) fn perform(&mut self, output: Output, now: MonoNs) -> Result<(), Gone> {
        let Phase::WebSocket(socket) = &mut self.phase else { return Ok(()) };
        self.dirty = true;
        let written = match output {
            Output::Cut => return Err(Gone),
            Output::Freeze => {
                self.frozen = true;
                Ok(())
            }
            _ if self.frozen || self.drop_at.is_some() => Ok(()),
            Output::Text(text) => socket.write(Message::Text(text)),
            Output::Ping(payload) => socket.write(Message::Ping(payload.into())),
            Output::Close(code, reason) => {
                self.drop_at = Some(now.after(CLOSE_PATIENCE));
                socket
                    .close(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
            }
        };
        match written {
            Ok(()) => Ok(()),
            Err(error) if is_would_block(&error) => Ok(()),
            Err(_) => Err(Gone),
        }
    }

    /// Writes what is buffered, as far as the peer takes it.
    pub(super) fn flush(&mut self) -> Result<(), Gone> {
        self.dirty = false;
        if self.frozen {
            return Ok(());
        }
        match &mut self.phase {
            Phase::Http(http) => http.write(),
            Phase::Between => Err(Gone),
            Phase::WebSocket(socket) => match socket.flush() {
                Ok(()) => Ok(()),
                Err(error) if is_would_block(&error) => Ok(()),
                Err(_) => Err(Gone),
            },
        }
    }
}

impl Http {
    fn write(&mut self) -> Result<(), Gone> {
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(0) => return Err(Gone),
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
        match self.socket.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(_) => Err(Gone),
            Ok(()) if self.last && self.output.is_empty() => Err(Gone),
            Ok(()) => Ok(()),
        }
    }
}

/// Reads until there is no more now; true if the peer has ended its side.
fn fill(socket: &mut Socket, input: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 4096];
    while input.len() < INPUT_BYTES_MAX {
        match socket.read(&mut chunk) {
            Ok(0) => return Ok(true),
            Ok(length) => input.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::FileTooLarge.into())
}

fn is_would_block(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Io(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Bytes collected before a write is tried: about fifty pushes.
const WRITE_BYTES: usize = 16 * 1024;
/// Bytes owed to one client before it is cut as a slow reader: some 10,000 pushes.
const OUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one message from a client: 1,024 stream names, many times over.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of HTTP requests waiting: two of the largest.
const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Time for the peer to answer our Close.
const CLOSE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

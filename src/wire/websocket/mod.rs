//! One WebSocket connection in memory, either role, over TLS or plain. Owns the order of the
//! outgoing bytes, and how the connection ends when the peer breaks the protocol. The codec is
//! tungstenite.

use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use tungstenite::error::CapacityError;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Bytes, Message, Utf8Bytes};

use crate::limits::{
    CLIENT_MESSAGE_BYTES_MAX, LONG_BUFFER_BYTES, VENUE_MESSAGE_BYTES_MAX, VENUE_QUEUE_BYTES,
};

use super::endpoint::Endpoint;
use super::error::WireError;
use super::handshake::{self, Refusal, Request};
use super::lookahead::{Broken, Lookahead};
use super::pipe::{ByteQueue, Pipe};
use super::tls::{TlsSession, encrypted_bytes};

/// A WebSocket connection without a socket: bytes in, events out, bytes out.
pub struct Connection {
    role: Role,
    state: State,
    tls: Option<Box<TlsSession>>,
    /// Plain bytes from the peer, not yet understood.
    incoming: ByteQueue,
    /// Number of these bytes, at the front, that were already returned. The next call drops them.
    lent: usize,
    /// Number of these bytes, at the front, that are whole frames. The codec gets only those.
    readable: usize,
    /// Whether the codec has returned every message that it received.
    is_codec_empty: bool,
    lookahead: Lookahead,
    message_bytes_max: usize,
    /// Plain bytes for the peer. With TLS this is empty after every call, because they are
    /// encrypted into `ciphertext`.
    outgoing: ByteQueue,
    ciphertext: ByteQueue,
    /// The latest message, if it was long, until the codec reads on. While it shares the buffer of
    /// the codec, the codec allocates a new small one, instead of keeping the large one for ever.
    long_message: Option<Bytes>,
    /// The newest ping that is not answered yet, because there was no room.
    owed_pong: Option<Bytes>,
    is_close_sent: bool,
}

enum State {
    /// Server: waiting for a request.
    Requested,
    /// Server: the request was read and waits for an answer.
    Judging { is_head: bool },
    /// Client: our request is out, waiting for the answer to this key.
    Answering { key: String },
    /// Messages flow.
    Open(Box<WebSocketContext>),
    /// The peer has sent Close. Nothing more is read from it.
    PeerClosed(Box<WebSocketContext>),
    /// The peer broke the protocol or was refused; nothing more is read from it.
    Failed,
}

/// An event from the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is done.
    Open {
        /// Server role: path and query of the request. Client role: empty.
        path: String,
    },
    /// A text message.
    Text(Utf8Bytes),
    /// A binary message.
    Binary(Bytes),
    /// A ping; its pong is in the outgoing bytes already, or follows when there is room for it
    /// ([`Connection::owes_pong`]).
    Ping,
    /// A pong.
    Pong(Bytes),
    /// The peer's Close. A client role's answer is in the outgoing bytes already; a server answers
    /// with [`Connection::send_close`] once it owes nothing more.
    Close {
        /// `None` if the Close had no payload.
        code: Option<u16>,
        /// Empty if there was none.
        reason: String,
    },
}

/// The codec's view of a [`Connection`]; no method, so that its state stays free.
macro_rules! pipe {
    ($connection:expr) => {
        Pipe {
            incoming: &mut $connection.incoming,
            readable: &mut $connection.readable,
            outgoing: &mut $connection.outgoing,
            drops_writes: false,
        }
    };
}

impl Connection {
    /// We are the client of a venue. `nonce` becomes the handshake's key and should be random.
    /// The first bytes are outgoing at once.
    pub fn client(
        endpoint: &Endpoint,
        tls: &Arc<ClientConfig>,
        nonce: [u8; 16],
        headers: &[(&str, &str)],
    ) -> Result<Self, WireError> {
        let tls = if endpoint.tls {
            let session = TlsSession::client(tls, &endpoint.host);
            Some(Box::new(session.map_err(|error| WireError::Tls(error.to_string()))?))
        } else {
            None
        };
        let key = data_encoding::BASE64.encode(&nonce);
        let mut outgoing = ByteQueue::default();
        outgoing.push(handshake::request(endpoint, &key, headers).as_bytes());
        let mut connection = Self::new(Role::Client, State::Answering { key }, tls, outgoing);
        connection.encrypt();
        Ok(connection)
    }

    /// We are the server of a client, without TLS.
    pub fn server() -> Self {
        Self::new(Role::Server, State::Requested, None, ByteQueue::keeping(LONG_BUFFER_BYTES))
    }

    /// We are the server of a client, over TLS.
    pub fn server_over_tls(config: &Arc<ServerConfig>) -> Self {
        let session = Box::new(TlsSession::server(config));
        Self::new(Role::Server, State::Requested, Some(session), ByteQueue::keeping(0))
    }

    fn new(role: Role, state: State, tls: Option<Box<TlsSession>>, outgoing: ByteQueue) -> Self {
        // A client sends few requests, a venue sends many messages.
        let (incoming, ciphertext, message_bytes_max) = match role {
            Role::Server => {
                let ciphertext = ByteQueue::keeping(LONG_BUFFER_BYTES);
                (ByteQueue::keeping(0), ciphertext, CLIENT_MESSAGE_BYTES_MAX)
            }
            Role::Client => (ByteQueue::default(), ByteQueue::default(), VENUE_MESSAGE_BYTES_MAX),
        };
        Self {
            role,
            state,
            tls,
            incoming,
            lent: 0,
            readable: 0,
            is_codec_empty: true,
            lookahead: Lookahead::default(),
            message_bytes_max,
            outgoing,
            ciphertext,
            long_message: None,
            owed_pong: None,
            is_close_sent: false,
        }
    }

    /// Before the handshake: takes messages of at most `bytes_max` bytes, instead of
    /// [`CLIENT_MESSAGE_BYTES_MAX`] as a server and [`VENUE_MESSAGE_BYTES_MAX`] as a client.
    pub fn accept_messages_up_to(&mut self, bytes_max: usize) {
        self.message_bytes_max = bytes_max;
    }

    /// Takes bytes from the peer's socket. Bytes after the peer's Close or its failure are dropped.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        if matches!(self.state, State::PeerClosed(_) | State::Failed) {
            return Ok(());
        }
        self.incoming.consume(std::mem::take(&mut self.lent));
        let Some(tls) = &mut self.tls else {
            self.incoming.push(bytes);
            return Ok(());
        };
        let is_first = self.role == Role::Server && tls.is_fresh() && !bytes.is_empty();
        if is_first && !handshake::is_tls(bytes) {
            // A peer without TLS does not understand an alert.
            self.tls = None;
            self.refuse(400, "", "this port speaks wss:// (TLS), not plain ws:// or http://");
            return Err(WireError::Tls("plain text was spoken on the wss:// port".to_owned()));
        }
        let result = tls.decrypt(bytes, &mut self.incoming);
        self.encrypt();
        result.map_err(|error| {
            self.state = State::Failed;
            WireError::Tls(error.to_string())
        })
    }

    /// The next message of the peer, if it is a text in the encoding that servers usually use. It
    /// is borrowed from the received bytes, without the codec. `None`: call [`Self::next_event`].
    pub fn next_plain_text(&mut self) -> Option<&str> {
        let is_next = matches!(self.state, State::Open(_)) && self.readable == 0;
        if !is_next || !self.is_codec_empty || self.role == Role::Server {
            return None;
        }
        self.incoming.consume(std::mem::take(&mut self.lent));
        let unread = self.incoming.as_slice();
        let payload = self.lookahead.plain_text(unread, self.message_bytes_max)?;
        // The codec refuses a text that is not UTF-8.
        let text = std::str::from_utf8(&unread[payload.clone()]).ok()?;
        self.lent = payload.end;
        Some(text)
    }

    /// The next message or event from the peer; `None` if nothing is complete. After an error
    /// nothing more can be read; the last bytes for the peer are outgoing.
    pub fn next_event(&mut self) -> Result<Option<Event>, WireError> {
        self.incoming.consume(std::mem::take(&mut self.lent));
        let result = match &mut self.state {
            State::Requested => self.accept_any(),
            State::Judging { .. } => return Ok(None),
            State::Answering { key } => {
                let key = std::mem::take(key);
                self.finish_client_handshake(key)
            }
            State::Open(_) => self.read_message(),
            State::PeerClosed(_) | State::Failed => return Ok(None),
        };
        self.encrypt();
        result
    }

    /// Client role: the refusal whose body was still awaited when the connection ended, if the
    /// venue had begun one.
    pub fn begun_refusal(&self) -> Option<WireError> {
        let State::Answering { key } = &self.state else { return None };
        let read = handshake::read_response(self.incoming.as_slice(), key, true);
        read.err().filter(|error| matches!(error, WireError::Refused { .. }))
    }

    /// Sends a text message. Ignored unless the connection is open and we have not sent Close.
    pub fn send_text(&mut self, text: &str) {
        self.send(Message::text(text));
    }

    /// Sends a binary message. Ignored as [`Self::send_text`] is.
    pub fn send_binary(&mut self, payload: Bytes) {
        self.send(Message::Binary(payload));
    }

    /// Sends a ping of at most 125 bytes. Ignored as [`Self::send_text`] is.
    pub fn send_ping(&mut self, payload: &[u8]) {
        assert!(payload.len() <= CONTROL_BYTES_MAX, "a ping carries at most 125 bytes");
        self.send(Message::Ping(Bytes::copy_from_slice(payload)));
    }

    /// Sends Close, once. If the peer has sent Close first, this answers it with the peer's code.
    /// `reason` is cut to what a frame holds.
    pub fn send_close(&mut self, code: u16, reason: &str) {
        let (State::Open(context) | State::PeerClosed(context)) = &mut self.state else { return };
        if self.is_close_sent {
            return;
        }
        let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX)];
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
        let mut pipe = pipe!(self);
        // In a server, the codec returns "closed" once the Close is written. That is expected.
        let _written = context.close(&mut pipe, Some(frame));
        self.is_close_sent = true;
        self.encrypt();
    }

    /// Server role: sends whole frames as [`super::write_text_frame`] makes them. Allowed after the
    /// peer's Close too, as long as ours is not out.
    pub fn append_frames(&mut self, frames: &[u8]) {
        assert!(!self.is_close_sent, "nothing follows our Close");
        assert!(matches!(self.state, State::Open(_) | State::PeerClosed(_)), "not open");
        match &mut self.tls {
            Some(tls) => tls.encrypt(frames, &mut self.ciphertext),
            None => self.outgoing.push(frames),
        }
    }

    /// Server role: the opening request, once it is complete. The caller answers it, with
    /// [`Self::accept`], [`Self::refuse`] or [`Self::answer`]; [`Self::next_event`] accepts what
    /// is right. After an error the peer has been refused.
    pub fn take_request(&mut self) -> Result<Option<Request>, WireError> {
        if !matches!(self.state, State::Requested) {
            return Ok(None);
        }
        if handshake::is_tls(self.incoming.as_slice()) {
            self.refuse(400, "", "this port speaks plain ws://, not wss://");
            return Err(WireError::Tls("wss:// was spoken on the plain ws:// port".to_owned()));
        }
        match handshake::read_request(self.incoming.as_slice()) {
            Ok(None) => Ok(None),
            Ok(Some((request, head_bytes))) => {
                self.incoming.consume(head_bytes);
                self.state = State::Judging { is_head: request.method == "HEAD" };
                Ok(Some(request))
            }
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    /// Server role: answers the upgrade that [`Self::take_request`] gave. Errors: it is none, and
    /// has been refused.
    ///
    /// # Panics
    /// Without a request that waits for its answer.
    pub fn accept(&mut self, request: &Request) -> Result<(), WireError> {
        assert!(matches!(self.state, State::Judging { .. }), "no request waits for its answer");
        let upgrade = match &request.upgrade {
            Ok(upgrade) => upgrade,
            Err(refusal) => return Err(self.refused(refusal)),
        };
        self.outgoing.push(handshake::accept_response(upgrade).as_bytes());
        let context = self.context();
        self.state = State::Open(context);
        self.encrypt();
        Ok(())
    }

    /// Server role, before the handshake is done: answers with an HTTP error instead. `headers`:
    /// further header lines, each with its CR LF.
    pub fn refuse(&mut self, status: u16, headers: &str, message: &str) {
        self.answer(status, headers, "text/plain; charset=utf-8", &format!("{message}\n"));
    }

    /// As [`Self::refuse`], with a body of any kind.
    pub fn answer(&mut self, status: u16, headers: &str, content_type: &str, body: &str) {
        let is_head = match self.state {
            State::Requested => false,
            State::Judging { is_head } => is_head,
            _ => return,
        };
        let answer = handshake::Answer { status, headers, content_type, body, is_head };
        self.outgoing.push(answer.render().as_bytes());
        self.state = State::Failed;
        self.encrypt();
    }

    /// Nothing follows the outgoing bytes. With TLS an alert tells this to the peer, so that it can
    /// distinguish the end from a broken connection.
    pub fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.finish();
            tls.encrypt(&[], &mut self.ciphertext);
        }
    }

    /// Bytes for the peer's socket.
    pub fn outgoing(&self) -> &[u8] {
        if self.tls.is_some() { self.ciphertext.as_slice() } else { self.outgoing.as_slice() }
    }

    /// The first `count` outgoing bytes have been written.
    pub fn consume_outgoing(&mut self, count: usize) {
        self.for_socket().consume(count);
        if self.owed_pong.is_some() && self.has_room_for_pong() {
            let payload = self.owed_pong.take().unwrap_or_default();
            self.send(Message::Pong(payload));
        }
    }

    /// Returns whether the newest ping is not answered yet, because the peer leaves too much
    /// unread.
    pub fn owes_pong(&self) -> bool {
        self.owed_pong.is_some()
    }

    fn has_room_for_pong(&self) -> bool {
        self.outgoing().len() <= PONG_BYTES_MAX
    }

    /// Returns whether bytes are sent as they are, without TLS.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Returns whether frames of `count` more bytes need more storage than the connection has.
    pub fn is_cramped(&self, count: usize) -> bool {
        match self.tls {
            Some(_) => !self.ciphertext.has_room(encrypted_bytes(count)),
            None => !self.outgoing.has_room(count),
        }
    }

    /// Lends `buffer` to the connection for its outgoing bytes, and drops the contents of `buffer`.
    /// Returns the previous buffer.
    pub fn lend(&mut self, buffer: Vec<u8>) -> Vec<u8> {
        self.for_socket().move_into(buffer)
    }

    /// The buffer that the connection no longer needs once all outgoing bytes are written: the one
    /// it was lent, or one that has grown beyond `kept` bytes.
    pub fn give_back(&mut self, kept: usize) -> Option<Vec<u8>> {
        self.for_socket().take_storage(kept)
    }

    fn for_socket(&mut self) -> &mut ByteQueue {
        if self.tls.is_some() { &mut self.ciphertext } else { &mut self.outgoing }
    }

    /// Returns whether the handshake is done and the peer has neither sent Close nor failed.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Returns whether our Close is sent. Nothing may follow it.
    pub fn is_close_sent(&self) -> bool {
        self.is_close_sent
    }

    fn accept_any(&mut self) -> Result<Option<Event>, WireError> {
        let Some(request) = self.take_request()? else { return Ok(None) };
        self.accept(&request)?;
        Ok(Some(Event::Open { path: request.target }))
    }

    fn refused(&mut self, refusal: &Refusal) -> WireError {
        self.refuse(refusal.status, "", &refusal.message);
        WireError::Handshake(refusal.message.clone())
    }

    fn finish_client_handshake(&mut self, key: String) -> Result<Option<Event>, WireError> {
        match handshake::read_response(self.incoming.as_slice(), &key, false) {
            Ok(None) => {
                self.state = State::Answering { key };
                Ok(None)
            }
            Ok(Some(head_bytes)) => {
                self.incoming.consume(head_bytes);
                let context = self.context();
                self.state = State::Open(context);
                self.incoming.prepare(VENUE_QUEUE_BYTES);
                Ok(Some(Event::Open { path: String::new() }))
            }
            Err(error) => {
                self.state = State::Failed;
                Err(error)
            }
        }
    }

    fn read_message(&mut self) -> Result<Option<Event>, WireError> {
        let unsent = self.outgoing().len();
        let unread = &self.incoming.as_slice()[self.readable..];
        self.readable += self.lookahead.whole_frames(unread, self.message_bytes_max);
        if self.role == Role::Client && self.readable == 0 && self.is_codec_empty {
            // Even with nothing to read, the codec would clear its buffer.
            return self.judge_partial();
        }
        let State::Open(context) = &mut self.state else { return Ok(None) };
        self.is_codec_empty = false;
        // Of an exchange's pings that are not answered yet only the newest is answered (RFC 6455,
        // section 5.5.3). A client that reads no pongs is dropped by its server.
        let drops_writes = self.role == Role::Client && unsent > PONG_BYTES_MAX;
        let mut pipe = Pipe { drops_writes, ..pipe!(self) };
        let read = context.read(&mut pipe);
        self.long_message = None;
        match read {
            Ok(Message::Text(text)) => {
                self.hold_if_long(text.as_ref());
                Ok(Some(Event::Text(text)))
            }
            Ok(Message::Binary(bytes)) => {
                self.hold_if_long(&bytes);
                Ok(Some(Event::Binary(bytes)))
            }
            Ok(Message::Ping(payload)) => {
                // The pong is queued inside the codec; flushing moves it into our bytes.
                let _flushed = context.flush(&mut pipe);
                self.owed_pong = drops_writes.then_some(payload);
                Ok(Some(Event::Ping))
            }
            Ok(Message::Pong(payload)) => Ok(Some(Event::Pong(payload))),
            Ok(Message::Close(frame)) => Ok(Some(self.peer_closed(frame))),
            Ok(Message::Frame(_)) => Ok(None),
            Err(tungstenite::Error::Io(error))
                if error.kind() == std::io::ErrorKind::WouldBlock =>
            {
                self.judge_partial()
            }
            Err(error) => {
                let code = match &error {
                    tungstenite::Error::Utf8(_) => 1007,
                    tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => 1009,
                    _ => 1002,
                };
                Err(self.fail(code, error.to_string()))
            }
        }
    }

    /// See [`Self::long_message`]. A venue's messages are all long, and its buffer is used again.
    fn hold_if_long(&mut self, message: &Bytes) {
        if self.role == Role::Server && message.len() > LONG_MESSAGE_BYTES {
            self.long_message = Some(message.clone());
        }
    }

    fn peer_closed(&mut self, frame: Option<CloseFrame>) -> Event {
        if let State::Open(mut context) = std::mem::replace(&mut self.state, State::Failed) {
            if self.role == Role::Client {
                let mut pipe = pipe!(self);
                let _answered = context.flush(&mut pipe);
                self.is_close_sent = true;
            }
            self.state = State::PeerClosed(context);
        }
        let code = frame.as_ref().map(|frame| u16::from(frame.code));
        Event::Close { code, reason: frame.map_or(String::new(), |frame| frame.reason.to_string()) }
    }

    /// Checks the incomplete next frame, after the codec has got every whole frame.
    fn judge_partial(&mut self) -> Result<Option<Event>, WireError> {
        self.is_codec_empty = true;
        let unread = &self.incoming.as_slice()[self.readable..];
        let (code, why) = match self.lookahead.judge(unread, self.message_bytes_max) {
            Ok(()) => {
                self.shrink();
                return Ok(None);
            }
            Err(Broken::Text) => (1007, "the text is no UTF-8"),
            Err(Broken::Fragments) => (1009, "the message has too many fragments"),
        };
        Err(self.fail(code, why.to_owned()))
    }

    /// The codec keeps the buffer of a long fragment for ever. Between messages it holds no bytes,
    /// so that a new codec can replace it.
    fn shrink(&mut self) {
        if self.role == Role::Server && self.lookahead.longest_fragment() > LONG_MESSAGE_BYTES {
            self.lookahead.forget_fragments();
            self.state = State::Open(self.context());
        }
    }

    /// The peer broke the protocol. Sends Close, and stops reading.
    fn fail(&mut self, code: u16, message: String) -> WireError {
        self.send_close(code, &message);
        self.state = State::Failed;
        self.incoming.clear();
        self.readable = 0;
        WireError::Protocol { code, message }
    }

    fn send(&mut self, message: Message) {
        let State::Open(context) = &mut self.state else { return };
        if self.is_close_sent {
            return;
        }
        let mut pipe = pipe!(self);
        let written = context.write(&mut pipe, message).and_then(|()| context.flush(&mut pipe));
        written.expect("open, no Close sent, and a byte queue takes every write");
        self.encrypt();
    }

    fn context(&self) -> Box<WebSocketContext> {
        let read_buffer_bytes = match self.role {
            Role::Server => CLIENT_READ_BUFFER_BYTES,
            Role::Client => READ_BUFFER_BYTES,
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(read_buffer_bytes)
            .write_buffer_size(0)
            .max_message_size(Some(self.message_bytes_max))
            .max_frame_size(Some(self.message_bytes_max));
        Box::new(WebSocketContext::new(self.role, Some(config)))
    }

    fn encrypt(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.encrypt(self.outgoing.as_slice(), &mut self.ciphertext);
            self.outgoing.clear();
        }
    }
}

/// Most unsent bytes to an exchange with which each of its pings is answered. With more, only the
/// newest ping is answered, once there is room. Source: thirty pongs of full length.
const PONG_BYTES_MAX: usize = 4 * 1024;

/// Source: RFC 6455, section 5.5.
const CONTROL_BYTES_MAX: usize = 125;

/// Most bytes of a close reason: the payload of a control frame without the code.
const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// Read buffer of the codec. The codec zeroes this many bytes before each read, so that a small one
/// is fast.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// The same for clients, where each connection keeps it while idle. Source: the longest head of a
/// frame, so that a long message uses the whole room that the codec makes for it beside the bytes
/// it has read.
const CLIENT_READ_BUFFER_BYTES: usize = 14;

/// Messages above this are held until the next read. Source: a request of twenty symbols.
const LONG_MESSAGE_BYTES: usize = 512;

#[cfg(test)]
mod tests;

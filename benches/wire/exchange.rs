//! The simulated exchange's end of a connection: one series, whose pushes are numbered by their
//! trade count. It sends what is due in as few writes as it can, and never waits.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tungstenite::{Message, WebSocket};

use crate::process::Relay;
use crate::relays::HELLO;

pub(crate) struct Exchange {
    stream: Stream,
    /// The number of the last push.
    pub(crate) sent: u64,
    frame: Vec<u8>,
    /// Where the number's digits stand in `frame`.
    digits: std::ops::Range<usize>,
    /// Bytes that the socket has not taken yet.
    pending: Vec<u8>,
}

impl Exchange {
    /// Takes the connection of `relay`, and does of the opening what that understands.
    pub(crate) fn accept(
        listener: &TcpListener,
        relay: Relay,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let (socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        let mut stream = match tls {
            None => Stream::Plain(socket),
            Some(config) => Stream::secured(config, socket),
        };
        if relay.is_copier() {
            greet(&mut stream);
        } else {
            stream = open(stream);
        }
        stream.socket().set_nonblocking(true).unwrap();
        let (frame, digits) = push();
        Self { stream, sent: FIRST, frame, digits, pending: Vec::new() }
    }

    /// Sends the next `count` pushes.
    pub(crate) fn send(&mut self, count: u64) {
        for _ in 0..count {
            self.sent += 1;
            write!(&mut self.frame[self.digits.clone()], "{}", self.sent).unwrap();
            self.pending.extend_from_slice(&self.frame);
        }
        if !self.pending.is_empty() {
            let written = self.stream.write_some(&self.pending);
            self.pending.drain(..written);
        }
        self.stream.flush_some();
    }
}

/// Greets a copier, and hears its answer.
pub(crate) fn greet(mut stream: impl Read + Write) {
    let mut answer = HELLO;
    stream.write_all(&HELLO).unwrap();
    stream.flush().unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, HELLO);
}

/// Answers the upgrade, and the subscription.
fn open(stream: Stream) -> Stream {
    let mut socket: WebSocket<Stream> =
        tungstenite::accept(stream).unwrap_or_else(|error| panic!("{error}"));
    let request = socket.read().unwrap();
    let text = request.to_text().unwrap();
    assert!(text.contains("SUBSCRIBE"), "{text}");
    let id = text.split("\"id\":").nth(1).unwrap();
    let id: String = id.chars().take_while(char::is_ascii_digit).collect();
    socket.send(Message::text(format!("{{\"result\":null,\"id\":{id}}}"))).unwrap();
    socket.into_inner()
}

/// Numbers have ten digits, so that every push is as long as the others.
const FIRST: u64 = 1_000_000_000;

/// A push of Binance, framed, and where its number stands.
fn push() -> (Vec<u8>, std::ops::Range<usize>) {
    let open_time = 1_700_000_040_000u64;
    let payload = format!(
        "{{\"e\":\"kline\",\"E\":{},\"s\":\"BTCUSDT\",\"k\":{{\"t\":{open_time},\"T\":{},\"s\":\"BTCUSDT\",\
         \"i\":\"1m\",\"f\":100,\"L\":200,\"o\":\"29038.46000000\",\"c\":\"29040.12000000\",\
         \"h\":\"29044.00000000\",\"l\":\"29030.01000000\",\"v\":\"12.34567000\",\"n\":{FIRST},\"x\":false,\
         \"q\":\"358499.12345678\",\"V\":\"6.10000000\",\"Q\":\"177134.60600000\",\"B\":\"0\"}}}}",
        open_time + 1,
        open_time + 59_999,
    );
    let mut frame = Vec::new();
    connector_wss::wire::write_text_frame(&mut frame, payload.as_bytes());
    let head = frame.len() - payload.len();
    let start = head + payload.find("\"n\":").unwrap() + 4;
    (frame, start..start + 10)
}

/// A connection, with or without TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    fn secured(config: Arc<ServerConfig>, socket: TcpStream) -> Self {
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        Self::Tls(Box::new(stream))
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    /// How many of the bytes were taken.
    fn write_some(&mut self, bytes: &[u8]) -> usize {
        match self.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("the relay has gone: {error}"),
        }
    }

    /// What TLS keeps because the socket was full.
    fn flush_some(&mut self) {
        if let Self::Tls(stream) = self
            && stream.conn.wants_write()
        {
            let _blocked = stream.flush();
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

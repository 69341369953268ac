//! The clients' ends of their connections: one thread reads them all, and finds the numbers in
//! whatever frames come.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::{Timespec, epoll};
use tungstenite::Message;

use crate::process::Relay;
use crate::relays::answer_hello;

pub(crate) struct Clients {
    relay: Relay,
    address: SocketAddr,
    set: OwnedFd,
    clients: Vec<Client>,
    chunk: Vec<u8>,
}

struct Client {
    socket: TcpStream,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
}

impl Clients {
    /// None so far, of the relay that listens at `address`.
    pub(crate) fn new(relay: Relay, address: SocketAddr) -> Self {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        Self { relay, address, set, clients: Vec::new(), chunk: vec![0; 64 * 1024] }
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Connects until there are `count`; not while the exchange sends.
    pub(crate) fn grow(&mut self, count: usize) {
        while self.clients.len() < count {
            let socket = match self.relay.is_copier() {
                true => greeted(self.address),
                false => opened(self.relay, self.address),
            };
            socket.set_nonblocking(true).unwrap();
            let data = epoll::EventData::new_u64(self.clients.len() as u64);
            epoll::add(&self.set, &socket, data, epoll::EventFlags::IN).unwrap();
            self.clients.push(Client { socket, rest: Vec::new() });
        }
    }

    /// Takes what has come without waiting: which client has got which number.
    pub(crate) fn receive(&mut self, mut got: impl FnMut(usize, u64)) {
        let key: &[u8] = if self.relay.is_server() { b"\"trade_num\":" } else { b"\"n\":" };
        if let [only] = &mut *self.clients {
            return only.read(&mut self.chunk, key, |number| got(0, number));
        }
        let mut events = Vec::with_capacity(256);
        let buffer = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&self.set, buffer, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).ok();
        for event in events {
            let data = event.data;
            let at = usize::try_from(data.u64()).unwrap();
            self.clients[at].read(&mut self.chunk, key, |number| got(at, number));
        }
    }
}

impl Client {
    fn read(&mut self, chunk: &mut [u8], key: &[u8], mut got: impl FnMut(u64)) {
        let count = match self.socket.read(chunk) {
            Ok(0) => panic!("the relay closed the connection"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        };
        self.rest.extend_from_slice(&chunk[..count]);
        let mut done = 0;
        while let Some((head, length)) = frame(&self.rest[done..]) {
            let payload = &self.rest[done + head..done + length];
            number_after(payload, key).into_iter().for_each(&mut got);
            done += length;
        }
        self.rest.drain(..done);
    }
}

/// Length of the head and of the whole frame, if it is complete.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (head, payload) = match bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => panic!("no message is that long"),
        length => (2, usize::from(length)),
    };
    (bytes.len() >= head + payload).then_some((head, head + payload))
}

fn number_after(payload: &[u8], key: &[u8]) -> Option<u64> {
    let at = payload.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// A connection to a copier, which has taken it.
fn greeted(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    answer_hello(&socket);
    socket
}

/// A WebSocket connection that has got all that comes before the next push.
fn opened(relay: Relay, address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/"), stream).unwrap();
    let request = r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]}"#;
    socket.send(Message::text(request)).unwrap();
    if relay.is_server() {
        let answer = socket.read().unwrap();
        assert!(answer.to_text().unwrap().contains("\"subscribed\""), "{answer}");
        // What is known already comes before the answer to this.
        socket.send(Message::text(r#"{"op":"ping"}"#)).unwrap();
        while !socket.read().unwrap().to_text().unwrap().contains("\"pong\"") {}
    }
    socket.into_inner()
}

//! Thousands of clients in one thread: those who read note how old each quote is, and some of them
//! answer no ping; others do not read, or a byte a second.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{Timespec, epoll};
use socket2::{Domain, Socket, Type};

use super::exchange::{SentTimes, symbol};
use super::harness::PATIENCE;

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// A client that has sent its request, and has read nothing of the answers but the upgrade.
pub(crate) fn connect(server: SocketAddr, first: usize, series: usize) -> TcpStream {
    open(TcpStream::connect(server).unwrap(), &request(first, series, ""))
}

/// One for whom its kernel takes next to nothing, and whose request has `more` fields.
pub(crate) fn connect_narrow(
    server: SocketAddr,
    first: usize,
    series: usize,
    more: &str,
) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.into()).unwrap();
    open(socket.into(), &request(first, series, more))
}

fn open(mut stream: TcpStream, request: &str) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(UPGRADE.as_bytes()).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    // The mask is 0: the payload goes as it is.
    let head = match u8::try_from(request.len()) {
        Ok(length) if length < 126 => vec![0x81, 0x80 | length, 0, 0, 0, 0],
        _ => {
            let [high, low] = u16::try_from(request.len()).unwrap().to_be_bytes();
            vec![0x81, 0x80 | 126, high, low, 0, 0, 0, 0]
        }
    };
    let frame = [&head, request.as_bytes()].concat();
    stream.write_all(&frame).unwrap();
    stream
}

/// A subscription of the `series` symbols from `first` on, with `more` fields.
pub(crate) fn request(first: usize, series: usize, more: &str) -> String {
    let names: Vec<String> =
        (first..first + series).map(|at| format!("{:?}", symbol(at))).collect();
    let names = names.join(",");
    format!(r#"{{"exchange":"binance","contract_type":"spot","symbols":[{names}]{more}}}"#)
}

/// Clients that read whatever comes.
pub(crate) struct Readers {
    set: OwnedFd,
    clients: Vec<Reader>,
    chunk: Vec<u8>,
}

struct Reader {
    stream: TcpStream,
    rest: Vec<u8>,
    /// It answers no ping, and is cut off for that.
    is_mute: bool,
    /// The code and the reason of its Close.
    last_words: Option<(u16, String)>,
}

impl Readers {
    pub(crate) fn new() -> Self {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        Self { set, clients: Vec::new(), chunk: vec![0; 64 * 1024] }
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn add(&mut self, stream: TcpStream) {
        self.add_one(stream, false);
    }

    /// One that reads and answers no ping.
    pub(crate) fn add_mute(&mut self, stream: TcpStream) {
        self.add_one(stream, true);
    }

    /// What those were told who answer no ping.
    pub(crate) fn last_words(&self) -> Vec<Option<(u16, String)>> {
        let mute = self.clients.iter().filter(|client| client.is_mute);
        mute.map(|client| client.last_words.clone()).collect()
    }

    fn add_one(&mut self, stream: TcpStream, is_mute: bool) {
        stream.set_nonblocking(true).unwrap();
        let data = epoll::EventData::new_u64(self.clients.len() as u64);
        epoll::add(&self.set, &stream, data, epoll::EventFlags::IN).unwrap();
        self.clients.push(Reader { stream, rest: Vec::new(), is_mute, last_words: None });
    }

    /// Reads until told to stop and nothing more comes; how old the quotes were, in ns.
    pub(crate) fn run(
        &mut self,
        begin: Instant,
        sent: &Arc<SentTimes>,
        is_over: &AtomicBool,
    ) -> Histogram<u64> {
        let mut ages = Histogram::new_with_bounds(1, 600_000_000_000, 3).unwrap();
        let mut events = Vec::with_capacity(1024);
        loop {
            let was_over = is_over.load(Ordering::Acquire);
            events.clear();
            let timeout = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
            let buffer = rustix::buffer::spare_capacity(&mut events);
            epoll::wait(&self.set, buffer, Some(&timeout)).ok();
            if events.is_empty() && was_over {
                return ages;
            }
            for event in &events {
                let data = event.data;
                let reader = &mut self.clients[data.u64() as usize];
                let goes_on = reader.read(&mut self.chunk, |number| {
                    let age = begin.elapsed().as_nanos() as u64;
                    let age = age.saturating_sub(sent.due_ns(number));
                    ages.record(age.max(1)).unwrap();
                });
                if !goes_on {
                    epoll::delete(&self.set, &reader.stream).unwrap();
                }
            }
        }
    }
}

impl Reader {
    /// Returns whether the connection goes on.
    fn read(&mut self, chunk: &mut [u8], mut quote: impl FnMut(usize)) -> bool {
        match self.stream.read(chunk) {
            Ok(0) if self.is_mute => return false,
            Ok(0) => panic!("a client that reads was closed"),
            Ok(count) => self.rest.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) => panic!("{error}"),
        }
        let mut done = 0;
        while let Some((opcode, payload, length)) = frame(&self.rest[done..]) {
            if opcode == 0x88 {
                assert!(self.is_mute, "a client that reads was told to go");
                let (code, reason) = payload.split_at(2);
                let code = u16::from_be_bytes([code[0], code[1]]);
                self.last_words = Some((code, String::from_utf8_lossy(reason).into_owned()));
            } else if opcode == 0x89 && !self.is_mute {
                self.stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).unwrap();
            } else if payload.starts_with(b"{\"type\":\"quote\"") {
                quote(number_after(payload, b"\"trade_num\":"));
            }
            done += length;
        }
        self.rest.drain(..done);
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        true
    }
}

/// The first frame: its first byte, its payload, its whole length.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (head, payload) = match bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => panic!("no message is that long"),
        &length => (2, usize::from(length)),
    };
    Some((bytes[0], bytes.get(head..head + payload)?, head + payload))
}

fn number_after(payload: &[u8], key: &[u8]) -> usize {
    let at = payload.windows(key.len()).rposition(|window| window == key).unwrap() + key.len();
    let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

/// Reads one byte from each of `streams`, once a second.
pub(crate) fn trickle(streams: &[TcpStream], is_over: &AtomicBool) {
    while !is_over.load(Ordering::Acquire) {
        for mut stream in streams {
            let _byte = stream.read(&mut [0]);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Waits for the log, from its byte `start` on, to say that one of `streams` was cut off, takes it
/// out, and looks what it was told.
pub(crate) fn watch(
    log: &Path,
    start: usize,
    streams: &mut Vec<TcpStream>,
    is_over: &AtomicBool,
) -> Vec<Option<String>> {
    let mut words = Vec::new();
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines = text[start..].lines().filter(|line| line.contains("was closed (1013)"));
        let peers = lines.filter_map(|line| line.split("client ").nth(1)?.split(' ').next());
        let peers: HashSet<&str> = peers.collect();
        let is_cut = |stream: &mut TcpStream| {
            peers.contains(stream.local_addr().unwrap().to_string().as_str())
        };
        words.extend(streams.extract_if(.., is_cut).map(last_words));
        if was_over {
            return words;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a client that was cut off finds when it looks at last: the reason of its Close, or `None`
/// if it was not even told.
fn last_words(mut stream: TcpStream) -> Option<String> {
    stream.set_nonblocking(false).unwrap();
    let mut bytes = Vec::new();
    // A reset takes the rest with it.
    let _end = stream.read_to_end(&mut bytes);
    // Whatever was read before is an unknown part of a frame; the Close is the end.
    let at = bytes.windows(4).rposition(|at| at[0] == 0x88 && at[2..] == 1013u16.to_be_bytes())?;
    let length = usize::from(bytes[at + 1]);
    let reason = bytes.get(at + 4..at + 2 + length)?;
    assert_eq!(bytes.len(), at + 2 + length, "nothing follows a Close");
    Some(String::from_utf8(reason.to_vec()).unwrap())
}

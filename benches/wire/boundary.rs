//! The end of a minute: two thousand series close at once, and a hundred clients hold them all.
//!
//! Measured is the time from the exchange's first byte to the last client's last byte. The copier's
//! place is taken by a thread that writes the same bytes to each client with plain blocking writes
//! and does nothing else. One thread plays the exchange and all clients.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use tungstenite::{Message, WebSocket};

use crate::exchange::greet;
use crate::load;
use crate::process::{self, Relay, Running, Usage};
use crate::relays::answer_hello;
use crate::results::{Cell, Results, Row};

const SERIES: usize = 2_000;
const CLIENTS: usize = 100;
/// The copier's place is taken by blocking writes: the sleeper would be the same.
const RELAYS: [Relay; 4] = [Relay::Copier, Relay::Tokio, Relay::Spin, Relay::Adaptive];
const PATIENCE: Duration = Duration::from_secs(60);

/// So many minutes of each relay in each round, beside the first, which warms up.
pub(crate) fn compare((rounds, time): (usize, Duration), minutes: u64, results: &mut Results) {
    let mut boundaries: Vec<Vec<Boundary>> = RELAYS.iter().map(|_| Vec::new()).collect();
    load::rounds("minute boundary", rounds, time, |round| {
        for turn in 0..RELAYS.len() {
            let at = (turn + round) % RELAYS.len();
            boundaries[at].extend(measure(RELAYS[at], minutes));
        }
    });
    let section = format!("minute boundary, {SERIES} series close, {CLIENTS} clients");
    let mut add = |name: &str, unit: &str, value: &dyn Fn(&Boundary) -> f64| {
        let cells = RELAYS.iter().zip(&boundaries).map(|(relay, boundaries)| {
            Cell::median(relay.name(), boundaries.iter().map(value).collect())
        });
        results.rows.push(Row::new(&section, name, unit, cells.collect()));
    };
    let messages = (SERIES * CLIENTS) as f64;
    add("first client has all", "ms", &|one| one.first.as_secs_f64() * 1e3);
    add("last client has all", "ms", &|one| one.last.as_secs_f64() * 1e3);
    add("CPU time for a message", "µs", &|one| one.usage.cpu.as_secs_f64() * 1e6 / messages);
    add("page faults, minor", "", &|one| one.usage.faults[0] as f64);
    add("page faults, major", "", &|one| one.usage.faults[1] as f64);
    add("bytes to all clients", "MB", &|one| one.bytes as f64 / 1e6);
}

/// One boundary: when the first and the last client had everything, and what the clients got.
struct Boundary {
    first: Duration,
    last: Duration,
    usage: Usage,
    bytes: usize,
}

fn measure(relay: Relay, minutes: u64) -> Vec<Boundary> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = listener.local_addr().unwrap();
    let (process, address) = match relay {
        Relay::Copier => process::start_relay("writes", upstream, None),
        _ => relay.start(upstream, None),
    };
    let accepting = std::thread::spawn(move || accept_all(&listener, relay));
    let mut clients = Clients::connect(relay, address);
    let sessions = accepting.join().unwrap();
    let boundaries = process::on_first_cpu(|| {
        let boundary = |minute| {
            let pushes = sessions.iter().map(|session| session.pushes(minute, relay));
            let pushes: Vec<Vec<u8>> = pushes.collect();
            run_minute(&sessions, &pushes, &mut clients, &process)
        };
        (0..=minutes).map(boundary).collect::<Vec<_>>()
    });
    boundaries.into_iter().skip(1).collect()
}

fn run_minute(
    sessions: &[Session],
    pushes: &[Vec<u8>],
    clients: &mut Clients,
    process: &Running,
) -> Boundary {
    clients.begin();
    let (before, begin) = (process.usage(), Instant::now());
    for (session, bytes) in sessions.iter().zip(pushes) {
        (&session.socket).write_all(bytes).unwrap();
    }
    let mut first = None;
    while clients.unfinished > 0 {
        assert!(begin.elapsed() < PATIENCE, "{} clients wait in vain", clients.unfinished);
        clients.read();
        if clients.unfinished < CLIENTS && first.is_none() {
            first = Some(begin.elapsed());
        }
    }
    let last = begin.elapsed();
    let usage = process.usage().since(before);
    Boundary { first: first.unwrap(), last, usage, bytes: clients.bytes }
}

/// One connection of a relay to the exchange.
struct Session {
    socket: TcpStream,
    symbols: Vec<String>,
}

/// Takes the relay's connections until it streams every series.
fn accept_all(listener: &TcpListener, relay: Relay) -> Vec<Session> {
    let names = || (0..SERIES).map(symbol).collect::<Vec<_>>();
    if !relay.is_server() {
        let (socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        let socket = if relay == Relay::Tokio {
            tungstenite::accept(socket).unwrap().into_inner()
        } else {
            greet(&socket);
            socket
        };
        return vec![Session { socket, symbols: names() }];
    }
    let (mut sessions, mut known) = (Vec::new(), 0);
    let mut sockets: Vec<WebSocket<TcpStream>> = Vec::new();
    listener.set_nonblocking(true).unwrap();
    let begin = Instant::now();
    let mut symbols = BTreeMap::<usize, Vec<String>>::new();
    while known < SERIES {
        assert!(begin.elapsed() < PATIENCE, "{known} series are subscribed");
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            let socket = tungstenite::accept(stream).unwrap();
            socket.get_ref().set_nodelay(true).unwrap();
            socket.get_ref().set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            sockets.push(socket);
        }
        for (at, socket) in sockets.iter_mut().enumerate() {
            let Ok(Message::Text(text)) = socket.read() else { continue };
            let request: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(request["method"], "SUBSCRIBE");
            socket
                .send(Message::text(format!("{{\"result\":null,\"id\":{}}}", request["id"])))
                .unwrap();
            for stream in request["params"].as_array().unwrap() {
                let symbol = stream.as_str().unwrap().split('@').next().unwrap();
                symbols.entry(at).or_default().push(symbol.to_uppercase());
                known += 1;
            }
        }
    }
    for (at, socket) in sockets.into_iter().enumerate() {
        let symbols = symbols.remove(&at).unwrap_or_default();
        sessions.push(Session { socket: socket.into_inner(), symbols });
    }
    sessions
}

fn symbol(number: usize) -> String {
    format!("SIM{number:04}USDT")
}

impl Session {
    /// The closing push of every series, as Binance sends them; for a relay that understands no
    /// messages after their length.
    fn pushes(&self, minute: u64, relay: Relay) -> Vec<u8> {
        let open_time = 1_700_000_040_000 + minute * 60_000;
        let close_time = open_time + 59_999;
        let mut bytes = Vec::new();
        for symbol in &self.symbols {
            let payload = format!(
                "{{\"e\":\"kline\",\"E\":{},\"s\":\"{symbol}\",\"k\":{{\"t\":{open_time},\
                 \"T\":{close_time},\"s\":\"{symbol}\",\"i\":\"1m\",\"f\":100,\"L\":200,\
                 \"o\":\"29038.46000000\",\"c\":\"29040.12000000\",\"h\":\"29044.00000000\",\
                 \"l\":\"29030.01000000\",\"v\":\"12.34567000\",\"n\":101,\"x\":true,\
                 \"q\":\"358499.12345678\",\"V\":\"6.10000000\",\"Q\":\"177134.60600000\",\
                 \"B\":\"0\"}}}}",
                close_time + 5
            );
            connector_wss::wire::write_text_frame(&mut bytes, payload.as_bytes());
        }
        if relay == Relay::Copier {
            bytes.splice(..0, (bytes.len() as u64).to_le_bytes());
        }
        bytes
    }
}

/// All clients' ends, read by one thread.
struct Clients {
    set: std::os::fd::OwnedFd,
    sockets: Vec<Receiving>,
    unfinished: usize,
    bytes: usize,
    chunk: Vec<u8>,
}

/// One client's end: counts the quotes.
struct Receiving {
    socket: TcpStream,
    /// The beginning of a frame whose end has not come.
    rest: Vec<u8>,
    /// Bytes still to come of a frame whose head was read.
    skip: usize,
    quotes: usize,
}

impl Clients {
    fn connect(relay: Relay, address: SocketAddr) -> Self {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let names: Vec<String> = (0..SERIES).map(|at| format!("\"{}\"", symbol(at))).collect();
        let request = format!(
            "{{\"exchange\":\"binance\",\"contract_type\":\"spot\",\"symbols\":[{}]}}",
            names.join(",")
        );
        let sockets = (0..CLIENTS).map(|at| {
            let socket = connect(relay, address, &request);
            socket.set_nonblocking(true).unwrap();
            let data = epoll::EventData::new_u64(at as u64);
            epoll::add(&set, &socket, data, epoll::EventFlags::IN).unwrap();
            Receiving { socket, rest: Vec::new(), skip: 0, quotes: 0 }
        });
        let sockets = sockets.collect();
        Self { set, sockets, unfinished: 0, bytes: 0, chunk: vec![0; 256 * 1024] }
    }

    fn begin(&mut self) {
        self.sockets.iter_mut().for_each(|socket| socket.quotes = 0);
        (self.unfinished, self.bytes) = (CLIENTS, 0);
    }

    /// Takes what has come, from each socket once.
    fn read(&mut self) {
        let mut events = Vec::with_capacity(CLIENTS);
        let buffer = rustix::buffer::spare_capacity(&mut events);
        epoll::wait(&self.set, buffer, Some(&rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 }))
            .ok();
        for event in events {
            let data = event.data;
            let at = usize::try_from(data.u64()).unwrap();
            let receiving = &mut self.sockets[at];
            let count = match receiving.socket.read(&mut self.chunk) {
                Ok(0) => panic!("the relay closed a connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{error}"),
            };
            self.bytes += count;
            let was_finished = receiving.quotes >= SERIES;
            receiving.count(&self.chunk[..count]);
            if !was_finished && receiving.quotes >= SERIES {
                self.unfinished -= 1;
            }
        }
    }
}

impl Receiving {
    /// Counts the quotes whose last byte is among `bytes`; looks at no more than each one's head.
    fn count(&mut self, mut bytes: &[u8]) {
        const HEAD: usize = 4 + 16;
        loop {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                if self.skip > 0 {
                    return;
                }
                self.quotes += 1;
            }
            let wanted = HEAD - self.rest.len();
            let taken = wanted.min(bytes.len());
            self.rest.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.rest.len() < HEAD {
                return;
            }
            assert_eq!((self.rest[0], self.rest[1]), (0x81, 126), "a message of some length");
            assert_eq!(&self.rest[4..18], b"{\"type\":\"quote");
            let payload = usize::from(u16::from_be_bytes([self.rest[2], self.rest[3]]));
            self.skip = payload + 4 - HEAD;
            self.rest.clear();
        }
    }
}

fn connect(relay: Relay, address: SocketAddr, request: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    if relay == Relay::Copier {
        answer_hello(&stream);
        return stream;
    }
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/"), stream).unwrap();
    socket.send(Message::text(request)).unwrap();
    if relay.is_server() {
        let answer = socket.read().unwrap();
        assert!(answer.to_text().unwrap().contains("subscribed"), "{answer}");
    }
    socket.into_inner()
}

//! The end of a minute: two thousand series close at once, and a hundred clients hold them all.
//!
//! Measured is the time from the exchange's first byte to the last client's last byte. Three
//! relays in turn, several times over, in one run: a thread that writes the same bytes to each
//! client with plain blocking writes and does nothing else, the usual tokio relay, and this server.
//! Each relay is a process of its own; one thread plays the exchange and all clients.
//!
//! `cargo bench --bench minute_boundary`; `-- --quick` for a short run.

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

#[allow(dead_code, reason = "each bench uses a part")]
mod relays;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use tungstenite::{Message, WebSocket};

use relays::Running;

const SERIES: usize = 2_000;
const CLIENTS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--relay") {
        let upstream = arguments[at + 2].parse().expect("an address follows the relay's name");
        return relays::run(&arguments[at + 1], upstream);
    }
    if arguments.iter().any(|argument| argument == "--test") {
        return println!("benches are not tests");
    }
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let (rounds, minutes) = if is_quick { (2, 5) } else { (5, 9) };
    relays::print_host();
    println!(
        "\nminute boundary: {SERIES} series close, {CLIENTS} clients hold them all; \
         {rounds} rounds of {minutes} minutes each, interleaved"
    );
    let mut rows: Vec<Vec<Boundary>> = Relay::ALL.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (at, relay) in Relay::ALL.into_iter().enumerate() {
            rows[at].extend(measure(relay, minutes));
        }
    }
    print_table(&mut rows);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Relay {
    Writes,
    Gathered,
    Tokio,
    Server,
}

impl Relay {
    const ALL: [Self; 4] = [Self::Writes, Self::Gathered, Self::Tokio, Self::Server];

    fn name(self) -> &'static str {
        match self {
            Self::Writes => "plain blocking writes",
            Self::Gathered => "plain writev, frame by frame",
            Self::Tokio => "tokio relay",
            Self::Server => "connector-wss",
        }
    }

    fn start(self, upstream: SocketAddr) -> (Running, SocketAddr) {
        match self {
            Self::Writes => relays::start_relay("writes", upstream),
            Self::Gathered => relays::start_relay("gathered", upstream),
            Self::Tokio => relays::start_relay("tokio", upstream),
            Self::Server => {
                let dead = "http://127.0.0.1:9";
                relays::start_server(
                    upstream,
                    &[
                        ("CONNECTOR_MAX_SYMBOL_PER_WS", "1024"),
                        ("CONNECTOR_BINANCE_SPOT_REST_URL", dead),
                    ],
                )
            }
        }
    }
}

/// One boundary: when the first and the last client had everything, and what the clients got.
struct Boundary {
    first: Duration,
    last: Duration,
    cpu: Duration,
    bytes: usize,
}

fn measure(relay: Relay, minutes: u64) -> Vec<Boundary> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (process, address) = relay.start(listener.local_addr().unwrap());
    let accepting = std::thread::spawn(move || accept_all(&listener, relay));
    let mut clients = Clients::connect(relay, address);
    let sessions = accepting.join().unwrap();
    let is_raw = matches!(relay, Relay::Writes | Relay::Gathered);
    let boundaries = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            relays::pin(<[_]>::first);
            let boundary = |minute| {
                let pushes = sessions.iter().map(|session| session.pushes(minute, is_raw));
                let pushes: Vec<Vec<u8>> = pushes.collect();
                run_minute(&sessions, &pushes, &mut clients, process.id())
            };
            (0..minutes).map(boundary).collect::<Vec<_>>()
        });
        load.join().unwrap()
    });
    // The first one warms up.
    boundaries.into_iter().skip(1).collect()
}

fn run_minute(
    sessions: &[Session],
    pushes: &[Vec<u8>],
    clients: &mut Clients,
    process: u32,
) -> Boundary {
    clients.begin();
    let (cpu, begin) = (relays::cpu_time(process), Instant::now());
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
    let cpu = relays::cpu_time(process) - cpu;
    Boundary { first: first.unwrap(), last, cpu, bytes: clients.bytes }
}

/// One connection of a relay to the exchange.
struct Session {
    socket: TcpStream,
    symbols: Vec<String>,
}

/// Takes the relay's connections until it streams every series.
fn accept_all(listener: &TcpListener, relay: Relay) -> Vec<Session> {
    let names = || (0..SERIES).map(symbol).collect::<Vec<_>>();
    if relay != Relay::Server {
        let (socket, _) = listener.accept().unwrap();
        let socket: TcpStream = match relay {
            Relay::Tokio => {
                let accepted = tungstenite::accept(socket).unwrap();
                accepted.get_ref().try_clone().inspect(|_| std::mem::forget(accepted)).unwrap()
            }
            _ => socket,
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
        let stream = socket.get_ref().try_clone().unwrap();
        std::mem::forget(socket);
        let symbols = symbols.remove(&at).unwrap_or_default();
        sessions.push(Session { socket: stream, symbols });
    }
    sessions
}

fn symbol(number: usize) -> String {
    format!("SIM{number:04}USDT")
}

impl Session {
    /// The closing push of every series, as Binance sends them; for a relay that understands no
    /// messages after their length.
    fn pushes(&self, minute: u64, is_raw: bool) -> Vec<u8> {
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
        if is_raw {
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
    if matches!(relay, Relay::Writes | Relay::Gathered) {
        return stream;
    }
    let (mut socket, _) = tungstenite::client(format!("ws://{address}/"), stream).unwrap();
    if relay == Relay::Server {
        socket.send(Message::text(request)).unwrap();
        let answer = socket.read().unwrap();
        assert!(answer.to_text().unwrap().contains("subscribed"), "{answer}");
    }
    socket.get_ref().try_clone().inspect(|_| std::mem::forget(socket)).unwrap()
}

fn print_table(rows: &mut [Vec<Boundary>]) {
    let median = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    println!(
        "{:<30}{:>9}{:>9}{:>9}{:>9}{:>9}{:>11}",
        "ms", "first", "last", "worst", "CPU", "MB", "last/plain"
    );
    let mut plain = None;
    for (relay, rows) in Relay::ALL.iter().zip(rows) {
        let first = median(&mut rows.iter().map(|row| ms(row.first)).collect());
        let last = median(&mut rows.iter().map(|row| ms(row.last)).collect());
        let worst = rows.iter().map(|row| ms(row.last)).fold(0.0, f64::max);
        let cpu = rows.iter().map(|row| ms(row.cpu)).sum::<f64>() / rows.len() as f64;
        let bytes = rows.iter().map(|row| row.bytes).max().unwrap_or(0) as f64 / 1e6;
        let ratio = last / *plain.get_or_insert(last);
        println!(
            "{:<30}{first:>9.1}{last:>9.1}{worst:>9.1}{cpu:>9.1}{bytes:>9.1}{ratio:>10.2}x",
            relay.name()
        );
    }
}

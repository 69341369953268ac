//! Socket to socket: an exchange's bytes in, a client's bytes out, with a relay in the middle.
//!
//! Three relays are measured in turn, several times over, in one run: a thread that only copies
//! the bytes, the usual tokio + tokio-tungstenite + serde_json relay, and this server in its two
//! main wait modes. Each relay is a process of its own. One thread plays both the exchange and the
//! client: it sends at fixed times, whatever comes back (no coordinated omission), and takes the
//! delay from the time at which a message was due.
//!
//! `cargo bench --bench wire_to_wire`; `-- --quick` for a short run.

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

#[allow(dead_code, reason = "each bench uses a part")]
mod relays;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tungstenite::{Message, WebSocket};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--relay") {
        let upstream = arguments[at + 2].parse().expect("an address follows the relay's name");
        return relays::run(&arguments[at + 1], upstream);
    }
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    if arguments.iter().any(|argument| argument == "--test") {
        return println!("benches are not tests");
    }
    let (rounds, seconds) = if is_quick { (1, 1) } else { (3, 3) };
    relays::print_host();
    for rate in [1_000, 20_000] {
        compare(rate, rounds, Duration::from_secs(seconds));
    }
}

/// Before each measurement, at the same rate.
const WARM_UP: Duration = Duration::from_millis(500);

/// What stands between the exchange and the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relay {
    Copier,
    Tokio,
    Spin,
    Adaptive,
}

impl Relay {
    const ALL: [Self; 4] = [Self::Copier, Self::Tokio, Self::Spin, Self::Adaptive];

    fn name(self) -> &'static str {
        match self {
            Self::Copier => "byte copier (thread, spin)",
            Self::Tokio => "tokio relay",
            Self::Spin => "connector-wss spin",
            Self::Adaptive => "connector-wss adaptive",
        }
    }

    fn start(self, upstream: SocketAddr) -> (relays::Running, SocketAddr) {
        match self {
            Self::Copier => relays::start_relay("copier", upstream),
            Self::Tokio => relays::start_relay("tokio", upstream),
            Self::Spin => relays::start_server(upstream, &[("CONNECTOR_WAIT", "spin")]),
            Self::Adaptive => relays::start_server(upstream, &[("CONNECTOR_WAIT", "adaptive")]),
        }
    }
}

struct Row {
    delays: Histogram<u64>,
    cpu: Duration,
    messages: u64,
    /// Open candles that were replaced by their successors before they could be sent.
    conflated: u64,
}

fn compare(rate: u64, rounds: usize, duration: Duration) {
    println!("\n{rate} updates/s, one client, {rounds} rounds of {duration:?} each, interleaved");
    let mut rows: Vec<Vec<Row>> = Relay::ALL.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (at, relay) in Relay::ALL.into_iter().enumerate() {
            rows[at].push(measure(relay, rate, duration));
        }
    }
    println!(
        "{:<28}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}{:>9}{:>9}",
        "µs", "p50", "p90", "p99", "p99.9", "max", "CPU/msg", "p50/copy", "p50/tok"
    );
    let medians: Vec<[f64; 6]> = rows.iter().map(|rows| medians(rows)).collect();
    for (relay, m) in Relay::ALL.iter().zip(&medians) {
        println!(
            "{:<28}{:>9.1}{:>9.1}{:>9.1}{:>9.1}{:>9.1}{:>10.2}{:>8.2}x{:>8.2}x",
            relay.name(),
            m[0],
            m[1],
            m[2],
            m[3],
            m[4],
            m[5],
            m[0] / medians[0][0],
            m[0] / medians[1][0],
        );
    }
    for (relay, rows) in Relay::ALL.iter().zip(&rows) {
        let conflated: u64 = rows.iter().map(|row| row.conflated).sum();
        if conflated > 0 {
            println!("{}: {conflated} open candles conflated in all rounds", relay.name());
        }
    }
}

/// Medians over the rounds, in µs: p50, p90, p99, p99.9, max, CPU time per message.
fn medians(rows: &[Row]) -> [f64; 6] {
    let quantiles = [0.5, 0.9, 0.99, 0.999, 1.0];
    std::array::from_fn(|column| {
        let mut values: Vec<f64> = rows
            .iter()
            .map(|row| match quantiles.get(column) {
                Some(&quantile) => row.delays.value_at_quantile(quantile) as f64 / 1000.0,
                None => row.cpu.as_secs_f64() * 1e6 / row.messages as f64,
            })
            .collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

fn measure(relay: Relay, rate: u64, duration: Duration) -> Row {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (process, address) = relay.start(listener.local_addr().unwrap());
    let mut exchange = Exchange::default();
    let mut client = attach(relay, &listener, &mut exchange, address);
    let (cpu, delays) = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            // The load on the first CPU, the pinned relays on the last: what is measured is not
            // the scheduler. A thread of its own, because a relay inherits its starter's CPUs.
            relays::pin(<[_]>::first);
            run_load(&mut exchange, &mut client, rate, WARM_UP);
            let before = relays::cpu_time(process.id());
            let delays = run_load(&mut exchange, &mut client, rate, duration);
            (relays::cpu_time(process.id()) - before, delays)
        });
        load.join().unwrap()
    });
    drop(process);
    let messages = rate * u64::try_from(duration.as_millis()).unwrap() / 1000;
    let conflated = messages - delays.len();
    let may_conflate = matches!(relay, Relay::Spin | Relay::Adaptive);
    assert!(conflated == 0 || may_conflate, "{}: every message arrives", relay.name());
    assert!(!delays.is_empty(), "{}: nothing was measured", relay.name());
    Row { delays, cpu, messages, conflated }
}

/// The simulated exchange's end: sends kline messages whose trade count is their number.
#[derive(Default)]
struct Exchange {
    socket: Option<TcpStream>,
    sent: u64,
    frame: Vec<u8>,
}

impl Exchange {
    fn accept(&mut self, listener: &TcpListener, wants_subscription: bool) {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut socket: WebSocket<TcpStream> = tungstenite::accept(stream).unwrap();
        if wants_subscription {
            let request = socket.read().unwrap();
            let text = request.to_text().unwrap();
            assert!(text.contains("SUBSCRIBE"), "{text}");
            let id = text.split("\"id\":").nth(1).unwrap();
            let id: String = id.chars().take_while(char::is_ascii_digit).collect();
            socket.send(Message::text(format!("{{\"result\":null,\"id\":{id}}}"))).unwrap();
        }
        let stream = socket.get_ref().try_clone().unwrap();
        stream.set_nonblocking(true).unwrap();
        std::mem::forget(socket);
        self.socket = Some(stream);
    }

    fn send(&mut self) {
        self.sent += 1;
        let open_time = 1_700_000_040_000u64;
        let payload = format!(
            "{{\"e\":\"kline\",\"E\":{},\"s\":\"BTCUSDT\",\"k\":{{\"t\":{open_time},\"T\":{},\"s\":\"BTCUSDT\",\
             \"i\":\"1m\",\"f\":100,\"L\":200,\"o\":\"29038.46000000\",\"c\":\"29040.12000000\",\
             \"h\":\"29044.00000000\",\"l\":\"29030.01000000\",\"v\":\"12.34567000\",\"n\":{},\"x\":false,\
             \"q\":\"358499.12345678\",\"V\":\"6.10000000\",\"Q\":\"177134.60600000\",\"B\":\"0\"}}}}",
            open_time + 1,
            open_time + 59_999,
            self.sent
        );
        self.frame.clear();
        connector_wss::wire::write_text_frame(&mut self.frame, payload.as_bytes());
        let written = self.socket.as_ref().unwrap().write(&self.frame).unwrap();
        assert_eq!(written, self.frame.len(), "the relay keeps up");
    }
}

/// The client's end: finds the numbers in whatever frames come.
struct Client {
    socket: TcpStream,
    bytes: Vec<u8>,
    is_quote: bool,
}

impl Client {
    /// Numbers of the messages that have arrived since.
    fn receive(&mut self, numbers: &mut Vec<u64>) {
        let mut chunk = [0; 64 * 1024];
        let Ok(count) = self.socket.read(&mut chunk) else { return };
        assert!(count > 0, "the relay closed the connection");
        self.bytes.extend_from_slice(&chunk[..count]);
        let key: &[u8] = if self.is_quote { b"\"trade_num\":" } else { b"\"n\":" };
        let mut done = 0;
        while let Some((length, payload)) = frame(&self.bytes[done..]) {
            let payload = &self.bytes[done + length - payload..done + length];
            numbers.extend(number_after(payload, key));
            done += length;
        }
        self.bytes.drain(..done);
    }
}

/// Length of the whole frame and of its payload, if it is complete.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (header, payload) = match bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => panic!("no message is that long"),
        length => (2, usize::from(length)),
    };
    (bytes.len() >= header + payload).then_some((header + payload, payload))
}

fn number_after(payload: &[u8], key: &[u8]) -> Option<u64> {
    let at = payload.windows(key.len()).position(|window| window == key)? + key.len();
    let digits = payload[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Sends at fixed times for `duration`, then waits for what is still under way. Delays in ns.
fn run_load(
    exchange: &mut Exchange,
    client: &mut Client,
    rate: u64,
    duration: Duration,
) -> Histogram<u64> {
    let mut delays = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
    let interval_ns = 1_000_000_000 / rate;
    let total = rate * u64::try_from(duration.as_millis()).unwrap() / 1000;
    let base = exchange.sent;
    let (begin, mut numbers) = (Instant::now(), Vec::new());
    let give_up = duration + Duration::from_secs(5);
    let mut last = exchange.sent;
    while last < base + total {
        let elapsed = begin.elapsed();
        assert!(elapsed < give_up, "{} messages are missing", base + total - last);
        let due = u64::try_from(elapsed.as_nanos()).unwrap() / interval_ns;
        if exchange.sent - base < due.min(total) {
            exchange.send();
        }
        client.receive(&mut numbers);
        let now_ns = u64::try_from(begin.elapsed().as_nanos()).unwrap();
        for number in numbers.drain(..) {
            if number > base {
                let due_ns = (number - base) * interval_ns;
                assert!(number > last, "in order, none twice");
                delays.record(now_ns.saturating_sub(due_ns).max(1)).unwrap();
                last = number;
            }
        }
    }
    delays
}

fn attach(
    relay: Relay,
    listener: &TcpListener,
    exchange: &mut Exchange,
    address: SocketAddr,
) -> Client {
    let is_quote = matches!(relay, Relay::Spin | Relay::Adaptive);
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let url = format!("ws://{address}/ws/btcusdt@kline_1m");
    if relay == Relay::Copier {
        // The copier passes the handshake through, so both ends must be served at once.
        let accepting = listener.try_clone().unwrap();
        let joined = std::thread::spawn(move || {
            let mut exchange = Exchange::default();
            exchange.accept(&accepting, false);
            exchange
        });
        let client = open_client(&url, stream, is_quote, "");
        *exchange = joined.join().unwrap();
        return client;
    }
    let request = if is_quote {
        r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]}"#
    } else {
        ""
    };
    let client = open_client(&url, stream, is_quote, request);
    exchange.accept(listener, is_quote);
    client
}

fn open_client(url: &str, stream: TcpStream, is_quote: bool, request: &str) -> Client {
    let (mut socket, _) = tungstenite::client(url, stream).unwrap();
    if !request.is_empty() {
        socket.send(Message::text(request)).unwrap();
        let answer = socket.read().unwrap();
        assert!(answer.to_text().unwrap().contains("subscribed"), "{answer}");
    }
    let socket = socket.get_ref().try_clone().unwrap();
    socket.set_nonblocking(true).unwrap();
    Client { socket, bytes: Vec::new(), is_quote }
}

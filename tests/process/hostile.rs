//! Sockets that mean harm, beside one that does not. The hundred thousand of them are
//! `tests/fanout`'s, in memory; here are some thousand, through the kernel.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use connector_wss::rng::Rng;
use connector_wss::sim::{self, SimOptions};
use rustix::process::Signal;

use super::client::{BTC, BTC_3, Client, assert_served_three};
use super::harness::{PATIENCE, Server, wait_until};
use super::raw::{UPGRADE, frame_masked};

/// Connections of each of two attackers; each sends up to four mutated frames.
const CONNECTIONS: u64 = 1500;
const SEED: u64 = 0x5eed;

/// Numbers from a seed.
struct Random(Rng);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0.roll().to_le_bytes()[0]
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.roll() % end as u64).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.byte()).collect()
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len().max(1));
            match self.below(4) {
                _ if bytes.is_empty() => return,
                0 => bytes[at] = self.byte(),
                1 => bytes.truncate(at),
                2 => bytes.insert(at, self.byte()),
                _ => bytes[at] ^= 1 << self.below(8),
            }
        }
    }
}

const REQUESTS: [&str; 5] = [
    BTC,
    BTC_3,
    r#"{"op":"unsubscribe","exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]}"#,
    r#"{"op":"list","id":"\u00e9"}"#,
    r#"{"exchange":null,"symbols":[[[{"a":[]}]]],"limit":-0,"closed_only":false}"#,
];

/// What one connection sends.
fn attack(random: &mut Random) -> Vec<u8> {
    let mut bytes = UPGRADE.as_bytes().to_vec();
    match random.below(8) {
        0 => return random.bytes(4096),
        1 => bytes.truncate(random.below(UPGRADE.len())),
        2 => random.mutate(&mut bytes),
        _ => {}
    }
    for _ in 0..random.below(5) {
        let mut payload = REQUESTS[random.below(REQUESTS.len())].as_bytes().to_vec();
        random.mutate(&mut payload);
        let first = if random.below(2) == 0 { 0x81 } else { random.byte() };
        let mask = [(); 4].map(|()| random.byte());
        let mut frame = match random.below(8) {
            0 => random.bytes(256),
            1 => frame_masked(first, &random.bytes(60_000), mask),
            _ => frame_masked(first, &payload, mask),
        };
        random.mutate(&mut frame);
        bytes.extend(frame);
    }
    bytes
}

/// One connection: says its piece in two parts, may read a little, and leaves in one of the ways
/// there are. It waits for nothing but room in the kernel.
fn strike(server: SocketAddr, random: &mut Random) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let bytes = attack(random);
    let (first, second) = bytes.split_at(random.below(bytes.len() + 1));
    let mut chunk = [0; 4096];
    let mut is_open = stream.write_all(first).is_ok();
    if random.below(2) == 0 {
        is_open &= !stream.read(&mut chunk).is_err_and(|error| is_end(&error));
    }
    is_open = is_open && stream.write_all(second).is_ok();
    match random.below(3) {
        0 if is_open => drop(stream.shutdown(Shutdown::Write)),
        1 if is_open => drop(stream.read(&mut chunk)),
        _ => {}
    }
}

fn is_end(error: &std::io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[test]
fn hostile_sockets_neither_end_the_process_nor_break_a_client_s_stream() {
    let push_interval = Duration::from_millis(50);
    let simulator = sim::start(SimOptions { push_interval, ..SimOptions::default() }).unwrap();
    let mut server = Server::start(simulator.env(), &[]);
    let mut good = server.ask(BTC);
    assert!(good.next().is("subscribed"));
    let is_over = AtomicBool::new(false);
    let (address, is_over) = (server.clients, &is_over);
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || read_on(&mut good, is_over));
        let worker = |number| {
            scope.spawn(move || {
                let mut random = Random(Rng::new(SEED + number));
                (0..CONNECTIONS).for_each(|_| strike(address, &mut random));
            })
        };
        let ends = [worker(0), worker(1)].map(|worker| worker.join());
        is_over.store(true, Ordering::Release);
        ends.into_iter().for_each(|end| end.unwrap());
        let quotes = reader.join().unwrap();
        assert!(quotes > 10, "{quotes} quotes, seed {SEED:#x}");
    });
    assert!(server.process.is_running());
    assert_eq!(server.get("/health").0, 200);
    assert!(server.metric("connector_clients_refused_total", &[]) > 100.0);
    assert!(server.metric("connector_client_errors_total", &[]) > 100.0);
    assert!(server.metric("connector_client_protocol_errors_total", &[]) > 100.0);
    assert_served_three(&mut server.ask(BTC_3));
}

#[test]
fn connections_that_ended_before_they_were_accepted_harm_nobody() {
    let mut server = Server::simulated();
    let mut good = server.ask(BTC);
    good.next_of("quote");
    // Stopped, so that all of them wait for one turn of the core.
    server.process.signal(Signal::STOP);
    for _ in 0..64 {
        let stream = TcpStream::connect(server.clients).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut late = TcpStream::connect(server.clients).unwrap();
    late.write_all(UPGRADE.as_bytes()).unwrap();
    server.process.signal(Signal::CONT);
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 12];
    late.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    good.next_of("quote");
    assert!(server.process.is_running());
    wait_until("the two are left", || server.metric("connector_clients", &[]) == 2.0);
}

/// Reads until the attack is over and one quote more; nothing but quotes, and none goes back.
fn read_on(good: &mut Client, is_over: &AtomicBool) -> usize {
    let (mut quotes, mut newest) = (0, String::new());
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        let quote = good.next();
        assert!(quote.is("quote"), "{}", quote.text);
        let timestamp = quote.json["timestamp"].as_str().unwrap().to_owned();
        assert!(timestamp >= newest, "{timestamp} after {newest}");
        (quotes, newest) = (quotes + 1, timestamp);
        if was_over {
            return quotes;
        }
    }
}

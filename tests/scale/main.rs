//! Many clients of the real process, some of whom do not read: what each costs in memory, what the
//! bad ones cost the others, what they are told, and that their resumes are complete. Then many of
//! whom every tenth answers no ping.
//!
//! A short form is part of every test run; `make scale` runs ten thousand clients, of whom a
//! thousand never read and a thousand read a byte a second, in a memory limit of 512 MiB, with
//! bursts of ten times the usual rate, and prints the numbers. No time is asserted.

#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]
#![allow(clippy::disallowed_methods, reason = "traffic lasts for a time")]

#[allow(dead_code)]
#[path = "../process/client.rs"]
mod client;
mod crowd;
mod exchange;
#[allow(dead_code)]
#[path = "../process/harness.rs"]
mod harness;
mod limit;

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use client::{Client, Text};
use connector_wss::limits::{
    CLIENT_BUFFER_BYTES_MIN, CLIENT_BYTES_MAX, CLIENT_UNSENT_BYTES_MAX, CLIENTS_MAX,
    FIXED_BYTES_MAX, READY_BYTES_MAX, SHARE_BYTES_MAX,
};
use crowd::{Readers, connect, connect_narrow, request};
use exchange::{Exchange, MINUTE, price};
use harness::{PATIENCE, Server, wait_until};
use limit::{MemoryLimit, memory_kib, unsent_bytes_max};

const SERIES: usize = 50;
/// Series of a client that does not read.
const SERIES_OF_BAD: usize = 5;
/// Closed candles of each series there are before anybody comes. Somebody who wants them all of
/// five series and does not read is behind from the beginning: they fill what the kernel keeps for
/// it.
const PAST: usize = 240;
/// Of those who never read, so many look what has become of them as soon as they are cut off.
const WATCHED: usize = 100;
const LIMIT_BYTES: usize = 512 * 1024 * 1024;
/// How much faster than usual a burst is.
const BURST: f64 = 10.0;

/// How much of everything.
struct Scale {
    readers: usize,
    /// Of those who never read, and as many who read a byte a second.
    bad: usize,
    /// Pushes of each series per second, but in a burst.
    pace: f64,
    bursts: u32,
    /// How often the readers are alone and then not, so that chance has less of a say.
    rounds: usize,
    is_long: bool,
}

impl Scale {
    fn new() -> Self {
        let clients = std::env::var("SCALE_CLIENTS").ok().map(|text| text.parse().unwrap());
        let all: usize = clients.unwrap_or(500);
        let is_long = clients.is_some();
        let (pace, bursts, rounds) = if is_long { (0.5, 5, 3) } else { (5.0, 1, 1) };
        Self { readers: all * 8 / 10, bad: all / 10, pace, bursts, rounds, is_long }
    }
}

/// The server, its exchange, and the clients that read.
struct Stage {
    // The process ends before its control group is removed.
    server: Server,
    _limit: Option<MemoryLimit>,
    exchange: Exchange,
    readers: Readers,
    begin: Instant,
    scale: Scale,
    /// Where the log's lines about the present bad clients begin.
    log_start: usize,
}

#[test]
fn clients_that_do_not_read_harm_nobody_and_lose_nothing() {
    let mut stage = Stage::start(Scale::new(), &[]);
    stage.fill_with_idle_clients();
    let since = stage.exchange.newest_closed();
    let (mut words, mut ratios) = (Vec::new(), Vec::new());
    for round in 0..stage.scale.rounds {
        let alone = stage.traffic(&[], &mut Vec::new()).0;
        let (deaf, slow) = (stage.bad_clients(), stage.bad_clients());
        if stage.scale.is_long && round == 0 {
            answered_503_at_the_limit(&stage.server);
        }
        let mut watched: Vec<TcpStream> = deaf.iter().take(WATCHED).map(copy).collect();
        let (beside, heard) = stage.traffic(&slow, &mut watched);
        ratios.push(print_ages(&alone, &beside));
        stage.the_kernel_holds_little();
        words.extend(heard);
        let bad = (round + 1) * 2 * stage.scale.bad;
        words.extend(stage.cut_off_the_bad_ones(bad, &slow, &mut watched));
    }
    ratios.sort_by(f64::total_cmp);
    println!("p99 beside / without: median {:.2} of {ratios:.2?}", ratios[ratios.len() / 2]);
    stage.memory_is_within_the_formula();

    let newest = stage.exchange.newest_closed();
    let told: Vec<i64> = words.iter().flatten().map(|reason| since_of(reason)).collect();
    println!("{} of {} that looked at once were told why", told.len(), words.len());
    assert!(!told.is_empty(), "nobody was told");
    let resumes = if stage.scale.is_long { 100 } else { 20 };
    // The first as one that was told nothing: it was there from `since` on.
    let resumes = std::iter::once(since).chain(told).take(resumes);
    resumes.for_each(|since| assert_complete(&stage.server, since, newest));
    wait_until("the others are left", || stage.count("connector_clients") == stage.readers.len());
    assert_eq!(stage.server.get("/health").0, 200);
}

/// Every tenth reads all that comes and answers no ping.
#[test]
fn clients_that_answer_no_ping_are_told_why_and_cost_the_others_nothing() {
    let scale = Scale { bursts: 1, ..Scale::new() };
    let patience = if scale.is_long { "20" } else { "3" };
    let pings =
        ["CONNECTOR_WSS_PING_INTERVAL", "CONNECTOR_WSS_PING_TIMEOUT"].map(|name| (name, patience));
    let mute = scale.bad;
    let mut stage = Stage::start(scale, &pings);
    for at in 0..stage.scale.readers {
        if at % (stage.scale.readers / mute) == 0 {
            stage.readers.add_mute(connect(stage.server.clients, at % SERIES, 1));
        }
        stage.readers.add(connect(stage.server.clients, at % SERIES, 1));
    }
    let start = Instant::now();
    while stage.count("connector_ping_timeouts_total") < mute {
        assert!(start.elapsed() < 8 * PATIENCE, "somebody who answers no ping is still there");
        stage.traffic(&[], &mut Vec::new());
    }
    let (ages, _) = stage.traffic(&[], &mut Vec::new());
    println!("quotes of the others are {} µs old at p99", ages.value_at_quantile(0.99) / 1000);
    for words in stage.readers.last_words() {
        let (code, reason) = words.expect("each was told");
        assert!(code == 1008 && reason.contains("pong"), "{code} {reason}");
    }
    assert_eq!(stage.count("connector_ping_timeouts_total"), mute, "nobody else");
    assert_eq!(stage.count("connector_clients"), stage.scale.readers);
}

impl Stage {
    fn start(scale: Scale, settings: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut env = exchange::env(listener.local_addr().unwrap());
        let buffer = CLIENT_BUFFER_BYTES_MIN.to_string();
        let more = [
            ("CONNECTOR_CLIENT_BUFFER_MAX", buffer.as_str()),
            ("CONNECTOR_HISTORY_CANDLES", "1440"),
            // The exchange answers no ping, and is silent while clients come.
            ("CONNECTOR_WS_PING_INTERVAL", "86400"),
            ("CONNECTOR_INACTIVITY_TIMEOUT", "86400"),
        ];
        let more = more.iter().chain(settings);
        env.extend(more.map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let server = Server::start_with(&[], &env);
        let id = server.process.id();
        let limit = if scale.is_long { MemoryLimit::put(id, LIMIT_BYTES) } else { None };
        let kind = limit.as_ref().map_or("no limit set, RSS watched", |limit| limit.kind);
        println!("memory: {} MiB allowed ({kind})", LIMIT_BYTES >> 20);
        let begin = Instant::now();
        let mut first = Client::connect(server.clients);
        first.send(&request(0, SERIES, ""));
        let exchange = Exchange::accept(&listener, SERIES, begin);
        assert!(first.next().is("subscribed"));
        let mut stage = Self {
            server,
            _limit: limit,
            exchange,
            readers: Readers::new(),
            begin,
            scale,
            log_start: 0,
        };
        stage.push_past(first);
        stage
    }

    /// [`PAST`] windows of every series, which `first` takes.
    fn push_past(&mut self, mut first: Client) {
        let pushing = PAST as f64 / 100.0;
        std::thread::scope(|scope| {
            scope.spawn(|| self.exchange.push(200.0, Duration::from_secs_f64(pushing)));
            let closed = std::iter::from_fn(|| Some(first.next())).filter(Text::is_closed_candle);
            assert_eq!(closed.take(PAST * SERIES).count(), PAST * SERIES);
        });
    }

    /// Some of whom nobody reads, spread over the series as the readers are.
    fn bad_clients(&mut self) -> Vec<TcpStream> {
        self.exchange.show_life();
        // Ports are given out again: what was said of others before is not said of these.
        self.log_start = std::fs::read(self.log()).map_or(0, |log| log.len());
        let first = |at: usize| at * SERIES_OF_BAD % SERIES;
        let past = format!(r#","history":{PAST}"#);
        let one = |at| connect_narrow(self.server.clients, first(at), SERIES_OF_BAD, &past);
        (0..self.scale.bad).map(one).collect()
    }

    fn log(&self) -> PathBuf {
        self.server.process.folder.0.join("logs/connector.log")
    }

    fn count(&self, metric: &str) -> usize {
        self.server.metric(metric, &[]) as usize
    }

    fn memory_kib(&self, name: &str) -> usize {
        memory_kib(self.server.process.id(), name)
    }

    fn fill_with_idle_clients(&mut self) {
        self.fill(self.scale.readers / 10);
        let (few, before) = (self.readers.len(), self.memory_kib("VmRSS"));
        self.fill(self.scale.readers);
        let many = self.readers.len();
        let slope = (self.memory_kib("VmRSS") - before) * 1024 / (many - few);
        println!("{slope} bytes of RSS for each idle client, from {few} to {many}");
        assert!(!self.scale.is_long || slope < 4096, "{slope} bytes for an idle client");
    }

    fn fill(&mut self, count: usize) {
        while self.readers.len() < count {
            let first = self.readers.len() % SERIES;
            self.readers.add(connect(self.server.clients, first, 1));
        }
        wait_until("they are all served", || {
            self.count("connector_client_subscriptions") == self.readers.len()
        });
    }

    /// Quiet and bursts in turn: how old the readers' quotes were, and what those of `watched` were
    /// told who were cut off meanwhile.
    fn traffic(
        &mut self,
        slow: &[TcpStream],
        watched: &mut Vec<TcpStream>,
    ) -> (Histogram<u64>, Vec<Option<String>>) {
        let (sent, is_over) = (self.exchange.sent(), AtomicBool::new(false));
        let (sent, is_over, begin) = (&sent, &is_over, self.begin);
        let (log, log_start) = (self.log(), self.log_start);
        let Self { exchange, readers, scale, .. } = self;
        std::thread::scope(|scope| {
            scope.spawn(move || crowd::trickle(slow, is_over));
            let looking = scope.spawn(move || crowd::watch(&log, log_start, watched, is_over));
            let reading = scope.spawn(move || readers.run(begin, sent, is_over));
            for _ in 0..scale.bursts {
                exchange.push(scale.pace, Duration::from_secs(2));
                exchange.push(scale.pace * BURST, Duration::from_secs(2));
            }
            is_over.store(true, Ordering::Release);
            (reading.join().unwrap(), looking.join().unwrap())
        })
    }

    /// Whoever does not read and is not cut off yet is so soon; nobody else is.
    fn cut_off_the_bad_ones(
        &mut self,
        bad: usize,
        slow: &[TcpStream],
        watched: &mut Vec<TcpStream>,
    ) -> Vec<Option<String>> {
        let (start, mut words) = (Instant::now(), Vec::new());
        while self.count("connector_slow_disconnects_total") < bad {
            assert!(start.elapsed() < 8 * PATIENCE, "somebody is not cut off");
            words.extend(self.traffic(slow, watched).1);
        }
        assert_eq!(self.count("connector_slow_disconnects_total"), bad);
        words
    }

    fn memory_is_within_the_formula(&self) {
        let peak = self.memory_kib("VmHWM") * 1024;
        let (good, bad) = (self.readers.len(), 2 * self.scale.bad);
        let of_bad = CLIENT_BYTES_MAX + SHARE_BYTES_MAX + CLIENT_BUFFER_BYTES_MIN;
        let formula = FIXED_BYTES_MAX + good * CLIENT_BYTES_MAX + bad * of_bad;
        let mib = |bytes: usize| bytes >> 20;
        println!("peak RSS {} MiB, at most {} MiB by the formula", mib(peak), mib(formula));
        assert!(peak <= formula, "{peak} bytes");
    }

    fn the_kernel_holds_little(&self) {
        let held = unsent_bytes_max(self.server.clients.port());
        println!("the kernel holds {} KiB for one client at most", held >> 10);
        // One write more may be taken when there is room for a byte.
        assert!(held <= CLIENT_UNSENT_BYTES_MAX as usize + 2 * READY_BYTES_MAX, "{held} bytes");
    }
}

fn copy(stream: &TcpStream) -> TcpStream {
    stream.try_clone().unwrap()
}

/// Prints how old the quotes were; the ratio of the 99th percentiles.
fn print_ages(alone: &Histogram<u64>, beside: &Histogram<u64>) -> f64 {
    println!("{:<30}{:>10}{:>10}{:>10}", "readers' quotes, µs", "p50", "p99", "p99.9");
    let quantiles =
        [("without the bad ones", alone), ("beside them", beside)].map(|(name, ages)| {
            let at = [0.5, 0.99, 0.999].map(|at| ages.value_at_quantile(at) as f64 / 1000.0);
            println!("{name:<30}{:>10.0}{:>10.0}{:>10.0}", at[0], at[1], at[2]);
            at
        });
    quantiles[1][1] / quantiles[0][1]
}

/// Fills the server to its limit; the next one is refused in words, at once.
fn answered_503_at_the_limit(server: &Server) {
    let here = server.metric("connector_clients", &[]) as usize;
    let filling: Vec<TcpStream> =
        (here..CLIENTS_MAX).map(|at| connect(server.clients, at % SERIES, 1)).collect();
    let begin = Instant::now();
    let mut refused = TcpStream::connect(server.clients).unwrap();
    refused.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    // It is told before it has said anything.
    std::io::Read::read_to_string(&mut refused, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: "), "{answer}");
    println!("at {CLIENTS_MAX} clients the next one had its 503 after {:?}", begin.elapsed());
    drop(filling);
}

fn since_of(reason: &str) -> i64 {
    let (_, since) = reason.split_once("\"since\":").unwrap_or_else(|| panic!("{reason}"));
    since.parse().unwrap()
}

/// Resumes from `since` and asserts that each window up to `newest` comes once, and is the truth.
fn assert_complete(server: &Server, since: i64, newest: i64) {
    let mut client = Client::connect(server.clients);
    client.send(&request(0, SERIES_OF_BAD, &format!(r#","since":{since}"#)));
    assert!(client.next().is("subscribed"));
    let mut next = std::collections::BTreeMap::<String, i64>::new();
    let mut ended = 0;
    while ended < SERIES_OF_BAD {
        let text = client.next();
        let symbol = text.json["symbol"].as_str().unwrap().to_owned();
        let expected = next.entry(symbol).or_insert(since + MINUTE);
        if text.is("history") {
            assert_eq!((&text.json["missing"], *expected), (&0.into(), newest + MINUTE));
            ended += 1;
        } else if text.is_closed_candle() {
            assert_eq!(text.json["open_time"], *expected);
            assert_eq!(text.json["close"], price(*expected));
            *expected += MINUTE;
        } else {
            assert!(text.is("quote"), "{}", text.text);
        }
    }
}

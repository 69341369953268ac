//! What the server is compared with: the least a relay can do, and what is usually written.

use std::io::{BufRead, BufReader, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::Message;

/// Runs the relay called `name` towards `upstream`, and prints where it listens.
pub(crate) fn run(name: &str, upstream: SocketAddr) {
    match name {
        "copier" => copier(upstream),
        "writes" => plain_writes(upstream, false),
        "gathered" => plain_writes(upstream, true),
        "tokio" => tokio_relay(upstream),
        _ => panic!("no relay is called {name}"),
    }
}

/// Pins this thread to one of the CPUs it may use.
pub(crate) fn pin(choose: impl Fn(&[core_affinity::CoreId]) -> Option<&core_affinity::CoreId>) {
    let mut cpus = core_affinity::get_core_ids().unwrap_or_default();
    cpus.sort_unstable();
    if let Some(&cpu) = choose(&cpus) {
        core_affinity::set_for_current(cpu);
    }
}

/// A thread that spins on two non-blocking sockets and copies the bytes, both ways.
fn copier(upstream: SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("ws://{}", listener.local_addr().unwrap());
    let (client, _) = listener.accept().unwrap();
    let exchange = TcpStream::connect(upstream).unwrap();
    for socket in [&client, &exchange] {
        socket.set_nodelay(true).unwrap();
        socket.set_nonblocking(true).unwrap();
    }
    pin(<[_]>::last);
    let mut buffer = [0; 64 * 1024];
    loop {
        copy(&exchange, &client, &mut buffer);
        copy(&client, &exchange, &mut buffer);
    }
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, buffer: &mut [u8]) {
    match from.read(buffer) {
        Ok(0) => std::process::exit(0),
        Ok(count) => {
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                match to.write(rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => std::process::exit(0),
                }
            }
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(_) => std::process::exit(0),
    }
}

/// Waits for the exchange's bytes, then writes a minute's close to each client, blocking: as one
/// piece, or gathered from its frames.
fn plain_writes(upstream: SocketAddr, is_gathered: bool) {
    const SERIES: usize = 2_000;
    let payload =
        format!("{{\"type\":\"quote\",\"x\":\"{}\"}}", "x".repeat(SERVER_QUOTE_BYTES - 23));
    let mut bytes = Vec::new();
    (0..SERIES).for_each(|_| connector_wss::wire::write_text_frame(&mut bytes, payload.as_bytes()));
    let frames: Vec<&[u8]> = bytes.chunks(bytes.len() / SERIES).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("ws://{}", listener.local_addr().unwrap());
    let mut exchange = TcpStream::connect(upstream).unwrap();
    pin(<[_]>::last);
    let accept = || listener.accept().map(|(client, _)| client).unwrap();
    let clients: Vec<TcpStream> = (0..100).map(|_| accept()).collect();
    clients.iter().for_each(|client| client.set_nodelay(true).unwrap());
    loop {
        // A minute begins with its length in bytes.
        let mut length = [0; 8];
        if exchange.read_exact(&mut length).is_err() {
            return;
        }
        for client in &clients {
            if is_gathered {
                write_gathered(client, &frames);
            } else {
                write_all(client, &bytes);
            }
        }
        let mut rest = (&exchange).take(u64::from_le_bytes(length));
        std::io::copy(&mut rest, &mut std::io::sink()).unwrap();
    }
}

fn write_all(mut client: &TcpStream, bytes: &[u8]) {
    if client.write_all(bytes).is_err() {
        std::process::exit(0);
    }
}

fn write_gathered(mut client: &TcpStream, frames: &[&[u8]]) {
    let mut slices: Vec<IoSlice> = frames.iter().map(|frame| IoSlice::new(frame)).collect();
    let mut slices = slices.as_mut_slice();
    while !slices.is_empty() {
        let gathered = &slices[..slices.len().min(1024)];
        match client.write_vectored(gathered) {
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(_) => std::process::exit(0),
        }
    }
}

/// Payload of a closed quote as this server sends it at the minute boundary.
const SERVER_QUOTE_BYTES: usize = 510;

/// Binance's message as one usually declares it.
#[derive(Deserialize)]
struct Push {
    #[serde(rename = "E")]
    event_time: i64,
    #[serde(rename = "k")]
    kline: Kline,
}

#[derive(Deserialize)]
struct Kline {
    s: String,
    o: String,
    h: String,
    l: String,
    c: String,
    v: String,
    n: u64,
    x: bool,
}

/// The quote as one usually declares it.
#[derive(Serialize)]
struct Quote {
    r#type: &'static str,
    timestamp: i64,
    exchange: &'static str,
    symbol: String,
    contract_type: &'static str,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    n: u64,
    is_closed_candle: bool,
}

/// tokio + tokio-tungstenite + serde_json, a broadcast channel in the middle, a task per client.
#[tokio::main]
async fn tokio_relay(upstream: SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("ws://{}", listener.local_addr().unwrap());
    let (quotes, _) = tokio::sync::broadcast::channel::<Message>(65_536);
    let publisher = quotes.clone();
    tokio::spawn(async move {
        let url = format!("ws://{upstream}/ws/btcusdt@kline_1m");
        let stream = tokio::net::TcpStream::connect(upstream).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut exchange, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        while let Some(Ok(message)) = exchange.next().await {
            let Message::Text(text) = message else { continue };
            let Ok(push) = serde_json::from_str::<Push>(&text) else { continue };
            let quote = quote_of(push);
            let _receivers = publisher.send(Message::text(serde_json::to_string(&quote).unwrap()));
        }
        std::process::exit(0);
    });
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut quotes = quotes.subscribe();
        tokio::spawn(async move {
            let mut client = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Ok(quote) = quotes.recv().await {
                if client.send(quote).await.is_err() {
                    return;
                }
            }
        });
    }
}

fn quote_of(push: Push) -> Quote {
    let kline = push.kline;
    Quote {
        r#type: "quote",
        timestamp: push.event_time,
        exchange: "binance",
        symbol: kline.s,
        contract_type: "spot",
        open: kline.o.parse().unwrap(),
        high: kline.h.parse().unwrap(),
        low: kline.l.parse().unwrap(),
        close: kline.c.parse().unwrap(),
        volume: kline.v.parse().unwrap(),
        n: kline.n,
        is_closed_candle: kline.x,
    }
}

/// Starts a relay of this file towards `upstream`; where it listens for clients.
pub(crate) fn start_relay(name: &str, upstream: SocketAddr) -> (Running, SocketAddr) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--relay", name, &upstream.to_string()]);
    start(&mut command)
}

/// Starts the server with Binance's spot at `upstream`; where it listens for clients.
pub(crate) fn start_server(upstream: SocketAddr, env: &[(&str, &str)]) -> (Running, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connector-wss"));
    command
        .env("CONNECTOR_WSS_PORT", "0")
        .env("CONNECTOR_WSS_HEALTH_CHECK_PORT", "0")
        .env("CONNECTOR_LOG_DIR", std::env::temp_dir().join("connector-bench"))
        .env("CONNECTOR_BINANCE_SPOT_WS_URL", format!("ws://{upstream}"))
        .env("CONNECTOR_BINANCE_SPOT_REST_URL", format!("http://{upstream}"))
        .envs(env.iter().copied());
    start(&mut command)
}

fn start(command: &mut Command) -> (Running, SocketAddr) {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the relay starts");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines
        .by_ref()
        .map(|line| line.expect("the relay says where it listens"))
        .find_map(|line| line.split("ws://").nth(1)?.split_whitespace().next()?.parse().ok())
        .expect("a line with ws://ADDRESS");
    std::thread::spawn(move || lines.for_each(drop));
    (Running(child), address)
}

/// A relay's process; ends with the measurement, whatever becomes of that.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// CPU time that a process has used. Source: proc(5), fields 14 and 15 of stat.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

pub(crate) fn print_host() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    println!(
        "host: {} × {}, Linux {}, governor {}",
        std::thread::available_parallelism().unwrap(),
        model.unwrap_or("unknown CPU"),
        read("/proc/sys/kernel/osrelease"),
        if governor.is_empty() { "unknown" } else { &governor },
    );
}

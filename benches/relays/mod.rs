//! What the server is compared with: the least a relay can do, and what is usually written.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio_tungstenite::tungstenite::Message;

/// Runs the relay called `name` towards `upstream`, and prints where it listens.
pub(crate) fn run(name: &str, upstream: SocketAddr) {
    match name {
        "copier" => copier(upstream),
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

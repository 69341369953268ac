//! What the server is compared with: the least a relay can do, and what is usually written. Each
//! runs in a process of its own.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use connector_wss::wire::tls;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio_tungstenite::tungstenite::Message;

use crate::process;

/// Runs the relay called `name` towards `upstream`, by TLS if an authority's file is given, and
/// prints where it listens.
pub(crate) fn run(name: &str, upstream: SocketAddr, authority: Option<&str>) {
    let tls =
        authority.map(|path| tls::client_config(Some(&std::fs::read(path).unwrap())).unwrap());
    match name {
        "copier" => copier(upstream, tls),
        "sleeper" => sleeper(upstream, tls),
        "writes" => plain_writes(upstream),
        "tokio" => tokio_relay(upstream, tls),
        _ => panic!("no relay is called {name}"),
    }
}

/// What a copier's client is greeted with, so that it knows that it will get every byte from then
/// on, and what it answers; the same between the exchange and the copier. An empty text frame.
///
/// The answer matters: what comes to a socket that has said something after it has heard something,
/// as every subscriber does, the kernel acknowledges later and less often, and over loopback at the
/// expense of who writes and not of who reads.
pub(crate) const HELLO: [u8; 2] = [0x81, 0];

/// Hears the greeting and answers it.
pub(crate) fn answer_hello(mut stream: impl Read + Write) {
    let mut hello = HELLO;
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(hello, HELLO);
    stream.write_all(&HELLO).unwrap();
}

/// A thread that spins on a non-blocking socket and copies the bytes to each client. It knows no
/// WebSocket; neither do its exchange and its clients.
fn copier(upstream: SocketAddr, tls: Option<Arc<ClientConfig>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("ws://{}", listener.local_addr().unwrap());
    let (mut exchange, socket) = connect(upstream, tls);
    socket.set_nonblocking(true).unwrap();
    listener.set_nonblocking(true).unwrap();
    process::pin(<[_]>::last);
    let (mut clients, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        match exchange.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => clients.iter().for_each(|client| write_all(client, &buffer[..count])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if let Ok((client, _)) = listener.accept() {
                    client.set_nodelay(true).unwrap();
                    client.set_nonblocking(true).unwrap();
                    write_all(&client, &HELLO);
                    clients.push(client);
                }
            }
            Err(_) => return,
        }
    }
}

/// As [`copier`], but asleep in `read` until bytes come.
fn sleeper(upstream: SocketAddr, tls: Option<Arc<ClientConfig>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("ws://{}", listener.local_addr().unwrap());
    let (mut exchange, _) = connect(upstream, tls);
    let clients = Arc::new(Mutex::new(Vec::new()));
    let newcomers = Arc::clone(&clients);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            client.set_nodelay(true).unwrap();
            client.set_nonblocking(true).unwrap();
            write_all(&client, &HELLO);
            newcomers.lock().unwrap().push(client);
        }
    });
    process::pin(<[_]>::last);
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = exchange.read(&mut buffer) {
        let clients = clients.lock().unwrap();
        clients.iter().for_each(|client| write_all(client, &buffer[..count]));
    }
}

/// A connection, and its socket.
fn connect(upstream: SocketAddr, tls: Option<Arc<ClientConfig>>) -> (Box<dyn Read>, TcpStream) {
    let socket = TcpStream::connect(upstream).unwrap();
    socket.set_nodelay(true).unwrap();
    let handle = socket.try_clone().unwrap();
    let Some(config) = tls else {
        answer_hello(&socket);
        return (Box::new(socket), handle);
    };
    let session = ClientConnection::new(config, ServerName::from(upstream.ip())).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).unwrap();
    }
    answer_hello(&mut stream);
    (Box::new(stream), handle)
}

fn write_all(mut client: &TcpStream, mut rest: &[u8]) {
    while !rest.is_empty() {
        match client.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => std::process::exit(0),
        }
    }
}

/// Waits for the exchange's bytes, then writes a minute's close to each client, blocking and as one
/// piece.
fn plain_writes(upstream: SocketAddr) {
    const SERIES: usize = 2_000;
    let payload =
        format!("{{\"type\":\"quote\",\"x\":\"{}\"}}", "x".repeat(SERVER_QUOTE_BYTES - 23));
    let mut bytes = Vec::new();
    (0..SERIES).for_each(|_| connector_wss::wire::write_text_frame(&mut bytes, payload.as_bytes()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("ws://{}", listener.local_addr().unwrap());
    let mut exchange = TcpStream::connect(upstream).unwrap();
    answer_hello(&exchange);
    process::pin(<[_]>::last);
    let accept = || {
        let (mut client, _) = listener.accept().unwrap();
        client.set_nodelay(true).unwrap();
        client.write_all(&HELLO).unwrap();
        client
    };
    let clients: Vec<TcpStream> = (0..100).map(|_| accept()).collect();
    loop {
        // A minute begins with its length in bytes.
        let mut length = [0; 8];
        if exchange.read_exact(&mut length).is_err() {
            return;
        }
        for mut client in &clients {
            if client.write_all(&bytes).is_err() {
                return;
            }
        }
        let mut rest = (&exchange).take(u64::from_le_bytes(length));
        std::io::copy(&mut rest, &mut std::io::sink()).unwrap();
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

/// The quote as one usually declares it; `trade_num` under its exchange's name.
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
async fn tokio_relay(upstream: SocketAddr, tls: Option<Arc<ClientConfig>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("ws://{}", listener.local_addr().unwrap());
    let (quotes, _) = tokio::sync::broadcast::channel::<Message>(65_536);
    tokio::spawn(listen(upstream, tls, quotes.clone()));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut quotes = quotes.subscribe();
        tokio::spawn(async move {
            let mut client = tokio_tungstenite::accept_async(stream).await.unwrap();
            // Whatever it asks for.
            let Some(Ok(_request)) = client.next().await else { return };
            loop {
                let quote = match quotes.recv().await {
                    Ok(quote) => quote,
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return,
                };
                if client.send(quote).await.is_err() {
                    return;
                }
            }
        });
    }
}

type Quotes = tokio::sync::broadcast::Sender<Message>;

async fn listen(upstream: SocketAddr, tls: Option<Arc<ClientConfig>>, quotes: Quotes) {
    let stream = tokio::net::TcpStream::connect(upstream).await.unwrap();
    stream.set_nodelay(true).unwrap();
    match tls {
        None => publish(upstream, stream, quotes).await,
        Some(config) => {
            let connector = tokio_rustls::TlsConnector::from(config);
            let name = ServerName::from(upstream.ip());
            publish(upstream, connector.connect(name, stream).await.unwrap(), quotes).await;
        }
    }
    std::process::exit(0);
}

async fn publish<S>(upstream: SocketAddr, stream: S, quotes: Quotes)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let url = format!("ws://{upstream}/ws");
    let (mut exchange, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let request = r#"{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}"#;
    exchange.send(Message::text(request)).await.unwrap();
    while let Some(Ok(message)) = exchange.next().await {
        let Message::Text(text) = message else { continue };
        let Ok(push) = serde_json::from_str::<Push>(&text) else { continue };
        let quote = quote_of(push);
        let _receivers = quotes.send(Message::text(serde_json::to_string(&quote).unwrap()));
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

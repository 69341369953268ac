//! An exchange that refuses one name, as it was seen, and ends the connection for it: the names
//! beside it go on, and only the one is refused.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connector_wss::clock::Clock;
use serde_json::Value;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use super::harness::Server;

/// A stand-in of Binance's spot market: it streams every symbol, and refuses those that end in
/// `BBB`.
struct StandIn {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl StandIn {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let count = Arc::clone(&count);
                std::thread::spawn(move || {
                    // A REST request is no upgrade: it finds nobody.
                    if let Ok(socket) = tungstenite::accept(stream) {
                        count.fetch_add(1, Ordering::Relaxed);
                        serve(socket);
                    }
                });
            }
        });
        Self { address, connections }
    }
}

fn serve(mut socket: WebSocket<TcpStream>) -> Option<()> {
    let clock = Clock::new();
    socket.get_ref().set_read_timeout(Some(Duration::from_millis(100))).ok()?;
    let mut streamed = BTreeSet::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let message: Value = serde_json::from_str(&text).ok()?;
                let names = message["params"].as_array()?.iter().filter_map(Value::as_str);
                let symbols: Vec<String> =
                    names.map(|name| name.split('@').next().unwrap().to_uppercase()).collect();
                if symbols.iter().any(|symbol| symbol.ends_with("BBB")) {
                    return refuse(socket);
                }
                let accepted = format!(r#"{{"result":null,"id":{}}}"#, message["id"]);
                socket.send(Message::text(accepted)).ok()?;
                streamed.extend(symbols);
            }
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
            {
                let now = clock.now().unix_ms().0;
                for symbol in &streamed {
                    socket.send(Message::text(kline(symbol, now))).ok()?;
                }
            }
            Ok(_) => {}
            Err(_) => return None,
        }
    }
}

fn refuse(mut socket: WebSocket<TcpStream>) -> Option<()> {
    let words = r#"{"error":{"code":2,"msg":"Invalid request: invalid stream"}}"#;
    socket.send(Message::text(words)).ok()?;
    socket.close(Some(CloseFrame { code: 1008.into(), reason: "".into() })).ok()?;
    while socket.read().is_ok() {}
    Some(())
}

fn kline(symbol: &str, now: i64) -> String {
    let open = now - now.rem_euclid(60_000);
    let close = open + 59_999;
    format!(
        r#"{{"e":"kline","E":{now},"s":"{symbol}","k":{{"t":{open},"T":{close},"s":"{symbol}","i":"1m","f":1,"L":2,"o":"1.10","c":"{}.5","h":"90.00","l":"0.50","v":"{}","n":7,"x":false,"q":"20.0","V":"1","Q":"2","B":"0"}}}}"#,
        now / 100 % 60 + 1,
        now % 60_000 + 1
    )
}

#[test]
fn a_name_that_costs_its_session_costs_forty_others_one_reconnect() {
    let exchange = StandIn::start();
    let env = [("WS", "ws"), ("REST", "http")].map(|(name, scheme)| {
        let url = format!("{scheme}://{}", exchange.address);
        (format!("CONNECTOR_BINANCE_SPOT_{name}_URL"), url)
    });
    let server = Server::start(env.into(), &[]);
    let symbols: Vec<String> = (0..40).map(|number| format!("S{number}USDT")).collect();
    let head = r#""exchange":"binance","contract_type":"spot""#;
    let mut client = server.ask(&format!(r#"{{{head},"symbols":{}}}"#, serde_json::json!(symbols)));
    let mut quoted = BTreeSet::new();
    while quoted.len() < 40 {
        quoted.insert(client.next_of("quote").json["symbol"].as_str().unwrap().to_owned());
    }
    let mut other = server.ask(&format!(r#"{{{head},"symbols":["AAA_BBB"]}}"#));
    let error = other.next_of("error").json;
    assert_eq!(error["code"], "symbol_rejected", "{error}");
    assert_eq!(error["symbols"], serde_json::json!(["AAA_BBB"]));
    let words = error["exchange_message"].as_str().unwrap();
    assert!(words.contains("Invalid request: invalid stream"), "{words}");
    while client.next_of("notice").json["code"] != "session_back" {}
    quoted.clear();
    while quoted.len() < 40 {
        quoted.insert(client.next_of("quote").json["symbol"].as_str().unwrap().to_owned());
    }
    assert_eq!(exchange.connections.load(Ordering::Relaxed), 2, "one reconnect");
    assert_eq!(server.readiness("spot")["circuit_state"], "closed");
    for odd in ["AAA+BBB", "VENUE:AAABBB", "AAA\\u200bBBB"] {
        let mut door = server.ask(&format!(r#"{{{head},"symbols":["{odd}"]}}"#));
        let error = door.next_of("error");
        assert_eq!(error.json["code"], "invalid_symbol", "{}", error.text);
        assert!(!error.text.contains('\u{200b}'), "{}", error.text);
    }
    assert_eq!(exchange.connections.load(Ordering::Relaxed), 2);
}

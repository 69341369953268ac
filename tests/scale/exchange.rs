//! An exchange that pushes as fast as it is told: Binance's dialect, every second push of a series
//! closes a window. Knows when each push was sent and what its candle said.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tungstenite::{Message, WebSocket};

/// Open time of window 0, in ms.
pub(crate) const WINDOW_0: i64 = 1_700_000_040_000;
pub(crate) const MINUTE: i64 = 60_000;
/// Pushes one run may send.
const PUSHES_MAX: usize = 1 << 20;

/// The exchange's end of the server's session.
pub(crate) struct Exchange {
    socket: TcpStream,
    symbols: Vec<String>,
    begin: Instant,
    sent: Arc<SentTimes>,
    pushes: u64,
    /// Pushes that every series has had.
    rounds: i64,
}

/// When each push was due, in ns since the beginning; its number is the candle's trade count.
pub(crate) struct SentTimes(Vec<AtomicU64>);

impl SentTimes {
    pub(crate) fn due_ns(&self, number: usize) -> u64 {
        self.0[number].load(Ordering::Acquire)
    }
}

pub(crate) fn symbol(number: usize) -> String {
    format!("SIM{number:04}USDT")
}

/// Variables that point the server's Binance spot at `address`; REST answers nothing.
pub(crate) fn env(address: SocketAddr) -> Vec<(String, String)> {
    let pair = |name: &str, value: String| (name.to_owned(), value);
    vec![
        pair("CONNECTOR_BINANCE_SPOT_WS_URL", format!("ws://{address}")),
        pair("CONNECTOR_BINANCE_SPOT_REST_URL", "http://127.0.0.1:9".to_owned()),
    ]
}

impl Exchange {
    /// Takes the one session of the server, and its subscriptions of `series` symbols.
    pub(crate) fn accept(listener: &TcpListener, series: usize, begin: Instant) -> Self {
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut socket: WebSocket<TcpStream> = tungstenite::accept(stream).unwrap();
        let mut symbols = BTreeMap::new();
        while symbols.len() < series {
            let Message::Text(text) = socket.read().unwrap() else { continue };
            let request: serde_json::Value = serde_json::from_str(&text).unwrap();
            let answer = format!("{{\"result\":null,\"id\":{}}}", request["id"]);
            socket.send(Message::text(answer)).unwrap();
            for stream in request["params"].as_array().unwrap() {
                let symbol = stream.as_str().unwrap().split('@').next().unwrap();
                symbols.insert(symbol.to_uppercase(), ());
            }
        }
        let stream = socket.get_ref().try_clone().unwrap();
        std::mem::forget(socket);
        let sent = (0..PUSHES_MAX).map(|_| AtomicU64::new(0)).collect();
        Self {
            socket: stream,
            symbols: symbols.into_keys().collect(),
            begin,
            sent: Arc::new(SentTimes(sent)),
            pushes: 0,
            rounds: 0,
        }
    }

    pub(crate) fn sent(&self) -> Arc<SentTimes> {
        Arc::clone(&self.sent)
    }

    /// Open time of the newest window that is closed for every series.
    pub(crate) fn newest_closed(&self) -> i64 {
        WINDOW_0 + (self.rounds / 2 - 1) * MINUTE
    }

    /// Pushes evenly for `duration`: each series `per_second` times.
    pub(crate) fn push(&mut self, per_second: f64, duration: Duration) {
        let rounds = (duration.as_secs_f64() * per_second).round() as usize;
        let pause = Duration::from_secs_f64(1.0 / (per_second * self.symbols.len() as f64));
        let mut due = self.begin.elapsed();
        for _ in 0..rounds {
            for at in 0..self.symbols.len() {
                due += pause;
                if let Some(early) = due.checked_sub(self.begin.elapsed()) {
                    std::thread::sleep(early);
                }
                self.push_one(at, due);
            }
            self.rounds += 1;
        }
    }

    /// Says something, as exchanges do even when nothing is traded.
    pub(crate) fn show_life(&mut self) {
        self.socket.write_all(&[0x8a, 0]).unwrap();
    }

    fn push_one(&mut self, at: usize, due: Duration) {
        let (window, is_closed) = (self.rounds / 2, self.rounds % 2 == 1);
        let (open_time, symbol) = (WINDOW_0 + window * MINUTE, &self.symbols[at]);
        self.pushes += 1;
        let number = self.pushes as usize;
        self.sent.0[number].store(due.as_nanos() as u64, Ordering::Release);
        let payload = format!(
            "{{\"e\":\"kline\",\"E\":{},\"s\":\"{symbol}\",\"k\":{{\"t\":{open_time},\"T\":{},\
             \"s\":\"{symbol}\",\"i\":\"1m\",\"f\":100,\"L\":200,\"o\":\"1.00\",\"c\":\"{}\",\
             \"h\":\"99999.00\",\"l\":\"1.00\",\"v\":\"12.34567000\",\"n\":{number},\
             \"x\":{is_closed},\"q\":\"358499.12345678\",\"V\":\"6.1\",\"Q\":\"1.6\",\"B\":\"0\"}}}}",
            open_time + 30_000,
            open_time + MINUTE - 1,
            price(open_time),
        );
        let mut frame = Vec::new();
        connector_wss::wire::write_text_frame(&mut frame, payload.as_bytes());
        self.socket.write_all(&frame).unwrap();
    }
}

/// The closing price of every series in a window.
pub(crate) fn price(open_time: i64) -> i64 {
    (open_time - WINDOW_0) / MINUTE + 2
}

//! Everything that reads what comes from outside, as functions of bytes. The first byte chooses the
//! reader, the second one of its forms (the market, the moment), the rest is what it reads.

use std::sync::Arc;
use std::time::Duration;

use connector_wss::clock::{MonoNs, Now, UnixMs};
use connector_wss::config::Config;
use connector_wss::fanout::{Access, ClientId, Fanout, FanoutConfig, Output};
use connector_wss::market::{Decimal, Interval, Market};
use connector_wss::messages::RestResponse;
use connector_wss::metrics::FanoutMetrics;
use connector_wss::venue::{self, Klines};
use connector_wss::wire::http::RequestHead;
use connector_wss::wire::json::JsonReader;
use connector_wss::wire::{Connection, Endpoint, tls, write_text_frame};

/// How many readers there are.
pub(crate) const READERS: u8 = 9;

/// Reads `data` as whatever its first byte says.
///
/// # Panics
/// If a reader panics, or breaks its word.
pub(crate) fn read(data: &[u8]) {
    let [reader, form, rest @ ..] = data else { return };
    let market = Market::all().nth(usize::from(*form) % Market::COUNT).unwrap();
    match reader % READERS {
        0 => push(market, rest),
        1 => rest_body(market, *form, rest),
        2 => client_bytes(*form, rest),
        3 => client_text(rest),
        4 => exchange_bytes(rest),
        5 => http_head(rest),
        6 => decimal(rest),
        7 => endpoint(rest),
        _ => variable(*form, rest),
    }
}

fn push(market: Market, text: &[u8]) {
    let mut json = JsonReader::default();
    let mut pushed = Klines::new();
    let is_push = str::from_utf8(text)
        .is_ok_and(|text| venue::read_push(market, text, &mut pushed).is_some());
    let read = json.read(text, |root| {
        let mut klines = Klines::new();
        if venue::decode(market, root, &mut klines).is_ok() {
            assert!(!is_push || klines == pushed, "both ways to read it agree");
            for kline in &klines {
                assert!(!kline.symbol.is_empty());
                assert!(kline.interval.is_aligned(kline.candle.open_time));
                assert!(!kline.candle.volume.is_negative());
            }
            return true;
        }
        false
    });
    assert!(!is_push || read == Ok(true), "what is read in one pass is understood");
    let _pong = str::from_utf8(text).map(|text| venue::is_plain_text(market, text));
}

fn rest_body(market: Market, form: u8, body: &[u8]) {
    let status = [200, 400, 403, 418, 429, 500][usize::from(form / 16) % 6];
    let limit_headers = vec![
        ("date".to_owned(), "Tue, 14 Nov 2023 22:13:20 GMT".to_owned()),
        (
            "x-mbx-used-weight-1m".to_owned(),
            String::from_utf8_lossy(&body[..body.len().min(9)]).into(),
        ),
        ("x-bapi-limit-status".to_owned(), "1".to_owned()),
        ("x-bapi-limit-reset-timestamp".to_owned(), i64::MAX.to_string()),
        ("x-gate-ratelimit-requests-remain".to_owned(), "0".to_owned()),
        ("x-gate-ratelimit-reset-timestamp".to_owned(), i64::MAX.to_string()),
    ];
    let response = RestResponse { status, retry_after: None, limit_headers, body: body.to_vec() };
    let mut json = JsonReader::default();
    if let Ok(read) = venue::read_candles(market, &mut json, &response, ("BTCUSDT", Interval::M1)) {
        let times = read.candles.iter().map(|row| row.candle.open_time);
        assert!(times.is_sorted_by(|a, b| a < b), "ascending, each window once");
    }
    venue::read_symbol_check(market, &mut json, &response, ("BTCUSDT", Interval::M1));
    let _listed = venue::read_instruments(market, None, &response.body[..]);
    let pause = venue::rest_exhausted(market, &response, UnixMs(1_700_000_000_000));
    assert!(pause.is_none_or(|pause| pause < Duration::from_secs(120)));
}

/// A client that is accepted, and its handshake where `greeted`.
struct Guest {
    fanout: Fanout,
    id: ClientId,
    now: Now,
    heard: Vec<u8>,
}

impl Guest {
    fn new(is_greeted: bool) -> Self {
        let now = Now { mono: MonoNs(1), unix_us: 1_700_000_000_000_000 };
        let config = FanoutConfig {
            subscribe_timeout: Duration::from_secs(10),
            close_linger: Duration::from_secs(10),
            client_buffer_max: 100_000,
            clients_max: 4,
            refusals_max: 256,
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(20),
            history_candles: 16,
            shards: 1,
            carriers: [1; Market::COUNT],
            preload: Vec::new(),
            tails: Default::default(),
            has_ledger: false,
            catch_up: 60,
            access: Access::default(),
        };
        let mut fanout = Fanout::new(config, Arc::new(FanoutMetrics::default()), now);
        let id = fanout.handle_accepted("127.0.0.1:9".parse().unwrap(), now);
        let mut guest = Self { fanout, id, now, heard: Vec::new() };
        if is_greeted {
            guest.say(HANDSHAKE);
            assert!(guest.heard.starts_with(b"HTTP/1.1 101 "));
            guest.heard.clear();
        }
        guest
    }

    fn say(&mut self, bytes: &[u8]) {
        self.fanout.handle_bytes(self.id, bytes, self.now);
        while let Some(output) = self.fanout.poll_output() {
            if let Output::Transmit { client } = output {
                let bytes = self.fanout.outgoing(client).to_vec();
                self.heard.extend(&bytes);
                self.fanout.consume_outgoing(client, bytes.len(), self.now);
            }
        }
    }
}

fn client_bytes(form: u8, bytes: &[u8]) {
    let mut guest = Guest::new(form.is_multiple_of(2));
    let cut = usize::from(form) % (bytes.len() + 1);
    guest.say(&bytes[..cut]);
    guest.say(&bytes[cut..]);
    guest.now.mono = guest.now.mono.after(Duration::from_secs(3600));
    let now = guest.now;
    guest.fanout.handle_timeout(now);
    guest.say(b"");
}

/// One text message: every answer is one line of JSON.
fn client_text(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    if text.len() > 60_000 {
        return;
    }
    let mut guest = Guest::new(true);
    let mut frame = Vec::new();
    write_text_frame(&mut frame, text.as_bytes());
    guest.say(&masked(&frame));
    let mut rest = &guest.heard[..];
    let mut answers = 0;
    while let Some((opcode, payload, next)) = unframe(rest) {
        if opcode == 1 {
            assert!(!payload.contains(&b'\n'));
            let _: serde_json::Value = serde_json::from_slice(payload).unwrap();
            answers += 1;
        }
        rest = next;
    }
    assert!(answers > 0, "everything that is said is answered: {text:?}");
}

/// The frame with the mask bit and a mask of zeros.
fn masked(frame: &[u8]) -> Vec<u8> {
    let head = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let mut out = frame[..head].to_vec();
    out[1] |= 0x80;
    out.extend([0; 4]);
    out.extend(&frame[head..]);
    out
}

fn unframe(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, length) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        length => (2, usize::from(length)),
    };
    let payload = bytes.get(head..head + length)?;
    Some((bytes[0] & 15, payload, &bytes[head + length..]))
}

fn exchange_bytes(bytes: &[u8]) {
    let endpoint = Endpoint::parse("ws://127.0.0.1:1/ws").unwrap();
    let config = tls::client_config(None).unwrap();
    let mut wire = Connection::client(&endpoint, &config, [7; 16], &[]).unwrap();
    let (greeting, rest) = match bytes.split_first() {
        Some((0..128, rest)) => (SWITCHING, rest),
        _ => (&b""[..], bytes),
    };
    let _taken = wire.handle_bytes(greeting);
    let _taken = wire.handle_bytes(rest);
    for _ in 0..1000 {
        match wire.next_event() {
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

fn http_head(bytes: &[u8]) {
    if let Ok(Some(head)) = RequestHead::parse(bytes) {
        head.keeps_alive();
        head.has_token("connection", "upgrade");
        head.value("host");
    }
}

fn decimal(text: &[u8]) {
    if let Ok(number) = Decimal::parse(text) {
        assert_eq!(Decimal::parse(number.as_bytes()), Ok(number));
        let value: f64 = number.as_str().parse().unwrap();
        assert_eq!(number.is_negative(), value < 0.0);
        assert_eq!(number.cmp(&Decimal::ZERO), value.partial_cmp(&0.0).unwrap());
    }
}

fn endpoint(text: &[u8]) {
    if let Ok(text) = std::str::from_utf8(text) {
        let _parsed = Endpoint::parse(text);
    }
}

/// The value of a variable, as `.env` or the environment would give it.
fn variable(form: u8, text: &[u8]) {
    const NAMES: [&str; 10] = [
        "CONNECTOR_PRELOAD",
        "CONNECTOR_SHARD_CPUS",
        "CONNECTOR_WSS_HOST",
        "CONNECTOR_WSS_PORT",
        "CONNECTOR_RECONNECT_DELAY",
        "CONNECTOR_CLIENT_BUFFER_MAX",
        "CONNECTOR_BINANCE_SPOT_WS_URL",
        "CONNECTOR_OKX_SWAP_REST_URL",
        "CONNECTOR_LOG_LEVEL",
        "CONNECTOR_WAIT",
    ];
    let name = NAMES[usize::from(form) % NAMES.len()];
    if let Ok(text) = std::str::from_utf8(text)
        && let Err(error) = Config::from_pairs(&[(name, text)])
    {
        assert!(error.to_string().contains(name), "it names the variable: {error}");
    }
}

const HANDSHAKE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// The answer to the key of sevens.
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: r7PPOOlQKLqx5bNKB3BYY+HBjws=\r\n\r\n";

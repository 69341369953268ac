//! The simulator over real loopback sockets, spoken to by tungstenite's blocking client and a bare
//! HTTP client: what a connector will meet.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use connector_wss::market::{Market, Venue};
use connector_wss::sim::{self, Playback, SimOptions, Simulator};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tungstenite::{Message, WebSocket};

#[path = "simulator/clients.rs"]
mod clients;

/// Longer than anything takes on a busy machine; reached only by a failing test.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a silent stream is listened to: many push intervals.
const SILENCE: Duration = Duration::from_millis(600);

fn market(name: &str) -> Market {
    Market::find(Venue::Binance, name).unwrap()
}

/// Fast: a minute passes in half a second, closes come at once, pushes every 10 ms.
fn fast() -> SimOptions {
    SimOptions {
        time_scale: 120,
        push_interval: Duration::from_millis(10),
        close_delay_ms: Some((5, 120)),
        ..SimOptions::default()
    }
}

fn tcp(simulator: &Simulator, market: Market) -> TcpStream {
    let stream = TcpStream::connect(simulator.address(market)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn connect(simulator: &Simulator, kind: &str, path: &str) -> WebSocket<TcpStream> {
    let url = format!("ws://localhost{path}");
    let stream = tcp(simulator, market(kind));
    tungstenite::client(url, stream).unwrap().0
}

/// Subscribes and checks the acknowledgement.
fn subscribe<S: Read + Write>(socket: &mut WebSocket<S>, streams: &[&str]) {
    let params = serde_json::to_string(streams).unwrap();
    let text = format!("{{\"method\":\"SUBSCRIBE\",\"params\":{params},\"id\":7}}");
    socket.send(Message::text(text)).unwrap();
    assert_eq!(text_of(socket), "{\"result\":null,\"id\":7}");
}

/// The next text message.
fn text_of<S: Read + Write>(socket: &mut WebSocket<S>) -> String {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return text.to_string();
        }
    }
}

fn json_of<S: Read + Write>(socket: &mut WebSocket<S>) -> Value {
    serde_json::from_str(&text_of(socket)).unwrap()
}

fn assert_silent(socket: &mut WebSocket<TcpStream>) {
    socket.get_ref().set_read_timeout(Some(SILENCE)).unwrap();
    match socket.read() {
        Err(tungstenite::Error::Io(_)) => {}
        other => panic!("expected silence, got {other:?}"),
    }
}

/// Status, head and body of the answer to one request.
fn http<S: Read + Write>(stream: &mut S, request: &str) -> (u16, String, String) {
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        read_some(stream, &mut bytes);
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap().to_lowercase();
    let length: usize = header(&head, "content-length").unwrap().parse().unwrap();
    while bytes.len() < head_end + length {
        read_some(stream, &mut bytes);
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, String::from_utf8(bytes[head_end..].to_vec()).unwrap())
}

fn read_some<S: Read>(stream: &mut S, bytes: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    let length = stream.read(&mut chunk).unwrap();
    assert!(length > 0, "connection ended early");
    bytes.extend_from_slice(&chunk[..length]);
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn get(simulator: &Simulator, kind: &str, target: &str) -> Value {
    let (status, _, body) = http(&mut tcp(simulator, market(kind)), &format!("GET {target}"));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// A file of this test's own, removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("connector-sim-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// A TLS session with the simulated USD-M, which trusts the authority in `file`.
fn secure(
    simulator: &Simulator,
    file: &Scratch,
    host: &'static str,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&file.0).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), host.try_into().unwrap()).unwrap();
    StreamOwned::new(session, tcp(simulator, market("usdm")))
}

#[test]
fn closing_pushes_equal_the_truth_and_rest() {
    let simulator = sim::start(fast()).unwrap();
    let cases = [
        ("spot", "/ws", "BTCUSDT", "/api/v3/klines"),
        ("usdm", "/market/ws", "币安人生USDT", "/fapi/v1/klines"),
        ("coinm", "/ws", "QUIETUSD_PERP", "/dapi/v1/klines"),
    ];
    for (kind, path, symbol, klines) in cases {
        let mut socket = connect(&simulator, kind, path);
        subscribe(&mut socket, &[&format!("{}@kline_1m", symbol.to_lowercase())]);
        let closed: Vec<Value> = std::iter::repeat_with(|| json_of(&mut socket))
            .filter(|push| push["k"]["x"] == true)
            .take(3)
            .collect();
        for (before, after) in closed.iter().zip(&closed[1..]) {
            assert_eq!(before["k"]["T"].as_i64().unwrap() + 1, after["k"]["t"]);
        }
        for push in &closed {
            assert_closed(&simulator, kind, symbol, klines, push);
        }
    }
    simulator.stop();
}

fn assert_closed(simulator: &Simulator, kind: &str, symbol: &str, klines: &str, push: &Value) {
    let kline = &push["k"];
    assert_eq!(push["s"], symbol);
    assert!(push["E"].as_i64() > kline["T"].as_i64());
    let open_time = &kline["t"];
    let truth = format!(
        "/truth?exchange=binance&contract_type={kind}&symbol={symbol}&from={open_time}&to={open_time}"
    );
    let truth = &get(simulator, "spot", &truth)[0];
    let names = [("open", "o"), ("high", "h"), ("low", "l"), ("close", "c"), ("volume", "v")];
    for (long, short) in names.into_iter().chain([("quote_volume", "q"), ("trade_num", "n")]) {
        assert_eq!(truth[long], kline[short], "{long}");
    }
    let target = format!("{klines}?symbol={symbol}&interval=1m&startTime={open_time}&limit=1");
    let row = &get(simulator, kind, &target)[0];
    let fields = ["t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q"];
    for (index, field) in fields.iter().enumerate() {
        assert_eq!(row[index], kline[field], "{field}");
    }
}

#[test]
fn unknown_symbols_and_unrouted_paths_are_acknowledged_and_silent() {
    let simulator = sim::start(fast()).unwrap();
    let cases = [
        ("spot", "/ws", "nosuchusdt@kline_1m"),
        ("usdm", "/ws", "btcusdt@kline_1m"),
        ("usdm", "/stream", "btcusdt@kline_1m"),
    ];
    for (kind, path, stream) in cases {
        let mut socket = connect(&simulator, kind, path);
        subscribe(&mut socket, &[stream]);
        assert_silent(&mut socket);
    }
}

#[test]
fn combined_and_url_streams_are_wrapped_and_counted() {
    let simulator = sim::start(fast()).unwrap();
    let path = "/stream?streams=btcusdt@kline_1m/ethusdt@kline_1m";
    let mut sockets = [(); 3].map(|()| connect(&simulator, "spot", path));
    for socket in &mut sockets {
        let push = json_of(socket);
        let symbol = push["data"]["s"].as_str().unwrap().to_lowercase();
        assert_eq!(push["stream"], format!("{symbol}@kline_1m"));
    }
    let stats = get(&simulator, "usdm", "/stats");
    let spot = &stats["binance"]["spot"];
    assert_eq!((&spot["connections"], &spot["subscribe_frames"]), (&3.into(), &0.into()));
    assert_eq!(spot["subscriptions"]["BTCUSDT"], 3);
    assert_eq!(spot["subscriptions_total"], 6);
}

#[test]
fn rest_refuses_what_the_venue_refuses() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let mut stream = tcp(&simulator, market("coinm"));
    let cases = [
        ("symbol=NOSUCH&interval=1m", -1121),
        ("symbol=BTCUSD_PERP&interval=7m", -1120),
        ("interval=1m", -1102),
        ("symbol=BTCUSD_PERP&interval=1m&startTime=0&endTime=17280000001", -4088),
    ];
    for (query, code) in cases {
        let (status, _, body) = http(&mut stream, &format!("GET /dapi/v1/klines?{query}"));
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["code"]), (400, &code.into()));
    }
    let info = get(&simulator, "coinm", "/dapi/v1/exchangeInfo");
    let symbols = info["symbols"].as_array().unwrap();
    assert!(symbols.iter().any(|symbol| symbol["contractStatus"] != "TRADING"));
    assert!(symbols.iter().any(|s| s["symbol"] == "BTCUSD_PERP" && s["contractSize"] == 100));
}

#[test]
fn the_last_row_is_the_open_candle_and_ranges_are_counted_as_documented() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let rows = get(&simulator, "usdm", "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=3");
    let time = get(&simulator, "usdm", "/fapi/v1/time")["serverTime"].as_i64().unwrap();
    let last = rows.as_array().unwrap().last().unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert!(last[6].as_i64().unwrap() + 60_000 > time);
    let range = "startTime=60000000&endTime=60540000&symbol=BTCUSDT&interval=1m&limit=4";
    let opens =
        |rows: Value| rows.as_array().unwrap().iter().map(|r| r[0].clone()).collect::<Vec<_>>();
    let spot = opens(get(&simulator, "spot", &format!("/api/v3/klines?{range}")));
    assert_eq!(spot, [60_000_000, 60_060_000, 60_120_000, 60_180_000]);
    let coinm = range.replace("BTCUSDT", "BTCUSD_PERP");
    let coinm = opens(get(&simulator, "coinm", &format!("/dapi/v1/klines?{coinm}")));
    assert_eq!(coinm, [60_360_000, 60_420_000, 60_480_000, 60_540_000]);
}

#[test]
fn weight_over_the_limit_is_answered_429_then_418() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let mut stream = tcp(&simulator, market("spot"));
    let mut statuses = Vec::new();
    // 20 each of 6,000 a minute; should a minute end meanwhile, the count starts once more. What is
    // refused within a tenth of a second counts once.
    for _ in 0..1_000_000 {
        let (status, head, _) = http(&mut stream, "GET /api/v3/exchangeInfo");
        assert!(header(&head, "x-mbx-used-weight-1m").is_some());
        assert_eq!(header(&head, "retry-after").is_some(), status != 200);
        if statuses.last() != Some(&status) {
            statuses.push(status);
        }
        if status == 418 {
            break;
        }
    }
    assert!(statuses.ends_with(&[200, 429, 418]), "{statuses:?}");
}

#[test]
fn faults_are_done_on_request() {
    let simulator = sim::start(fast()).unwrap();
    let mut first = connect(&simulator, "spot", "/ws/btcusdt@kline_1m");
    let mut other = connect(&simulator, "coinm", "/ws/btcusd_perp@kline_1m");
    let fault = |name: &str| {
        let request = format!("POST /fault?contract_type=spot&name={name}");
        http(&mut tcp(&simulator, market("coinm")), &request).0
    };
    assert_eq!(fault("shutdown_notice"), 200);
    while json_of(&mut first)["e"] != "serverShutdown" {}
    assert_eq!(fault("disconnect"), 200);
    while first.read().is_ok() {}
    assert_eq!(json_of(&mut other)["e"], "kline");
    assert_eq!(fault("refuse&value=60"), 200);
    let refused = tungstenite::client("ws://localhost/ws", tcp(&simulator, market("spot")));
    assert!(refused.is_err());
    assert_eq!(fault("earthquake"), 400);
    assert_eq!(get(&simulator, "spot", "/stats")["binance"]["spot"]["faults"], 3);
}

#[test]
fn a_half_open_connection_neither_speaks_nor_ends() {
    let simulator = sim::start(fast()).unwrap();
    let mut socket = connect(&simulator, "spot", "/ws/btcusdt@kline_1m");
    json_of(&mut socket);
    get(&simulator, "spot", "/fault?name=half_open");
    let silent = |error: &tungstenite::Error| {
        matches!(error, tungstenite::Error::Io(error)
            if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
    };
    socket.get_ref().set_read_timeout(Some(SILENCE)).unwrap();
    let end = std::iter::repeat_with(|| socket.read()).find_map(Result::err).unwrap();
    assert!(silent(&end), "{end:?}");
    assert_eq!(get(&simulator, "spot", "/stats")["binance"]["spot"]["connections"], 1);
}

#[test]
fn both_protocols_work_over_tls_with_the_written_authority() {
    let file = Scratch::new("ca.pem");
    let tls_ca_out = Some(file.0.clone());
    let simulator = sim::start(SimOptions { tls: true, tls_ca_out, ..fast() }).unwrap();
    assert!(simulator.ws_url(market("usdm")).starts_with("wss://127.0.0.1:"));
    assert!(simulator.env().iter().any(|(name, _)| name == "CONNECTOR_TLS_CA_FILE"));
    let mut session = secure(&simulator, &file, "localhost");
    let (status, _, body) = http(&mut session, "GET /fapi/v1/ping");
    assert_eq!((status, body.as_str()), (200, "{}"));
    let url = "wss://127.0.0.1/market/ws";
    let mut socket = tungstenite::client(url, secure(&simulator, &file, "127.0.0.1")).unwrap().0;
    subscribe(&mut socket, &["btcusdt@kline_1m"]);
    for _ in 0..20 {
        assert_eq!(json_of(&mut socket)["s"], "BTCUSDT");
    }
}

#[test]
fn playback_is_byte_for_byte_once_and_in_order() {
    // Odd spacing and digits that no encoder would give.
    let payload = |number: u32| {
        format!(
            "{{\"e\":\"kline\",  \"E\":{},\"s\":\"ODDBTC\",\"k\":{{\"s\":\"ODDBTC\",\"i\":\"1m\",\
             \"o\":\"0.0010{number}00\"}}}}",
            1000 + number * 20
        )
    };
    let payloads: Vec<String> = (0..20).map(payload).collect();
    let wrap = |one: &String| format!("{{\"stream\":\"oddbtc@kline_1m\",\"data\":{one}}}");
    let lines: Vec<String> = payloads
        .iter()
        .enumerate()
        .map(|(index, one)| if index % 2 == 0 { wrap(one) } else { one.clone() })
        .collect();
    let file = Scratch::new("capture.jsonl");
    std::fs::write(&file.0, lines.join("\n")).unwrap();
    let playback = Playback { files: vec![file.0.clone()], market: market("spot"), speed: 0 };
    let options = SimOptions { playback: Some(playback), ..SimOptions::default() };
    let simulator = sim::start(options).unwrap();

    let mut raw = connect(&simulator, "spot", "/ws");
    subscribe(&mut raw, &["oddbtc@kline_1m"]);
    let mut combined = connect(&simulator, "spot", "/stream");
    subscribe(&mut combined, &["other@kline_1m"]);
    subscribe(&mut combined, &["oddbtc@kline_1m"]);
    for one in &payloads {
        assert_eq!(text_of(&mut raw), *one);
        assert_eq!(text_of(&mut combined), wrap(one));
    }
    assert_silent(&mut raw);
}

#[test]
fn load_mode_gives_every_stream_its_updates() {
    let options = SimOptions { updates_per_second: 100, symbols_extra: 50, ..Default::default() };
    let simulator = sim::start(options).unwrap();
    let mut socket = connect(&simulator, "spot", "/ws");
    let names: Vec<String> =
        (1..=50).map(|number| format!("sim{number:04}usdt@kline_1m")).collect();
    subscribe(&mut socket, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut last_event = std::collections::HashMap::new();
    for _ in 0..5000 {
        let push = json_of(&mut socket);
        let (symbol, event) = (push["s"].to_string(), push["E"].as_i64().unwrap());
        let before = last_event.insert(symbol, event);
        assert!(before.is_none_or(|before| before <= event));
    }
    assert_eq!(last_event.len(), 50);
}

#[test]
fn a_reader_that_never_reads_is_cut_and_the_others_do_not_notice() {
    let options = SimOptions { updates_per_second: 1000, symbols_extra: 50, ..Default::default() };
    let simulator = sim::start(options).unwrap();
    let mut lazy = connect(&simulator, "spot", "/ws");
    let names: Vec<String> =
        (1..=50).map(|number| format!("sim{number:04}usdt@kline_1m")).collect();
    subscribe(&mut lazy, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut other = connect(&simulator, "spot", "/ws/sim0001usdt@kline_1m");
    while get(&simulator, "spot", "/stats")["binance"]["spot"]["connections"] == 2 {
        assert_eq!(json_of(&mut other)["s"], "SIM0001USDT");
    }
    assert_eq!(json_of(&mut other)["s"], "SIM0001USDT");
    let stats = get(&simulator, "spot", "/stats");
    assert_eq!(stats["binance"]["spot"]["subscriptions"]["SIM0001USDT"], 1);
}

#[test]
fn a_broken_capture_and_a_taken_port_are_refused_by_name() {
    let file = Scratch::new("broken.jsonl");
    std::fs::write(&file.0, "{}\n{broken\n").unwrap();
    let playback = Playback { files: vec![file.0.clone()], market: market("spot"), speed: 1 };
    let options = SimOptions { playback: Some(playback), ..SimOptions::default() };
    assert!(sim::start(options).unwrap_err().to_string().ends_with("line 2 is no JSON"));
    let simulator = sim::start(SimOptions::default()).unwrap();
    let port = simulator.address(market("spot")).port();
    let mut ports = SimOptions::default().ports;
    ports[0] = port;
    let options = SimOptions { ports, ..SimOptions::default() };
    assert!(sim::start(options).unwrap_err().to_string().contains(&port.to_string()));
}

#[test]
fn the_program_prints_where_it_listens_and_ends_on_sigterm() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_connector-sim"))
        .args(["--print-env", "--seed", "7"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines: Vec<String> = lines.take(6).map(Result::unwrap).collect();
    let find = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).unwrap();
    assert!(find("CONNECTOR_BINANCE_USDM_WS_URL=ws://127.0.0.1:").ends_with("/market"));
    let address = find("CONNECTOR_BINANCE_SPOT_REST_URL=http://");
    let mut stream = TcpStream::connect(address).unwrap();
    assert_eq!(http(&mut stream, "GET /api/v3/ping").0, 200);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
}

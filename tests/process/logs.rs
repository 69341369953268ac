//! The log of the real program: one line for each event, in both formats, without secrets, bounded
//! in a flood, and on stderr where the disk is full.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;

use connector_wss::limits::{CLIENT_UNCONFIRMED_MAX, LOG_EVENT_BURST};
use connector_wss::sim::{self, SimOptions};
use rustix::process::Signal;
use serde_json::Value;

use super::access::TokensFile;
use super::client::{BTC, BTC_3, Client, assert_served_three};
use super::harness::{PATIENCE, Scratch, Server, http, market, wait_until};
use super::raw::{BINARY, FINAL, PING, Raw, TEXT, UPGRADE, close, frame};

/// Part of each secret here, and of nothing else.
const MARK: &str = "hush";
const TOKEN: &str = "hush-valid-0123456789";

/// The lines of a JSON log, each of which must be an object with the four fields that all have.
fn objects(text: &str) -> Vec<Value> {
    let object = |line: &str| {
        let object: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let is_text = |name: &&str| object[name].is_string();
        assert!(["timestamp", "level", "component", "message"].iter().all(is_text), "{line}");
        object
    };
    text.lines().map(object).collect()
}

/// Ends the server in order; its log, and what it said on stderr.
fn finish(server: &mut Server) -> (String, String) {
    server.process.signal(Signal::TERM);
    assert!(server.process.wait().success());
    (server.log(), server.process.stderr())
}

#[test]
fn in_json_every_line_is_an_object_that_names_what_it_is_about() {
    let simulator = sim::start(SimOptions::default()).unwrap();
    let more = [("CONNECTOR_LOG_FORMAT", "json"), ("CONNECTOR_STREAM_IDLE_TIMEOUT", "0.5")];
    let mut server = Server::start(simulator.env(), &more);
    let mut client = server.ask(BTC);
    client.next_of("quote");
    let fault = "/fault?name=disconnect&exchange=binance&contract_type=spot";
    assert_eq!(http(simulator.address(market("spot")), fault).0, 200);
    client.next_of("notice");
    client.next_of("quote");
    client.send(&BTC.replace("BTCUSDT", "NOSUCHUSDT"));
    client.next_of("error");
    let (log, stderr) = finish(&mut server);
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&log), sorted(&stderr), "both places have the same lines");
    let lines = objects(&log);
    let of = |event: &str| {
        let found = lines.iter().find(|line| line["event"] == event);
        found.unwrap_or_else(|| panic!("no {event}: {log}"))
    };
    let lost = of("session_lost");
    let market = |line: &Value| (line["exchange"].clone(), line["contract_type"].clone());
    assert_eq!(market(lost), ("binance".into(), "spot".into()));
    assert_eq!((&lost["level"], &lost["component"]), (&"WARNING".into(), &"engine".into()));
    assert!(lost["session"].is_u64() && lost["shard"].is_u64(), "{lost}");
    let message = lost["message"].as_str().unwrap();
    assert!(message.starts_with("session 0 is lost ("), "the market is not said twice: {message}");
    assert_eq!(of("session_up")["session"], lost["session"]);
    let rejected = of("symbol_rejected");
    assert_eq!(market(rejected), ("binance".into(), "spot".into()));
    assert_eq!((&rejected["symbol"], &rejected["interval"]), (&"NOSUCHUSDT".into(), &"1m".into()));
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["message"], &last["level"]),
        (&"Server shutdown complete".into(), &"INFO".into())
    );
    assert_eq!(last["component"], "server");
}

#[test]
fn hundreds_of_refused_symbols_are_some_lines_and_a_count() {
    const COUNT: usize = 300;
    let simulator = sim::start(SimOptions::default()).unwrap();
    let symbols: Vec<_> = (0..COUNT).map(|number| format!("NOSUCH{number}USDT")).collect();
    let more = [("CONNECTOR_LOG_FORMAT", "json"), ("CONNECTOR_STREAM_IDLE_TIMEOUT", "0.1")];
    let mut server = Server::start(simulator.env(), &more);
    // As many as one client may try at a time.
    let clients: Vec<_> = symbols
        .chunks(CLIENT_UNCONFIRMED_MAX)
        .map(|some| server.ask(&BTC.replace("BTCUSDT", &some.join("\",\""))))
        .collect();
    let rejected = || server.metric("connector_symbols_rejected_total", &[]);
    wait_until("all are refused", || rejected() == COUNT as f64);
    drop(clients);
    let (log, _) = finish(&mut server);
    let lines = objects(&log);
    let lines: Vec<_> = lines.iter().filter(|line| line["event"] == "symbol_rejected").collect();
    let told: u64 = lines.iter().map(|line| line["repeated"].as_u64().unwrap_or(1)).sum();
    assert_eq!(told, COUNT as u64);
    assert!(lines.len() >= LOG_EVENT_BURST as usize && lines.len() < COUNT / 3, "{}", lines.len());
    let summary = lines.iter().find(|line| line["repeated"].is_u64()).unwrap();
    assert!(summary.get("symbol").is_none() && summary["contract_type"] == "spot", "{summary}");
}

#[test]
fn a_full_disk_is_said_once_on_stderr_where_every_line_goes_on() {
    for format in ["text", "json"] {
        let folder = Scratch::new();
        symlink("/dev/full", folder.0.join("connector.log")).unwrap();
        let more =
            [("CONNECTOR_LOG_DIR", folder.0.to_str().unwrap()), ("CONNECTOR_LOG_FORMAT", format)];
        let mut server = Server::simulated_with(&more);
        assert_served_three(&mut server.ask(BTC_3));
        assert_served_three(&mut server.ask(BTC_3));
        server.process.signal(Signal::TERM);
        assert!(server.process.wait().success());
        let stderr = server.process.stderr();
        assert_eq!(stderr.matches("No space left on device").count(), 1, "{stderr}");
        assert!(
            stderr.contains("lines are on stderr") && stderr.contains("listening on"),
            "{stderr}"
        );
        assert!(stderr.contains("Server shutdown complete"), "{stderr}");
        if format == "json" {
            objects(&stderr);
        }
    }
}

#[test]
fn a_log_that_is_renamed_and_removed_goes_on_in_a_file_of_its_name() {
    let levels = [("CONNECTOR_LOG_LEVEL", "ERROR"), ("CONNECTOR_WSS_LOG_LEVEL", "ERROR")];
    let mut server = Server::simulated_with(&levels);
    let file = server.process.folder.0.join("logs/connector.log");
    let rotated = file.with_extension("log-20260131");
    std::fs::rename(&file, &rotated).unwrap();
    server.process.signal(Signal::HUP);
    wait_until("SIGHUP begins it anew, even without a line", || file.exists());
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    server.process.signal(Signal::HUP);
    wait_until("its folder too", || file.exists());
    assert_served_three(&mut server.ask(BTC_3));
    server.process.signal(Signal::TERM);
    assert!(server.process.wait().success());

    let mut server = Server::simulated();
    let file = server.process.folder.0.join("logs/connector.log");
    let rotated = file.with_extension("log-20260131");
    wait_until("the first line is written", || server.log().contains("listening on"));
    std::fs::rename(&file, &rotated).unwrap();
    let (log, _) = finish(&mut server);
    assert!(log.ends_with("Server shutdown complete\n"), "without a signal: {log}");
    assert!(!log.contains("listening on"), "{log}");
    assert!(std::fs::read_to_string(&rotated).unwrap().contains("listening on"));
}

#[test]
fn two_servers_in_one_folder_say_in_each_line_which_of_them_it_is() {
    let folder = Scratch::new();
    let more = [("CONNECTOR_LOG_DIR", folder.0.to_str().unwrap())];
    let mut servers = [Server::simulated_with(&more), Server::simulated_with(&more)];
    for server in &mut servers {
        server.process.signal(Signal::TERM);
        assert!(server.process.wait().success());
    }
    let log = std::fs::read_to_string(folder.0.join("connector.log")).unwrap();
    let by = |server: &Server| {
        let mark = format!(" [{}] ", server.process.id());
        log.lines().filter(|line| line.contains(&mark)).collect::<Vec<_>>()
    };
    let lines = [by(&servers[0]), by(&servers[1])];
    assert_eq!(lines[0].len() + lines[1].len(), log.lines().count(), "{log}");
    for (server, lines) in servers.iter().zip(&lines) {
        let port = format!("listening on {}", server.clients);
        assert_eq!(lines.iter().filter(|line| line.contains(&port)).count(), 1, "{log}");
        assert!(lines.last().unwrap().ends_with("Server shutdown complete"), "{log}");
    }
}

/// Every place where a client can put a token, and then some.
#[test]
fn no_log_has_a_token_whatever_a_client_does_with_it() {
    for format in ["text", "json"] {
        let file = TokensFile::new(&format!("{TOKEN}\n"));
        let mut env = file.env();
        let more = [
            ("CONNECTOR_LOG_FORMAT", format),
            ("CONNECTOR_LOG_LEVEL", "DEBUG"),
            ("CONNECTOR_WSS_LOG_LEVEL", "DEBUG"),
            ("CONNECTOR_WSS_ORIGINS", "https://app.example"),
            ("CONNECTOR_WSS_TOKEN", "hush-misnamed"),
        ];
        env.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut server = Server::start_with(&["--simulate"], &env);
        for head in heads() {
            knock(server.clients, &head);
            knock(server.ops, &head);
        }
        for text in texts() {
            assert_ne!(says_text(&mut Raw::open(server.clients), &text), "");
            assert_ne!(says_text(&mut authenticated(server.clients), &text), "");
        }
        for bytes in frames() {
            let mut raw = authenticated(server.clients);
            raw.send(&bytes);
            raw.0.shutdown(Shutdown::Write).unwrap();
            raw.0.read_to_end(&mut Vec::new()).unwrap();
        }
        let mut client = Client::connect_at(server.clients, &format!("/?token={TOKEN}"));
        client.send(BTC_3);
        assert_served_three(&mut client);
        file.write("hush is no token\n");
        server.process.signal(Signal::HUP);
        wait_until("the file is refused", || server.log().contains("the tokens stay those before"));
        let (log, stderr) = finish(&mut server);
        for expected in ["DEBUG", "was refused", "WebSocket protocol: ", "WebSocket handshake: "] {
            assert!(log.contains(expected), "the clients were heard ({expected}): {log}");
        }
        assert!(log.contains("CONNECTOR_WSS_TOKEN (from environment)"), "{log}");
        for said in [&log, &stderr] {
            assert!(!said.to_ascii_lowercase().contains(MARK), "{said}");
        }
        if format == "json" {
            objects(&log);
        }
    }
}

/// Opening requests with a secret somewhere, most of them wrong.
fn heads() -> Vec<String> {
    let with = |line: &str| {
        UPGRADE.replace("Host: localhost\r\n", &format!("Host: localhost\r\n{line}\r\n"))
    };
    let at = |target: &str| UPGRADE.replace("GET / ", &format!("GET {target} "));
    let long = format!("/?token=hush{}", "x".repeat(20_000));
    let mut heads: Vec<String> = [
        "Authorization: Bearer hush-wrong",
        "Authorization: Basic hush-basic",
        "Authorization: hush-alone",
        "Authorization: Bearer hush-one\r\nAuthorization: Bearer hush-two",
        "Authorization Bearer hush-no-colon",
        "Authorization: Bearer hush\u{1}control",
        "Sec-WebSocket-Protocol: hush-protocol",
        "Sec-WebSocket-Protocol: connector-wss, hush-protocol",
        "Cookie: token=hush-cookie",
        "X-Api-Key: hush-key",
        "Origin: https://hush.example",
        "Origin: https://app.example\r\nAuthorization: Bearer hush-wrong",
        "Host: hush.example",
        "Content-Length: hush",
        "hush hush",
    ]
    .map(with)
    .into();
    heads.extend(
        [
            "/?token=hush-wrong",
            "/?token=hush-one&token=hush-two",
            "/?TOKEN=hush-upper",
            "/hush-path?x=hush",
            "/%68ush?token=%68ush-percent",
            "/metrics?token=hush-metrics",
            "hush-no-slash",
            &long,
        ]
        .map(at),
    );
    heads.push(UPGRADE.replace("13\r\n", "hush\r\n"));
    heads.push(UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", "hush"));
    heads.push(UPGRADE.replace("GET", "HUSH"));
    heads.push(UPGRADE.replace("HTTP/1.1", "HUSH/1.1"));
    heads.push("hush\r\n\r\n".to_owned());
    heads.push("\u{16}\u{3}\u{1}hush".to_owned());
    heads
}

/// Sends a request and reads what comes until the end, or until it is let in.
fn knock(address: SocketAddr, head: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _cut_off = stream.write_all(head.as_bytes());
    let _reset = stream.shutdown(Shutdown::Write);
    let _reset = stream.read_to_end(&mut Vec::new());
}

/// Messages with a secret somewhere, as clients send them that have it wrong; but in no symbol:
/// those are named to the exchange and in the log.
fn texts() -> Vec<String> {
    [
        r#"{"op":"auth","token":"hush-wrong"}"#,
        r#"{"op":"auth","token":"hush-cut"#,
        r#"{"op":"auth","token":["hush-list"]}"#,
        r#"{"op":"auth","token":{"hush":"hush"}}"#,
        r#"{"op":"auth","tokens":"hush-misspelt"}"#,
        r#"{"op":"auth","token":"hush-\ud800"}"#,
        r#"{"op":"hush-op","token":"hush"}"#,
        r#"{"token":"hush-alone"}"#,
        r#"{"exchange":"hush","contract_type":"spot","symbols":["BTCUSDT"]}"#,
        r#"{"exchange":"binance","contract_type":"hush","symbols":["BTCUSDT"]}"#,
        r#"{"exchange":"binance","contract_type":"spot","symbols":{"hush":1}}"#,
        r#"{"exchange":"binance","contract_type":"spot","symbols":["BTC USDT hush"]}"#,
        r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"],"limit":"hush"}"#,
        r#"{"op":"ping","id":{"hush":1}}"#,
        r#"["hush"]"#,
        "hush",
    ]
    .map(str::to_owned)
    .into()
}

/// What follows the handshake and breaks the protocol, or only ends it.
fn frames() -> Vec<Vec<u8>> {
    vec![
        frame(FINAL | BINARY, b"hush"),
        frame(FINAL | PING, b"hush"),
        frame(FINAL | TEXT, b"hush \xFF\xFE"),
        frame(0x70 | FINAL | TEXT, b"hush"),
        frame(FINAL | 0x3, b"hush"),
        frame(FINAL | PING, &b"hush".repeat(40)),
        close(1000, b"hush"),
        close(999, b"hush"),
        b"hush, unmasked and no frame at all".to_vec(),
    ]
}

/// The first text frame of the answer.
fn says_text(raw: &mut Raw, text: &str) -> String {
    raw.send(&frame(FINAL | TEXT, text.as_bytes()));
    let (_, payload) = raw.frame().unwrap();
    String::from_utf8_lossy(&payload).into_owned()
}

/// A connection whose token is right.
fn authenticated(server: SocketAddr) -> Raw {
    let mut raw = Raw::open(server);
    let auth = format!(r#"{{"op":"auth","token":"{TOKEN}"}}"#);
    assert!(says_text(&mut raw, &auth).contains("authenticated"));
    raw
}

//! REST against stand-in exchanges on loopback: long, slow, compressed and absurd answers.

use std::io::{BufRead, BufReader, ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

use crate::cores::ops::workers::*;
use crate::market::{Market, SymbolList};
use crate::wire::tls;

/// Answers each connection's first request, read to the end of its head, with `answer`.
fn stand_in(answer: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(&mut stream).lines();
            let _head = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).count();
            answer(stream);
        }
    });
    address
}

/// The same answer each time: status line and headers, and a body with its length.
fn same(head: &'static str, body: Vec<u8>) -> SocketAddr {
    stand_in(move |mut stream| {
        let length = body.len();
        let head = format!("HTTP/1.1 {head}Connection: close\r\nContent-Length: {length}\r\n\r\n");
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        // A client that has read enough hangs up.
        let hung_up = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(sent.map_or_else(|error| hung_up.contains(&error.kind()), |()| true));
    })
}

fn agent_with(timeout_ms: u64) -> ureq::Agent {
    let config = Config { rest_timeout: Duration::from_millis(timeout_ms), ..Config::default() };
    agent(&config, tls::client_config(None).unwrap(), Arc::default())
}

fn request(address: SocketAddr, body_bytes_max: usize) -> RestRequest {
    let url = format!("http://{address}/klines");
    RestRequest { id: 0, url, body: None, headers: &[], body_bytes_max }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

const OK: &str = "200 OK\r\n";

#[test]
fn an_answer_is_read_no_further_than_one_can_be() {
    let agent = agent_with(20_000);
    let long = same(OK, vec![b' '; 14 * 1024 * 1024]);
    let why = ask(&agent, &request(long, 7_000)).unwrap_err();
    assert_eq!(why, "HTTP 200 with more than the 7000 bytes that the answer can have");
    let page = same("403 Forbidden\r\nRetry-After: 1796000000\r\n", "<p>no".repeat(99_999).into());
    let answer = ask(&agent, &request(page, 7_000)).unwrap();
    assert_eq!((answer.status, answer.body.len()), (403, 7_000));
    assert_eq!(answer.retry_after.as_deref(), Some("1796000000"), "as sent");
    let page = same(OK, "<p>no".repeat(99_999).into());
    assert_eq!(ask(&agent, &request(page, 7_000)).unwrap().body.len(), 7_000, "a firewall's page");
    let right = same(OK, vec![b'7'; 7_000]);
    assert_eq!(ask(&agent, &request(right, 7_000)).unwrap().body, vec![b'7'; 7_000]);
}

#[test]
fn a_compressed_answer_is_understood_and_another_encoding_is_named() {
    let agent = agent_with(20_000);
    let right = same("200 OK\r\nContent-Encoding: gzip\r\n", gzip(b"[[1,2]]"));
    assert_eq!(ask(&agent, &request(right, 100)).unwrap().body, b"[[1,2]]");
    let bomb = same("200 OK\r\nContent-Encoding: gzip\r\n", gzip(&vec![b'0'; 50_000_000]));
    assert!(ask(&agent, &request(bomb, 100)).unwrap_err().contains("more than the 100 bytes"));
    let other = same("200 OK\r\nContent-Encoding: br\r\n", vec![0x8b, 0x03, 0x80]);
    let why = ask(&agent, &request(other, 100)).unwrap_err();
    assert_eq!(why, "HTTP 200, its encoding \"br\" is not understood");
    let broken = same("200 OK\r\nContent-Encoding: gzip\r\n", b"no gzip at all".to_vec());
    assert!(ask(&agent, &request(broken, 100)).unwrap_err().starts_with("HTTP 200, "));
    let denied = same("403 Forbidden\r\nContent-Encoding: br\r\n", vec![0x8b, 0x03, 0x80]);
    assert_eq!(ask(&agent, &request(denied, 100)).unwrap().status, 403);
}

/// Spot's list as it was in 2026: much beside what is read.
fn exchange_info(symbols: usize) -> String {
    let sets = r#"["SPOT","MARGIN","TRD_GRP_004","TRD_GRP_005","TRD_GRP_006"]"#.repeat(40);
    let sets = sets.replace("][", "],[");
    let one = |number| {
        format!(
            r#"{{"symbol":"S{number}","status":"TRADING","permissionSets":[{sets}],"filters":[1.5]}}"#
        )
    };
    let all: Vec<String> = (0..symbols).map(one).collect();
    format!(r#"{{"timezone":"UTC","symbols":[{}],"sors":[]}}"#, all.join(","))
}

fn list_of(address: SocketAddr, timeout_ms: u64, name: &str) -> Result<Arc<SymbolList>, String> {
    let market = Market::find(Venue::Binance, name).unwrap();
    let bases = vec![format!("http://{address}"); Market::COUNT];
    let lists = Lists::new(bases, Clock::new(), Arc::default());
    let (agent, patience) = (agent_with(timeout_ms), Duration::from_millis(timeout_ms));
    let request = OpsRequest::List { market, parts: Vec::new() };
    match answer_list(&agent, patience, &lists, 0, request).pop() {
        Some((0, OpsAnswer::Listed { result, .. })) => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_long_list_is_waited_for_as_long_as_it_comes() {
    let info = exchange_info(300);
    let (_keep, never) = mpsc::channel::<()>();
    let address = stand_in(move |mut stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", info.len());
        stream.write_all(head.as_bytes()).unwrap();
        // In all, three times as long as one read may take.
        for piece in info.as_bytes().chunks(info.len() / 12) {
            let _paced = never.recv_timeout(Duration::from_millis(250));
            stream.write_all(piece).unwrap();
        }
    });
    let list = list_of(address, 1_000, "spot").unwrap();
    assert_eq!((list.len(), list.is_cut()), (300, false));
}

#[test]
fn a_list_that_stops_coming_is_given_up() {
    let (_keep, never) = mpsc::channel::<()>();
    let address = stand_in(move |mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"symbols\":[").unwrap();
        let _hung = never.recv_timeout(Duration::from_secs(20));
    });
    assert!(list_of(address, 200, "usdm").is_err());
}

#[test]
fn a_list_of_17_mb_is_read_compressed_or_not() {
    let info = exchange_info(7_000);
    assert!(info.len() > 17_000_000, "{}", info.len());
    let packed = same("200 OK\r\nContent-Encoding: gzip\r\n", gzip(info.as_bytes()));
    assert_eq!(list_of(packed, 20_000, "spot").unwrap().len(), 7_000);
    assert_eq!(list_of(same(OK, info.into_bytes()), 20_000, "spot").unwrap().len(), 7_000);
}

#[test]
fn a_block_of_a_list_is_named_with_its_first_words() {
    for head in ["403 Forbidden\r\n", "302 Found\r\nLocation: /login\r\n", "200 OK\r\n"] {
        let page = b"<html><body>Request <b>blocked</b>.</body></html>".to_vec();
        let why = list_of(same(head, page), 20_000, "coinm").unwrap_err();
        let status = &head[..3];
        assert!(why.starts_with(&format!("HTTP {status} \"Request blocked .\"; asking")), "{why}");
    }
}

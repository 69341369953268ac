use super::super::write_text_frame;
use super::*;

use proptest::prelude::*;

/// A venue's connection and a client's, joined: what one sends the other gets, `chunk` bytes
/// at a time.
struct Pair {
    client: Connection,
    server: Connection,
}

impl Pair {
    fn new() -> Self {
        let endpoint = Endpoint::parse("ws://localhost/x?y=1").unwrap();
        let tls = super::super::tls::client_config(None).unwrap();
        let client = Connection::client(&endpoint, &tls, [7; 16], &[]).unwrap();
        Self { client, server: Connection::server() }
    }

    fn open() -> Self {
        let mut pair = Self::new();
        assert_eq!(pair.deliver_to_server(1), [Ok(Event::Open { path: "/x?y=1".into() })]);
        assert_eq!(pair.deliver_to_client(1), [Ok(Event::Open { path: String::new() })]);
        pair
    }

    fn deliver_to_server(&mut self, chunk: usize) -> Vec<Result<Event, WireError>> {
        carry(&mut self.client, &mut self.server, chunk)
    }

    fn deliver_to_client(&mut self, chunk: usize) -> Vec<Result<Event, WireError>> {
        carry(&mut self.server, &mut self.client, chunk)
    }
}

fn carry(
    from: &mut Connection,
    to: &mut Connection,
    chunk: usize,
) -> Vec<Result<Event, WireError>> {
    let bytes = from.outgoing().to_vec();
    from.consume_outgoing(bytes.len());
    bytes.chunks(chunk).flat_map(|bytes| deliver(to, bytes)).collect()
}

fn deliver(to: &mut Connection, bytes: &[u8]) -> Vec<Result<Event, WireError>> {
    let mut events = Vec::new();
    if let Err(error) = to.handle_bytes(bytes) {
        events.push(Err(error));
    }
    while let Some(event) = to.next_event().transpose() {
        events.push(event);
    }
    events
}

fn frame(payload: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_text_frame(&mut out, payload.as_bytes());
    out
}

#[test]
fn text_passes_both_ways_in_any_chunks() {
    for chunk in [1, 2, 7, 100_000] {
        let mut pair = Pair::open();
        for payload in ["x".to_owned(), "y".repeat(125), "ü".repeat(126), "z".repeat(65_536)] {
            pair.server.append_frames(&frame(&payload));
            assert_eq!(pair.deliver_to_client(chunk), [Ok(Event::Text(payload.as_str().into()))]);
        }
        pair.client.send_text("hello");
        assert_eq!(pair.deliver_to_server(chunk), [Ok(Event::Text("hello".into()))]);
    }
}

#[test]
fn a_ping_is_answered_in_the_same_turn() {
    let mut pair = Pair::open();
    pair.server.send_ping(b"1");
    assert_eq!(pair.deliver_to_client(100), [Ok(Event::Ping)]);
    assert_eq!(pair.deliver_to_server(100), [Ok(Event::Pong(Bytes::from_static(b"1")))]);
}

#[test]
fn a_server_may_still_send_what_it_owes_after_the_clients_close() {
    let mut pair = Pair::open();
    pair.client.send_close(1000, "done");
    let close = Event::Close { code: Some(1000), reason: "done".into() };
    assert_eq!(pair.deliver_to_server(100), [Ok(close.clone())]);
    assert!(pair.server.outgoing().is_empty(), "not answered before all is served");
    pair.server.append_frames(&frame("last"));
    pair.server.send_close(1001, "ignored: the answer carries the peer's code");
    assert!(pair.server.is_close_sent());
    assert_eq!(pair.deliver_to_client(100), [Ok(Event::Text("last".into())), Ok(close)]);
}

#[test]
fn a_servers_close_is_answered_by_the_client_role() {
    let mut pair = Pair::open();
    pair.server.send_close(1013, &"é".repeat(100));
    let events = pair.deliver_to_client(100);
    let Ok(Event::Close { code: Some(1013), reason }) = &events[0] else { panic!("{events:?}") };
    assert_eq!(reason.chars().count(), 61, "cut to 123 bytes at a character");
    assert!(matches!(pair.deliver_to_server(100)[..], [Ok(Event::Close { code: Some(1013), .. })]));
}

#[test]
fn each_breach_of_the_protocol_is_closed_with_its_code() {
    let masked = |head: &[u8], payload: &[u8]| [head, &[0; 4], payload].concat();
    let oversize = [&[0x81, 0x80 | 127][..], &(1u64 << 40).to_be_bytes(), &[0; 4]].concat();
    let endless = [masked(&[0x01, 0x80], b""), masked(&[0x00, 0x80], b"").repeat(5000)].concat();
    for (name, bytes, expected) in [
        ("unmasked", vec![0x81, 1, b'x'], 1002),
        ("reserved bit", masked(&[0xC1, 0x81], b"x"), 1002),
        ("reserved opcode", masked(&[0x83, 0x80], b""), 1002),
        ("stray continuation", masked(&[0x80, 0x81], b"x"), 1002),
        ("bad UTF-8", masked(&[0x81, 0x82], &[0xC0, 0xAF]), 1007),
        ("bad UTF-8, more to come", masked(&[0x81, 0xFD], &[0xC0, 0xAF]), 1007),
        ("fragments without end", endless, 1009),
        ("oversize", oversize, 1009),
    ] {
        let mut pair = Pair::open();
        let events = deliver(&mut pair.server, &bytes);
        let [Err(WireError::Protocol { code, .. })] = events[..] else {
            panic!("{name}: {events:?}")
        };
        assert_eq!(code, expected, "{name}");
        let told = pair.deliver_to_client(100);
        assert!(
            matches!(told[..], [Ok(Event::Close { code: Some(code), .. })] if code == expected),
            "{name}: {told:?}"
        );
    }
}

#[test]
fn a_refused_request_is_told_why_in_http() {
    let mut server = Connection::server();
    let events = deliver(&mut server, b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(matches!(events[..], [Err(WireError::Handshake(_))]));
    assert!(server.outgoing().starts_with(b"HTTP/1.1 426 Upgrade Required\r\n"));
    assert!(deliver(&mut server, b"more").is_empty());
}

#[test]
fn garbage_instead_of_tls_is_an_error_and_not_a_panic() {
    let endpoint = Endpoint::parse("wss://localhost/").unwrap();
    let tls = super::super::tls::client_config(None).unwrap();
    let mut client = Connection::client(&endpoint, &tls, [0; 16], &[]).unwrap();
    assert!(!client.outgoing().is_empty(), "the TLS hello leaves at once");
    let events = deliver(&mut client, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert!(matches!(events[..], [Err(WireError::Tls(_))]), "{events:?}");
}

/// A client's connection and a server's, over TLS.
fn over_tls() -> Pair {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let server = super::super::tls::server_config(chain.as_bytes(), key.as_bytes()).unwrap();
    let client = super::super::tls::client_config(Some(chain.as_bytes())).unwrap();
    let endpoint = Endpoint::parse("wss://localhost/x").unwrap();
    let client = Connection::client(&endpoint, &client, [7; 16], &[]).unwrap();
    Pair { client, server: Connection::server_over_tls(&server) }
}

#[test]
fn the_server_role_speaks_tls_in_any_chunks() {
    for chunk in [1, 100, 100_000] {
        let mut pair = over_tls();
        let mut events = Vec::new();
        while !pair.client.is_open() {
            events.extend(pair.deliver_to_server(chunk));
            events.extend(pair.deliver_to_client(chunk));
        }
        assert_eq!(events[0], Ok(Event::Open { path: "/x".into() }));
        let text = "x".repeat(40_000);
        pair.server.append_frames(&frame(&text));
        assert_eq!(pair.deliver_to_client(chunk), [Ok(Event::Text(text.as_str().into()))]);
        pair.client.send_text("hello");
        assert_eq!(pair.deliver_to_server(chunk), [Ok(Event::Text("hello".into()))]);
    }
}

#[test]
fn bytes_after_the_end_of_tls_are_dropped_and_hold_nobody_up() {
    let mut pair = over_tls();
    while !pair.client.is_open() {
        pair.deliver_to_server(100_000);
        pair.deliver_to_client(100_000);
    }
    pair.client.finish();
    assert!(pair.deliver_to_server(100_000).is_empty());
    assert!(deliver(&mut pair.server, &[0x17; 100]).is_empty());
    pair.server.finish();
    assert!(!pair.server.outgoing().is_empty(), "our own end is told");
}

#[test]
fn plain_text_on_a_tls_port_is_answered_in_plain_text() {
    let mut server = over_tls().server;
    let events = deliver(&mut server, b"GET / HTTP/1.1\r\n");
    assert!(matches!(&events[..], [Err(WireError::Tls(why))] if why.contains("plain text")));
    let answer = String::from_utf8(server.outgoing().to_vec()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("wss://"), "{answer}");
}

#[test]
fn tls_on_a_plain_port_is_answered_in_plain_text_too() {
    let mut server = Connection::server();
    let hello = over_tls().client.outgoing().to_vec();
    let events = deliver(&mut server, &hello);
    assert!(matches!(&events[..], [Err(WireError::Tls(why))] if why.contains("plain ws://")));
    assert!(server.outgoing().starts_with(b"HTTP/1.1 400 "));
}

/// What a venue may send: texts mostly.
fn venue_frame() -> impl Strategy<Value = Vec<u8>> {
    let text = ".{0,60}".prop_map(|text| frame(&text));
    let long = "[a-z]{120,400}".prop_map(|text| frame(&text));
    let frame = |first: u8, payload: &[u8]| {
        [&[first, u8::try_from(payload.len()).unwrap()], payload].concat()
    };
    prop_oneof![
        8 => text,
        4 => long,
        2 => ("[a-zé]{0,9}", "[a-z]{0,9}").prop_map(move |(one, two)| {
            [frame(0x01, one.as_bytes()), frame(0x89, b"p"), frame(0x80, two.as_bytes())].concat()
        }),
        1 => Just(frame(0x01, b"begun")),
        1 => Just(frame(0x82, &[0, 255])),
        1 => Just(frame(0x8A, b"pong")),
        1 => Just(frame(0x81, &[0xC0, 0xAF])),
        1 => Just(frame(0xC1, b"reserved")),
        1 => Just(vec![0x81, 126, 0, 3, b'a', b'b', b'c']),
        1 => Just(vec![0x81, 0x81, 0, 0, 0, 0, b'x']),
        1 => Just(vec![0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0]),
        1 => Just(frame(0x88, &1000u16.to_be_bytes())),
    ]
}

proptest! {
    #[test]
    fn plain_texts_are_what_the_codec_would_have_told(
        frames in prop::collection::vec(venue_frame(), 0..12),
        sizes in prop::collection::vec(1usize..300, 1..12),
    ) {
        let [mut slow, mut fast] = [Pair::open().client, Pair::open().client];
        let (mut expected, mut told) = (Vec::new(), Vec::new());
        let bytes = frames.concat();
        let (mut rest, mut sizes) = (&bytes[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let chunk;
            (chunk, rest) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            expected.extend(deliver(&mut slow, chunk));
            fast.handle_bytes(chunk).unwrap();
            loop {
                if let Some(text) = fast.next_plain_text() {
                    told.push(Ok(Event::Text(text.into())));
                    continue;
                }
                let Some(event) = fast.next_event().transpose() else { break };
                told.push(event);
            }
            prop_assert_eq!(&told, &expected);
            prop_assert_eq!(fast.outgoing().len(), slow.outgoing().len());
        }
    }
}

#[test]
fn plain_texts_pass_the_codec_by() {
    let mut client = Pair::open().client;
    let cut = [frame("one"), frame("two"), frame("three")].concat();
    client.handle_bytes(&cut[..cut.len() - 1]).unwrap();
    assert_eq!(client.next_plain_text(), Some("one"));
    assert_eq!(client.next_plain_text(), Some("two"));
    assert_eq!(client.next_plain_text(), None);
    assert_eq!(client.next_event(), Ok(None));
    client.handle_bytes(&cut[cut.len() - 1..]).unwrap();
    assert_eq!(client.next_plain_text(), Some("three"));
    assert_eq!(client.next_event(), Ok(None));
}

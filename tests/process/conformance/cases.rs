//! The cases, by the numbers of the Autobahn suite; `9.b…` and `5.b…` are bounds of our own.

use super::super::raw::{
    BINARY, CLOSE, CONTINUATION, FINAL, Frame, PING, PONG, TEXT, close, frame, head,
};
use super::ECHO_BYTES_MAX;

/// What a client sends, and what it gets.
pub(super) struct Case {
    pub(super) name: String,
    /// Written one by one.
    pub(super) pieces: Vec<Vec<u8>>,
    /// Every frame before the Close.
    pub(super) answer: Vec<Frame>,
    /// The Close's code; `None`: it has none.
    pub(super) code: Option<u16>,
    /// Whether the listener as it is shipped is asked too: the case fits its bounds.
    pub(super) is_for_all: bool,
}

impl Case {
    fn new(name: impl Into<String>, sent: Vec<u8>, answer: Vec<Frame>, code: u16) -> Self {
        let (name, code) = (name.into(), Some(code));
        Self { name, pieces: vec![sent], answer, code, is_for_all: true }
    }

    /// Ends well: our Close 1000 follows and is answered.
    fn fine(name: impl Into<String>, sent: &[u8], answer: Vec<Frame>) -> Self {
        Self::new(name, [sent, &close(1000, b"")].concat(), answer, 1000)
    }

    /// The server ends it.
    fn wrong(name: impl Into<String>, sent: Vec<u8>, code: u16) -> Self {
        Self::new(name, sent, Vec::new(), code)
    }

    fn after(mut self, answer: Vec<Frame>) -> Self {
        self.answer = answer;
        self
    }

    /// In pieces of so many bytes.
    fn chopped(mut self, bytes: usize) -> Self {
        let sent = self.pieces.concat();
        self.pieces = sent.chunks(bytes).map(<[u8]>::to_vec).collect();
        self
    }

    fn for_echo(mut self) -> Self {
        self.is_for_all = false;
        self
    }
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let families = [messages, pings, reserved, fragments, texts, closes, close_codes, bounds];
    families.iter().flat_map(|family| family()).collect()
}

fn text(payload: &[u8]) -> Frame {
    (FINAL | TEXT, payload.to_vec())
}

fn pong(payload: &[u8]) -> Frame {
    (FINAL | PONG, payload.to_vec())
}

/// 1: whole messages of every length class.
fn messages() -> Vec<Case> {
    let mut cases = Vec::new();
    for (family, opcode, byte) in [(1, TEXT, b'*'), (2, BINARY, 0xFE)] {
        for (number, bytes) in [0, 125, 126, 127, 128, 65_535, 65_536].into_iter().enumerate() {
            let payload = vec![byte; bytes];
            let sent = frame(FINAL | opcode, &payload);
            let answer = vec![(FINAL | opcode, payload)];
            cases.push(Case::fine(format!("1.{family}.{}", number + 1), &sent, answer.clone()));
            let chop = if bytes > 1000 { 997 } else { 1 };
            cases.push(Case::fine(format!("1.{family}.8 {bytes}"), &sent, answer).chopped(chop));
        }
    }
    cases
}

/// 2: pings and pongs.
fn pings() -> Vec<Case> {
    let ping = |payload: &[u8]| frame(FINAL | PING, payload);
    let bytes: Vec<u8> = (0..125).map(|at| at * 2 + 1).collect();
    let ten: Vec<Vec<u8>> = (0..10).map(|number: u8| vec![b'0' + number; 3]).collect();
    let (sent, pongs): (Vec<_>, Vec<_>) = ten.iter().map(|one| (ping(one), pong(one))).unzip();
    vec![
        Case::fine("2.1", &ping(b""), vec![pong(b"")]),
        Case::fine("2.2", &ping(b"Hello, world!"), vec![pong(b"Hello, world!")]),
        Case::fine("2.3", &ping(&[0, 0xFF, 0xFE, 0xFD, 0]), vec![pong(&[0, 0xFF, 0xFE, 0xFD, 0])]),
        Case::fine("2.4", &ping(&bytes), vec![pong(&bytes)]),
        Case::wrong("2.5", ping(&[0xFE; 126]), 1002),
        Case::fine("2.6", &ping(&bytes), vec![pong(&bytes)]).chopped(1),
        Case::fine("2.7", &frame(FINAL | PONG, b""), Vec::new()),
        Case::fine("2.8", &frame(FINAL | PONG, b"unasked"), Vec::new()),
        Case::fine("2.9", &[frame(FINAL | PONG, b"x"), ping(b"y")].concat(), vec![pong(b"y")]),
        Case::fine("2.10", &sent.concat(), pongs.clone()),
        Case::fine("2.11", &sent.concat(), pongs).chopped(1),
    ]
}

/// 3 and 4: reserved bits and opcodes; and frames that are not masked.
fn reserved() -> Vec<Case> {
    let mut cases = Vec::new();
    let hello = frame(FINAL | TEXT, b"Hello");
    for bits in 1..8u8 {
        for opcode in [TEXT, BINARY, CLOSE, PING, PONG] {
            let sent = [hello.clone(), frame(FINAL | bits << 4 | opcode, b"Hello")].concat();
            let case = Case::wrong(format!("3.{bits} {opcode}"), sent, 1002);
            cases.push(case.after(vec![text(b"Hello")]));
        }
    }
    for opcode in (3..8).chain(0xB..=0xF) {
        for payload in [&b""[..], b"Hello"] {
            let name = format!("4.{} {opcode:x} {}", opcode / 8 + 1, payload.len());
            let sent = [hello.clone(), frame(FINAL | opcode, payload)].concat();
            cases.push(Case::wrong(&name, sent.clone(), 1002).after(vec![text(b"Hello")]));
            cases.push(Case::wrong(name, sent, 1002).after(vec![text(b"Hello")]).chopped(1));
        }
    }
    for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
        let bare = [&[FINAL | opcode, 5][..], b"Hello"].concat();
        cases.push(Case::wrong(format!("unmasked {opcode}"), bare, 1002));
    }
    cases
}

/// 5: fragments, and what may stand between them.
fn fragments() -> Vec<Case> {
    let start = |payload: &[u8]| frame(TEXT, payload);
    let more = |payload: &[u8]| frame(CONTINUATION, payload);
    let last = |payload: &[u8]| frame(FINAL | CONTINUATION, payload);
    let ping = |payload: &[u8]| frame(FINAL | PING, payload);
    let both = [start(b"one"), last(b"two")].concat();
    let between = [start(b"one"), ping(b"p"), last(b"two")].concat();
    let answer = vec![text(b"onetwo")];
    let with_pong = vec![pong(b"p"), text(b"onetwo")];
    let five = |pinged: bool| {
        let pings = if pinged { ping(b"p") } else { Vec::new() };
        [start(b"1"), more(b"2"), pings.clone(), more(b"3"), more(b"4"), pings, last(b"5")].concat()
    };
    let mut cases = vec![
        Case::wrong("5.1", [frame(PING, b"one"), last(b"two")].concat(), 1002),
        Case::wrong("5.2", [frame(PONG, b"one"), last(b"two")].concat(), 1002),
        Case::fine("5.3", &both, answer.clone()),
        Case::fine("5.4", &both, answer.clone()).chopped(7),
        Case::fine("5.5", &both, answer.clone()).chopped(1),
        Case::fine("5.6", &between, with_pong.clone()),
        Case::fine("5.7", &between, with_pong.clone()).chopped(7),
        Case::fine("5.8", &between, with_pong).chopped(1),
        Case::wrong("5.15", [both, more(b"x"), start(b"y")].concat(), 1002).after(answer),
        Case::wrong("5.18", [start(b"one"), frame(FINAL | TEXT, b"two")].concat(), 1002),
        Case::wrong("5.18 binary", [start(b"one"), frame(FINAL | BINARY, b"2")].concat(), 1002),
        Case::fine("5.19", &five(true), vec![pong(b"p"), pong(b"p"), text(b"12345")]),
        Case::fine("5.20", &five(true), vec![pong(b"p"), pong(b"p"), text(b"12345")]).chopped(1),
        Case::fine("5.20 alone", &five(false), vec![text(b"12345")]).chopped(3),
        Case::fine("5.b1", &[start(b""), more(b""), last(b"")].concat(), vec![text(b"")]),
    ];
    for (name, stray) in [
        ("5.9", [last(b"stray"), frame(FINAL | TEXT, b"x")].concat()),
        ("5.12", [more(b"stray"), frame(FINAL | TEXT, b"x")].concat()),
    ] {
        cases.push(Case::wrong(name, stray.clone(), 1002));
        cases.push(Case::wrong(format!("{name} in octets"), stray.clone(), 1002).chopped(1));
        // 5.16 and 5.17: again after a message that was in order.
        let sent = [start(b"a"), last(b"b"), stray].concat();
        cases.push(Case::wrong(format!("{name} later"), sent, 1002).after(vec![text(b"ab")]));
    }
    cases
}

/// Byte sequences by whether they are UTF-8. Source: Autobahn 6.2 and 6.5 to 6.22, after
/// M. Kuhn's stress test.
const TEXTS: &[(&str, &[u8], bool)] = &[
    ("6.2.1", "Hello-µ@ßöäüàá-UTF-8!!".as_bytes(), true),
    ("6.5.1", "κόσμε".as_bytes(), true),
    ("6.6.1", b"\xCE", false),
    ("6.6.5", "κό".as_bytes(), true),
    ("6.7.1", b"\0", true),
    ("6.7.2", b"\xC2\x80", true),
    ("6.7.3", b"\xE0\xA0\x80", true),
    ("6.7.4", b"\xF0\x90\x80\x80", true),
    ("6.8.1", b"\xF8\x88\x80\x80\x80", false),
    ("6.8.2", b"\xFC\x84\x80\x80\x80\x80", false),
    ("6.9.1", b"\x7F", true),
    ("6.9.2", b"\xDF\xBF", true),
    ("6.9.3", b"\xEF\xBF\xBF", true),
    ("6.9.4", b"\xF4\x8F\xBF\xBF", true),
    ("6.10.1", b"\xF7\xBF\xBF\xBF", false),
    ("6.10.2", b"\xFB\xBF\xBF\xBF\xBF", false),
    ("6.10.3", b"\xFD\xBF\xBF\xBF\xBF\xBF", false),
    ("6.11.1", b"\xED\x9F\xBF", true),
    ("6.11.2", b"\xEE\x80\x80", true),
    ("6.11.3", b"\xEF\xBF\xBD", true),
    ("6.11.5", b"\xF4\x90\x80\x80", false),
    ("6.12.1", b"\x80", false),
    ("6.12.8", b"\x80\xBF\x80\xBF\x80\xBF\x80", false),
    ("6.13.1", b"\xC0 \xC1 \xC2 ", false),
    ("6.14.1", b"\xC0", false),
    ("6.14.2", b"\xE0\x80", false),
    ("6.14.3", b"\xF0\x80\x80", false),
    ("6.14.6", b"\xDF", false),
    ("6.14.7", b"\xEF\xBF", false),
    ("6.14.8", b"\xF7\xBF\xBF", false),
    ("6.15.1", b"\xC0\xE0\x80\xF0\x80\x80", false),
    ("6.16.1", b"\xFE", false),
    ("6.16.3", b"\xFE\xFE\xFF\xFF", false),
    ("6.17.1", b"\xC0\xAF", false),
    ("6.17.2", b"\xE0\x80\xAF", false),
    ("6.17.3", b"\xF0\x80\x80\xAF", false),
    ("6.18.1", b"\xC1\xBF", false),
    ("6.18.2", b"\xE0\x9F\xBF", false),
    ("6.18.3", b"\xF0\x8F\xBF\xBF", false),
    ("6.19.1", b"\xC0\x80", false),
    ("6.20.1", b"\xED\xA0\x80", false),
    ("6.20.7", b"\xED\xBF\xBF", false),
    ("6.21.1", b"\xED\xA0\x80\xED\xB0\x80", false),
    ("6.22.1", b"\xEF\xBF\xBE", true),
    ("6.22.34", b"\xF4\x8F\xBF\xBE", true),
];

/// 6: texts that are UTF-8, and the moment at which one can no longer be.
fn texts() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(name, payload, is_text) in TEXTS {
        let whole = frame(FINAL | TEXT, payload);
        let octets = payload.iter().map(|&byte| frame(CONTINUATION, &[byte]));
        let octets: Vec<u8> = octets.flatten().collect();
        let split = [frame(TEXT, b""), octets, frame(FINAL | CONTINUATION, b"")].concat();
        for (form, sent) in [("whole", whole), ("in fragments", split)] {
            let name = format!("{name} {form}");
            let case = |name: &str| match is_text {
                true => Case::fine(name, &sent, vec![text(payload)]),
                false => Case::wrong(name, sent.clone(), 1007),
            };
            cases.push(case(&name));
            cases.push(case(&format!("{name}, in octets")).chopped(1));
        }
    }
    // 6.4: nothing follows but silence, and still it ends.
    let (good, bad, rest) = ("κόσμε".as_bytes(), &b"\xF4\x90"[..], &b"\x80\x80edited"[..]);
    let whole = frame(FINAL | TEXT, &[good, bad, rest].concat());
    let all = frame(CONTINUATION, &[bad, rest].concat());
    cases.push(Case::wrong("6.4.1", [frame(TEXT, good), all].concat(), 1007));
    let only = [frame(TEXT, good), frame(CONTINUATION, bad)].concat();
    cases.push(Case::wrong("6.4.2", only, 1007));
    let head_bytes = whole.len() - good.len() - bad.len() - rest.len();
    let until_bad = whole[..head_bytes + good.len() + bad.len()].to_vec();
    cases.push(Case::wrong("6.4.3", until_bad.clone(), 1007));
    cases.push(Case::wrong("6.4.4", until_bad, 1007).chopped(1));
    let ping = frame(FINAL | PING, b"p");
    let cut = [frame(TEXT, &good[..1]), ping, head(CONTINUATION, 99, [0; 4]), b"A".to_vec()];
    cases.push(Case::wrong("6.4.4 in a fragment", cut.concat(), 1007).after(vec![pong(b"p")]));
    cases
}

/// 7.1 and 7.3: how a connection ends.
fn closes() -> Vec<Case> {
    let bye = close(1000, b"");
    let hello = frame(FINAL | TEXT, b"Hello");
    let raw = |payload: &[u8]| frame(FINAL | CLOSE, payload);
    let mut cases = vec![
        Case::fine("7.1.1", &hello, vec![text(b"Hello")]),
        Case::fine("7.1.2", &bye, Vec::new()),
        Case::new("7.1.3", [bye.clone(), frame(FINAL | PING, b"")].concat(), Vec::new(), 1000),
        Case::new("7.1.4", [bye.clone(), hello.clone()].concat(), Vec::new(), 1000),
        Case::new(
            "7.1.5",
            [frame(TEXT, b"one"), bye.clone(), frame(FINAL | CONTINUATION, b"two")].concat(),
            Vec::new(),
            1000,
        ),
        Case::new(
            "7.1.6",
            [frame(FINAL | TEXT, &[b'*'; 60_000]), bye.clone(), frame(FINAL | PING, b"")].concat(),
            vec![text(&[b'*'; 60_000])],
            1000,
        ),
        Case::wrong("7.3.2", raw(b"a"), 1002),
        Case::new("7.3.3", bye.clone(), Vec::new(), 1000),
        Case::new("7.3.4", close(1000, b"Hello World!"), Vec::new(), 1000),
        Case::new("7.3.5", close(1000, &[b'*'; 123]), Vec::new(), 1000),
        Case::wrong("7.3.6", close(1000, &[b'*'; 124]), 1002),
        Case::wrong("7.5.1", close(1000, b"\xCE\xBA\xED\xA0\x80edited"), 1007),
        Case::wrong("7.b1", frame(CLOSE, &1000u16.to_be_bytes()), 1002),
    ];
    cases.push(Case { code: None, ..Case::new("7.3.1", raw(b""), Vec::new(), 0) });
    cases
}

/// 7.7 and 7.9: codes that may be said, and those that may not.
fn close_codes() -> Vec<Case> {
    let valid = (1000..=1003).chain(1007..=1011).chain([3000, 3999, 4000, 4999]);
    let invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
    let valid = valid.map(|code| Case::new(format!("7.7 {code}"), close(code, b""), vec![], code));
    let invalid =
        invalid.map(|code| Case::new(format!("7.9 {code}"), close(code, b"why"), vec![], 1002));
    valid.chain(invalid).collect()
}

/// 9, small, and what lies beyond a bound.
fn bounds() -> Vec<Case> {
    let fragmented = |total: usize, each: usize| {
        let pieces = (0..total / each).map(|at| {
            let opcode = if at == 0 { BINARY } else { CONTINUATION };
            let last = if (at + 1) * each == total { FINAL } else { 0 };
            frame(last | opcode, &vec![7; each])
        });
        pieces.collect::<Vec<_>>().concat()
    };
    let binary = |bytes: usize| vec![(FINAL | BINARY, vec![7; bytes])];
    let whole = |bytes: usize| frame(FINAL | BINARY, &vec![7; bytes]);
    let max = ECHO_BYTES_MAX;
    let mask = [1, 2, 3, 4];
    vec![
        Case::fine("9.2.1", &whole(65_536), binary(65_536)),
        Case::fine("9.2.2", &whole(262_144), binary(262_144)).for_echo(),
        Case::fine("9.2.3", &whole(max), binary(max)).for_echo(),
        Case::fine("9.4.1", &fragmented(262_144, 64), binary(262_144)).for_echo(),
        Case::fine("9.4.5", &fragmented(max, 16_384), binary(max)).for_echo(),
        Case::fine("9.6.1", &whole(262_144), binary(262_144)).chopped(997).for_echo(),
        Case::wrong("9.b1", head(FINAL | BINARY, max as u64 + 1, mask), 1009),
        Case::wrong("9.b2", head(FINAL | TEXT, u64::MAX >> 1, mask), 1009),
        Case::wrong("9.b3", head(TEXT, 10 * 1024 * 1024, mask), 1009),
        Case::wrong("9.b4", head(CONTINUATION, 1 << 40, mask), 1009),
        Case::wrong("9.b5", fragmented(max + 16_384, 16_384), 1009),
        Case::wrong(
            "9.b6",
            [frame(TEXT, b""), frame(CONTINUATION, b"").repeat(70_000)].concat(),
            1009,
        ),
    ]
}

//! A WebSocket client that can break every rule: it sends bytes, and reads frames until FIN.
//! Nothing of it is shared with the codec under test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::harness::PATIENCE;

/// An upgrade request that is as it should be.
pub(crate) const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;
/// Set in the first byte of a frame that is the last of its message.
pub(crate) const FINAL: u8 = 0x80;

/// A frame as a client sends it: `first` is the first byte, the payload is masked.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    frame_masked(first, payload, [0x37, 0xFA, 0x21, 0x3D])
}

/// As [`frame`], with this mask.
pub(crate) fn frame_masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = head(first, payload.len() as u64, mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// What precedes a payload of so many bytes, whether they follow or not.
pub(crate) fn head(first: u8, payload_bytes: u64, mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(short @ ..126), _) => bytes.push(0x80 | short),
        (_, Ok(middle)) => {
            bytes.push(0x80 | 126);
            bytes.extend(middle.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(payload_bytes.to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes
}

/// A Close with a code.
pub(crate) fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FINAL | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// One frame of the server: its first byte and its payload.
pub(crate) type Frame = (u8, Vec<u8>);

/// A connection whose upgrade is done.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn open(server: SocketAddr) -> Self {
        let mut raw = Self::connect(server);
        raw.send(UPGRADE.as_bytes());
        let head = raw.http_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// A connection that has said nothing yet.
    pub(crate) fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// Sends; fails once the server has closed its side and then its socket.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The server's HTTP head, up to and with the empty line.
    pub(crate) fn http_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    }

    /// The next frame, or `None` at FIN. A reset, half a frame or a masked one fails the test.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        let mut first = [0];
        if self.0.read(&mut first).unwrap() == 0 {
            return None;
        }
        let payload_bytes = match self.take::<1>()[0] {
            126 => u64::from(u16::from_be_bytes(self.take())),
            127 => u64::from_be_bytes(self.take()),
            short => u64::from(short),
        };
        assert!(payload_bytes < 1 << 30, "a server masks nothing: {payload_bytes}");
        let mut payload = vec![0; usize::try_from(payload_bytes).unwrap()];
        self.0.read_exact(&mut payload).unwrap();
        Some((first[0], payload))
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Every frame up to the server's Close, and the Close's code (`None`: it has no payload);
    /// after it comes FIN and nothing else.
    pub(crate) fn until_fin(&mut self) -> (Vec<Frame>, Option<u16>) {
        let mut frames = Vec::new();
        while let Some((first, payload)) = self.frame() {
            if first == FINAL | CLOSE {
                assert_eq!(self.frame(), None, "FIN follows the Close");
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                return (frames, code);
            }
            frames.push((first, payload));
        }
        panic!("FIN without a Close, after {} frames", frames.len());
    }
}

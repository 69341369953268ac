//! A client as other people's programs are: tungstenite, blocking. Texts stay texts, so that digits
//! can be compared.

use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

use super::harness::PATIENCE;

/// Quotes of BTCUSDT on spot, without end.
pub(crate) const BTC: &str =
    r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"]}"#;
/// Three of them.
pub(crate) const BTC_3: &str =
    r#"{"exchange":"binance","contract_type":"spot","symbols":["BTCUSDT"],"limit":3}"#;

/// One text message of the server.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Text {
    /// The digits of a number, as they came.
    pub(crate) fn number(&self, name: &str) -> Option<&str> {
        let start = self.text.find(&format!("\"{name}\":"))? + name.len() + 3;
        let rest = &self.text[start..];
        Some(&rest[..rest.find([',', '}'])?])
    }

    pub(crate) fn is(&self, kind: &str) -> bool {
        self.json["type"] == kind
    }

    pub(crate) fn is_closed_candle(&self) -> bool {
        self.is("quote") && self.json["is_closed_candle"] == true
    }
}

/// A connected client.
pub(crate) struct Client(pub(crate) WebSocket<TcpStream>);

impl Client {
    pub(crate) fn connect(server: SocketAddr) -> Self {
        Self::try_connect(server).unwrap()
    }

    /// `None` if the server does not take it.
    pub(crate) fn try_connect(server: SocketAddr) -> Option<Self> {
        Self::upgrade(TcpStream::connect(server).ok()?, server, "/")
    }

    /// One that asks for this target.
    pub(crate) fn connect_at(server: SocketAddr, target: &str) -> Self {
        Self::upgrade(TcpStream::connect(server).unwrap(), server, target).unwrap()
    }

    /// One for whom the kernel holds next to nothing, so that the server soon notices that it does
    /// not read.
    pub(crate) fn connect_narrow(server: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&server.into()).unwrap();
        Self::upgrade(socket.into(), server, "/").unwrap()
    }

    fn upgrade(stream: TcpStream, server: SocketAddr, target: &str) -> Option<Self> {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(Self(tungstenite::client(format!("ws://{server}{target}"), stream).ok()?.0))
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    /// Ends this side of the TCP connection.
    pub(crate) fn shut_down_write(&self) {
        self.0.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// The next text, or the server's Close; every text is whole, one line and never empty.
    pub(crate) fn try_next(&mut self) -> Result<Text, Option<CloseFrame>> {
        loop {
            let message = match self.0.read() {
                // The host stopped this process for a while; nothing was lost by it.
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {
                    continue;
                }
                read => read.unwrap(),
            };
            match message {
                Message::Text(text) => {
                    assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
                    let json = serde_json::from_str(&text).unwrap();
                    return Ok(Text { text: text.to_string(), json });
                }
                Message::Close(frame) => return Err(frame),
                _ => {}
            }
        }
    }

    /// The next text; the server must not close.
    pub(crate) fn next(&mut self) -> Text {
        self.try_next().unwrap_or_else(|frame| panic!("closed: {frame:?}"))
    }

    /// The next text of this `type`.
    pub(crate) fn next_of(&mut self, kind: &str) -> Text {
        std::iter::repeat_with(|| self.next()).find(|text| text.is(kind)).unwrap()
    }

    /// Everything up to the server's Close, and its code and reason.
    pub(crate) fn until_close(&mut self) -> (Vec<Text>, u16, String) {
        let mut texts = Vec::new();
        loop {
            match self.try_next() {
                Ok(text) => texts.push(text),
                Err(None) => return (texts, 1005, String::new()),
                Err(Some(frame)) => return (texts, frame.code.into(), frame.reason.to_string()),
            }
        }
    }
}

/// Asserts `subscribed` and three quotes of BTCUSDT, and the normal close.
pub(crate) fn assert_served_three(client: &mut Client) {
    assert_eq!(served_three(client), 1000);
}

/// The code of the Close after `subscribed` and three quotes of BTCUSDT.
pub(crate) fn served_three(client: &mut Client) -> u16 {
    let (texts, code, _) = client.until_close();
    let kinds: Vec<&Value> = texts.iter().map(|text| &text.json["type"]).collect();
    assert_eq!(kinds, ["subscribed", "quote", "quote", "quote"]);
    assert!(texts[1..].iter().all(|quote| quote.json["symbol"] == "BTCUSDT"));
    code
}

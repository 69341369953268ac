//! Certificates for the client port and clients that trust them, over real sockets.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use connector_wss::wire::tls::client_config;
use rcgen::KeyPair;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use tungstenite::{Message, WebSocket};

use super::harness::{PATIENCE, Scratch};

/// A self-signed certificate of `localhost` and its key, as files.
pub(crate) struct Certificate {
    folder: Scratch,
    pub(crate) pem: String,
    der: Vec<u8>,
}

impl Certificate {
    pub(crate) fn new() -> Self {
        let certificate = Self { folder: Scratch::new(), pem: String::new(), der: Vec::new() };
        certificate.renewed()
    }

    /// Another one in the same files.
    pub(crate) fn renewed(self) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (pem, der) = (made.cert.pem(), made.cert.der().to_vec());
        let renewed = Self { pem, der, ..self };
        std::fs::write(renewed.chain(), &renewed.pem).unwrap();
        renewed.write_key(&made.signing_key);
        renewed
    }

    pub(crate) fn write_key(&self, key: &KeyPair) {
        std::fs::write(self.key(), key.serialize_pem()).unwrap();
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.folder.0.join("chain.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.0.join("key.pem")
    }

    /// The variables that name the files.
    pub(crate) fn env(&self) -> Vec<(String, String)> {
        [("CERT", self.chain()), ("KEY", self.key())]
            .map(|(name, path)| {
                (format!("CONNECTOR_WSS_TLS_{name}_FILE"), path.to_str().unwrap().to_owned())
            })
            .to_vec()
    }

    /// A TLS connection to a server that shows this certificate; `None` if it shows another.
    pub(crate) fn connect(&self, server: SocketAddr) -> Option<Stream> {
        let config = client_config(Some(self.pem.as_bytes())).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(config, name).unwrap();
        let socket = TcpStream::connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).ok()?;
        }
        let shown = stream.conn.peer_certificates().unwrap();
        assert_eq!(shown[0].as_ref(), self.der);
        Some(stream)
    }
}

pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A client that speaks wss.
pub(crate) struct TlsClient(WebSocket<Stream>);

impl TlsClient {
    pub(crate) fn connect(certificate: &Certificate, server: SocketAddr) -> Self {
        let stream = certificate.connect(server).unwrap();
        Self(tungstenite::client("wss://localhost/", stream).unwrap().0)
    }

    pub(crate) fn ask(certificate: &Certificate, server: SocketAddr, request: &str) -> Self {
        let mut client = Self::connect(certificate, server);
        client.0.send(Message::text(request)).unwrap();
        client
    }

    /// The next text, or the code of the server's Close.
    pub(crate) fn next(&mut self) -> Result<Value, u16> {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                _ => {}
            }
        }
    }
}

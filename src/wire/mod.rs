//! Bytes to messages and back, in memory: TLS, WebSocket, HTTP heads, JSON. Owns no socket and no
//! clock, and knows no candle; the owner of the socket moves the bytes.

pub mod endpoint;
mod error;
mod frame;
mod handshake;
pub mod host;
pub mod http;
pub mod json;
pub mod lex;
mod lookahead;
mod pipe;
mod storage;
pub mod tls;
mod tunnel;
pub mod websocket;

pub use endpoint::{Endpoint, EndpointError};
pub use error::WireError;
pub use frame::{MessageKind, text_frame_payload, write_frame, write_text_frame};
pub use handshake::{Request, SUBPROTOCOL};
pub use storage::touched;
pub use tunnel::{Tunnel, TunnelError};
pub use websocket::{Connection, Event};

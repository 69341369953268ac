//! Why a connection failed.

use std::fmt;

/// Why a connection ends. The last bytes for the peer are already among the outgoing bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// TLS failed: handshake, certificate, or a broken record.
    Tls(String),
    /// The opening handshake failed.
    Handshake(String),
    /// The peer answered the opening handshake with an HTTP status of its own.
    Refused {
        /// The status.
        status: u16,
        /// `Retry-After` as sent, if the answer has it.
        retry_after: Option<String>,
        /// The reason in the status line.
        reason: String,
        /// The beginning of the body.
        body: Vec<u8>,
    },
    /// The peer broke the WebSocket protocol.
    Protocol {
        /// The code of our Close: 1002 protocol, 1007 text, 1009 size.
        code: u16,
        /// The violation.
        message: String,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Handshake(why) => write!(f, "WebSocket handshake: {why}"),
            Self::Refused { status, reason, .. } => {
                write!(f, "WebSocket handshake: HTTP {status} {reason}")
            }
            Self::Protocol { message, .. } => write!(f, "WebSocket protocol: {message}"),
        }
    }
}

impl std::error::Error for WireError {}

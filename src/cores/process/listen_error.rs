//! Why the server cannot listen, and what to do about it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::{fmt, io};

use crate::cores::process::remedy;

/// Why the server cannot listen.
#[derive(Debug)]
pub enum ListenError {
    /// A port cannot be bound.
    Bind {
        /// The variable that names the port.
        variable: &'static str,
        /// The address.
        address: SocketAddr,
        /// The error of the kernel.
        error: io::Error,
    },
    /// The kernel refuses what the sockets need.
    Prepare(io::Error),
    /// The supervisor's sockets cannot be used.
    Inherited(String),
    /// `CONNECTOR_TAKEOVER_SOCKET`, or the server behind it, cannot be used.
    Takeover {
        /// The socket's path.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { variable, address, error } => {
                write!(f, "cannot listen on {address}: {error}; {}", bind_remedy(variable, error))
            }
            Self::Prepare(error) => {
                write!(f, "the listening sockets cannot be prepared: {}", remedy::in_words(error))
            }
            Self::Inherited(why) => write!(
                f,
                "the sockets that the supervisor hands over (LISTEN_FDS): {why}; let its socket unit \
                 have one ListenStream= with the port of CONNECTOR_WSS_PORT and one with that of \
                 CONNECTOR_WSS_HEALTH_CHECK_PORT"
            ),
            Self::Takeover { path, why } => {
                write!(f, "CONNECTOR_TAKEOVER_SOCKET={}: {why}", path.display())
            }
        }
    }
}

impl std::error::Error for ListenError {}

fn bind_remedy(variable: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another instance may run there: stop it, or set {variable} to a free port")
        }
        io::ErrorKind::AddrNotAvailable => {
            "CONNECTOR_WSS_HOST is no address of this host: give one that `ip address` shows".into()
        }
        io::ErrorKind::PermissionDenied if error.raw_os_error() == Some(libc::EACCES) => format!(
            "set {variable} to a port from 1024, or allow a lower one (systemd \
             `AmbientCapabilities=CAP_NET_BIND_SERVICE`)"
        ),
        _ => remedy::of(error).into(),
    }
}

//! The process from its start to its end: sockets, signals, supervisors, takeover, credentials.

pub mod credentials;
pub mod listen_error;
pub mod listeners;
pub mod remedy;
pub mod server;
pub mod shutdown;
pub mod signals;
mod start_error;
pub mod supervisor;
pub(crate) mod takeover;

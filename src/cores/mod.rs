//! The only sockets, threads, clocks and pinning: what drives the engines.

pub mod log;
pub mod ops;
pub mod ops_http;
pub mod workers;

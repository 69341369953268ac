//! Bytes to messages and back, in memory.

pub mod http;

//! The simulated exchanges: real loopback sockets, a seeded market that knows the true candle of
//! every minute, and named faults. Modules in reading order:

pub mod binance;
pub mod exchange;
pub mod faults;
pub mod info;
pub mod market;
pub mod playback;
pub mod rest;
pub mod stream;
pub mod time;

//! The simulated exchanges: real loopback sockets, a seeded market that knows the true candle of
//! every minute, and named faults. Modules in reading order:

pub mod market;
pub mod time;

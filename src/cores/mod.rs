//! Sockets, threads, clocks, pinning and waiting around the two engines. Owns nothing of the
//! protocol: it moves bytes between sockets and engines, and messages between cores.

pub mod duty;
pub mod fanout;
pub mod ledger;
pub mod log;
pub mod machine;
pub mod ops;
pub mod process;
pub mod shard;
pub mod tools;

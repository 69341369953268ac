//! The world: sockets, threads, clocks, pinning, waiting. Owns nothing of the protocol; it moves
//! bytes between sockets and the two engines, and messages between cores.

pub mod duty;
pub mod fanout;
pub mod log;
pub mod machine;
pub mod ops;
pub mod process;
pub mod shard;
pub mod tools;

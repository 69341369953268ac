//! The world: sockets, threads, clocks, pinning, waiting. Owns nothing of the protocol; it moves
//! bytes between sockets and the two engines, and messages between cores.

pub mod doorbell;
pub mod duty;
pub mod fanout;
pub mod probe;
pub mod shard;
pub mod shutdown;
pub mod topology;
pub mod wait;

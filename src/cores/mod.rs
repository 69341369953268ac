//! The world: sockets, threads, clocks, pinning, waiting. Owns nothing of the protocol; it moves
//! bytes between sockets and the two engines, and messages between cores.

pub mod topology;

pub mod credentials;
pub mod doorbell;
pub mod shutdown;
pub mod wait;

mod closes;
mod denials;
pub mod duty;
mod executor;
pub mod fanout;
mod passage;
pub mod shard;
mod stamps;

pub mod doctor;
mod figures;
pub mod healthcheck;
pub mod listen_error;
pub mod listeners;
mod lists;
pub mod log;
pub mod ops;
pub mod ops_http;
pub mod ops_setup;
mod page;
mod repeats;
mod slowest;
mod state;
pub mod workers;

pub mod memory;
mod names;
pub mod open_files;
mod poison;
pub mod probe;
pub mod remedy;
mod rlimits;
pub mod server;
pub mod signals;
pub mod solo;
mod spent;
pub mod supervisor;
mod takeover;

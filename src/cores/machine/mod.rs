//! The host: its CPUs and limits, how a core waits and is woken, what the kernel stamps.

pub mod doorbell;
pub(crate) mod executor;
pub(crate) mod figures;
pub mod memory;
pub mod open_files;
pub mod probe;
pub(crate) mod rlimits;
pub(crate) mod rx_timestamps;
pub mod topology;
pub mod wait;

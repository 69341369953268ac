//! Downstream connections: admission, access, pace, what they ask for, and their orderly end.

pub(super) mod access;
pub(super) mod admission;
pub(super) mod client;
pub(super) mod drain;
mod echo;
mod lifecycle;
pub(super) mod names;
pub(super) mod rate_limit;
pub(super) mod refused_names;
mod requests;
pub(super) mod table;

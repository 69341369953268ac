//! The feed through its public interface, against an exchange in memory and in virtual time.
#![allow(missing_docs, clippy::unwrap_used)]

mod decode;
mod intervals;
mod pair;
mod repair;
mod series;
mod sessions;
mod venues;

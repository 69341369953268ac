//! The feed through its public interface, against an exchange in memory and in virtual time.
#![allow(missing_docs, clippy::unwrap_used)]

mod decode;
mod intervals;
#[allow(dead_code, reason = "shared with the tests of faults")]
mod pair;
mod repair;
mod series;
mod sessions;
mod venues;

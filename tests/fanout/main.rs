//! The client protocol, in virtual time: clients of raw bytes against the fan-out engine.

#![allow(clippy::unwrap_used)]

mod basic;
mod closing;
mod derived;
mod door;
mod hops;
mod hostile;
mod intervals;
mod ledger;
mod marks;
mod past;
mod requests;
mod slow;
mod spellings;
mod world;

//! The programs as their users run them: real processes, real loopback sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod addresses;
mod attacks;
mod certificates;
mod client;
mod conformance;
mod connect_proxy;
mod denied;
mod exchanges;
mod handshake;
mod harness;
mod healthcheck;
mod hostile;
mod interrupted;
mod intervals;
mod ledger;
mod logs;
mod outage;
mod page;
mod proxy;
mod raw;
mod refusals;
mod replay;
mod requests;
mod restart;
mod shutdown;
mod starting;
mod streams;
mod supervisor;
mod truth;

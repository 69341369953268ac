//! One test for each fault that was found, its symptom in the name: through the feed in virtual
//! time, or through the real binary and real sockets. What an exchange or a client said then is
//! read from the case files, where these are present.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "regression/bounds.rs"]
mod bounds;
#[path = "regression/budgets.rs"]
mod budgets;
#[path = "regression/cases.rs"]
mod cases;
#[path = "regression/clients.rs"]
mod clients;
#[path = "regression/clock.rs"]
mod clock;
#[path = "regression/culprits.rs"]
mod culprits;
#[path = "regression/decode.rs"]
mod decode;
#[path = "regression/derived.rs"]
mod derived;
#[allow(dead_code, reason = "shared with the tests of the feed")]
#[path = "feed/pair.rs"]
mod pair;
#[path = "regression/proof.rs"]
mod proof;
#[path = "regression/refusals.rs"]
mod refusals;
#[path = "regression/rest.rs"]
mod rest;
#[path = "regression/volumes.rs"]
mod volumes;
#[path = "regression/waits.rs"]
mod waits;
#[allow(dead_code, reason = "shared with the tests of the fan-out")]
#[path = "fanout/world.rs"]
mod world;

//! Crypto exchange klines as exact OHLCV candles, fanned out over WebSocket.
//!
//! ```text
//!  exchanges ══TLS/WS══> shard core 0 ─┐ SPSC rings           ┌═WS═> clients :8765
//!  exchanges ══TLS/WS══> shard core 1 ─┼────────────> fan-out ┼═WS═> clients
//!                  …                   ┘  <── commands        └═WS═> clients
//!         every core ── notices, single-writer counters ──> ops core (low priority)
//!                                                           :8766 / /health /ready /metrics
//! ```
//!
//! Two pure engines joined by rings: [`feed`] turns exchange bytes into candle updates, [`fanout`]
//! turns updates into client frames. Neither knows sockets, threads, clocks or randomness. [`cores`]
//! drives them and is the only place that touches the world. Modules in reading order:

pub mod clock;
pub mod limits;
pub mod text;

pub mod market;

pub mod messages;
pub mod metrics;
pub mod wire;

pub mod venue;

pub mod fanout;
pub mod feed;
pub mod health;

pub mod config;

pub mod sim;

pub mod cores;

pub mod cli;

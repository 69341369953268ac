//! Crypto exchange klines as exact OHLCV candles, fanned out over WebSocket.
//!
//! ```text
//!  exchanges ══TLS/WS══> shard core 0 ─┐ SPSC rings           ┌═WS═> clients :8765
//!  exchanges ══TLS/WS══> shard core 1 ─┼────────────> fan-out ┼═WS═> clients
//!                  …                   ┘  <── commands   │    └═WS═> clients
//!                                                        └─ SPSC ring ─> ledger thread ─> SQLite
//!         every core ── notices, single-writer counters ──> ops core (low priority)
//!                                                           :8766 / /health /ready /metrics
//! ```
//!
//! Two pure engines joined by rings: [`feed`] turns exchange bytes into candle updates, [`fanout`]
//! turns updates into client frames. Neither knows sockets, threads, clocks or randomness: the
//! caller hands in bytes and the time, and carries out the returned outputs. [`cores`] drives both
//! engines and owns the server's sockets, threads and clocks. Only four modules beside it do I/O:
//! [`config`] reads files and the environment, [`ledger`] reads and writes its file, [`sim`] plays
//! the exchanges on loopback sockets, and [`cli`] writes to a terminal.
//!
//! # Where to look
//!
//! One update passes, in this order: `cores/shard` reads the socket, `wire` makes messages of
//! bytes, `venue` makes klines of messages, `feed` makes candle updates of klines, `fanout` makes
//! frames of updates, `cores/fanout` writes them to the clients.
//!
//! | question | file |
//! |---|---|
//! | What does an exchange expect, and what does it send? | `venue/<exchange>` |
//! | When is a candle closed? What is a gap, a correction? | `market/series.rs`, `feed/candles.rs` |
//! | How does a session begin, subscribe, get pushes, end? | `feed/session` |
//! | How are missing windows fetched and closed ones verified? | `feed/repair` |
//! | How often may an exchange be asked, and when not at all? | `feed/limits` |
//! | May this client connect? What may it ask for? | `fanout/clients`, `fanout/protocol` |
//! | How does an update reach many clients? A slow one? | `fanout/delivery` |
//! | How are `history` and `since` served? | `fanout/catch_up.rs` |
//! | Where is a closed candle stored? When does a window get another row? | `ledger` |
//! | Who writes the file, and what if the disk is slow or full? | `cores/ledger` |
//! | How are cores pinned, how do they wait and wake? | `cores/machine`, `cores/duty.rs` |
//! | Where are the sockets to exchanges, and to clients? | `cores/shard`, `cores/fanout.rs` |
//! | Start, signals, takeover, certificates, end | `main.rs`, `cores/process` |
//! | `/health`, `/ready`, `/metrics`, the dashboard | `health.rs`, `metrics/`, `cores/ops` |
//! | Log lines and the log file | `cores/log` |
//! | `doctor`, `healthcheck`, candles on a terminal | `cores/tools`, `cli` |
//! | Every bound, with its source | `limits.rs` |
//!
//! # Modules, in reading order
//!
//! A module imports only from those above it, and the engines never import each other.
//! `tests/architecture.rs` holds this.

// The ground floor: times, bounds, text from outside.
pub mod clock;
pub mod limits;
pub mod rng;
pub mod text;

// What is traded: decimals, candles, instruments, the series of closed candles.
pub mod market;

// What crosses cores; the counters; bytes to messages and back.
pub mod messages;
pub mod metrics;
pub mod wire;

// The dialect of each exchange.
pub mod venue;

// The two engines, and the verdict on whether they serve.
pub mod fanout;
pub mod feed;
pub mod health;

// The store of closed candles.
pub mod ledger;

// Variables, flags and files.
pub mod config;

// The simulated exchanges.
pub mod sim;

// Sockets, threads and clocks around the engines.
pub mod cores;

// `connector-cli`.
pub mod cli;

//! The ledger: one SQLite file with every closed window, so that closed candles outlive the
//! process. Owns the schema, the rows and the queries; knows no thread and no socket. The format of
//! the file, and queries for people, are in `README.md` beside this file.
//!
//! | question | file |
//! |---|---|
//! | What is in the file? How is it opened, checked, migrated? | `schema.rs` |
//! | What is a row, and when does a window get another one? | `rows.rs` |
//! | How are windows written, and old ones removed? | `store.rs` |
//! | How is one series read back? What is known of one window? | `queries.rs` |
//! | How is the whole file read, for exports and checks? | `export.rs` |

mod export;
mod queries;
mod rows;
mod schema;
mod store;

pub use export::{Extent, Scanned, SeriesList, StoredSeries, extent, scan, series};
pub use queries::{Explained, Page, explain, newest_position, page, tails};
pub use rows::{Kind, StoredWindow};
pub use schema::{OpenError, aside, check, is_damage, open_read_only};
pub use store::{Appended, PRUNED_AT_ONCE, Retention, Store};

/// What reading and writing the file can fail with.
pub use rusqlite::Error as LedgerError;
pub use rusqlite::{Connection, ErrorCode};

#[cfg(test)]
mod tests;

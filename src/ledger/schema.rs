//! The tables, how the file is opened, and whether it is sound. Owns the version of the schema.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// The version of the schema, in `user_version`. A file of a later version is not touched.
const VERSION: i64 = 1;

/// Version 1. `README.md` documents each column.
const CREATE: &str = "
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    exchange TEXT NOT NULL,
    contract_type TEXT NOT NULL,
    symbol TEXT NOT NULL,
    interval TEXT NOT NULL,
    interval_ms INTEGER NOT NULL,
    volume_unit TEXT NOT NULL,
    other_unit TEXT NOT NULL,
    UNIQUE (exchange, contract_type, symbol, interval)
) STRICT;

CREATE TABLE windows (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    series INTEGER NOT NULL REFERENCES series (id),
    seq INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('candle', 'empty', 'lost')),
    open TEXT,
    high TEXT,
    low TEXT,
    close TEXT,
    volume TEXT,
    other_volume TEXT,
    trades INTEGER,
    event_time INTEGER,
    received_time INTEGER NOT NULL,
    source TEXT,
    final_by TEXT,
    verified INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX windows_of_series ON windows (series, seq, revision);

CREATE INDEX unverified ON windows (series, seq) WHERE verified = 0;

CREATE VIEW candles AS
SELECT
    s.exchange, s.contract_type, s.symbol, s.interval,
    strftime('%Y-%m-%d %H:%M:%S', w.seq * s.interval_ms / 1000, 'unixepoch') AS opened_at,
    w.seq * s.interval_ms AS open_time,
    w.seq, w.revision, w.kind, w.open, w.high, w.low, w.close,
    w.volume, s.volume_unit, w.other_volume, s.other_unit, w.trades,
    w.event_time, w.received_time, w.source, w.final_by, w.verified, w.position
FROM windows AS w
JOIN series AS s ON s.id = w.series
WHERE w.kind <> 'lost' AND w.revision = (
    SELECT max(newest.revision) FROM windows AS newest
    WHERE newest.series = w.series AND newest.seq = w.seq
);
";

/// Why a file cannot be the ledger.
#[derive(Debug)]
pub enum OpenError {
    /// It is no sound database: it is to be set aside.
    Damaged(String),
    /// A later version of this program has written it.
    Later {
        /// The version of its schema.
        version: i64,
    },
    /// The file, its folder or the disk does not let us.
    Refused(rusqlite::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(why) => write!(f, "it is damaged: {why}"),
            Self::Later { version } => write!(
                f,
                "a later version of connector-wss has written it (schema {version}; this one knows \
                 {VERSION})"
            ),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) { Self::Damaged(error.to_string()) } else { Self::Refused(error) }
    }
}

/// Returns whether an error means that the file is no sound database.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Opens the file for writing, or begins it; brings its schema up to date, and checks it.
///
/// # Errors
/// The file is damaged, too new, or cannot be used.
pub(crate) fn open(path: &Path) -> Result<Connection, OpenError> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    let version = version(&connection)?;
    if version > VERSION {
        return Err(OpenError::Later { version });
    }
    is_complete(&connection, path)?;
    if bytes(&connection)? <= CHECKED_AT_START_BYTES {
        check(&connection)?;
    }
    if version < 1 {
        let script = format!("BEGIN IMMEDIATE; {CREATE} PRAGMA user_version = {VERSION}; COMMIT;");
        connection.execute_batch(&script)?;
    }
    Ok(connection)
}

/// Opens the file for reading only, while another process may write it.
///
/// # Errors
/// The file is missing, damaged, too new, or cannot be read.
pub fn open_read_only(path: &Path) -> Result<Connection, OpenError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    match version(&connection)? {
        VERSION => Ok(connection),
        0 => Err(OpenError::Damaged("it has no tables of a ledger".to_owned())),
        version => Err(OpenError::Later { version }),
    }
}

/// Reads the whole file and returns an error if its structure is not sound. It reads some hundred
/// megabytes a second.
///
/// # Errors
/// What is wrong with it, or why it cannot be read.
pub fn check(connection: &Connection) -> Result<(), OpenError> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(OpenError::Damaged(verdict)) }
}

/// The size of the data, without the pages that wait to be used again, in bytes.
pub(crate) fn bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let pages = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    Ok(pages * pragma("page_size")?)
}

/// Where a damaged file goes: beside the ledger. The one before it is replaced.
pub fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".damaged");
    name.into()
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Finds a file that was cut: SQLite itself would find that only when it reads what is missing.
fn is_complete(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let expected = pragma("page_count")? * pragma("page_size")?;
    let length = std::fs::metadata(path).map_or(expected, |file| file.len());
    if length >= expected {
        return Ok(());
    }
    Err(OpenError::Damaged(format!("it has {length} bytes of {expected}")))
}

/// How long a statement waits for another process, such as a back-up. Source: one step of SQLite's
/// `.backup` takes less.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The write-ahead log is cut to this size, in bytes, when it begins anew. Source: a minute's close
/// of some thousand series.
const WAL_BYTES_KEPT: i64 = 32 << 20;

/// SQLite's page cache, in KiB. Source: the newest index page of each of some thousand series.
const CACHE_KIB: i64 = 32 << 10;

/// A file up to this size is checked as a whole before anything in it is used; of a larger one, the
/// first and the last page, and each page when it is read. Source: the check takes about 0.2 s.
const CHECKED_AT_START_BYTES: u64 = 128 << 20;

//! Writes closed windows into the file, and removes old ones in small steps.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::clock::{Now, UnixMs};
use crate::limits::INSTRUMENTS_MAX;
use crate::market::{Candle, ClosedWindow, FinalBy, Instrument, Span};
use crate::messages::LedgerEvent;

use super::rows::{COLUMNS, Fate, Kind, StoredWindow, fate, is_same, read};
use super::schema::{self, OpenError};

/// How long rows are kept, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A row is removed this long after its bytes were received.
    pub age: Duration,
    /// Above this many bytes of data the oldest rows are removed.
    pub bytes_max: u64,
}

/// What one transaction has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Rows that are new.
    pub rows: u64,
    /// The newest end of a window among them.
    pub newest_close: Option<UnixMs>,
}

/// The writer of the file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    /// The ids of the series that were written lately.
    series: HashMap<Instrument, i64>,
    /// The file has no row that was received before this.
    oldest: Option<UnixMs>,
}

impl Store {
    /// Opens the file, or begins it, with its folder.
    ///
    /// # Errors
    /// The file is damaged, too new, or cannot be used.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let mut store =
            Self { connection: schema::open(path)?, series: HashMap::new(), oldest: None };
        store.distrust_unverified()?;
        Ok(store)
    }

    /// Marks the windows as lost that the process before us did not live to verify.
    ///
    /// # Errors
    /// What the disk or SQLite refused.
    pub fn distrust_unverified(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch(DISTRUST)
    }

    /// The connection, to read what was written.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Writes `events` in one transaction, in their order: all of them, or none.
    ///
    /// # Errors
    /// What the disk or SQLite refused. Nothing was written.
    pub fn append(&mut self, events: &[LedgerEvent], now: Now) -> rusqlite::Result<Appended> {
        let Self { connection, series, .. } = self;
        if series.len() > INSTRUMENTS_MAX {
            series.clear();
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut appended = Appended::default();
        let mut begun = Vec::new();
        for event in events {
            let instrument = event.instrument();
            let id = match series.get(instrument) {
                Some(&id) => id,
                None => {
                    let id = series_id(&transaction, instrument)?;
                    series.insert(instrument.clone(), id);
                    begun.push(instrument.clone());
                    id
                }
            };
            let written = match event {
                LedgerEvent::Closed { window, is_backfilled, .. } => {
                    let row = NewRow { series: id, instrument, window, now };
                    put(&transaction, &row, *is_backfilled)?
                }
                LedgerEvent::Verified { open_time, .. } => {
                    verify(&transaction, id, instrument.interval.seq(*open_time))?;
                    0
                }
                LedgerEvent::Lost { span, .. } => {
                    mark_lost(&transaction, id, instrument, *span, now)?
                }
            };
            appended.rows += written;
            if let (1.., LedgerEvent::Closed { window, .. }) = (written, event) {
                let close = instrument.interval.close_time(window.open_time());
                appended.newest_close = appended.newest_close.max(Some(close));
            }
        }
        if let Err(error) = transaction.commit() {
            // Their ids were not written either.
            series.retain(|instrument, _| !begun.contains(instrument));
            return Err(error);
        }
        Ok(appended)
    }

    /// Removes at most [`PRUNED_AT_ONCE`] of the oldest rows that `retention` does not keep.
    /// Returns their number.
    ///
    /// # Errors
    /// What the disk or SQLite refused.
    pub fn prune(&mut self, retention: Retention, now: Now) -> rusqlite::Result<usize> {
        let age_ms = i64::try_from(retention.age.as_millis()).unwrap_or(i64::MAX);
        let oldest_kept = UnixMs(now.unix_ms().0.saturating_sub(age_ms));
        let is_large = schema::bytes(&self.connection)? > retention.bytes_max;
        if !is_large && self.oldest.is_some_and(|oldest| oldest >= oldest_kept) {
            return Ok(0);
        }
        let cutoff = if is_large { i64::MAX } else { oldest_kept.0 };
        let pruned = self.connection.prepare_cached(PRUNE)?.execute((cutoff, PRUNED_AT_ONCE))?;
        let mut oldest = self.connection.prepare_cached(OLDEST)?;
        // An empty file has no older row than the next one.
        let oldest = oldest.query_row([], |row| row.get(0)).optional()?;
        self.oldest = Some(UnixMs(oldest.unwrap_or(now.unix_ms().0)));
        Ok(pruned)
    }

    /// The size of the data in bytes, without room that is used again.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn bytes(&self) -> rusqlite::Result<u64> {
        schema::bytes(&self.connection)
    }
}

/// Rows are removed in the order in which they were written, so that the file's first pages get
/// free and are used again: its size stays.
const PRUNE: &str = "
DELETE FROM windows WHERE position IN (
    SELECT position FROM (
        SELECT position, received_time FROM windows ORDER BY position LIMIT ?2
    ) WHERE received_time < ?1
)";

const OLDEST: &str = "SELECT received_time FROM windows ORDER BY position LIMIT 1";

/// The `lost` rows count as verified: there is nothing in them to be confirmed.
const DISTRUST: &str = "
BEGIN IMMEDIATE;
INSERT INTO windows (series, seq, revision, kind, received_time, verified)
    SELECT series, seq, revision + 1, 'lost', received_time, 1 FROM windows AS w
    WHERE verified = 0 AND revision = (
        SELECT max(newest.revision) FROM windows AS newest
        WHERE newest.series = w.series AND newest.seq = w.seq
    );
UPDATE windows SET verified = 1 WHERE verified = 0;
COMMIT;";

/// Rows that one step removes at most. Source: it takes some ms, which the closes of a minute can
/// wait for.
pub const PRUNED_AT_ONCE: usize = 2_000;

/// A row that may be written.
struct NewRow<'event> {
    series: i64,
    instrument: &'event Instrument,
    window: &'event ClosedWindow,
    now: Now,
}

fn series_id(transaction: &Transaction<'_>, instrument: &Instrument) -> rusqlite::Result<i64> {
    let Instrument { market, symbol, interval } = instrument;
    let name = (market.venue().name(), market.contract_type().name(), &**symbol, interval.name());
    let mut find = transaction.prepare_cached(
        "SELECT id FROM series
         WHERE exchange = ?1 AND contract_type = ?2 AND symbol = ?3 AND interval = ?4",
    )?;
    if let Some(id) = find.query_row(name, |row| row.get(0)).optional()? {
        return Ok(id);
    }
    transaction.execute(
        "INSERT INTO series
         (exchange, contract_type, symbol, interval, interval_ms, volume_unit, other_unit)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            name.0,
            name.1,
            name.2,
            name.3,
            interval.ms(),
            market.volume_unit().name(),
            market.other_unit().name()
        ],
    )?;
    Ok(transaction.last_insert_rowid())
}

/// Writes a closed window unless it is known. Returns the number of rows written.
fn put(
    transaction: &Transaction<'_>,
    row: &NewRow<'_>,
    is_backfilled: bool,
) -> rusqlite::Result<u64> {
    let interval = row.instrument.interval;
    let seq = interval.seq(row.window.open_time());
    let newest = newest(transaction, row, seq)?;
    let revision = match fate(row.window, is_backfilled, newest.as_ref()) {
        Fate::Known => return Ok(0),
        Fate::Write(revision) => revision,
        Fate::Restore(revision) => {
            let lost = newest.map(|newest| newest.position);
            transaction
                .prepare_cached("DELETE FROM windows WHERE position = ?1")?
                .execute([lost])?;
            // The row before it may be right after all.
            let before = self::newest(transaction, row, seq)?;
            if before.is_some_and(|before| is_same(&before, row.window)) {
                return Ok(0);
            }
            revision
        }
    };
    // What REST has of a window that ended long ago no longer changes.
    let close = interval.close_time(row.window.open_time());
    let is_settled = is_backfilled && row.now.unix_ms().0 - close.0 > SETTLED_MS;
    insert(transaction, row, (seq, revision), is_settled)?;
    Ok(1)
}

fn insert(
    transaction: &Transaction<'_>,
    row: &NewRow<'_>,
    (seq, revision): (i64, u16),
    is_settled: bool,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO windows
         (series, seq, revision, kind, open, high, low, close, volume, other_volume, trades,
          event_time, received_time, source, final_by, verified)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )?;
    let ClosedWindow::Candle(update) = row.window else {
        let none = None::<&str>;
        let received = row.now.unix_ms().0;
        insert.execute(params![
            row.series,
            seq,
            revision,
            Kind::Empty.name(),
            none,
            none,
            none,
            none,
            none,
            none,
            none,
            none,
            received,
            none,
            none,
            is_settled
        ])?;
        return Ok(());
    };
    let Candle { open, high, low, close, volume, other_volume, trades, .. } = &update.candle;
    let age_ms = row.now.mono.since(update.received).as_millis();
    let received = row.now.unix_ms().0.saturating_sub(i64::try_from(age_ms).unwrap_or(i64::MAX));
    insert.execute(params![
        row.series,
        seq,
        revision,
        Kind::Candle.name(),
        open.as_str(),
        high.as_str(),
        low.as_str(),
        close.as_str(),
        volume.as_str(),
        other_volume.as_ref().map(|volume| volume.as_str()),
        trades,
        update.event_time.map(|at| at.0),
        received,
        update.source.name(),
        update.final_by.map(|by| by.name()),
        is_settled || update.final_by == Some(FinalBy::Flag),
    ])?;
    Ok(())
}

/// Notes that the newest row of a window is confirmed.
fn verify(transaction: &Transaction<'_>, series: i64, seq: i64) -> rusqlite::Result<()> {
    let mut update = transaction.prepare_cached(
        "UPDATE windows SET verified = 1 WHERE verified = 0 AND series = ?1 AND seq = ?2
         AND revision = (SELECT max(revision) FROM windows WHERE series = ?1 AND seq = ?2)",
    )?;
    update.execute((series, seq)).map(drop)
}

/// A REST row of a window that ended this long ago no longer changes. Source:
/// `feed/repair/rest_evidence.rs`, as long as rows lag.
const SETTLED_MS: i64 = 120_000;

fn newest(
    transaction: &Transaction<'_>,
    row: &NewRow<'_>,
    seq: i64,
) -> rusqlite::Result<Option<StoredWindow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM windows WHERE series = ?1 AND seq = ?2
         ORDER BY revision DESC LIMIT 1"
    );
    let mut newest = transaction.prepare_cached(&sql)?;
    newest.query_row((row.series, seq), |found| read(found, row.instrument.interval)).optional()
}

/// Marks the stored windows of `span` as lost: a newer revision of some of them could not be
/// stored, and which ones is not known. Windows without a row are unknown without a mark.
fn mark_lost(
    transaction: &Transaction<'_>,
    series: i64,
    instrument: &Instrument,
    span: Span,
    now: Now,
) -> rusqlite::Result<u64> {
    let interval = instrument.interval;
    let (first, last) = (interval.seq(span.first), interval.seq(span.last));
    let mut mark = transaction.prepare_cached(
        "INSERT INTO windows (series, seq, revision, kind, received_time, verified)
         SELECT series, seq, max(revision) + 1, 'lost', ?4, 1 FROM windows
         WHERE series = ?1 AND seq BETWEEN ?2 AND ?3 GROUP BY seq",
    )?;
    let marked = mark.execute((series, first, last, now.unix_ms().0))?;
    Ok(u64::try_from(marked).unwrap_or(u64::MAX))
}

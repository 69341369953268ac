//! Reads the file for people and for other programs: which series there are, every window of one
//! series with those that are lost, which windows are absent, and every row once.
//!
//! Each call is one short statement, so that a program that reads for hours holds no transaction
//! open: the write-ahead log of a running server does not grow because of it.

use rusqlite::Connection;

use crate::clock::UnixMs;
use crate::market::{Instrument, Interval, Span};

use super::queries::{instrument, read_span};
use super::rows::{COLUMNS, Kind, StoredWindow, read};

/// One series of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSeries {
    id: i64,
    /// The series.
    pub instrument: Instrument,
    /// From its first to its last stored window.
    pub span: Span,
}

/// The series of a file that have at least one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesList {
    /// Ordered by market, symbol and interval.
    pub series: Vec<StoredSeries>,
    /// The names of those that this version does not serve.
    pub unserved: Vec<String>,
}

/// Every series that has a row.
///
/// # Errors
/// The file cannot be read.
pub fn series(connection: &Connection) -> rusqlite::Result<SeriesList> {
    let mut all = connection.prepare(
        "SELECT id, exchange, contract_type, symbol, interval,
                (SELECT min(seq) FROM windows WHERE series = id),
                (SELECT max(seq) FROM windows WHERE series = id) FROM series",
    )?;
    let mut rows = all.query([])?;
    let mut list = SeriesList::default();
    while let Some(row) = rows.next()? {
        let (Some(first), Some(last)) = (row.get(5)?, row.get(6)?) else { continue };
        let name: [String; 4] = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
        let Some(instrument) = instrument(&name) else {
            list.unserved.push(name.join(" "));
            continue;
        };
        let opens = |seq: i64| UnixMs(seq.saturating_mul(instrument.interval.ms()));
        let span = Span { first: opens(first), last: opens(last) };
        list.series.push(StoredSeries { id: row.get(0)?, instrument, span });
    }
    list.series.sort_by(|one, other| {
        let key = |series: &StoredSeries| (series.instrument.market, series.instrument.interval);
        let symbols = one.instrument.symbol.cmp(&other.instrument.symbol);
        let ((market, interval), (other_market, other_interval)) = (key(one), key(other));
        market.cmp(&other_market).then(symbols).then(interval.cmp(&other_interval))
    });
    Ok(list)
}

impl StoredSeries {
    /// The newest row of each of the first `count` stored windows of `span`, ascending, also of
    /// those that are lost. Fewer than `count`: there are no more.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn windows(
        &self,
        connection: &Connection,
        span: Span,
        count: i64,
    ) -> rusqlite::Result<Vec<StoredWindow>> {
        read_span(connection, self.id, self.instrument.interval, span, count)
    }

    /// The open times of the first `count` stored windows of `span`, ascending.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open_times(
        &self,
        connection: &Connection,
        span: Span,
        count: i64,
    ) -> rusqlite::Result<Vec<UnixMs>> {
        let interval = self.instrument.interval;
        let mut statement = connection.prepare_cached(
            "SELECT DISTINCT seq FROM windows WHERE series = ?1 AND seq BETWEEN ?2 AND ?3
             ORDER BY seq LIMIT ?4",
        )?;
        let bounds = (self.id, interval.seq(span.first), interval.seq(span.last), count);
        let times = statement.query_map(bounds, |row| {
            let seq: i64 = row.get(0)?;
            Ok(UnixMs(seq.saturating_mul(interval.ms())))
        })?;
        times.collect()
    }

    /// The nearest stored windows before and after the one that opens at `open_time`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn nearest(
        &self,
        connection: &Connection,
        open_time: UnixMs,
    ) -> rusqlite::Result<(Option<StoredWindow>, Option<StoredWindow>)> {
        let interval = self.instrument.interval;
        let find = |sql: &str| -> rusqlite::Result<Option<StoredWindow>> {
            let bounds = (self.id, interval.seq(open_time));
            let seq: Option<i64> = connection.query_row(sql, bounds, |row| row.get(0))?;
            let Some(seq) = seq else { return Ok(None) };
            let at = UnixMs(seq.saturating_mul(interval.ms()));
            Ok(self.windows(connection, Span { first: at, last: at }, 1)?.pop())
        };
        Ok((
            find("SELECT max(seq) FROM windows WHERE series = ?1 AND seq < ?2")?,
            find("SELECT min(seq) FROM windows WHERE series = ?1 AND seq > ?2")?,
        ))
    }
}

/// What one stretch of rows, in the order in which they were written, has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Rows that were read.
    pub rows: u64,
    /// The position of the last row; `None`: there was none.
    pub last: Option<i64>,
    /// Windows whose newest row says that they are lost, each with the name of its series.
    pub lost: Vec<(String, UnixMs)>,
    /// Rows of a candle that make no sense, by their position.
    pub senseless: Vec<i64>,
}

/// Reads up to `count` rows behind the position `after`.
///
/// # Errors
/// The file cannot be read, or a column has another type than the schema says.
pub fn scan(connection: &Connection, after: i64, count: i64) -> rusqlite::Result<Scanned> {
    let sql = format!(
        "SELECT {COLUMNS}, s.interval, s.exchange || ' ' || s.contract_type || ' ' || s.symbol,
                EXISTS (SELECT 1 FROM windows AS newer WHERE newer.series = w.series
                        AND newer.seq = w.seq AND newer.revision > w.revision)
         FROM (SELECT * FROM windows WHERE position > ?1 ORDER BY position LIMIT ?2) AS w
         JOIN series AS s ON s.id = w.series ORDER BY position"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((after, count))?;
    let mut scanned = Scanned::default();
    while let Some(row) = rows.next()? {
        let interval_name: String = row.get(16)?;
        let interval = Interval::from_name(&interval_name).unwrap_or_default();
        let stored = read(row, interval)?;
        scanned.rows += 1;
        scanned.last = Some(stored.position);
        if stored.window.is_some() {
            continue;
        }
        let is_replaced: bool = row.get(18)?;
        match Kind::Lost.name() == row.get_ref(3)?.as_str()? {
            true if is_replaced => {}
            true => {
                let name: String = row.get(17)?;
                scanned.lost.push((format!("{name} {interval_name}"), stored.open_time));
            }
            false => scanned.senseless.push(stored.position),
        }
    }
    Ok(scanned)
}

/// The size of a file, and which rows it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The version of its schema.
    pub schema: i64,
    /// Bytes of data.
    pub data_bytes: u64,
    /// Bytes that were freed and are used again.
    pub free_bytes: u64,
    /// Position of the oldest row.
    pub first: i64,
    /// Position of the newest row; below `first` if there is none.
    pub last: i64,
}

/// The size of the file, and which rows it has.
///
/// # Errors
/// The file cannot be read.
pub fn extent(connection: &Connection) -> rusqlite::Result<Extent> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let position = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    Ok(Extent {
        schema: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
        data_bytes: super::schema::bytes(connection)?,
        free_bytes: pragma("freelist_count")? * pragma("page_size")?,
        first: position("SELECT ifnull(min(position), 1) FROM windows")?,
        last: position("SELECT ifnull(max(position), 0) FROM windows")?,
    })
}

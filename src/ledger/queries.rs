//! Reads the file: the newest windows of each series, pages of one series, and everything that is
//! known of one window.

use rusqlite::{Connection, OptionalExtension};

use crate::clock::UnixMs;
use crate::market::{ClosedWindow, Instrument, Interval, Market, Span, Venue, series};
use crate::messages::Tails;

use super::rows::{COLUMNS, Kind, StoredWindow, read};

/// The newest row of each window of one series within a span, ascending by time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The known windows.
    pub windows: Vec<StoredWindow>,
    /// Where the next page begins; `None`: this was the last one.
    pub next: Option<UnixMs>,
}

/// Every row of one window, the oldest first. A candle without a window is a row that makes no
/// sense.
pub type Explained = Vec<(Kind, StoredWindow)>;

/// The series that can go on: those with a known window after which at most `missing_max` windows
/// are over. Of each the last known windows that adjoin each other, as many as a series remembers.
///
/// # Errors
/// The file cannot be read.
pub fn tails(connection: &Connection, missing_max: i64, now: UnixMs) -> rusqlite::Result<Tails> {
    let mut found = Tails::new();
    let mut all = connection.prepare(
        "SELECT id, exchange, contract_type, symbol, interval,
                (SELECT max(seq) FROM windows WHERE series = id) FROM series",
    )?;
    let mut rows = all.query([])?;
    while let Some(row) = rows.next()? {
        let Some(newest_seq): Option<i64> = row.get(5)? else { continue };
        let name: [String; 4] = [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
        // A series of a market that this version does not serve.
        let Some(instrument) = instrument(&name) else { continue };
        let interval = instrument.interval;
        let newest = UnixMs(newest_seq.saturating_mul(interval.ms()));
        let running = interval.open_time(now);
        let oldest = UnixMs(running.0 - (missing_max + 1) * interval.ms());
        // One that is not over yet was stored before the clock was set back.
        if newest < oldest || newest >= running {
            continue;
        }
        let count = 2 * REMEMBERED;
        let span = Span { first: UnixMs(0), last: newest }.tail(count, interval);
        let mut windows = read_span(connection, row.get(0)?, interval, span, count)?;
        windows.retain(|one| one.window.is_some() && one.is_verified);
        let tail = adjoining(&windows, interval);
        if tail.last().is_some_and(|newest| newest.open_time() >= oldest) {
            found.insert(instrument, tail);
        }
    }
    Ok(found)
}

/// The last of these windows that adjoin each other, ascending, as many as a series remembers.
fn adjoining(windows: &[StoredWindow], interval: Interval) -> Vec<ClosedWindow> {
    let Some(newest) = windows.last() else { return Vec::new() };
    let mut expected = newest.open_time;
    let mut tail = Vec::new();
    for stored in windows.iter().rev() {
        let is_next = stored.open_time == expected && tail.len() < series::REMEMBERED;
        let Some(window) = stored.window.filter(|_| is_next) else { break };
        tail.push(window);
        expected = UnixMs(expected.0 - interval.ms());
    }
    tail.reverse();
    tail
}

pub(super) fn instrument(
    [exchange, contract_type, symbol, interval]: &[String; 4],
) -> Option<Instrument> {
    let market = Market::find(Venue::from_name(exchange)?, contract_type)?;
    let interval = Interval::from_name(interval)?;
    Some(Instrument { market, symbol: symbol.as_str().into(), interval })
}

/// At most `count` windows of a series within `span`, ascending. Windows that are lost, or whose
/// row makes no sense, are left out: they are unknown.
///
/// # Errors
/// The file cannot be read.
pub fn page(
    connection: &Connection,
    instrument: &Instrument,
    span: Span,
    count: i64,
) -> rusqlite::Result<Page> {
    let Some(series) = series_of(connection, instrument)? else { return Ok(Page::default()) };
    let mut windows = read_span(connection, series, instrument.interval, span, count)?;
    let is_full = i64::try_from(windows.len()).is_ok_and(|length| length == count);
    let last = windows.last().filter(|_| is_full);
    let next = last.map(|last| UnixMs(last.open_time.0 + instrument.interval.ms()));
    windows.retain(|stored| stored.window.is_some());
    Ok(Page { windows, next: next.filter(|&next| next <= span.last) })
}

/// The newest row of each window of `span`, at most `count` windows.
pub(super) fn read_span(
    connection: &Connection,
    series: i64,
    interval: Interval,
    span: Span,
    count: i64,
) -> rusqlite::Result<Vec<StoredWindow>> {
    // SQLite takes the other columns from the row with the largest revision.
    let columns = COLUMNS.replace("revision", "max(revision)");
    let sql = format!(
        "SELECT {columns} FROM windows WHERE series = ?1 AND seq BETWEEN ?2 AND ?3
         GROUP BY seq ORDER BY seq LIMIT ?4"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let bounds = (series, interval.seq(span.first), interval.seq(span.last), count);
    let rows = statement.query_map(bounds, |row| read(row, interval))?;
    rows.collect()
}

/// Everything that is stored of the window that opens at `open_time`.
///
/// # Errors
/// The file cannot be read.
pub fn explain(
    connection: &Connection,
    instrument: &Instrument,
    open_time: UnixMs,
) -> rusqlite::Result<Explained> {
    let Some(series) = series_of(connection, instrument)? else { return Ok(Vec::new()) };
    let interval = instrument.interval;
    let sql =
        format!("SELECT {COLUMNS} FROM windows WHERE series = ?1 AND seq = ?2 ORDER BY revision");
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map((series, interval.seq(open_time)), |row| {
        let stored = read(row, interval)?;
        let name = row.get_ref(3)?.as_str()?;
        let kinds = [Kind::Candle, Kind::Empty];
        let kind = kinds.into_iter().find(|kind| kind.name() == name).unwrap_or(Kind::Lost);
        Ok((kind, stored))
    })?;
    rows.collect()
}

/// The number of the newest row; 0 if there is none.
///
/// # Errors
/// The file cannot be read.
pub fn newest_position(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT ifnull(max(position), 0) FROM windows", [], |row| row.get(0))
}

/// As many windows of a tail as a series remembers.
#[allow(clippy::cast_possible_wrap)]
const REMEMBERED: i64 = series::REMEMBERED as i64;

fn series_of(connection: &Connection, instrument: &Instrument) -> rusqlite::Result<Option<i64>> {
    let Instrument { market, symbol, interval } = instrument;
    let name = (market.venue().name(), market.contract_type().name(), &**symbol, interval.name());
    let mut find = connection.prepare_cached(
        "SELECT id FROM series
         WHERE exchange = ?1 AND contract_type = ?2 AND symbol = ?3 AND interval = ?4",
    )?;
    find.query_row(name, |row| row.get(0)).optional()
}

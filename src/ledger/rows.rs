//! One row: what is kept of a closed window, and when a window gets another row.

use rusqlite::Row;

use crate::clock::{Lapse, MonoNs, RoughLapse, UnixMs};
use crate::market::{
    Candle, CandleUpdate, ClosedWindow, Decimal, FinalBy, InstrumentId, Interval, Source,
};

/// What a row says of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It closed with a candle.
    Candle,
    /// It closed without trades, and the exchange makes no candle of it.
    Empty,
    /// A newer revision was published and could not be stored, or the process ended before it was
    /// verified: the window is unknown.
    Lost,
}

impl Kind {
    /// Every kind.
    const ALL: [Self; 3] = [Self::Candle, Self::Empty, Self::Lost];

    /// Its word in the column `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Candle => "candle",
            Self::Empty => "empty",
            Self::Lost => "lost",
        }
    }
}

/// One row of the table `windows`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredWindow {
    /// The number of the row; it grows with each row written.
    pub position: i64,
    /// Start of the window.
    pub open_time: UnixMs,
    /// 0 when first published; one more for each correction.
    pub revision: u16,
    /// When its bytes were read from the exchange.
    pub received: UnixMs,
    /// Whether the window is as the exchange closed it: it was flagged as closed, or confirmed by
    /// REST rows. Otherwise it is known only while the process that wrote it lives, and corrects
    /// it.
    pub is_verified: bool,
    /// The window; `None` if it is lost, or if the row makes no sense. It is then unknown. Its
    /// instrument is a placeholder.
    pub window: Option<ClosedWindow>,
}

/// The columns that [`read`] reads, in its order.
pub(crate) const COLUMNS: &str = "position, seq, revision, kind, open, high, low, close, volume, \
    other_volume, trades, event_time, received_time, source, final_by, \
    verified";

/// Reads a row with [`COLUMNS`].
///
/// # Errors
/// A column has another type than the schema says.
pub(crate) fn read(row: &Row<'_>, interval: Interval) -> rusqlite::Result<StoredWindow> {
    let open_time = UnixMs(row.get::<_, i64>(1)?.saturating_mul(interval.ms()));
    let kind: String = row.get(3)?;
    let revision: u16 = row.get(2)?;
    let window = match Kind::ALL.into_iter().find(|one| one.name() == kind) {
        Some(Kind::Candle) => read_candle(row, open_time, revision)?.map(ClosedWindow::Candle),
        Some(Kind::Empty) => Some(ClosedWindow::Empty { open_time }),
        Some(Kind::Lost) | None => None,
    };
    let received = UnixMs(row.get(12)?);
    let is_verified = row.get(15)?;
    Ok(StoredWindow { position: row.get(0)?, open_time, revision, received, is_verified, window })
}

fn read_candle(
    row: &Row<'_>,
    open_time: UnixMs,
    revision: u16,
) -> rusqlite::Result<Option<CandleUpdate>> {
    let digits = |at| {
        let text: Option<String> = row.get(at)?;
        Ok::<_, rusqlite::Error>(text.and_then(|text| Decimal::parse(text.as_bytes()).ok()))
    };
    let prices = [digits(4)?, digits(5)?, digits(6)?, digits(7)?, digits(8)?];
    let [Some(open), Some(high), Some(low), Some(close), Some(volume)] = prices else {
        return Ok(None);
    };
    let (source, final_by): (Option<String>, Option<String>) = (row.get(13)?, row.get(14)?);
    let source =
        [Source::Ws, Source::Rest].into_iter().find(|one| source.as_deref() == Some(one.name()));
    let is_it = |one: &FinalBy| final_by.as_deref() == Some(one.name());
    let (Some(source), Some(final_by)) = (source, FinalBy::ALL.into_iter().find(is_it)) else {
        return Ok(None);
    };
    let trades: Option<u64> = row.get(10)?;
    let other_volume = digits(9)?;
    let trades = trades.unwrap_or(0);
    let candle = Candle { open_time, open, high, low, close, volume, other_volume, trades };
    let event_time: Option<i64> = row.get(11)?;
    Ok(candle.is_possible(false).then_some(CandleUpdate {
        instrument: InstrumentId(0),
        candle,
        event_time: event_time.map(UnixMs),
        received: MonoNs(0),
        until_ring: Lapse::default(),
        kernel: RoughLapse::UNKNOWN,
        final_by: Some(final_by),
        source,
        revision,
    }))
}

/// What becomes of a closed window that comes to a ledger with `newest` as the newest row of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is known already.
    Known,
    /// It is written with this revision.
    Write(u16),
    /// It is written in place of the row that says that this revision is lost.
    Restore(u16),
}

/// Returns whether a row says what a window says, and no later revision of it is at hand.
pub(crate) fn is_same(stored: &StoredWindow, window: &ClosedWindow) -> bool {
    match (stored.window, window) {
        (Some(ClosedWindow::Candle(old)), ClosedWindow::Candle(new)) => {
            old.candle == new.candle && new.revision <= stored.revision
        }
        (Some(ClosedWindow::Empty { .. }), ClosedWindow::Empty { .. }) => true,
        _ => false,
    }
}

/// Decides about a closed window. `is_backfilled`: REST has it for one client's past; what is known
/// may be newer.
pub(crate) fn fate(
    window: &ClosedWindow,
    is_backfilled: bool,
    newest: Option<&StoredWindow>,
) -> Fate {
    let given = match window {
        ClosedWindow::Candle(update) => update.revision,
        ClosedWindow::Empty { .. } => 0,
    };
    let Some(newest) = newest else { return Fate::Write(given) };
    let Some(known) = &newest.window else { return Fate::Restore(newest.revision.max(given)) };
    let is_same = match (window, known) {
        (ClosedWindow::Candle(new), ClosedWindow::Candle(old)) => new.candle == old.candle,
        // An empty window contradicts no candle, as in the series.
        (ClosedWindow::Empty { .. }, _) => true,
        (ClosedWindow::Candle(_), ClosedWindow::Empty { .. }) => false,
    };
    // Trades only ever become more: a row of REST with less is older.
    let is_older = match (window, known) {
        (ClosedWindow::Candle(new), ClosedWindow::Candle(old)) => {
            new.candle.volume <= old.candle.volume && new.candle.trades <= old.candle.trades
        }
        _ => false,
    };
    if is_backfilled && is_older || is_same && given <= newest.revision {
        return Fate::Known;
    }
    Fate::Write(given.max(newest.revision.saturating_add(1)))
}

//! What is known of a window, in a word and in words.

use serde::Serialize;

use crate::ledger::StoredWindow;
use crate::market::{ClosedWindow, FinalBy, Source};

/// What is known of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It closed with a candle.
    Candle,
    /// It closed without trades, and the exchange makes no candle of it.
    Empty,
    /// A newer revision was published and could not be stored.
    Lost,
    /// Nothing is stored.
    Absent,
}

impl State {
    /// The state after the window's newest row.
    pub(super) fn of(newest: Option<&StoredWindow>) -> Self {
        match newest.map(|stored| stored.window) {
            Some(Some(ClosedWindow::Candle(_))) => Self::Candle,
            Some(Some(ClosedWindow::Empty { .. })) => Self::Empty,
            Some(None) => Self::Lost,
            None => Self::Absent,
        }
    }

    /// Returns whether the window is known.
    pub(super) fn is_known(self) -> bool {
        matches!(self, Self::Candle | Self::Empty)
    }

    /// In words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Candle => "it closed with a candle",
            Self::Empty => "nothing was traded, and the exchange makes no candle of it",
            Self::Lost => {
                "lost: a newer revision was published and could not be stored, so it is unknown"
            }
            Self::Absent => "absent: nothing is stored, so it is unknown whether there were trades",
        }
    }
}

/// What proves that a candle is closed, in words.
pub(super) fn evidence(by: FinalBy) -> &'static str {
    match by {
        FinalBy::Flag => "the exchange's own closed flag",
        FinalBy::Successor => "the first message of a later window",
        FinalBy::Rest => "a REST row, after the exchange's own clock had passed its end",
    }
}

/// Where a candle comes from, in words.
pub(super) fn origin(source: Source) -> &'static str {
    match source {
        Source::Ws => "pushed over the exchange's WebSocket",
        Source::Rest => "fetched over the exchange's REST interface",
        Source::Derived { .. } => "folded from closed minutes",
    }
}

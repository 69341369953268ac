//! The kinds of lies, and which of them are possible for a market.

use connector_wss::market::{Market, Venue};

use crate::dice::Dice;

use super::answers::{ABSURD_WAITS, BLOCKS, SENSELESS_WAITS};
use super::forge::Times;
use super::refusals;

/// One kind of lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Times of pushes about the culprit are wrong by this many ms: several streams that agree on a
    /// time are right.
    PushTimes(Times, i64),
    /// Pushed values that cannot be.
    PushValues,
    /// Pushes about a symbol on a session that does not carry it, with values that could be.
    Foreign,
    /// Pushes about symbols that nobody has asked for.
    Strangers,
    /// Each push comes thirty times.
    Repeats,
    /// Texts that are no message of any exchange.
    Rubbish,
    /// A thousand pings a second, while the socket takes nothing of ours.
    Pings,
    /// Subscriptions that name the culprit are refused in this form.
    Refuses(usize),
    /// A subscription that names the culprit ends the connection, without a word: at once, or after
    /// it was served for this many ms.
    CostsSession(u64),
    /// No further stream is to be had: a limit of the address, in words.
    Full,
    /// REST shows candles as of a minute and a half ago, with a `Date` of now.
    RestOld,
    /// Every second REST answer is such a one.
    RestNodes,
    /// REST's `Date` is wrong by this many ms.
    RestDate(i64),
    /// The times of REST's rows are wrong by this many ms.
    RestTimes(i64),
    /// One of REST's rows cannot be.
    RestValues,
    /// REST's answer has 14 MB.
    RestHuge,
    /// REST and handshakes are answered by a page.
    Blocked(usize),
    /// Too many REST requests and handshakes, with this `Retry-After`.
    TooMany(&'static str),
    /// REST shows old candles, and behind them one of an hour ahead.
    RestAhead,
    /// REST answers about another symbol, and names it.
    RestOther,
    /// The list of symbols has the culprit as halted.
    Halted,
    /// Every second each connection is announced to end, and none does.
    Notices,
}

impl Lie {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PushTimes(_, by_ms) if by_ms > 0 => "lie_push_future",
            Self::PushTimes(..) => "lie_push_past",
            Self::PushValues => "lie_push_values",
            Self::Foreign => "lie_foreign",
            Self::Strangers => "lie_strangers",
            Self::Repeats => "lie_repeats",
            Self::Rubbish => "lie_rubbish",
            Self::Pings => "lie_pings",
            Self::Refuses(_) => "lie_refuses",
            Self::CostsSession(_) => "lie_costs_session",
            Self::Full => "lie_full",
            Self::RestOld => "lie_rest_old",
            Self::RestNodes => "lie_rest_nodes",
            Self::RestDate(_) => "lie_rest_date",
            Self::RestTimes(_) => "lie_rest_times",
            Self::RestValues => "lie_rest_values",
            Self::RestHuge => "lie_rest_huge",
            Self::Blocked(_) => "lie_blocked",
            Self::TooMany(_) => "lie_too_many",
            Self::RestAhead => "lie_rest_ahead",
            Self::RestOther => "lie_rest_other",
            Self::Halted => "lie_halted",
            Self::Notices => "lie_notices",
        }
    }

    /// Whether it is an answer to the address, so that it concerns every market of the host.
    pub(crate) fn is_to_address(self) -> bool {
        matches!(self, Self::Blocked(_) | Self::TooMany(_))
    }

    /// Whether the host's REST is out of order for it, for every market of the host.
    pub(crate) fn stops_rest(self) -> bool {
        self.is_to_address() || self == Self::RestHuge
    }

    /// Whether nothing comes of it where all streams run already.
    pub(crate) fn needs_subscribing(self) -> bool {
        self.is_to_address()
            || matches!(self, Self::Refuses(_) | Self::CostsSession(_) | Self::Full | Self::Halted)
    }

    /// Any one that is possible for `market`.
    pub(crate) fn any(market: Market, dice: &mut Dice) -> Self {
        match dice.below(27) {
            0..=3 => {
                let times = *dice.pick(&[Times::All, Times::All, Times::Events, Times::Windows]);
                let has_event_times = !matches!(market.venue(), Venue::Okx | Venue::Hyperliquid);
                // Without them a stream of a longer interval shows the time to its window only.
                let nearest = if has_event_times { 0 } else { WINDOW_MAX_MS };
                let by_ms = *dice.pick(&WRONG_BY_MS);
                let is_far = by_ms.abs() > nearest;
                Self::PushTimes(times, if is_far { by_ms } else { FAR_MS })
            }
            4 | 5 => Self::PushValues,
            6 => Self::Foreign,
            7 => Self::Strangers,
            8 => Self::Repeats,
            9 => Self::Rubbish,
            10 => Self::Pings,
            11 | 12 => Self::Refuses(dice.below(refusals::FORMS)),
            13 => Self::CostsSession(*dice.pick(&[0, 0, 3_000])),
            14 if refusals::full(market, "").is_some() => Self::Full,
            14 | 15 => Self::RestOld,
            16 => Self::RestNodes,
            17 => Self::RestDate(*dice.pick(&DATE_WRONG_BY_MS)),
            18 => Self::RestTimes(*dice.pick(&ROWS_WRONG_BY_MS)),
            19 => Self::RestValues,
            20 => Self::RestHuge,
            21 => Self::Blocked(dice.below(BLOCKS.len())),
            // Binance bans for up to three days: that is obeyed.
            22 if market.venue() != Venue::Binance && dice.one_in(2) => {
                Self::TooMany(ABSURD_WAITS[dice.below(ABSURD_WAITS.len())])
            }
            22 => Self::TooMany(SENSELESS_WAITS[dice.below(SENSELESS_WAITS.len())]),
            23 => Self::RestAhead,
            24 if matches!(market.venue(), Venue::Bybit | Venue::Hyperliquid) => Self::RestOther,
            24 | 25 => Self::Notices,
            _ => Self::Halted,
        }
    }
}

/// Beyond what is believed of one source: more than two windows, or an interval and five minutes;
/// and into the past further than anything is restated.
const WRONG_BY_MS: [i64; 11] = [
    240_000,
    300_000,
    900_000,
    3_600_000,
    30 * 86_400_000,
    10 * 365 * 86_400_000,
    8_000 * 365 * 86_400_000,
    -3 * 3_600_000,
    -86_400_000,
    -30 * 86_400_000,
    -50 * 365 * 86_400_000,
];

/// Rows as far away as this are none that were asked for; nearer ones are other candles that could
/// be.
const ROWS_WRONG_BY_MS: [i64; 6] = [
    86_400_000,
    30 * 86_400_000,
    8_000 * 365 * 86_400_000,
    -86_400_000,
    -30 * 86_400_000,
    -50 * 365 * 86_400_000,
];

/// The longest window here, and what is further.
const WINDOW_MAX_MS: i64 = 300_000;
const FAR_MS: i64 = 900_000;

/// Clocks of hosts may be five minutes apart: a `Date` that is nearer is no lie.
const DATE_WRONG_BY_MS: [i64; 8] = [
    600_000,
    3_600_000,
    30 * 86_400_000,
    8_000 * 365 * 86_400_000,
    -600_000,
    -3 * 3_600_000,
    -30 * 86_400_000,
    -50 * 365 * 86_400_000,
];

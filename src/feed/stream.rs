//! The state of one stream, as each file of this engine knows it. Owns data only; the rules are in
//! the files of the table.
//!
//! | field | written by |
//! |---|---|
//! | `series`, `newest_open`, `ran_before`, `waiting` | `candles` |
//! | `is_wanted`, `wanted_since` | `placement`, `streams` |
//! | `check`, `check_wait` | `silence` |
//! | `repair` | `missing`, `backfill`, `verify`, `deadlines` |
//! | `suspicion`, `accepted_at`, `was_served` | `suspects`, `culprits`, `inbound` |

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{MonoNs, UnixMs};
use crate::feed::SessionId;
use crate::feed::limits::budget::Claim;
use crate::market::{Candle, CandleUpdate, Decimal, Instrument, InstrumentId, Interval, Series};
use crate::messages::{BackfillFrom, Wish};

/// One instrument: its series and the state of its stream.
#[derive(Debug)]
pub(crate) struct FeedStream {
    pub(crate) id: InstrumentId,
    pub(crate) instrument: Instrument,
    /// Whether a client wants it. Messages for an unwanted stream are dropped silently.
    pub(crate) is_wanted: bool,
    /// The closed windows. The watermark outlives sessions and subscriptions, so that no window is
    /// published twice.
    pub(crate) series: Series,
    /// When the stream was last subscribed: its windows are owed from then on.
    pub(crate) wanted_since: MonoNs,
    /// The state in the newest list, if it is another one than trading.
    pub(crate) unlisted_as: Option<String>,
    /// Size of a contract, for exchanges that count contracts.
    pub(crate) contract_size: ContractSize,
    /// The evidence that this symbol ends sessions or is ignored.
    pub(crate) suspicion: Suspicion,
    /// When the exchange last accepted the subscription.
    pub(crate) accepted_at: Option<MonoNs>,
    /// Whether a session once lived on after this stream was accepted, longer than beside a
    /// culprit.
    pub(crate) was_served: bool,
    /// The connection on which no message of this stream was missed since `newest_open` arrived.
    /// Only a successor on this connection proves that `newest_open` is final.
    pub(crate) unbroken_on: Option<SessionId>,
    /// When the first message of this stream arrived on that connection.
    pub(crate) unbroken_since: MonoNs,
    /// Windows that REST is asked for.
    pub(crate) repair: Repair,
    /// How often the stream usually delivers.
    pub(crate) message_rate: MessageRate,
    /// The newest open candle that was published or waits, with the exchange's time.
    pub(crate) newest_open: Option<(Option<UnixMs>, Candle)>,
    /// The connection on which `newest_open` arrived.
    pub(crate) newest_on: Option<SessionId>,
    /// The last open candle of the window before `newest_open`.
    pub(crate) ran_before: Option<Candle>,
    /// The open candle that waits for the ring.
    pub(crate) waiting: Option<CandleUpdate>,
    /// Whether the publish queue holds this stream's id.
    pub(crate) is_queued: bool,
    /// When REST was last asked about this stream because it was silent.
    pub(crate) asked_at: MonoNs,
    /// Whether the stream delivered a candle since a client last subscribed it.
    pub(crate) is_delivering: bool,
    /// When the first and the newest of the late or refused messages arrived, since the last
    /// message in time.
    pub(crate) late: Option<(MonoNs, MonoNs)>,
    /// Whether the messages were late for long enough to be reported.
    pub(crate) is_late: bool,
    /// The REST check of a stream that never delivered.
    pub(crate) check: Check,
    /// The pause before the next check, if the symbol turns out to be quiet.
    pub(crate) check_wait: Duration,
}

/// The state of the REST check of a stream that never delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nothing is checked: the subscription is not acknowledged, or the stream delivers.
    Idle,
    /// REST is asked at `at` if the stream is still silent. `shown` is what an earlier answer
    /// showed.
    Due { at: MonoNs, shown: Option<Shown> },
    /// REST is asked.
    Asked { shown: Option<Shown> },
}

/// What an answer showed about a silent symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Fingerprint of the answer's rows, see [`crate::venue::SymbolCheck::Known`].
    pub(crate) fingerprint: u64,
    /// The market's clock minus our monotonic clock when REST was asked, in ms. The answer is about
    /// the windows of that time.
    pub(crate) offset_ms: i64,
}

impl Shown {
    /// Returns whether both answers took the time from the same clock, to within one interval.
    pub(crate) fn is_comparable(self, other: Self, interval: Interval) -> bool {
        self.offset_ms.abs_diff(other.offset_ms) < interval.ms().unsigned_abs()
    }

    /// Returns whether there were trades after `old`.
    pub(crate) fn is_news_after(self, old: Self) -> bool {
        self.fingerprint != old.fingerprint && self.fingerprint != 0
    }
}

/// How much of the base asset one contract of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContractSize {
    /// The exchange gives every unit that clients get.
    NotNeeded,
    /// The list with the size has not arrived yet. REST is not asked before it does.
    Awaited,
    /// The list has no size, or there is no list.
    Unknown,
    /// The size of one contract.
    Known(Decimal),
}

impl ContractSize {
    /// `candle` with the base amount of its contracts, where the exchange left it out.
    pub(crate) fn complete(self, candle: &Candle) -> Candle {
        let other_volume = candle.other_volume.or_else(|| match self {
            Self::NotNeeded => None,
            _ if candle.volume.is_zero() => Some(Decimal::ZERO),
            Self::Known(size) => candle.volume.checked_mul(&size),
            Self::Awaited | Self::Unknown => None,
        });
        Candle { other_volume, ..*candle }
    }
}

impl FeedStream {
    pub(crate) fn new(id: InstrumentId, instrument: Instrument, now: MonoNs) -> Self {
        Self {
            id,
            series: Series::new(instrument.interval),
            instrument,
            is_wanted: true,
            wanted_since: now,
            unlisted_as: None,
            contract_size: ContractSize::NotNeeded,
            suspicion: Suspicion::default(),
            accepted_at: None,
            was_served: false,
            unbroken_on: None,
            unbroken_since: now,
            repair: Repair::default(),
            message_rate: MessageRate::default(),
            newest_open: None,
            newest_on: None,
            ran_before: None,
            waiting: None,
            is_queued: false,
            asked_at: now,
            is_delivering: false,
            late: None,
            is_late: false,
            check: Check::Idle,
            check_wait: Duration::ZERO,
        }
    }
}

impl FeedStream {
    /// Records that messages may be missed from now until the next message.
    pub(crate) fn mark_break(&mut self, now: MonoNs) {
        self.unbroken_on = None;
        self.repair.verifications.mark_break(now);
    }

    /// The claim of this stream on an exchange's limits.
    pub(crate) fn claim(&self) -> Claim {
        match self.message_rate.last() {
            Some(_) if self.is_wanted => Claim::Served,
            _ => Claim::New,
        }
    }

    /// The candles that REST rows must not fall behind: the newest open one, and the last one of
    /// the window before.
    pub(crate) fn ran(&self) -> [Option<Candle>; 2] {
        [self.newest_open.map(|(_, candle)| candle), self.ran_before]
    }

    /// Since when the stream is silent: any trade after it would have been pushed.
    pub(crate) fn silent_since(&self) -> MonoNs {
        self.message_rate.last().map_or(self.asked_at, |last| last.max(self.asked_at))
    }
}

/// Windows of one stream that REST is asked for.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    /// Newer closed windows wait for the missing ones until then.
    pub(crate) hold_until: Option<MonoNs>,
    /// When a message first showed that the next window is over, though no message closed it.
    pub(crate) over_since: Option<MonoNs>,
    /// Whether a request for missing windows waits or is under way.
    pub(crate) is_asking: bool,
    /// REST is not asked before.
    pub(crate) ask_at: MonoNs,
    /// Number of answers in a row without a missing window.
    pub(crate) failures: u32,
    /// Backfills that clients want, the oldest first.
    pub(crate) backfills: Vec<Backfill>,
    /// Closed candles that are compared with the exchange's rows.
    pub(crate) verifications: Verifications,
    /// Answers that count once a second answer confirms them.
    pub(crate) first_answers: FirstAnswers,
}

impl Repair {
    /// Forgets everything, because no client wants the stream any longer. Requests under way are
    /// still answered; their answers are dropped.
    pub(crate) fn reset(&mut self) {
        let (is_asking, is_comparing) = (self.is_asking, self.verifications.is_asking);
        *self = Self { is_asking, ..Self::default() };
        self.verifications.is_asking = is_comparing;
    }

    /// Records that a request for this purpose waits from now on.
    pub(crate) fn mark(&mut self, purpose: RestPurpose) {
        match purpose {
            RestPurpose::Gap | RestPurpose::Late => self.is_asking = true,
            RestPurpose::Verify => self.verifications.is_asking = true,
            RestPurpose::Backfill
            | RestPurpose::Symbol
            | RestPurpose::Silent
            | RestPurpose::Name
            | RestPurpose::Clock => {}
        }
    }
}

/// The verifications that one stream still needs.
#[derive(Debug, Default)]
pub(crate) struct Verifications {
    /// Verifications to make, the oldest first.
    pub(crate) waiting: VecDeque<Verification>,
    /// Whether a request waits or is under way.
    pub(crate) is_asking: bool,
    /// The newest candle, and when it was published.
    pub(crate) newest: Option<(UnixMs, MonoNs)>,
}

/// A verification of a closed candle with the exchange's row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verification {
    pub(crate) open_time: UnixMs,
    /// The verification is not made before.
    pub(crate) at: MonoNs,
    /// After this time the verification no longer waits for slack in the exchange's limits.
    pub(crate) patience: Duration,
    /// The other candle that the newest row showed.
    pub(crate) doubted: Option<Candle>,
    pub(crate) answers: u32,
    /// Whether a row agreed, which may have lagged as the push did. The window is compared again
    /// with the next request, or some time later.
    pub(crate) is_same: bool,
}

/// One backfill that a client wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backfill {
    pub(crate) wish: Wish,
    pub(crate) from: BackfillFrom,
    pub(crate) to: Option<UnixMs>,
    /// The first window and the next window to be published, once a window was published. Before
    /// that, "the last N windows" may become others as the exchange's time is better known.
    pub(crate) published: Option<(UnixMs, UnixMs)>,
    /// After this time the backfill ends with the windows that are known.
    pub(crate) until: MonoNs,
    pub(crate) failures: u32,
    /// Whether a request for it waits or is under way.
    pub(crate) is_asking: bool,
    /// REST is not asked before.
    pub(crate) ask_at: MonoNs,
}

/// Answers about windows that one answer alone does not prove.
#[derive(Debug, Default)]
pub(crate) struct FirstAnswers {
    /// The window, its candle (`None`: no row), and when an answer first showed it; the oldest
    /// first.
    pub(crate) answers: VecDeque<(UnixMs, Option<Candle>, MonoNs)>,
}

/// The purpose of a REST request about an instrument, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestPurpose {
    /// Missing windows that hold others back, or that are over and not closed.
    Gap,
    /// Whether a silent symbol that has delivered has news.
    Silent,
    /// Whether a symbol exists that is not in the exchange's list.
    Name,
    /// Windows that a client wants from before the live stream.
    Backfill,
    /// Whether a symbol that has delivered nothing exists and has news.
    Symbol,
    /// Windows that were given up.
    Late,
    /// Whether a closed candle is still the same.
    Verify,
    /// The exchange's time.
    Clock,
}

/// Evidence against a symbol: the exchange did not answer a subscription of it, or refused it
/// without a reason.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Suspicion {
    /// Number of times in a row.
    pub(crate) strikes: u8,
    /// When it happened last.
    pub(crate) struck_at: MonoNs,
    /// When it happened the time before.
    pub(crate) struck_before: MonoNs,
}

/// How often a stream delivers: the mean pause between its messages, newer pauses counting more.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MessageRate {
    last: Option<MonoNs>,
    mean_ms: u64,
    beats: u32,
}

impl MessageRate {
    /// When the newest message arrived.
    pub(crate) fn last(&self) -> Option<MonoNs> {
        self.last
    }

    /// Takes the arrival of a message.
    pub(crate) fn beat(&mut self, now: MonoNs) {
        if let Some(last) = self.last.replace(now) {
            let pause_ms = now.since(last).as_millis();
            let pause_ms = u64::try_from(pause_ms).unwrap_or(u64::MAX).min(PAUSE_MS_MAX);
            self.mean_ms = (self.mean_ms * 7 + pause_ms) / 8;
        }
        self.beats = self.beats.saturating_add(1);
    }

    /// Returns whether the stream is silent for longer than its usual pauses explain; while those
    /// are unknown, for longer than nearly any stream is.
    pub(crate) fn is_broken(&self, now: MonoNs) -> bool {
        let mute = match self.beats {
            BEATS_MIN.. => MUTE_MIN.max(Duration::from_millis(self.mean_ms * 8)),
            _ => MUTE_UNKNOWN,
        };
        self.last.is_some_and(|last| last.after(mute) <= now)
    }
}

/// Longest pause that counts towards the mean, in ms: a longer one is an outage, no rhythm. Source:
/// chosen.
const PAUSE_MS_MAX: u64 = 600_000;

/// Shortest silence that counts as broken. Source: closing pushes are up to 4 s late, and streams
/// of quiet symbols pause for seconds.
const MUTE_MIN: Duration = Duration::from_secs(15);

/// Silence that counts as broken while the usual pause is unknown. Source: two whole windows.
const MUTE_UNKNOWN: Duration = Duration::from_secs(120);

/// Number of messages after which the usual pause is known. Source: the mean then rests on seven
/// pauses.
const BEATS_MIN: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_silent_by_its_own_measure() {
        let at = |seconds: u64| MonoNs(seconds * 1_000_000_000);
        let (mut quick, mut slow) = (MessageRate::default(), MessageRate::default());
        for beat in 0..40 {
            quick.beat(at(beat));
            slow.beat(at(beat * 10));
        }
        assert!(!quick.is_broken(at(39 + 14)) && quick.is_broken(at(39 + 15)));
        assert!(!slow.is_broken(at(390 + 70)) && slow.is_broken(at(390 + 81)));
        assert!(!MessageRate::default().is_broken(at(10_000)), "nothing is known of it");
        let mut new = MessageRate::default();
        new.beat(at(7));
        assert!(!new.is_broken(at(126)) && new.is_broken(at(127)), "it may have spoken only once");
    }
}

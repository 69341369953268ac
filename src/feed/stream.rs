//! The state of one stream: what each file of this engine knows of it. Data only; the rules are in
//! the files that the fields name.
//!
//! | field | written by |
//! |---|---|
//! | `series`, `newest_open`, `ran_before`, `waiting` | `candles` |
//! | `is_wanted`, `wanted_since` | `placing`, `streams` |
//! | `check`, `check_wait` | `silence` |
//! | `repair` | `repair`, `backfill`, `compare`, `watch` |
//! | `suspicion`, `accepted_at`, `was_served` | `suspects`, `culprits`, `inbound` |

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::{MonoNs, UnixMs};
use crate::market::{Candle, CandleUpdate, Decimal, Instrument, InstrumentId, Interval, Series};
use crate::messages::{BackfillFrom, Wish};

use crate::feed::SessionId;
use crate::feed::limits::budget::Claim;

/// One instrument: its series and what is known of its stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: InstrumentId,
    pub(crate) instrument: Instrument,
    /// Whether anyone wants it. If not, what still arrives is dropped without a word.
    pub(crate) is_wanted: bool,
    /// The watermark outlives sessions and subscriptions, so that nothing is published twice.
    pub(crate) series: Series,
    /// When it was last subscribed: from then on its windows are owed.
    pub(crate) wanted_since: MonoNs,
    /// What the newest list says of it, if not that it trades.
    pub(crate) unlisted_as: Option<String>,
    /// For exchanges that count contracts.
    pub(crate) contract_size: ContractSize,
    /// What it is suspected of.
    pub(crate) suspicion: Suspicion,
    /// When the exchange last accepted the subscription.
    pub(crate) accepted_at: Option<MonoNs>,
    /// Whether a session once lived on after it was accepted, for longer than beside a culprit.
    pub(crate) was_served: bool,
    /// The connection on which nothing of this stream can have been missed since `newest_open` came:
    /// only its successor there proves that it was the last word.
    pub(crate) unbroken_on: Option<SessionId>,
    /// When the first message of this stream came on that connection.
    pub(crate) unbroken_since: MonoNs,
    /// What REST is to find out about its windows.
    pub(crate) repair: Repair,
    /// How often it usually delivers.
    pub(crate) message_rate: MessageRate,
    /// The newest open candle published or waiting, with the exchange's time.
    pub(crate) newest_open: Option<(Option<UnixMs>, Candle)>,
    /// The connection on which it came.
    pub(crate) newest_on: Option<SessionId>,
    /// The last one of the window that ran before.
    pub(crate) ran_before: Option<Candle>,
    /// The open candle that waits for the ring.
    pub(crate) waiting: Option<CandleUpdate>,
    /// Whether the publish queue holds this stream's id.
    pub(crate) is_queued: bool,
    /// When its exchange was last asked for it, if it was silent then.
    pub(crate) asked_at: MonoNs,
    /// Whether it delivered anything since it was last subscribed by a client.
    pub(crate) is_delivering: bool,
    /// When the first and the latest came of the messages that were late or refused, since one was
    /// not.
    pub(crate) late: Option<(MonoNs, MonoNs)>,
    /// Whether that goes on for so long that it is reported.
    pub(crate) is_late: bool,
    pub(crate) check: Check,
    /// The pause before the next check, if the symbol turns out to be quiet.
    pub(crate) check_wait: Duration,
}

/// Where the REST check of a stream that never delivered stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// Nothing to check: not acknowledged, or delivering.
    Idle,
    /// To be asked at this time, if still silent. With what an earlier answer showed.
    Due { at: MonoNs, shown: Option<Shown> },
    /// Asked.
    Asked { shown: Option<Shown> },
}

/// What an answer showed of a silent symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Of its rows, see [`crate::venue::SymbolCheck::Known`].
    pub(crate) fingerprint: u64,
    /// Milliseconds of the market's clock from our monotonic clock when it was asked: the windows in question
    /// were those of that time.
    pub(crate) offset_ms: i64,
}

impl Shown {
    /// Whether both are about the windows of their time by the same clock.
    pub(crate) fn is_comparable(self, other: Self, interval: Interval) -> bool {
        self.offset_ms.abs_diff(other.offset_ms) < interval.ms().unsigned_abs()
    }

    /// Whether there were trades after `old`.
    pub(crate) fn is_news_after(self, old: Self) -> bool {
        self.fingerprint != old.fingerprint && self.fingerprint != 0
    }
}

/// How much of the base asset one contract of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContractSize {
    /// The exchange gives every unit that clients get.
    NotNeeded,
    /// The list that says it is still to come. REST is not asked before.
    Awaited,
    /// The list does not say it, or cannot be had.
    Unknown,
    /// It is this much.
    Known(Decimal),
}

impl ContractSize {
    /// `candle` with the base amount that its contracts are, where the exchange left it out.
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

impl Stream {
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

impl Stream {
    /// From here on until the next message something may be missed.
    pub(crate) fn note_break(&mut self, now: MonoNs) {
        self.unbroken_on = None;
        self.repair.comparisons.note_break(now);
    }

    /// For whom something is done that is done for this stream.
    pub(crate) fn claim(&self) -> Claim {
        match self.message_rate.last() {
            Some(_) if self.is_wanted => Claim::Served,
            _ => Claim::New,
        }
    }

    /// What REST's rows are to know at least.
    pub(crate) fn ran(&self) -> [Option<Candle>; 2] {
        [self.newest_open.map(|(_, candle)| candle), self.ran_before]
    }

    /// What has traded since then would have been pushed.
    pub(crate) fn silent_since(&self) -> MonoNs {
        self.message_rate.last().map_or(self.asked_at, |last| last.max(self.asked_at))
    }
}

/// What REST is to find out about one stream's windows.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    /// Until then newer closed windows wait for those that are missing.
    pub(crate) hold_until: Option<MonoNs>,
    /// When a message first showed that the next window is over, though nothing has closed it.
    pub(crate) over_since: Option<MonoNs>,
    /// Whether a question about missing windows waits or is asked.
    pub(crate) is_asking: bool,
    /// It is not asked before.
    pub(crate) ask_at: MonoNs,
    /// Answers in a row that brought nothing.
    pub(crate) failures: u32,
    /// What clients want of the past, the oldest wish first.
    pub(crate) backfills: Vec<Backfill>,
    /// Closed candles that are to be compared with the exchange's rows.
    pub(crate) comparisons: Comparisons,
    /// What is believed when another answer says it too.
    pub(crate) first_answers: FirstAnswers,
}

impl Repair {
    /// Nobody wants the stream any longer. What was asked is still answered, and then dropped.
    pub(crate) fn reset(&mut self) {
        let (is_asking, is_comparing) = (self.is_asking, self.comparisons.is_asking);
        *self = Self { is_asking, ..Self::default() };
        self.comparisons.is_asking = is_comparing;
    }

    /// The question waits from now on.
    pub(crate) fn mark(&mut self, ask: RestPurpose) {
        match ask {
            RestPurpose::Gap | RestPurpose::Late => self.is_asking = true,
            RestPurpose::Verify => self.comparisons.is_asking = true,
            RestPurpose::Backfill
            | RestPurpose::Symbol
            | RestPurpose::Silent
            | RestPurpose::Name
            | RestPurpose::Clock => {}
        }
    }
}

/// The comparisons of one stream that are still to be made.
#[derive(Debug, Default)]
pub(crate) struct Comparisons {
    /// The oldest first.
    pub(crate) waiting: VecDeque<Comparison>,
    /// Whether a question waits or is asked.
    pub(crate) is_asking: bool,
    /// The newest candle, and when it was published.
    pub(crate) newest: Option<(UnixMs, MonoNs)>,
}

/// A comparison to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comparison {
    pub(crate) open_time: UnixMs,
    /// Not before.
    pub(crate) at: MonoNs,
    /// It waits no longer for slack in the exchange's limits.
    pub(crate) patience: Duration,
    /// What the row said differently last time.
    pub(crate) doubted: Option<Candle>,
    pub(crate) answers: u32,
    /// A row said the same, and may have lagged as what was pushed did. It is looked at again when
    /// something is asked anyway, or some time later.
    pub(crate) is_same: bool,
}

/// One wish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backfill {
    pub(crate) wish: Wish,
    pub(crate) from: BackfillFrom,
    pub(crate) to: Option<UnixMs>,
    /// The first window and the next to be told, once anything was told: before, "the last so many"
    /// may become others as the exchange's time is better known.
    pub(crate) published: Option<(UnixMs, UnixMs)>,
    /// Then what is known has to do.
    pub(crate) until: MonoNs,
    pub(crate) failures: u32,
    /// Whether a question for it waits or is asked.
    pub(crate) is_asking: bool,
    /// It is not asked before.
    pub(crate) ask_at: MonoNs,
}

/// What answers said about windows that one answer alone does not prove.
#[derive(Debug, Default)]
pub(crate) struct FirstAnswers {
    /// The window, its candle (`None`: no row), and when that was said first; the oldest first.
    pub(crate) said: VecDeque<(UnixMs, Option<Candle>, MonoNs)>,
}

/// What an exchange's REST interface is asked about an instrument: the urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RestPurpose {
    /// Windows that hold others back, or are over and not closed.
    Gap,
    /// Whether there is news of a symbol that has delivered and is silent.
    Silent,
    /// Whether a name exists that the exchange's list does not have.
    Name,
    /// What a client wants of the past.
    Backfill,
    /// Whether a symbol that has delivered nothing exists and has news.
    Symbol,
    /// Windows that were given up.
    Late,
    /// Whether a closed candle is still what it was.
    Verify,
    /// What time it is.
    Clock,
}

/// What a name is suspected of: the exchange did not answer when it was asked for it, or refused it
/// without a reason.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Suspicion {
    /// How often in a row.
    pub(crate) strikes: u8,
    /// When the last time.
    pub(crate) struck_at: MonoNs,
    /// And the time before.
    pub(crate) struck_before: MonoNs,
}

/// How often a stream delivers: the mean pause between its messages, the latest counting most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MessageRate {
    last: Option<MonoNs>,
    mean_ms: u64,
    beats: u32,
}

impl MessageRate {
    /// When the latest message came.
    pub(crate) fn last(&self) -> Option<MonoNs> {
        self.last
    }

    /// A message came.
    pub(crate) fn beat(&mut self, now: MonoNs) {
        if let Some(last) = self.last.replace(now) {
            let pause_ms = now.since(last).as_millis();
            let pause_ms = u64::try_from(pause_ms).unwrap_or(u64::MAX).min(PAUSE_MS_MAX);
            self.mean_ms = (self.mean_ms * 7 + pause_ms) / 8;
        }
        self.beats = self.beats.saturating_add(1);
    }

    /// Whether it is silent for longer than it ever used to be; while that is not known, for longer
    /// than nearly any stream is.
    pub(crate) fn is_broken(&self, now: MonoNs) -> bool {
        let mute = match self.beats {
            BEATS_MIN.. => MUTE_MIN.max(Duration::from_millis(self.mean_ms * 8)),
            _ => MUTE_UNKNOWN,
        };
        self.last.is_some_and(|last| last.after(mute) <= now)
    }
}

/// A pause that tells nothing about a rhythm any more.
const PAUSE_MS_MAX: u64 = 600_000;

/// A stream is not called silent sooner. Source: closing pushes are up to 4 s late, and streams of
/// quiet symbols pause for seconds.
const MUTE_MIN: Duration = Duration::from_secs(15);

/// So long a stream may be silent whose rhythm is not known yet. Source: two whole windows.
const MUTE_UNKNOWN: Duration = Duration::from_secs(120);

/// A rhythm is known after so many messages.
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

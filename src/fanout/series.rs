//! One series while somebody wants it: who wants it, its newest candle, its closed windows, and
//! whether the exchange is subscribed. Knows no other series, no frame and no socket.

use std::collections::VecDeque;
use std::ops::Range;

use arrayvec::ArrayVec;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::limits::{SERIES_SPELLINGS_MAX, UNSUBSCRIBE_LINGER};
use crate::market::{CandleUpdate, Instrument, InstrumentId, Span};

use crate::fanout::ClientId;
use crate::fanout::derive::Derivation;
use crate::fanout::frame::{Class, FrameMeta};
use crate::fanout::history::History;
use crate::fanout::protocol::candle_source::CandleSource;
use crate::fanout::protocol::candle_source::HistoryRequest;
use crate::fanout::protocol::encode::Labels;
use crate::fanout::protocol::encode::Spelling;

/// One client's interest in one instrument, by one of its subscriptions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interest {
    /// Index of the client in its table; the client lives at least as long as its interests.
    pub(crate) client: u32,
    /// Which of the client's subscriptions.
    pub(crate) key: u32,
    /// Open candles are not wanted.
    pub(crate) closed_only: bool,
    /// Its quotes have the fields of the Python connector only.
    pub(crate) is_basic: bool,
    /// Under which name its client asked for the series: 0 for ours, else one more than the place
    /// among [`Stream::spellings`].
    pub(crate) spelling: u8,
    /// The subscription ends after a number of quotes.
    pub(crate) is_limited: bool,
    /// The subscription has had a quote of this instrument.
    pub(crate) is_quoted: bool,
    /// It waits for the past, and hears nothing before that has been sent.
    pub(crate) is_catching_up: bool,
    /// The first window whose end it may receive, or has received. Repairs of older ones are for
    /// others.
    pub(crate) first: UnixMs,
    /// Whether it has received one.
    pub(crate) is_begun: bool,
    /// Its client has had the notice of what the basic fields leave out: see [`crate::fanout::delivery::unsaid`].
    pub(crate) is_warned: bool,
    /// What was published before, and may still be owed, is not for it.
    pub(crate) since_serial: u64,
}

/// The beginning of time.
pub(crate) const ANY_WINDOW: UnixMs = UnixMs(i64::MIN);

impl Interest {
    /// A frame that it wants is sent, or owed.
    pub(crate) fn note(&mut self, meta: &FrameMeta) {
        let is_published = meta.class != Class::Open && meta.past_of.is_none();
        if is_published && !self.is_begun && self.wants(meta) {
            (self.first, self.is_begun) = (meta.open_time, true);
        }
    }

    /// Whether such a frame, sent, changes nothing about it.
    pub(crate) fn is_settled(&self, meta: &FrameMeta) -> bool {
        let is_begun = self.is_begun || meta.class == Class::Open;
        self.is_quoted && !self.is_limited && is_begun
    }

    /// In which of the forms of a publication it is served. `is_basic`: without the fields that
    /// only we have.
    pub(crate) fn form(&self, is_basic: bool) -> usize {
        2 * usize::from(self.spelling) + usize::from(is_basic)
    }

    /// Whether the subscription covers such a frame.
    pub(crate) fn wants(&self, meta: &FrameMeta) -> bool {
        let is_present = !self.is_catching_up && meta.serial >= self.since_serial;
        match (meta.past_of, meta.class) {
            (Some(key), _) => key == self.key,
            (None, Class::Open) => is_present && !self.closed_only,
            // It may hold the window from an earlier connection.
            (None, Class::Correction) => is_present,
            (None, _) => is_present && meta.open_time >= self.first,
        }
    }
}

/// Whether the exchange streams an instrument to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upstream {
    Off,
    /// It has ended, and the instrument is forgotten at this time unless somebody comes back.
    Resting(MonoNs),
    On,
    /// Nobody wants it; it ends at this time unless somebody comes back.
    Lingering(MonoNs),
}

/// Windows of the past that a shard was asked for.
#[derive(Debug, Default)]
pub(crate) struct Backfills {
    /// Not answered yet, the oldest first: the number, and the first and last window; `None`: up to
    /// where the stream begins.
    waiting: VecDeque<(u64, Option<Span>)>,
    /// How many there were, ever.
    asked: u64,
}

impl Backfills {
    /// The shard is asked. Returns the recall's number, from 1.
    pub(crate) fn ask(&mut self, span: Option<Span>) -> u64 {
        self.asked += 1;
        self.waiting.push_back((self.asked, span));
        self.asked
    }

    /// One of them was answered.
    pub(crate) fn end(&mut self, ticket: u64) {
        self.waiting.retain(|(asked, _)| *asked != ticket);
    }

    /// Whether the recall of this number was answered; there is none of the number 0.
    pub(crate) fn is_ended(&self, ticket: u64) -> bool {
        self.waiting.iter().all(|(asked, _)| *asked != ticket)
    }

    /// The number of the first that is not answered yet and is `like` that.
    pub(crate) fn find(&self, like: impl Fn(Option<Span>) -> bool) -> Option<u64> {
        let found = self.waiting.iter().find(|&&(_, asked)| like(asked))?;
        Some(found.0)
    }
}

/// A subscription that waits for the past of one series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatchUp {
    pub(crate) client: ClientId,
    pub(crate) key: u32,
    pub(crate) past: HistoryRequest,
    /// Publications before it.
    pub(crate) serial: u64,
    pub(crate) begun: MonoNs,
    /// The first window that is wanted, once that is known.
    pub(crate) first: Option<UnixMs>,
    /// The number of the recall that it waits for, or waited for last; 0: nothing was asked.
    pub(crate) ticket: u64,
    /// The last window of that recall, if it was known.
    pub(crate) asked_to: Option<UnixMs>,
}

/// What becomes of a stream when somebody has left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetGo {
    /// It stays as it is.
    Kept,
    /// Nobody wants it: it ends unless somebody comes back. A timer is to look after it then.
    Lingers(MonoNs),
    /// It has ended and is removed.
    Over,
}

/// One instrument.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The id under which it is known now; what names an earlier one is late.
    pub(crate) id: InstrumentId,
    /// Whether the symbol is known to exist: it is listed, has delivered, or was configured.
    pub(crate) is_confirmed: bool,
    /// What is constant in its messages.
    pub(crate) labels: Labels,
    /// Sorted by client and key, so one client's interests are neighbours.
    pub(crate) interests: Vec<Interest>,
    /// How many of them want quotes with the basic fields only.
    pub(crate) basic_count: usize,
    /// Whether some have had the notice of what these leave out, and every candle since left
    /// something out.
    pub(crate) has_basic_warning: bool,
    /// The other names under which clients have asked for it; a place stays while one of them is
    /// here.
    spellings: ArrayVec<Option<(Spelling, usize)>, SERIES_SPELLINGS_MAX>,
    /// The newest candle while the stream is live.
    pub(crate) latest: Option<CandleUpdate>,
    /// The first window with a candle since it is live.
    pub(crate) began: Option<UnixMs>,
    /// Its closed windows.
    pub(crate) history: History,
    /// Subscriptions that wait for older ones.
    pub(crate) catch_ups: Vec<CatchUp>,
    /// Whether a timer looks after them: one at a time.
    pub(crate) is_catch_up_timed: bool,
    /// What the shard was asked for them.
    pub(crate) backfills: Backfills,
    /// The shard has not begun yet: what comes is of an earlier subscription.
    is_starting: bool,
    upstream: Upstream,
    /// Whether a timer looks after its linger: one at a time, however often it is left and wanted.
    is_linger_timed: bool,
    /// Its session is lost: no candle is kept, since a straggler from before is not the state now.
    pub(crate) is_lost: bool,
    /// Wanted whether or not a client wants it.
    pub(crate) is_preloaded: bool,
    /// The derived series that are made of it now.
    pub(crate) derived: Vec<InstrumentId>,
    /// The series of minutes that a derived series is made from.
    pub(crate) base: Option<InstrumentId>,
    /// How it is made of them, while it is.
    pub(crate) derivation: Option<Box<Derivation>>,
}

impl Stream {
    /// A stream that nobody wants yet. `base`: the minutes from which a derived one is made.
    pub(crate) fn new(
        id: InstrumentId,
        instrument: &Instrument,
        base: Option<InstrumentId>,
        is_confirmed: bool,
    ) -> Self {
        let origin = base.map_or(CandleSource::Exchange, |_| CandleSource::Derived);
        Self {
            id,
            is_confirmed,
            labels: Labels::new(instrument, origin),
            interests: Vec::new(),
            basic_count: 0,
            has_basic_warning: false,
            spellings: ArrayVec::new(),
            latest: None,
            began: None,
            history: History::default(),
            catch_ups: Vec::new(),
            is_catch_up_timed: false,
            backfills: Backfills::default(),
            is_starting: false,
            upstream: Upstream::Off,
            is_linger_timed: false,
            is_lost: false,
            is_preloaded: false,
            derived: Vec::new(),
            base,
            derivation: None,
        }
    }

    /// Everybody's interest; one client's are neighbours.
    pub(crate) fn interests_mut(&mut self) -> &mut [Interest] {
        &mut self.interests
    }

    /// The number of a name for [`Interest::spelling`]; `None`: too many others are in use.
    pub(crate) fn number_of(&mut self, spelling: Option<&Spelling>) -> Option<u8> {
        let Some(spelling) = spelling else { return Some(0) };
        let is_it = |place: &Option<(Spelling, usize)>| {
            place.as_ref().is_some_and(|(known, _)| known == spelling)
        };
        let known = self.spellings.iter().position(is_it);
        let at = known.or_else(|| self.spellings.iter().position(Option::is_none));
        let at = match at {
            Some(at) => at,
            None => {
                self.spellings.try_push(None).ok()?;
                self.spellings.len() - 1
            }
        };
        self.spellings[at].get_or_insert_with(|| (spelling.clone(), 0));
        u8::try_from(at + 1).ok()
    }

    /// Whether [`Self::number_of`] has one for this name.
    pub(crate) fn has_room_for(&self, spelling: Option<&Spelling>) -> bool {
        let is_free = |place: &Option<(Spelling, usize)>| match place {
            Some((known, _)) => Some(known) == spelling,
            None => true,
        };
        spelling.is_none() || !self.spellings.is_full() || self.spellings.iter().any(is_free)
    }

    /// One interest more, or less, uses this name.
    pub(crate) fn count_spelling(&mut self, number: u8, is_new: bool) {
        let Some(at) = usize::from(number).checked_sub(1) else { return };
        let Some((_, count)) = &mut self.spellings[at] else { return };
        *count = if is_new { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.spellings[at] = None;
        }
        while self.spellings.last().is_some_and(Option::is_none) {
            self.spellings.pop();
        }
    }

    /// The names with the numbers from 1.
    pub(crate) fn spellings(&self) -> impl Iterator<Item = Option<&Spelling>> {
        self.spellings.iter().map(|place| place.as_ref().map(|(spelling, _)| spelling))
    }

    /// The name that a client uses, if it is not ours.
    pub(crate) fn spelling_of(&self, client: u32) -> Option<&Spelling> {
        let number = self.interests[self.range(client)].first()?.spelling;
        let at = usize::from(number).checked_sub(1)?;
        self.spellings.get(at)?.as_ref().map(|(spelling, _)| spelling)
    }

    /// Puts a client's name for it into a message about it.
    pub(crate) fn respell_for(&self, client: u32, payload: &mut Vec<u8>) {
        if let Some(spelling) = self.spelling_of(client) {
            self.labels.respell(payload, spelling);
        }
    }

    /// Returns whether any subscription wants it.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.interests.is_empty()
    }

    /// Who makes its candles.
    pub(crate) fn origin(&self) -> CandleSource {
        self.base.map_or(CandleSource::Exchange, |_| CandleSource::Derived)
    }

    /// Whether its session is lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The interests of one client.
    pub(crate) fn of_client(&mut self, client: u32) -> &mut [Interest] {
        let range = self.range(client);
        &mut self.interests[range]
    }

    /// Whether what comes is of the present subscription; else it is late and goes nowhere.
    pub(crate) fn is_live(&self) -> bool {
        self.is_on() && !self.is_starting
    }

    /// Whether the exchange is asked for it, or it is made of minutes.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self.upstream, Upstream::On | Upstream::Lingering(_))
    }

    /// The shard has begun with the present subscription.
    pub(crate) fn start(&mut self) {
        self.is_starting = false;
    }

    /// Keeps `update` if it is the newest. Returns whether the stream is live.
    pub(crate) fn take(&mut self, update: &CandleUpdate) -> bool {
        if !self.is_live() {
            return false;
        }
        let open_time = update.candle.open_time;
        self.began.get_or_insert(open_time);
        let is_newest = self.latest.is_none_or(|latest| open_time >= latest.candle.open_time);
        if is_newest && !self.is_lost {
            self.latest = Some(*update);
        }
        true
    }

    /// Whether something was told of this window or of one before it.
    pub(crate) fn takes_part(&self, open_time: UnixMs) -> bool {
        self.history.newest().is_some() || self.began.is_some_and(|began| began <= open_time)
    }

    /// The newest candle, unless it is two intervals old.
    pub(crate) fn latest(&self, now: Now) -> Option<CandleUpdate> {
        let fresh_since = UnixMs(now.unix_ms().0 - 2 * self.labels.interval().ms());
        let latest = self.latest.filter(|latest| latest.candle.open_time > fresh_since);
        // A window that was told as empty, or as missing, runs no more.
        let is_over = |latest: &CandleUpdate| {
            !latest.is_closed() && self.history.newest() >= Some(latest.candle.open_time)
        };
        latest.filter(|latest| !is_over(latest))
    }

    /// Returns whether the exchange has to be subscribed now.
    pub(crate) fn switch_on(&mut self) -> bool {
        let was_on = self.is_on();
        self.upstream = Upstream::On;
        self.is_starting |= !was_on;
        !was_on
    }

    /// Somebody has left, or did not come. A stream that nobody wants any longer is left after a
    /// while, since a client's restart takes seconds; but at once where nobody knows whether there
    /// is such a symbol, or where it has ended already.
    pub(crate) fn let_go(&mut self, now: Now) -> LetGo {
        if self.is_wanted() || self.is_preloaded || !self.derived.is_empty() {
            return LetGo::Kept;
        }
        match self.upstream {
            Upstream::Lingering(_) | Upstream::Resting(_) => LetGo::Kept,
            Upstream::On if self.is_confirmed => {
                let until = now.mono.after(UNSUBSCRIBE_LINGER);
                self.upstream = Upstream::Lingering(until);
                match std::mem::replace(&mut self.is_linger_timed, true) {
                    true => LetGo::Kept,
                    false => LetGo::Lingers(until),
                }
            }
            Upstream::On | Upstream::Off => {
                self.switch_off();
                LetGo::Over
            }
        }
    }

    /// The timer of its linger has come. Ends the stream if nobody wants it by now; `Lingers` where
    /// it was left anew since.
    pub(crate) fn end_linger(&mut self, now: Now) -> LetGo {
        self.is_linger_timed = false;
        match self.upstream {
            Upstream::Lingering(until) if until > now.mono => {
                self.is_linger_timed = true;
                LetGo::Lingers(until)
            }
            Upstream::Lingering(_) => {
                self.switch_off();
                LetGo::Over
            }
            Upstream::Off | Upstream::Resting(_) | Upstream::On => LetGo::Kept,
        }
    }

    /// The stream has ended, and its instrument is kept until then.
    pub(crate) fn rest(&mut self, until: MonoNs) {
        assert!(!self.is_wanted() && !self.is_on(), "a stream that is wanted does not rest");
        self.upstream = Upstream::Resting(until);
    }

    /// Somebody is about to want it: it rests no more.
    pub(crate) fn claim(&mut self) {
        if matches!(self.upstream, Upstream::Resting(_)) {
            self.upstream = Upstream::Off;
        }
    }

    /// Whether it rests until exactly then.
    pub(crate) fn rests_until(&self, until: MonoNs) -> bool {
        self.upstream == Upstream::Resting(until)
    }

    /// Nothing is known of the present any more.
    pub(crate) fn switch_off(&mut self) {
        self.upstream = Upstream::Off;
        (self.latest, self.is_lost, self.history) = (None, false, History::default());
        self.began = None;
        self.catch_ups.clear();
        self.backfills.waiting.clear();
    }

    fn range(&self, client: u32) -> Range<usize> {
        let start = self.interests.partition_point(|interest| interest.client < client);
        let rest = &self.interests[start..];
        start..start + rest.iter().take_while(|interest| interest.client == client).count()
    }

    pub(crate) fn position(&self, client: u32, key: u32) -> Result<usize, usize> {
        self.interests
            .binary_search_by_key(&(client, key), |interest| (interest.client, interest.key))
    }
}

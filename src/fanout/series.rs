//! One series while it is wanted: its interests, its newest candle, its closed windows, and whether
//! the exchange is subscribed. Knows no other series, no frame and no socket.

use std::collections::VecDeque;
use std::ops::Range;

use arrayvec::ArrayVec;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::fanout::ClientId;
use crate::fanout::derive::Derivation;
use crate::fanout::frame::{Class, FrameMeta};
use crate::fanout::history::History;
use crate::fanout::protocol::candle_source::{CandleSource, HistoryRequest};
use crate::fanout::protocol::encode::{Labels, Spelling};
use crate::limits::{SERIES_SPELLINGS_MAX, UNSUBSCRIBE_LINGER};
use crate::market::{CandleUpdate, Instrument, InstrumentId, Span};

/// The interest of one subscription of a client in one instrument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interest {
    /// Index of the client in its table. The client lives at least as long as its interests.
    pub(crate) client: u32,
    /// The subscription among those of the client.
    pub(crate) key: u32,
    /// Whether open candles are not wanted.
    pub(crate) closed_only: bool,
    /// Whether its quotes have only the fields of the Python connector.
    pub(crate) is_basic: bool,
    /// The spelling that the client uses for the series: 0 for our own, otherwise one more than the
    /// place in [`Series::spellings`].
    pub(crate) spelling: u8,
    /// Whether the subscription ends after a number of quotes.
    pub(crate) is_limited: bool,
    /// Whether the subscription has received a quote of this instrument.
    pub(crate) is_quoted: bool,
    /// Whether it waits for history. Until that is sent, it receives nothing else of the series.
    pub(crate) is_catching_up: bool,
    /// The first closed window that it may receive, or has received. Repaired windows before it are
    /// not sent to this subscription.
    pub(crate) first: UnixMs,
    /// Whether it has received a closed window.
    pub(crate) is_begun: bool,
    /// Whether its client has received the notice about what the basic fields leave out, which
    /// `delivery/unsaid.rs` sends.
    pub(crate) is_warned: bool,
    /// The publication at which it begins: earlier ones, though perhaps still owed, are not for it.
    pub(crate) since_serial: u64,
}

/// Earlier than every window.
pub(crate) const ANY_WINDOW: UnixMs = UnixMs(i64::MIN);

impl Interest {
    /// Notes that a frame which it wants is sent or owed.
    pub(crate) fn record(&mut self, meta: &FrameMeta) {
        let is_published = meta.class != Class::Open && meta.history_of.is_none();
        if is_published && !self.is_begun && self.wants(meta) {
            (self.first, self.is_begun) = (meta.open_time, true);
        }
    }

    /// Returns whether sending such a frame changes nothing in the interest.
    pub(crate) fn is_settled(&self, meta: &FrameMeta) -> bool {
        let is_begun = self.is_begun || meta.class == Class::Open;
        self.is_quoted && !self.is_limited && is_begun
    }

    /// Which of the encoded forms of a publication it receives. `is_basic`: the form with only the
    /// fields of the Python connector.
    pub(crate) fn form(&self, is_basic: bool) -> usize {
        2 * usize::from(self.spelling) + usize::from(is_basic)
    }

    /// Returns whether the subscription wants such a frame.
    pub(crate) fn wants(&self, meta: &FrameMeta) -> bool {
        let is_present = !self.is_catching_up && meta.serial >= self.since_serial;
        match (meta.history_of, meta.class) {
            (Some(key), _) => key == self.key,
            (None, Class::Open) => is_present && !self.closed_only && meta.open_time >= self.first,
            // The client may hold the window from an earlier connection.
            (None, Class::Correction) => is_present,
            (None, _) => is_present && meta.open_time >= self.first,
        }
    }
}

/// Whether the exchange streams the instrument to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upstream {
    Off,
    /// The stream has ended. The instrument is forgotten at this time unless it is wanted again.
    Resting(MonoNs),
    On,
    /// Nothing wants the stream. It ends at this time unless it is wanted again.
    Lingering(MonoNs),
}

/// The backfills that a shard was asked for, for one series.
#[derive(Debug, Default)]
pub(crate) struct Backfills {
    /// Not answered yet, the oldest first: the ticket, and the first and last window. `None`: up to
    /// where the stream begins.
    waiting: VecDeque<(u64, Option<Span>)>,
    /// Backfills asked for so far.
    asked: u64,
}

impl Backfills {
    /// Records that the shard is asked for `span`. Returns the ticket of the backfill, from 1.
    pub(crate) fn ask(&mut self, span: Option<Span>) -> u64 {
        self.asked += 1;
        self.waiting.push_back((self.asked, span));
        self.asked
    }

    /// Records that a backfill was answered.
    pub(crate) fn end(&mut self, ticket: u64) {
        self.waiting.retain(|(asked, _)| *asked != ticket);
    }

    /// Returns whether the backfill with this ticket was answered. Ticket 0 stands for none and
    /// counts as answered.
    pub(crate) fn is_ended(&self, ticket: u64) -> bool {
        self.waiting.iter().all(|(asked, _)| *asked != ticket)
    }

    /// The ticket of the first unanswered backfill with a span that satisfies `like`.
    pub(crate) fn find(&self, like: impl Fn(Option<Span>) -> bool) -> Option<u64> {
        let found = self.waiting.iter().find(|&&(_, asked)| like(asked))?;
        Some(found.0)
    }
}

/// A subscription that waits for the history of one series.
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
    /// The ticket of the backfill that it waits for, or waited for last; 0: none was asked for.
    pub(crate) ticket: u64,
    /// The last window of that backfill, if it was known.
    pub(crate) asked_to: Option<UnixMs>,
}

/// What becomes of a stream when an interest in it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetGo {
    /// The stream stays as it is.
    Kept,
    /// Nothing wants the stream: it ends at this time unless it is wanted again. The caller sets a
    /// timer.
    Lingers(MonoNs),
    /// The stream has ended and is removed.
    Over,
}

/// The stream of one instrument.
#[derive(Debug)]
pub(crate) struct Series {
    /// The id of the instrument now. A message with an earlier id is late.
    pub(crate) id: InstrumentId,
    /// Whether the symbol is known to exist: listed, delivered or configured.
    pub(crate) is_confirmed: bool,
    /// The constant parts of its messages.
    pub(crate) labels: Labels,
    /// Sorted by client and key, so that the interests of one client are neighbours.
    pub(crate) interests: Vec<Interest>,
    /// How many of the interests want the basic fields only.
    pub(crate) basic_count: usize,
    /// Whether at least one of them has received the notice about what the basic fields leave out,
    /// and every candle since then left something out.
    pub(crate) has_basic_warning: bool,
    /// The other spellings under which clients have asked for the series, each with the number of
    /// its interests. A spelling keeps its place while it is in use.
    spellings: ArrayVec<Option<(Spelling, usize)>, SERIES_SPELLINGS_MAX>,
    /// The newest candle while the stream is live.
    pub(crate) latest: Option<CandleUpdate>,
    /// The first window with a candle since the stream is live.
    pub(crate) began: Option<UnixMs>,
    /// The closed windows of the series.
    pub(crate) history: History,
    /// Subscriptions that wait for older windows.
    pub(crate) catch_ups: Vec<CatchUp>,
    /// Whether a timer is set for them. There is one timer at a time.
    pub(crate) is_catch_up_timed: bool,
    /// The backfills that the shard was asked for.
    pub(crate) backfills: Backfills,
    /// The shard has not begun yet: what arrives belongs to an earlier subscription.
    is_starting: bool,
    upstream: Upstream,
    /// Whether a timer for the linger is set. There is one timer at a time, whatever comes and
    /// goes.
    is_linger_timed: bool,
    /// The session is lost. No candle is kept, since a late one from before is not the present
    /// state.
    pub(crate) is_lost: bool,
    /// Wanted with or without clients.
    pub(crate) is_preloaded: bool,
    /// The series that are derived from it now.
    pub(crate) derived: Vec<InstrumentId>,
    /// The one-minute series from which a derived series is made.
    pub(crate) base: Option<InstrumentId>,
    /// How a derived series is made of its base, while it is streamed.
    pub(crate) derivation: Option<Box<Derivation>>,
}

impl Series {
    /// A stream without interests. `base`: the minutes from which a derived series is made.
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

    /// All interests. Those of one client are neighbours.
    pub(crate) fn interests_mut(&mut self) -> &mut [Interest] {
        &mut self.interests
    }

    /// The number of a spelling for [`Interest::spelling`]. `None`: the series has as many other
    /// spellings as fit.
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

    /// Returns whether [`Self::number_of`] has a number for this spelling.
    pub(crate) fn has_room_for(&self, spelling: Option<&Spelling>) -> bool {
        let is_free = |place: &Option<(Spelling, usize)>| match place {
            Some((known, _)) => Some(known) == spelling,
            None => true,
        };
        spelling.is_none() || !self.spellings.is_full() || self.spellings.iter().any(is_free)
    }

    /// Counts one interest more, or one less, with this spelling.
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

    /// The spellings, with the numbers from 1.
    pub(crate) fn spellings(&self) -> impl Iterator<Item = Option<&Spelling>> {
        self.spellings.iter().map(|place| place.as_ref().map(|(spelling, _)| spelling))
    }

    /// The spelling that a client uses, if it is not our own.
    pub(crate) fn spelling_of(&self, client: u32) -> Option<&Spelling> {
        let number = self.interests[self.range(client)].first()?.spelling;
        let at = usize::from(number).checked_sub(1)?;
        self.spellings.get(at)?.as_ref().map(|(spelling, _)| spelling)
    }

    /// Writes a client's spelling into a message about the series.
    pub(crate) fn respell_for(&self, client: u32, payload: &mut Vec<u8>) {
        if let Some(spelling) = self.spelling_of(client) {
            self.labels.respell(payload, spelling);
        }
    }

    /// Returns whether any subscription wants it.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.interests.is_empty()
    }

    /// What makes the candles of the series.
    pub(crate) fn origin(&self) -> CandleSource {
        self.base.map_or(CandleSource::Exchange, |_| CandleSource::Derived)
    }

    /// Returns whether the session is lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The interests of one client.
    pub(crate) fn of_client(&mut self, client: u32) -> &mut [Interest] {
        let range = self.range(client);
        &mut self.interests[range]
    }

    /// Returns whether what arrives belongs to the present subscription. Otherwise it is late and
    /// is dropped.
    pub(crate) fn is_live(&self) -> bool {
        self.is_on() && !self.is_starting
    }

    /// Returns whether the series is subscribed at the exchange, or made of minutes.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self.upstream, Upstream::On | Upstream::Lingering(_))
    }

    /// Notes that the shard has begun the present subscription.
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

    /// Returns whether something has arrived for this window or for one before it.
    pub(crate) fn takes_part(&self, open_time: UnixMs) -> bool {
        self.history.newest().is_some() || self.began.is_some_and(|began| began <= open_time)
    }

    /// The newest candle, unless it is two intervals old.
    pub(crate) fn latest(&self, now: Now) -> Option<CandleUpdate> {
        let fresh_since = UnixMs(now.unix_ms().0 - 2 * self.labels.interval().ms());
        let latest = self.latest.filter(|latest| latest.candle.open_time > fresh_since);
        // A window that was published as empty or as missing is over.
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

    /// An interest has ended, or was not added. A stream that nothing wants lingers for
    /// [`UNSUBSCRIBE_LINGER`], since the restart of a client takes seconds. It ends at once if its
    /// symbol is not confirmed, or if it has ended already.
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

    /// The timer of the linger is due. Ends the stream if nothing wants it by now. Returns
    /// `Lingers` if the stream was left once more since the timer was set.
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

    /// The stream has ended. Its instrument is kept until `until`.
    pub(crate) fn rest(&mut self, until: MonoNs) {
        assert!(!self.is_wanted() && !self.is_on(), "a stream that is wanted does not rest");
        self.upstream = Upstream::Resting(until);
    }

    /// The instrument is about to be wanted: it rests no longer.
    pub(crate) fn claim(&mut self) {
        if matches!(self.upstream, Upstream::Resting(_)) {
            self.upstream = Upstream::Off;
        }
    }

    /// Returns whether the instrument rests until exactly this time.
    pub(crate) fn rests_until(&self, until: MonoNs) -> bool {
        self.upstream == Upstream::Resting(until)
    }

    /// Ends the stream and forgets its present state.
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

//! Who wants which instrument. Owns the interest lists, the newest candle of each live stream, and
//! whether the exchange is subscribed; knows no frame and no socket.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::limits::{INSTRUMENTS_MAX, UNSUBSCRIBE_LINGER};
use crate::market::instrument::TableFull;
use crate::market::{
    CandleUpdate, Instrument, InstrumentId, InstrumentTable, Interval, Market, Span,
};

use super::derive::Derivation;
use super::encode::Labels;
use super::history::History;
use super::join::Join;
use super::marks::Together;
use super::outbox::{Class, FrameMeta};
use super::request::Origin;

/// One client's interest in one instrument, by one of its subscriptions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interest {
    /// Index of the client in its table; the client lives at least as long as its interests.
    pub(super) client: u32,
    /// Which of the client's subscriptions.
    pub(super) key: u32,
    /// Open candles are not wanted.
    pub(super) closed_only: bool,
    /// The subscription ends after a number of quotes.
    pub(super) is_limited: bool,
    /// The subscription has had a quote of this instrument.
    pub(super) is_quoted: bool,
    /// It waits for the past, and hears nothing before that has been sent.
    pub(super) is_joining: bool,
    /// The first window of which it may be, or was, told how it ended: older ones are repaired for
    /// others.
    pub(super) first: UnixMs,
    /// Whether it was told of one.
    pub(super) is_begun: bool,
    /// What was published before, and may still be owed, is not for it.
    pub(super) since_serial: u64,
}

/// The beginning of time.
pub(super) const ANY_WINDOW: UnixMs = UnixMs(i64::MIN);

impl Interest {
    /// A frame that it wants is sent, or owed.
    pub(super) fn note(&mut self, meta: &FrameMeta) {
        let is_told = meta.class != Class::Open && meta.past_of.is_none();
        if is_told && !self.is_begun && self.wants(meta) {
            (self.first, self.is_begun) = (meta.open_time, true);
        }
    }

    /// Whether such a frame, sent, changes nothing about it.
    pub(super) fn is_settled(&self, meta: &FrameMeta) -> bool {
        let is_begun = self.is_begun || meta.class == Class::Open;
        self.is_quoted && !self.is_limited && is_begun
    }

    /// Whether the subscription covers such a frame.
    pub(super) fn wants(&self, meta: &FrameMeta) -> bool {
        let is_present = !self.is_joining && meta.serial >= self.since_serial;
        match (meta.past_of, meta.class) {
            (Some(key), _) => key == self.key,
            (None, Class::Open) => is_present && !self.closed_only,
            (None, Class::Correction) => {
                is_present && self.is_begun && meta.open_time >= self.first
            }
            (None, _) => is_present && meta.open_time >= self.first,
        }
    }
}

/// Whether the exchange streams an instrument to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upstream {
    Off,
    On,
    /// Nobody wants it; it ends at this time unless somebody comes back.
    Lingering(MonoNs),
}

/// Windows of the past that a shard was asked for. It answers in the order in which it was asked.
#[derive(Debug, Default)]
pub(super) struct Recalls {
    /// Not answered yet, the oldest first: first and last window; `None`: up to where the stream
    /// begins.
    waiting: VecDeque<Option<Span>>,
    /// How many there were, ever.
    asked: u64,
}

impl Recalls {
    /// The shard is asked. Returns the recall's number, from 1.
    pub(super) fn ask(&mut self, span: Option<Span>) -> u64 {
        self.waiting.push_back(span);
        self.asked += 1;
        self.asked
    }

    /// The oldest was answered.
    pub(super) fn end(&mut self) {
        self.waiting.pop_front();
    }

    /// The number of the newest that was answered; 0 if none was.
    pub(super) fn ended(&self) -> u64 {
        self.asked - self.waiting.len() as u64
    }

    /// What is not answered yet.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Option<Span>> {
        self.waiting.iter().copied()
    }
}

/// One instrument.
#[derive(Debug)]
pub(super) struct Stream {
    /// What is constant in its messages.
    pub(super) labels: Labels,
    /// Sorted by client and key, so one client's interests are neighbours.
    interests: Vec<Interest>,
    /// The newest candle while the stream is live.
    latest: Option<CandleUpdate>,
    /// The first window of which it had a candle since it is live.
    began: Option<UnixMs>,
    /// Its closed windows.
    pub(super) history: History,
    /// Subscriptions that wait for older ones.
    pub(super) joins: Vec<Join>,
    /// What the shard was asked for them.
    pub(super) recalls: Recalls,
    /// The shard has not begun yet: what comes is of an earlier subscription.
    is_starting: bool,
    upstream: Upstream,
    /// Its session is lost: no candle is kept, since a straggler from before is not the state now.
    is_lost: bool,
    /// Wanted whether or not a client wants it.
    is_preloaded: bool,
    /// The derived series that are made of it now.
    derived: Vec<InstrumentId>,
    /// The series of minutes of which it is made, if it is a derived one.
    base: Option<InstrumentId>,
    /// How it is made of them, while it is.
    pub(super) derivation: Option<Box<Derivation>>,
}

impl Stream {
    /// Everybody's interest; one client's are neighbours.
    pub(super) fn interests_mut(&mut self) -> &mut [Interest] {
        &mut self.interests
    }

    /// Whether anybody is to be told.
    pub(super) fn is_wanted(&self) -> bool {
        !self.interests.is_empty()
    }

    /// Who makes its candles.
    pub(super) fn origin(&self) -> Origin {
        self.base.map_or(Origin::Exchange, |_| Origin::Derived)
    }

    /// Whether its session is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// The interests of one client.
    pub(super) fn of_client(&mut self, client: u32) -> &mut [Interest] {
        let range = self.range(client);
        &mut self.interests[range]
    }

    /// Whether what comes is of the present subscription; else it is late and goes nowhere.
    pub(super) fn is_live(&self) -> bool {
        self.upstream != Upstream::Off && !self.is_starting
    }

    /// The shard has begun with the present subscription.
    pub(super) fn start(&mut self) {
        self.is_starting = false;
    }

    /// Keeps `update` if it is the newest. Returns whether the stream is live.
    pub(super) fn take(&mut self, update: &CandleUpdate) -> bool {
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
    fn takes_part(&self, open_time: UnixMs) -> bool {
        self.history.newest().is_some() || self.began.is_some_and(|began| began <= open_time)
    }

    /// The newest candle, unless it is two intervals old.
    pub(super) fn latest(&self, now: Now) -> Option<CandleUpdate> {
        let fresh_since = UnixMs(now.unix_ms().0 - 2 * self.labels.interval().ms());
        let latest = self.latest.filter(|latest| latest.candle.open_time > fresh_since);
        // A window that was told as empty, or as missing, runs no more.
        let is_over = |latest: &CandleUpdate| {
            !latest.is_closed() && self.history.newest() >= Some(latest.candle.open_time)
        };
        latest.filter(|latest| !is_over(latest))
    }

    /// Returns whether the exchange has to be subscribed now.
    fn switch_on(&mut self) -> bool {
        let was = std::mem::replace(&mut self.upstream, Upstream::On);
        self.is_starting |= was == Upstream::Off;
        was == Upstream::Off
    }

    /// If nobody wants it any longer, the exchange's stream is left after a while: at the time that
    /// is returned.
    fn linger(&mut self, now: Now) -> Option<MonoNs> {
        let is_wanted = self.is_wanted() || self.is_preloaded || !self.derived.is_empty();
        if is_wanted || self.upstream != Upstream::On {
            return None;
        }
        let until = now.mono.after(UNSUBSCRIBE_LINGER);
        self.upstream = Upstream::Lingering(until);
        Some(until)
    }

    /// Nothing is known of the present any more.
    fn switch_off(&mut self) {
        self.upstream = Upstream::Off;
        (self.latest, self.is_lost, self.history) = (None, false, History::default());
        self.began = None;
        self.joins.clear();
        self.recalls.waiting.clear();
    }

    fn range(&self, client: u32) -> Range<usize> {
        let start = self.interests.partition_point(|interest| interest.client < client);
        let rest = &self.interests[start..];
        start..start + rest.iter().take_while(|interest| interest.client == client).count()
    }

    fn position(&self, client: u32, key: u32) -> Result<usize, usize> {
        self.interests
            .binary_search_by_key(&(client, key), |interest| (interest.client, interest.key))
    }
}

/// Every instrument that was ever asked for.
#[derive(Debug)]
pub(super) struct Hub {
    table: InstrumentTable,
    /// By instrument id.
    streams: Vec<Stream>,
}

impl Hub {
    /// A hub that knows no instrument.
    pub(super) fn new() -> Self {
        Self { table: InstrumentTable::new(INSTRUMENTS_MAX), streams: Vec::new() }
    }

    /// The id of `instrument`, which is added if it is new.
    pub(super) fn intern(&mut self, instrument: &Instrument) -> Result<InstrumentId, TableFull> {
        let id = self.table.intern(instrument)?;
        self.add_stream(id, None);
        Ok(id)
    }

    /// The id of the series of `instrument` that is derived from its minutes, and which are added
    /// if they are new.
    pub(super) fn intern_derived(
        &mut self,
        instrument: &Instrument,
    ) -> Result<InstrumentId, TableFull> {
        let base = self.intern(&Instrument { interval: Interval::M1, ..instrument.clone() })?;
        let id = self.table.intern_derived(instrument)?;
        self.add_stream(id, Some(base));
        Ok(id)
    }

    fn add_stream(&mut self, id: InstrumentId, base: Option<InstrumentId>) {
        if id.index() == self.streams.len() {
            let origin = base.map_or(Origin::Exchange, |_| Origin::Derived);
            self.streams.push(Stream {
                labels: Labels::new(self.table.instrument(id), origin),
                interests: Vec::new(),
                latest: None,
                began: None,
                history: History::default(),
                joins: Vec::new(),
                recalls: Recalls::default(),
                is_starting: false,
                upstream: Upstream::Off,
                is_lost: false,
                is_preloaded: false,
                derived: Vec::new(),
                base,
                derivation: None,
            });
        }
    }

    /// The series of minutes of which a derived one is made; `None` for the exchange's own.
    pub(super) fn base(&self, id: InstrumentId) -> Option<InstrumentId> {
        self.streams.get(id.index())?.base
    }

    /// Whether any series is derived from this one now.
    pub(super) fn has_derived(&self, id: InstrumentId) -> bool {
        self.streams.get(id.index()).is_some_and(|stream| !stream.derived.is_empty())
    }

    /// The series that end together with this one.
    pub(super) fn together(&self, id: InstrumentId) -> Option<Together> {
        let origin = self.streams.get(id.index())?.origin();
        let Instrument { market, interval, .. } = *self.table.instrument(id);
        Some(Together { market, interval, origin })
    }

    /// The live series of which this window ends together, with their symbols: those of which it or an
    /// earlier one was told, be it as running.
    pub(super) fn of_together(
        &self,
        of: Together,
        open_time: UnixMs,
    ) -> impl Iterator<Item = (&str, &Stream)> {
        let all = self.streams.iter().enumerate().filter(move |(at, stream)| {
            let instrument = &self.table.all()[*at];
            (instrument.market, instrument.interval, stream.origin())
                == (of.market, of.interval, of.origin)
        });
        let live = all.filter(move |(_, stream)| stream.is_live() && stream.takes_part(open_time));
        live.map(|(at, stream)| (&*self.table.all()[at].symbol, stream))
    }

    /// How many of them are not told up to this window.
    pub(super) fn count_behind(&self, of: Together, open_time: UnixMs) -> usize {
        let behind = |(_, stream): &(&str, &Stream)| stream.history.newest() < Some(open_time);
        self.of_together(of, open_time).filter(behind).count()
    }

    /// The symbols whose minutes, or whose own candles of `interval`, are streamed.
    pub(super) fn streaming(&self, market: Market, interval: Interval) -> Vec<String> {
        let is_on = |stream: &Stream| stream.upstream != Upstream::Off && stream.base.is_none();
        let all = self.table.all().iter().zip(&self.streams);
        all.filter(|(one, stream)| {
            (one.market, one.interval) == (market, interval) && is_on(stream)
        })
        .map(|(one, _)| one.symbol.to_string())
        .collect()
    }

    /// One after the other the series derived from `base`.
    pub(super) fn hanging(&self, base: InstrumentId, at: usize) -> Option<InstrumentId> {
        self.streams.get(base.index())?.derived.get(at).copied()
    }

    /// How a derived series is made, while it is.
    pub(super) fn derivation(&mut self, id: InstrumentId) -> Option<&mut Derivation> {
        self.streams.get_mut(id.index())?.derivation.as_deref_mut()
    }

    /// These, and all that is derived from them.
    pub(super) fn with_derived(&self, mut ids: Vec<InstrumentId>) -> Vec<InstrumentId> {
        for at in 0..ids.len() {
            let stream = self.streams.get(ids[at].index());
            ids.extend(stream.into_iter().flat_map(|stream| &stream.derived));
        }
        ids
    }

    /// `derived` is made of `base` from now on. Returns whether the exchange has to be subscribed.
    pub(super) fn hang(&mut self, derived: InstrumentId, base: InstrumentId) -> bool {
        let stream = &mut self.streams[base.index()];
        assert!(!stream.derived.contains(&derived), "a derived series is attached once");
        stream.derived.push(derived);
        stream.switch_on()
    }

    /// `derived` is made of `base` no longer. Returns the end of the linger of `base`, if that has
    /// begun.
    pub(super) fn unhang(
        &mut self,
        derived: InstrumentId,
        base: InstrumentId,
        now: Now,
    ) -> Option<MonoNs> {
        let stream = &mut self.streams[base.index()];
        let before = stream.derived.len();
        stream.derived.retain(|&one| one != derived);
        (stream.derived.len() < before).then(|| stream.linger(now)).flatten()
    }

    /// The instrument with `id`.
    pub(super) fn instrument(&self, id: InstrumentId) -> &Instrument {
        self.table.instrument(id)
    }

    /// The stream with `id`; `None` if this hub never gave out the id.
    pub(super) fn stream(&mut self, id: InstrumentId) -> Option<&mut Stream> {
        self.streams.get_mut(id.index())
    }

    /// Keeps the exchange's stream for ever. Returns whether it has to be subscribed now.
    pub(super) fn preload(&mut self, id: InstrumentId) -> bool {
        let stream = &mut self.streams[id.index()];
        stream.is_preloaded = true;
        stream.switch_on()
    }

    /// Adds an interest. Returns whether the exchange has to be subscribed now.
    pub(super) fn add(&mut self, id: InstrumentId, interest: Interest) -> bool {
        let stream = &mut self.streams[id.index()];
        let at = stream.position(interest.client, interest.key);
        let at = at.expect_err("a subscription names each of its instruments once");
        stream.interests.insert(at, interest);
        stream.switch_on()
    }

    /// Removes an interest; `None` if there was none. With the last one the linger begins, and
    /// its end is returned.
    pub(super) fn remove(
        &mut self,
        id: InstrumentId,
        client: u32,
        key: u32,
        now: Now,
    ) -> Option<(Interest, Option<MonoNs>)> {
        let stream = &mut self.streams[id.index()];
        let interest = stream.interests.remove(stream.position(client, key).ok()?);
        if interest.is_joining {
            stream.joins.retain(|join| (join.client.index, join.key) != (client, key));
            stream.history.unpin();
        }
        Some((interest, stream.linger(now)))
    }

    /// Ends the stream if its linger is over. Returns whether the exchange has to be unsubscribed.
    pub(super) fn end_linger(&mut self, id: InstrumentId, now: Now) -> bool {
        let stream = &mut self.streams[id.index()];
        let is_over = matches!(stream.upstream, Upstream::Lingering(until) if until <= now.mono);
        if is_over {
            stream.switch_off();
        }
        is_over
    }

    /// The exchange's series behind `id`, if its session is lost.
    pub(super) fn lost_base(&self, id: InstrumentId) -> Option<InstrumentId> {
        let base = self.streams[id.index()].base.unwrap_or(id);
        self.streams[base.index()].is_lost.then_some(base)
    }

    /// The session of these instruments is lost, or back.
    pub(super) fn set_lost(&mut self, ids: &[InstrumentId], is_lost: bool) {
        for id in ids {
            if let Some(stream) = self.streams.get_mut(id.index()) {
                (stream.latest, stream.is_lost) = (None, is_lost);
            }
        }
    }

    /// Which of `ids` each client (by index) wants, in the order of `ids`.
    pub(super) fn interested(&self, ids: &[InstrumentId]) -> BTreeMap<u32, Vec<InstrumentId>> {
        let mut clients = BTreeMap::<u32, Vec<InstrumentId>>::new();
        for &id in ids {
            let Some(stream) = self.streams.get(id.index()) else { continue };
            for group in stream.interests.chunk_by(|a, b| a.client == b.client) {
                clients.entry(group[0].client).or_default().push(id);
            }
        }
        clients
    }

    /// The exchange ended the stream: the next interest asks it again. Returns the clients (by
    /// index) that had an interest.
    pub(super) fn reject(&mut self, id: InstrumentId) -> Vec<u32> {
        let Some(stream) = self.streams.get_mut(id.index()) else { return Vec::new() };
        stream.switch_off();
        stream.is_preloaded = false;
        let mut clients: Vec<u32> = stream.interests.iter().map(|at| at.client).collect();
        clients.dedup();
        clients
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Interval, Market, Venue};

    fn hub() -> (Hub, InstrumentId) {
        let market = Market::find(Venue::Binance, "spot").unwrap();
        let mut hub = Hub::new();
        let instrument = Instrument { market, symbol: "BTCUSDT".into(), interval: Interval::M1 };
        let id = hub.intern(&instrument).unwrap();
        (hub, id)
    }

    fn interest(client: u32, key: u32) -> Interest {
        Interest {
            client,
            key,
            closed_only: false,
            is_limited: false,
            is_quoted: false,
            is_joining: false,
            first: ANY_WINDOW,
            is_begun: false,
            since_serial: 0,
        }
    }

    fn at(seconds: u64) -> Now {
        Now { mono: MonoNs(seconds * 1_000_000_000), unix_us: 0 }
    }

    #[test]
    fn the_exchange_is_subscribed_once_and_left_after_the_linger() {
        let (mut hub, id) = hub();
        assert!(hub.add(id, interest(3, 0)));
        assert!(!hub.add(id, interest(1, 0)));
        assert_eq!(hub.remove(id, 1, 0, at(1)).unwrap().1, None);
        let until = hub.remove(id, 3, 0, at(1)).unwrap().1.unwrap();
        assert_eq!(until, at(1).mono.after(UNSUBSCRIBE_LINGER));
        assert!(!hub.end_linger(id, at(15)));
        assert!(hub.end_linger(id, at(16)));
        assert!(!hub.end_linger(id, at(17)));
        assert!(hub.add(id, interest(1, 0)), "subscribed anew");
    }

    #[test]
    fn who_comes_back_within_the_linger_keeps_the_stream() {
        let (mut hub, id) = hub();
        hub.add(id, interest(0, 0));
        hub.remove(id, 0, 0, at(0));
        assert!(!hub.add(id, interest(0, 1)));
        assert!(!hub.end_linger(id, at(100)));
    }

    #[test]
    fn a_preloaded_stream_stays_without_clients() {
        let (mut hub, id) = hub();
        assert!(hub.preload(id));
        assert!(!hub.add(id, interest(0, 0)));
        assert_eq!(hub.remove(id, 0, 0, at(0)).unwrap().1, None);
        assert!(!hub.end_linger(id, at(100)));
    }

    #[test]
    fn one_clients_interests_are_neighbours() {
        let (mut hub, id) = hub();
        for (client, key) in [(5, 1), (2, 0), (5, 0), (9, 4), (5, 7)] {
            hub.add(id, interest(client, key));
        }
        let keys: Vec<u32> = hub.stream(id).unwrap().of_client(5).iter().map(|i| i.key).collect();
        assert_eq!(keys, [0, 1, 7]);
        assert!(hub.stream(id).unwrap().of_client(4).is_empty());
        assert_eq!(hub.reject(id), [2, 5, 9]);
    }
}

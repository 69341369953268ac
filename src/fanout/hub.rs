//! The table of instruments and their streams. Owns which client wants which instrument, whether a
//! symbol is known to exist, and how long an instrument without clients is kept. Knows no frame and
//! no socket.
//!
//! A *stream* is one instrument while a client, `CONNECTOR_PRELOAD` or a derived series wants it. A
//! *derived* series is made from the one-minute candles of another stream, its *base*. An
//! instrument is *confirmed* once its symbol is known to exist: the market lists it, it has
//! delivered a candle, or the operator has configured it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::clock::{MonoNs, Now, UnixMs};
use crate::fanout::derive::Derivation;
use crate::fanout::protocol::candle_source::SeriesGroup;
use crate::fanout::protocol::request::Name;
use crate::fanout::series::{Interest, Series};
use crate::limits::{INSTRUMENT_REST, INSTRUMENTS_MAX};
use crate::market::table::TableFull;
use crate::market::{Instrument, InstrumentId, InstrumentTable, Interval, Market, SymbolList};

/// Every instrument that is wanted, or was wanted until a short time ago.
#[derive(Debug)]
pub(crate) struct Hub {
    table: InstrumentTable,
    /// The stream of each id, at [`InstrumentId::index`].
    streams: Vec<Option<Box<Series>>>,
    /// The symbols that each market lists, by [`Market::index`]. `None`: the list is not known yet.
    lists: [Option<Arc<SymbolList>>; Market::COUNT],
    /// Instruments that nothing wants, each with the time at which it is forgotten unless a client
    /// wants it again before. Earliest first.
    resting: VecDeque<(MonoNs, InstrumentId)>,
    /// How many instruments are not confirmed.
    unconfirmed: usize,
    /// How many series of each client (by index) are not confirmed, by [`Market::index`].
    unconfirmed_of: HashMap<u32, [usize; Market::COUNT]>,
}

impl Hub {
    /// A hub without instruments.
    pub(crate) fn new() -> Self {
        Self {
            table: InstrumentTable::new(INSTRUMENTS_MAX),
            streams: Vec::new(),
            lists: Default::default(),
            resting: VecDeque::new(),
            unconfirmed: 0,
            unconfirmed_of: HashMap::new(),
        }
    }

    /// Returns the id of `instrument`, and adds the instrument if it is new.
    ///
    /// # Errors
    /// `INSTRUMENTS_MAX` instruments are known already.
    pub(crate) fn intern(&mut self, instrument: &Instrument) -> Result<InstrumentId, TableFull> {
        let id = self.table.intern(instrument)?;
        if let Some(stream) = self.stream(id) {
            stream.claim();
        } else {
            let is_confirmed = self.is_confirmed(instrument);
            self.put(Series::new(id, instrument, None, is_confirmed));
        }
        Ok(id)
    }

    /// Returns the id of the series `instrument` that is derived from the one-minute series `base`,
    /// and adds the series if it is new.
    ///
    /// # Errors
    /// No room is left in the table.
    pub(crate) fn intern_derived(
        &mut self,
        instrument: &Instrument,
        base: InstrumentId,
    ) -> Result<InstrumentId, TableFull> {
        let id = self.table.intern_derived(instrument)?;
        if self.stream(id).is_none() {
            let is_confirmed = self.stream(base).is_some_and(|minutes| minutes.is_confirmed);
            self.put(Series::new(id, instrument, Some(base), is_confirmed));
        }
        Ok(id)
    }

    fn put(&mut self, stream: Series) {
        let at = stream.id.index();
        if at >= self.streams.len() {
            self.streams.resize_with(at + 1, || None);
        }
        assert!(self.streams[at].is_none(), "a place is emptied before it is used again");
        self.unconfirmed += usize::from(!stream.is_confirmed);
        self.streams[at] = Some(Box::new(stream));
    }

    /// Forgets an instrument that nothing wants. Its id is invalid from now on.
    pub(crate) fn release(&mut self, id: InstrumentId) {
        let place = self.streams.get_mut(id.index());
        let stream = place.and_then(|place| place.take_if(|stream| stream.id == id));
        let Some(stream) = stream else { return };
        assert!(
            !stream.is_wanted() && stream.derived.is_empty() && !stream.is_on(),
            "a stream has ended and nothing wants it when it is released"
        );
        self.unconfirmed -= usize::from(!stream.is_confirmed);
        assert!(self.table.release(id), "every stream has an entry in the table");
    }

    /// How many instruments are known, and how many of them are not confirmed.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.table.len(), self.unconfirmed)
    }

    /// Returns whether the symbol is known to exist at the exchange.
    pub(crate) fn is_confirmed(&self, instrument: &Instrument) -> bool {
        let minutes = Instrument { interval: Interval::M1, ..instrument.clone() };
        let known = [instrument, &minutes].map(|one| self.table.find(one)).into_iter().flatten();
        known.filter_map(|id| self.peek(id)).any(|stream| stream.is_confirmed)
            || self.is_listed(instrument.market, &instrument.symbol)
    }

    /// Returns whether the exchange streams this instrument to us now.
    pub(crate) fn is_streamed(&self, instrument: &Instrument) -> bool {
        let stream = self.table.find(instrument).and_then(|id| self.peek(id));
        stream.is_some_and(Series::is_on)
    }

    fn is_listed(&self, market: Market, symbol: &str) -> bool {
        let list = self.lists[market.index()].as_deref();
        list.is_some_and(|list| list.find(symbol).is_some())
    }

    /// The symbol in the market's list that a client means by `name`. `None`: `name` is that symbol
    /// already, or the list is not known or has none for it.
    pub(crate) fn listed_for(&self, name: &Name) -> Option<String> {
        let spelling = name.spelling.as_ref()?;
        let list = self.lists[name.market.index()].as_deref()?;
        if list.find(&name.symbol).is_some() {
            return None;
        }
        let found = list.find(&spelling.symbol).map(|_| &*spelling.symbol);
        found.or_else(|| list.find_any_case(&name.symbol)).map(str::to_owned)
    }

    /// Returns whether the market's list is known.
    pub(crate) fn has_list(&self, market: Market) -> bool {
        self.lists[market.index()].is_some()
    }

    /// Takes the market's list and confirms the instruments in it. Returns the ids of the
    /// instruments that the list does not confirm.
    pub(crate) fn take_list(&mut self, market: Market, list: Arc<SymbolList>) -> Vec<InstrumentId> {
        self.lists[market.index()] = Some(list);
        let unconfirmed: Vec<InstrumentId> = self
            .all()
            .filter(|(one, stream)| one.market == market && !stream.is_confirmed)
            .map(|(_, stream)| stream.id)
            .collect();
        let (listed, unlisted): (Vec<_>, Vec<_>) = unconfirmed.into_iter().partition(|&id| {
            self.table.instrument(id).is_some_and(|one| self.is_listed(market, &one.symbol))
        });
        listed.into_iter().for_each(|id| self.confirm(id));
        unlisted
    }

    /// Notes that the symbol of this instrument exists. The series derived from it are confirmed
    /// too.
    pub(crate) fn confirm(&mut self, id: InstrumentId) {
        for id in self.with_derived(vec![id]) {
            let Some(market) = self.table.instrument(id).map(|one| one.market) else { continue };
            let place = self.streams.get_mut(id.index()).and_then(|place| place.as_deref_mut());
            let Some(stream) = place.filter(|one| one.id == id && !one.is_confirmed) else {
                continue;
            };
            stream.is_confirmed = true;
            self.unconfirmed -= 1;
            for interest in &stream.interests {
                forget_unconfirmed(&mut self.unconfirmed_of, interest.client, market);
            }
        }
    }

    /// How many series of a client (by index) are not confirmed: in the markets with a known list
    /// if `is_list_known`, otherwise in the other markets.
    pub(crate) fn unconfirmed_of(&self, client: u32, is_list_known: bool) -> usize {
        let Some(counts) = self.unconfirmed_of.get(&client) else { return 0 };
        let markets = Market::all().filter(|&market| self.has_list(market) == is_list_known);
        markets.map(|market| counts[market.index()]).sum()
    }

    /// The one-minute series from which `id` is derived. `None`: `id` is the exchange's own series.
    pub(crate) fn base(&self, id: InstrumentId) -> Option<InstrumentId> {
        self.peek(id)?.base
    }

    /// The last window of a series that belongs to its history: later windows are published live.
    /// `None`: nothing has arrived for the series yet.
    pub(crate) fn history_end(&self, id: InstrumentId) -> Option<UnixMs> {
        let stream = self.peek(id)?;
        let interval = stream.labels.interval();
        let before = |open_time: UnixMs| UnixMs(open_time.0 - interval.ms());
        let own = stream.history.newest().or_else(|| stream.began.map(before));
        own.or_else(|| {
            let last_minute = self.history_end(stream.base?)?;
            let next_minute = UnixMs(last_minute.0 + Interval::M1.ms());
            Some(before(interval.open_time(next_minute)))
        })
    }

    /// Returns whether a series is derived from this one now.
    pub(crate) fn has_derived(&self, id: InstrumentId) -> bool {
        self.peek(id).is_some_and(|stream| !stream.derived.is_empty())
    }

    /// The group of series that close together with this one.
    pub(crate) fn group_of(&self, id: InstrumentId) -> Option<SeriesGroup> {
        let origin = self.peek(id)?.origin();
        let Instrument { market, interval, .. } = *self.instrument(id);
        Some(SeriesGroup { market, interval, origin })
    }

    /// The live series of group `of`, with their symbols: those for which a candle of the window at
    /// `open_time`, or of an earlier window, has arrived. A running candle counts.
    pub(crate) fn members(
        &self,
        of: SeriesGroup,
        open_time: UnixMs,
    ) -> impl Iterator<Item = (&str, &Series)> {
        let all = self.all().filter(move |(one, stream)| {
            (one.market, one.interval, stream.origin()) == (of.market, of.interval, of.origin)
        });
        let live = all.filter(move |(_, stream)| stream.is_live() && stream.takes_part(open_time));
        live.map(|(one, stream)| (&*one.symbol, stream))
    }

    /// How many members of group `of` have not yet published the window at `open_time`.
    pub(crate) fn count_behind(&self, of: SeriesGroup, open_time: UnixMs) -> usize {
        let behind = |(_, stream): &(&str, &Series)| stream.history.newest() < Some(open_time);
        self.members(of, open_time).filter(behind).count()
    }

    /// The symbols of `market` for which the exchange streams candles of `interval` to us now.
    pub(crate) fn streaming(&self, market: Market, interval: Interval) -> Vec<String> {
        let streamed = self.all().filter(|(one, stream)| {
            let is_meant = (one.market, one.interval) == (market, interval);
            is_meant && stream.is_on() && stream.base.is_none()
        });
        streamed.map(|(one, _)| one.symbol.to_string()).collect()
    }

    /// Every instrument and its stream.
    fn all(&self) -> impl Iterator<Item = (&Instrument, &Series)> {
        let streams = self.streams.iter().flatten();
        streams.map(|stream| (self.instrument(stream.id), &**stream))
    }

    /// The series derived from `base` at place `at`; `None` after the last one.
    pub(crate) fn derived_at(&self, base: InstrumentId, at: usize) -> Option<InstrumentId> {
        self.peek(base)?.derived.get(at).copied()
    }

    /// The state from which a derived series is made; `None` while the series is not streamed.
    pub(crate) fn derivation(&mut self, id: InstrumentId) -> Option<&mut Derivation> {
        self.stream(id)?.derivation.as_deref_mut()
    }

    /// `ids`, and every series derived from them.
    pub(crate) fn with_derived(&self, mut ids: Vec<InstrumentId>) -> Vec<InstrumentId> {
        for at in 0..ids.len() {
            let stream = self.peek(ids[at]);
            ids.extend(stream.into_iter().flat_map(|stream| &stream.derived));
        }
        ids
    }

    /// From now on, `derived` is made from `base`. Returns whether the caller must subscribe to
    /// `base` at the exchange.
    pub(crate) fn attach_derived(&mut self, derived: InstrumentId, base: InstrumentId) -> bool {
        let stream = self.known(base);
        assert!(!stream.derived.contains(&derived), "a derived series is attached once");
        stream.derived.push(derived);
        stream.switch_on()
    }

    /// From now on, `derived` is no longer made from `base`.
    pub(crate) fn detach_derived(&mut self, derived: InstrumentId, base: InstrumentId) {
        if let Some(stream) = self.stream(base) {
            stream.derived.retain(|&one| one != derived);
        }
    }

    /// The instrument with this id, which must be known.
    pub(crate) fn instrument(&self, id: InstrumentId) -> &Instrument {
        self.find_instrument(id).expect("every stream has an entry in the table")
    }

    /// The symbol of `id` as this client (by index) writes it.
    pub(crate) fn symbol_for(&self, client: u32, id: InstrumentId) -> &str {
        let spelling = self.peek(id).and_then(|stream| stream.spelling_of(client));
        spelling.map_or(&*self.instrument(id).symbol, |spelling| &*spelling.symbol)
    }

    /// The instrument with this id; `None` if it was forgotten.
    pub(crate) fn find_instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        self.table.instrument(id)
    }

    /// The stream with this id; `None` if it was forgotten.
    pub(crate) fn stream(&mut self, id: InstrumentId) -> Option<&mut Series> {
        let stream = self.streams.get_mut(id.index())?.as_deref_mut();
        stream.filter(|stream| stream.id == id)
    }

    /// As [`Self::stream`], read-only.
    fn peek(&self, id: InstrumentId) -> Option<&Series> {
        let stream = self.streams.get(id.index())?.as_deref();
        stream.filter(|stream| stream.id == id)
    }

    fn known(&mut self, id: InstrumentId) -> &mut Series {
        self.stream(id).expect("an id that was just given out is known")
    }

    /// Keeps the stream for ever. Returns whether the caller must subscribe at the exchange now.
    pub(crate) fn preload(&mut self, id: InstrumentId) -> bool {
        self.confirm(id);
        let stream = self.known(id);
        stream.is_preloaded = true;
        stream.switch_on()
    }

    /// Adds an interest. Returns whether the caller must subscribe at the exchange now.
    pub(crate) fn add(&mut self, id: InstrumentId, interest: Interest) -> bool {
        let market = self.instrument(id).market;
        let stream = self.known(id);
        let at = stream.position(interest.client, interest.key);
        let at = at.expect_err("a subscription names each of its instruments once");
        stream.interests.insert(at, interest);
        stream.basic_count += usize::from(interest.is_basic);
        stream.count_spelling(interest.spelling, true);
        let (is_new, is_confirmed) = (stream.switch_on(), stream.is_confirmed);
        if !is_confirmed {
            self.unconfirmed_of.entry(interest.client).or_default()[market.index()] += 1;
        }
        is_new
    }

    /// Removes an interest; `None` if there was none. The caller then decides with
    /// [`Series::let_go`] whether the stream ends.
    pub(crate) fn remove(&mut self, id: InstrumentId, client: u32, key: u32) -> Option<Interest> {
        let market = self.find_instrument(id)?.market;
        let stream = self.stream(id)?;
        let interest = stream.interests.remove(stream.position(client, key).ok()?);
        stream.basic_count -= usize::from(interest.is_basic);
        stream.count_spelling(interest.spelling, false);
        if interest.is_catching_up {
            stream.catch_ups.retain(|join| (join.client.index, join.key) != (client, key));
            stream.history.unpin();
        }
        if !stream.is_confirmed {
            forget_unconfirmed(&mut self.unconfirmed_of, client, market);
        }
        Some(interest)
    }

    /// The stream of `id` has ended. Keeps the instrument for [`INSTRUMENT_REST`].
    pub(crate) fn rest(&mut self, id: InstrumentId, now: Now) {
        let until = now.mono.after(INSTRUMENT_REST);
        self.known(id).rest(until);
        self.resting.push_back((until, id));
    }

    /// When the next instrument is forgotten.
    pub(crate) fn rest_deadline(&self) -> Option<MonoNs> {
        self.resting.front().map(|&(until, _)| until)
    }

    /// Takes the next instrument that has rested until `end`; `None` if there is none.
    pub(crate) fn next_rested(&mut self, end: MonoNs) -> Option<InstrumentId> {
        while self.rest_deadline().is_some_and(|until| until <= end) {
            let (until, id) = self.resting.pop_front()?;
            if self.peek(id).is_some_and(|stream| stream.rests_until(until)) {
                return Some(id);
            }
        }
        None
    }

    /// The exchange's own series behind `id`, if its session is lost.
    pub(crate) fn lost_base(&self, id: InstrumentId) -> Option<InstrumentId> {
        let base = self.peek(id)?.base.unwrap_or(id);
        self.peek(base).filter(|stream| stream.is_lost).map(|_| base)
    }

    /// Notes that the session of these instruments is lost, or is back.
    pub(crate) fn set_lost(&mut self, ids: &[InstrumentId], is_lost: bool) {
        for &id in ids {
            if let Some(stream) = self.stream(id) {
                stream.latest = None;
                stream.is_lost = is_lost;
            }
        }
    }

    /// Which of `ids` each client (by index) wants, in the order of `ids`.
    pub(crate) fn interested(&self, ids: &[InstrumentId]) -> BTreeMap<u32, Vec<InstrumentId>> {
        let mut clients = BTreeMap::<u32, Vec<InstrumentId>>::new();
        for &id in ids {
            let Some(stream) = self.peek(id) else { continue };
            for group in stream.interests.chunk_by(|a, b| a.client == b.client) {
                clients.entry(group[0].client).or_default().push(id);
            }
        }
        clients
    }

    /// Ends a stream that the exchange has rejected. Returns the clients (by index) that want it.
    pub(crate) fn reject(&mut self, id: InstrumentId) -> Vec<u32> {
        let Some(stream) = self.stream(id) else { return Vec::new() };
        stream.switch_off();
        stream.is_preloaded = false;
        let mut clients: Vec<u32> = stream.interests.iter().map(|at| at.client).collect();
        clients.dedup();
        clients
    }
}

/// Takes one series from a client's count of unconfirmed series.
fn forget_unconfirmed(of: &mut HashMap<u32, [usize; Market::COUNT]>, client: u32, market: Market) {
    let counts = of.get_mut(&client).expect("the series was counted when the client subscribed");
    counts[market.index()] -= 1;
    if counts.iter().all(|&count| count == 0) {
        of.remove(&client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::series::{ANY_WINDOW, LetGo};
    use crate::limits::UNSUBSCRIBE_LINGER;
    use crate::market::{Interval, Listed, Market, Venue};

    fn instrument(symbol: &str) -> Instrument {
        let market = Market::find(Venue::Binance, "spot").unwrap();
        Instrument { market, symbol: symbol.into(), interval: Interval::M1 }
    }

    /// A hub with one confirmed symbol.
    fn hub() -> (Hub, InstrumentId) {
        let mut hub = Hub::new();
        let id = hub.intern(&instrument("BTCUSDT")).unwrap();
        hub.confirm(id);
        (hub, id)
    }

    fn interest(client: u32, key: u32) -> Interest {
        Interest {
            client,
            key,
            closed_only: false,
            is_basic: false,
            spelling: 0,
            is_limited: false,
            is_quoted: false,
            is_catching_up: false,
            first: ANY_WINDOW,
            is_begun: false,
            is_warned: false,
            since_serial: 0,
        }
    }

    fn at(seconds: u64) -> Now {
        Now { mono: MonoNs(seconds * 1_000_000_000), unix_us: 0 }
    }

    fn leave(hub: &mut Hub, id: InstrumentId, (client, key): (u32, u32), now: Now) -> LetGo {
        hub.remove(id, client, key).unwrap();
        hub.stream(id).unwrap().let_go(now)
    }

    fn end_linger(hub: &mut Hub, id: InstrumentId, now: Now) -> bool {
        hub.stream(id).unwrap().end_linger(now) == LetGo::Over
    }

    #[test]
    fn the_exchange_is_subscribed_once_and_unsubscribed_after_the_linger() {
        let (mut hub, id) = hub();
        assert!(hub.add(id, interest(3, 0)));
        assert!(!hub.add(id, interest(1, 0)));
        assert_eq!(leave(&mut hub, id, (1, 0), at(1)), LetGo::Kept);
        let until = at(1).mono.after(UNSUBSCRIBE_LINGER);
        assert_eq!(leave(&mut hub, id, (3, 0), at(1)), LetGo::Lingers(until));
        assert!(!end_linger(&mut hub, id, at(15)));
        assert!(end_linger(&mut hub, id, at(16)));
        assert!(!end_linger(&mut hub, id, at(17)));
        assert!(hub.add(id, interest(1, 0)), "subscribed anew");
    }

    #[test]
    fn a_stream_has_one_timer_however_often_clients_leave() {
        let (mut hub, id) = hub();
        let until = |seconds| LetGo::Lingers(at(seconds).mono.after(UNSUBSCRIBE_LINGER));
        hub.add(id, interest(0, 0));
        assert_eq!(leave(&mut hub, id, (0, 0), at(0)), until(0));
        for second in 1..=10 {
            hub.add(id, interest(0, 0));
            assert_eq!(leave(&mut hub, id, (0, 0), at(second)), LetGo::Kept);
        }
        assert_eq!(hub.stream(id).unwrap().end_linger(at(15)), until(10));
        assert_eq!(hub.stream(id).unwrap().end_linger(at(25)), LetGo::Over);
    }

    #[test]
    fn a_client_that_returns_within_the_linger_keeps_the_stream() {
        let (mut hub, id) = hub();
        hub.add(id, interest(0, 0));
        leave(&mut hub, id, (0, 0), at(0));
        assert!(!hub.add(id, interest(0, 1)));
        assert!(!end_linger(&mut hub, id, at(100)));
    }

    #[test]
    fn a_preloaded_stream_stays_without_clients() {
        let (mut hub, id) = hub();
        assert!(hub.preload(id));
        assert!(!hub.add(id, interest(0, 0)));
        assert_eq!(leave(&mut hub, id, (0, 0), at(0)), LetGo::Kept);
        assert!(!end_linger(&mut hub, id, at(100)));
    }

    #[test]
    fn an_unconfirmed_name_is_forgotten_with_its_last_client() {
        let mut hub = Hub::new();
        let id = hub.intern(&instrument("NONSENSE")).unwrap();
        hub.add(id, interest(0, 0));
        hub.add(id, interest(7, 0));
        assert_eq!((hub.counts(), hub.unconfirmed_of(7, false)), ((1, 1), 1));
        assert_eq!(leave(&mut hub, id, (0, 0), at(0)), LetGo::Kept);
        assert_eq!(leave(&mut hub, id, (7, 0), at(0)), LetGo::Over);
        hub.release(id);
        assert_eq!((hub.counts(), hub.unconfirmed_of.len()), ((0, 0), 0));
        assert!(hub.stream(id).is_none() && hub.find_instrument(id).is_none());
    }

    #[test]
    fn a_list_confirms_its_symbols_and_the_series_derived_from_them() {
        let mut hub = Hub::new();
        let (id, other) =
            (hub.intern(&instrument("A")).unwrap(), hub.intern(&instrument("B")).unwrap());
        let five = Instrument { interval: Interval::M5, ..instrument("A") };
        let derived = hub.intern_derived(&five, id).unwrap();
        hub.attach_derived(derived, id);
        for id in [id, derived, other] {
            hub.add(id, interest(3, 0));
        }
        assert_eq!((hub.counts(), hub.unconfirmed_of(3, false)), ((3, 3), 3));
        let listed = Listed::new("A");
        let market = instrument("A").market;
        assert_eq!(hub.take_list(market, Arc::new(SymbolList::new(vec![listed]))), [other]);
        assert_eq!((hub.counts(), hub.unconfirmed_of(3, false)), ((3, 1), 0));
        assert_eq!(hub.unconfirmed_of(3, true), 1);
        assert!(hub.is_confirmed(&instrument("A")) && !hub.is_confirmed(&instrument("B")));
    }

    #[test]
    fn an_instrument_that_is_wanted_again_is_kept() {
        let (mut hub, id) = hub();
        hub.add(id, interest(0, 0));
        leave(&mut hub, id, (0, 0), at(0));
        assert!(end_linger(&mut hub, id, at(15)));
        hub.rest(id, at(15));
        let until = hub.rest_deadline().unwrap();
        assert_eq!(hub.next_rested(MonoNs(until.0 - 1)), None);
        hub.add(id, interest(0, 1));
        assert_eq!(hub.next_rested(until), None);
        leave(&mut hub, id, (0, 1), at(200));
        assert!(end_linger(&mut hub, id, at(215)));
        hub.rest(id, at(215));
        assert_eq!(hub.next_rested(MonoNs(u64::MAX)), Some(id));
        assert_eq!(hub.next_rested(MonoNs(u64::MAX)), None);
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

//! The streams of one shard. Owns the streams and the way from a pushed symbol to its stream; opens
//! no session and publishes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{MonoNs, UnixMs};
use crate::feed::stream::{Check, FeedStream, MessageRate, Suspicion};
use crate::market::{ClosedWindow, Instrument, InstrumentId, Interval, Market};

/// The window from which on every candle is news: the one in which the stream was subscribed, by
/// the exchange's time, or the one before.
pub(crate) fn begin_of(stream: &FeedStream, exchange_now: UnixMs, now: MonoNs) -> UnixMs {
    let since = now.since(stream.wanted_since) + CLOCK_ERROR_MAX;
    let since_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    stream.instrument.interval.open_time(UnixMs(exchange_now.0.saturating_sub(since_ms)))
}

/// Every stream of this shard, from its subscription until the fan-out core forgets it.
#[derive(Debug)]
pub(crate) struct Streams {
    /// By [`InstrumentId::index`]. Ids are dense over all shards, so that some places are empty
    /// here. Only the stream's own id finds it; an older id of the same place finds nothing.
    by_id: Vec<Option<Box<FeedStream>>>,
    /// Forgotten streams that a message to send or an event to publish still names. A storm of
    /// symbols leaves thousands, and each is looked up whenever a session that names it may send.
    forgotten: HashMap<InstrumentId, FeedStream>,
    by_symbol: [SymbolTable; Market::COUNT],
}

impl Streams {
    pub(crate) fn new() -> Self {
        Self {
            by_id: Vec::new(),
            forgotten: HashMap::new(),
            by_symbol: std::array::from_fn(|_| SymbolTable::default()),
        }
    }

    /// Wants `instrument` under `id`. A new stream goes on after `tail`, as in
    /// [`crate::messages::Command::Subscribe`]. Returns whether this is news: not if it is wanted
    /// already.
    pub(crate) fn want(
        &mut self,
        id: InstrumentId,
        instrument: &Instrument,
        tail: &[ClosedWindow],
        now: MonoNs,
    ) -> bool {
        if self.by_id.len() <= id.index() {
            self.by_id.resize_with(id.index() + 1, || None);
        }
        let Some(stream) = &mut self.by_id[id.index()] else {
            let mut stream = FeedStream::new(id, instrument.clone(), now);
            stream.series.resume(tail);
            self.by_id[id.index()] = Some(Box::new(stream));
            let table = &mut self.by_symbol[instrument.market.index()];
            let has_another = table.find(&instrument.symbol, instrument.interval).is_some();
            assert!(!has_another, "a series has one id at a time");
            table.insert(instrument.symbol.clone(), instrument.interval, id);
            return true;
        };
        assert!(stream.id == id, "a place is empty before it is given out again");
        assert!(stream.instrument == *instrument, "an id never means something else");
        if stream.is_wanted {
            return false;
        }
        (stream.is_wanted, stream.wanted_since, stream.is_delivering) = (true, now, false);
        (stream.check, stream.unbroken_on) = (Check::Idle, None);
        (stream.suspicion, stream.accepted_at) = (Suspicion::default(), None);
        stream.was_served = false;
        (stream.newest_open, stream.ran_before) = (None, None);
        stream.message_rate = MessageRate::default();
        stream.late = None;
        stream.check_wait = Duration::ZERO;
        true
    }

    /// Every wanted stream, read-only.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &FeedStream> {
        self.by_id.iter().flatten().map(|stream| &**stream).filter(|stream| stream.is_wanted)
    }

    /// Forgets `id`, which no client wants, so that its place may be given to another instrument.
    /// The stream stays for as long as a queue names it.
    pub(crate) fn forget(&mut self, id: InstrumentId) {
        let place = self.by_id.get_mut(id.index());
        let Some(stream) = place.and_then(|place| place.take_if(|stream| stream.id == id)) else {
            return;
        };
        assert!(!stream.is_wanted, "what is forgotten has ended");
        let Instrument { market, symbol, interval } = &stream.instrument;
        self.by_symbol[market.index()].remove(symbol, *interval);
        self.forgotten.insert(id, *stream);
    }

    /// Returns whether forgotten streams wait to be dropped.
    pub(crate) fn has_forgotten(&self) -> bool {
        !self.forgotten.is_empty()
    }

    /// Drops the forgotten streams that no queue names.
    pub(crate) fn drop_forgotten(&mut self, is_named: impl Fn(InstrumentId) -> bool) {
        self.forgotten.retain(|&id, _| is_named(id));
        if self.forgotten.is_empty() {
            self.forgotten = HashMap::new();
        }
    }

    /// Every wanted stream.
    pub(crate) fn wanted(&mut self) -> impl Iterator<Item = &mut FeedStream> {
        self.wanted_slice(0, 1)
    }

    /// Part `part` of `count` equal parts of the wanted streams.
    pub(crate) fn wanted_slice(
        &mut self,
        part: usize,
        count: usize,
    ) -> impl Iterator<Item = &mut FeedStream> {
        let streams = self.by_id.iter_mut().skip(part).step_by(count);
        let streams = streams.flatten().map(|stream| &mut **stream);
        streams.filter(|stream| stream.is_wanted)
    }

    /// The stream with `id`, forgotten or not.
    pub(crate) fn stream(&self, id: InstrumentId) -> Option<&FeedStream> {
        let kept = self.by_id.get(id.index()).and_then(|place| place.as_deref());
        kept.filter(|stream| stream.id == id).or_else(|| self.forgotten.get(&id))
    }

    /// The stream with `id`, forgotten or not.
    pub(crate) fn stream_mut(&mut self, id: InstrumentId) -> Option<&mut FeedStream> {
        let kept = self.by_id.get_mut(id.index()).and_then(|place| place.as_deref_mut());
        kept.filter(|stream| stream.id == id).or_else(|| self.forgotten.get_mut(&id))
    }

    /// The stream of the instrument that `market` calls `symbol`.
    pub(crate) fn find(
        &mut self,
        market: Market,
        symbol: &str,
        interval: Interval,
    ) -> Option<&mut FeedStream> {
        let id = self.by_symbol[market.index()].find(symbol, interval)?;
        self.stream_mut(id)
    }

    /// Number of places, used or not.
    pub(crate) fn capacity(&self) -> usize {
        self.by_id.len()
    }
}

/// Symbols to ids: open addressing, at most half full, FNV-1a over the symbol's few bytes.
#[derive(Debug, Default)]
struct SymbolTable {
    /// The number of slots is 0 or a power of two.
    slots: Vec<Option<Entry>>,
    length: usize,
}

#[derive(Clone, Debug)]
struct Entry {
    symbol: Arc<str>,
    interval: Interval,
    id: InstrumentId,
}

impl SymbolTable {
    fn insert(&mut self, symbol: Arc<str>, interval: Interval, id: InstrumentId) {
        if (self.length + 1) * 2 > self.slots.len() {
            self.resize((self.slots.len() * 2).max(SLOTS_MIN));
        }
        self.place(Entry { symbol, interval, id });
        self.length += 1;
        assert!(self.length * 2 <= self.slots.len(), "an empty slot ends every search");
    }

    fn resize(&mut self, count: usize) {
        let old = std::mem::replace(&mut self.slots, vec![None; count]);
        old.into_iter().flatten().for_each(|entry| self.place(entry));
    }

    /// Removes an entry, and moves the entries that it displaced back towards their home slots.
    fn remove(&mut self, symbol: &str, interval: Interval) {
        let Some(mut gap) = self.position(symbol, interval) else { return };
        self.slots[gap] = None;
        self.length -= 1;
        let last = self.slots.len() - 1;
        let mut at = (gap + 1) & last;
        while let Some(entry) = &self.slots[at] {
            let (from_home, from_gap) =
                (at.wrapping_sub(self.home(&entry.symbol)) & last, at.wrapping_sub(gap) & last);
            if from_home >= from_gap {
                self.slots.swap(gap, at);
                gap = at;
            }
            at = (at + 1) & last;
        }
        // A flood of symbols leaves no storage behind.
        if self.length * SLOTS_PER_ENTRY_MAX < self.slots.len() && self.slots.len() > SLOTS_MIN {
            self.resize(self.slots.len() / 2);
        }
    }

    fn place(&mut self, entry: Entry) {
        let mut at = self.home(&entry.symbol);
        while self.slots[at].is_some() {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = Some(entry);
    }

    fn find(&self, symbol: &str, interval: Interval) -> Option<InstrumentId> {
        let at = self.position(symbol, interval)?;
        self.slots[at].as_ref().map(|entry| entry.id)
    }

    fn position(&self, symbol: &str, interval: Interval) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(symbol);
        while let Some(entry) = &self.slots[at] {
            if *entry.symbol == *symbol && entry.interval == interval {
                return Some(at);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        None
    }

    #[allow(clippy::cast_possible_truncation)]
    fn home(&self, symbol: &str) -> usize {
        let hash = symbol.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (hash ^ (hash >> 32)) as usize & (self.slots.len() - 1)
    }
}

/// Largest error of an exchange's clock as we know it. Source: `Date` is cut to the second, and
/// messages are under way for up to one.
const CLOCK_ERROR_MAX: Duration = Duration::from_secs(2);

/// Smallest number of slots: room for the symbols of a few clients without growing.
const SLOTS_MIN: usize = 64;

/// With more slots per symbol than this, half of the slots are freed. Source: four times the
/// emptiest table that growing leaves.
const SLOTS_PER_ENTRY_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_finds_its_own_id() {
        let mut table = SymbolTable::default();
        assert_eq!(table.find("S0", Interval::M1), None);
        for number in 0..3000 {
            table.insert(format!("S{number}").into(), Interval::M1, InstrumentId(number));
        }
        for number in 0..3000 {
            let found = table.find(&format!("S{number}"), Interval::M1);
            assert_eq!(found, Some(InstrumentId(number)));
        }
        assert_eq!(table.find("S3000", Interval::M1), None);
    }

    #[test]
    fn what_is_removed_is_not_found_and_all_others_are() {
        let mut table = SymbolTable::default();
        for number in 0..3000 {
            table.insert(format!("S{number}").into(), Interval::M1, InstrumentId(number));
        }
        for number in (0..3000).filter(|number| number % 3 != 0) {
            table.remove(&format!("S{number}"), Interval::M1);
            table.remove(&format!("S{number}"), Interval::M1);
        }
        for number in 0..3000 {
            let found = table.find(&format!("S{number}"), Interval::M1);
            assert_eq!(found, (number % 3 == 0).then_some(InstrumentId(number)), "{number}");
        }
        assert_eq!(table.length, 1000);
    }

    #[test]
    fn a_flood_of_names_leaves_no_storage_behind() {
        let mut table = SymbolTable::default();
        let name = |number| format!("S{number}");
        for number in 0..30_000 {
            table.insert(name(number).into(), Interval::M1, InstrumentId(number));
        }
        (10..30_000).for_each(|number| table.remove(&name(number), Interval::M1));
        assert!(table.slots.len() <= 128, "{}", table.slots.len());
        for number in 0..10 {
            assert_eq!(table.find(&name(number), Interval::M1), Some(InstrumentId(number)));
        }
    }
}

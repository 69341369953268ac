//! Instruments and their ids. Owns the places of the table, their instruments, and when a place may
//! be given out again; does not know which client wants an instrument.

use std::collections::{HashMap, VecDeque};

use crate::limits::INSTRUMENTS_MAX;

use super::instrument::Instrument;

/// Id of an instrument: its place in the [`InstrumentTable`], and the life of that place.
///
/// Invariant: an id in a ring, a command or a frame always means the same instrument. A place is
/// given out again under another id. The same id returns only after `LIVES` lives of its place, and
/// the place that has been free for the longest time is always the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstrumentId(pub u32);

impl InstrumentId {
    /// The place, as an index into tables per instrument: below [`INSTRUMENTS_MAX`]. A table
    /// compares the whole id with the id that it keeps there.
    pub fn index(self) -> usize {
        self.0 as usize & (INSTRUMENTS_MAX - 1)
    }

    /// The id of the next life of this place.
    fn next_life(self) -> Self {
        Self(self.0.wrapping_add(1 << PLACE_BITS))
    }
}

/// Bits of an id that name its place; the others count the place's lives.
const PLACE_BITS: u32 = INSTRUMENTS_MAX.trailing_zeros();
const _: () = assert!(INSTRUMENTS_MAX.is_power_of_two(), "a place is the low bits of an id");

/// Lives of a place before an id is used again. Source: the remaining bits of an id.
const LIVES: u32 = 1 << (u32::BITS - PLACE_BITS);

/// Free places that are kept before one is given out again, as long as there are unused ones.
/// Source: an id in flight is at most seconds old; a core gives out at most a million ids a second.
const FREE_MIN: usize = 1_024;
const _: () = assert!(LIVES as usize * FREE_MIN > 60 * 1_000_000, "a minute of nothing but that");

/// With more room per id than this in a map, most of the room is freed. Source: it is worth the
/// work once seven in eight have gone.
const ROOM_PER_ID_MAX: usize = 8;
/// Room of a map that is always kept. Source: chosen.
const ROOM_MIN: usize = 1_024;

/// Instruments to ids and back. The table is bounded, and released instruments are forgotten: a
/// flood of invented symbols is refused, not stored.
#[derive(Debug)]
pub struct InstrumentTable {
    places: Vec<Place>,
    /// Free places, the longest free first.
    free: VecDeque<InstrumentId>,
    ids: HashMap<Instrument, InstrumentId>,
    /// The ids of candles that are folded here.
    derived_ids: HashMap<Instrument, InstrumentId>,
    capacity: usize,
}

/// One place: its newest id, and its instrument.
#[derive(Debug)]
struct Place {
    id: InstrumentId,
    instrument: Option<Instrument>,
}

/// The table is full; the instrument was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

impl InstrumentTable {
    /// An empty table of at most `capacity` instruments.
    ///
    /// # Panics
    /// If `capacity` exceeds [`INSTRUMENTS_MAX`].
    pub fn new(capacity: usize) -> Self {
        assert!(capacity <= INSTRUMENTS_MAX, "an id has room for no more places");
        let (ids, derived_ids) = (HashMap::new(), HashMap::new());
        Self { places: Vec::new(), free: VecDeque::new(), ids, derived_ids, capacity }
    }

    /// The id of the exchange's own candles of `instrument`, which is added if it is new.
    ///
    /// # Errors
    /// If it is new and the table is full.
    pub fn intern(&mut self, instrument: &Instrument) -> Result<InstrumentId, TableFull> {
        if let Some(&id) = self.ids.get(instrument) {
            return Ok(id);
        }
        let id = self.add(instrument)?;
        self.ids.insert(instrument.clone(), id);
        Ok(id)
    }

    /// The id of candles of `instrument` that are folded here, which is added if it is new.
    ///
    /// # Errors
    /// If it is new and the table is full.
    pub fn intern_derived(&mut self, instrument: &Instrument) -> Result<InstrumentId, TableFull> {
        if let Some(&id) = self.derived_ids.get(instrument) {
            return Ok(id);
        }
        let id = self.add(instrument)?;
        self.derived_ids.insert(instrument.clone(), id);
        Ok(id)
    }

    fn add(&mut self, instrument: &Instrument) -> Result<InstrumentId, TableFull> {
        let instrument = Some(instrument.clone());
        let is_unused_left = self.places.len() < self.capacity;
        let is_reused = !is_unused_left || self.free.len() > FREE_MIN;
        if is_reused && let Some(before) = self.free.pop_front() {
            let id = before.next_life();
            let place = &mut self.places[id.index()];
            assert!(place.instrument.is_none(), "a free place is empty");
            *place = Place { id, instrument };
            return Ok(id);
        }
        if !is_unused_left {
            return Err(TableFull);
        }
        let id = InstrumentId(u32::try_from(self.places.len()).map_err(|_| TableFull)?);
        self.places.push(Place { id, instrument });
        Ok(id)
    }

    /// Forgets the instrument with `id`, so that its place may be given out again. Returns whether
    /// the id was in use.
    pub fn release(&mut self, id: InstrumentId) -> bool {
        let place = self.places.get_mut(id.index()).filter(|place| place.id == id);
        let Some(instrument) = place.and_then(|place| place.instrument.take()) else {
            return false;
        };
        for ids in [&mut self.ids, &mut self.derived_ids] {
            if ids.get(&instrument) == Some(&id) {
                ids.remove(&instrument);
            }
            // A flood of symbols leaves no storage behind.
            if ids.capacity() > ids.len() * ROOM_PER_ID_MAX + ROOM_MIN {
                ids.shrink_to(ids.len() * 2);
            }
        }
        self.free.push_back(id);
        true
    }

    /// The id of the exchange's own candles of `instrument`, if it has one.
    pub fn find(&self, instrument: &Instrument) -> Option<InstrumentId> {
        self.ids.get(instrument).copied()
    }

    /// The instrument with `id`; `None` if it was released.
    pub fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        let place = self.places.get(id.index()).filter(|place| place.id == id)?;
        place.instrument.as_ref()
    }

    /// Number of instruments.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Interval, Market, Venue};

    fn instrument(symbol: &str) -> Instrument {
        let market = Market::find(Venue::Binance, "spot").unwrap();
        Instrument { market, symbol: symbol.into(), interval: Interval::M1 }
    }

    #[test]
    fn ids_are_dense_and_stable() {
        let mut table = InstrumentTable::new(2);
        assert_eq!(table.intern(&instrument("BTCUSDT")), Ok(InstrumentId(0)));
        assert_eq!(table.intern(&instrument("ETHUSDT")), Ok(InstrumentId(1)));
        assert_eq!(table.intern(&instrument("BTCUSDT")), Ok(InstrumentId(0)));
        assert_eq!(&*table.instrument(InstrumentId(1)).unwrap().symbol, "ETHUSDT");
    }

    #[test]
    fn a_full_table_refuses_and_keeps_what_it_has() {
        let mut table = InstrumentTable::new(1);
        table.intern(&instrument("BTCUSDT")).unwrap();
        assert_eq!(table.intern(&instrument("ETHUSDT")), Err(TableFull));
        assert_eq!(table.find(&instrument("BTCUSDT")), Some(InstrumentId(0)));
    }

    #[test]
    fn a_released_place_is_given_out_again_and_its_old_id_means_nothing() {
        let mut table = InstrumentTable::new(2);
        let old = table.intern(&instrument("A")).unwrap();
        table.intern(&instrument("B")).unwrap();
        assert!(table.release(old) && !table.release(old));
        assert_eq!((table.len(), table.find(&instrument("A"))), (1, None));
        let new = table.intern(&instrument("C")).unwrap();
        assert_eq!(new.index(), old.index());
        assert_ne!(new, old);
        assert_eq!(table.instrument(old), None);
        assert_eq!(&*table.instrument(new).unwrap().symbol, "C");
        assert!(!table.release(old), "of an earlier life");
        assert_eq!(table.find(&instrument("C")), Some(new));
    }

    #[test]
    fn the_own_candles_and_the_derived_ones_are_released_each_by_its_id() {
        let mut table = InstrumentTable::new(4);
        let own = table.intern(&instrument("A")).unwrap();
        let derived = table.intern_derived(&instrument("A")).unwrap();
        assert!(table.release(derived));
        assert_eq!(table.intern(&instrument("A")), Ok(own));
        assert_ne!(table.intern_derived(&instrument("A")), Ok(derived));
    }

    #[test]
    fn the_place_that_was_free_for_the_longest_time_is_the_next_one() {
        let mut table = InstrumentTable::new(8);
        let ids: Vec<_> =
            (0..8).map(|at| table.intern(&instrument(&format!("S{at}"))).unwrap()).collect();
        for at in [5, 2, 7] {
            table.release(ids[at]);
        }
        let next: Vec<_> = (0..3)
            .map(|at| table.intern(&instrument(&format!("T{at}"))).unwrap().index())
            .collect();
        assert_eq!(next, [5, 2, 7]);
    }

    #[test]
    fn unused_places_are_taken_first_while_few_are_free() {
        let mut table = InstrumentTable::new(INSTRUMENTS_MAX);
        let first = table.intern(&instrument("A")).unwrap();
        table.release(first);
        let lives = 3 * FREE_MIN;
        for at in 0..lives {
            let id = table.intern(&instrument(&format!("S{at}"))).unwrap();
            table.release(id);
        }
        assert_eq!(table.places.len(), FREE_MIN + 1, "and no more than those");
        assert!(table.is_empty());
    }

    #[test]
    fn a_flood_of_names_leaves_no_storage_behind() {
        let mut table = InstrumentTable::new(INSTRUMENTS_MAX);
        let kept = table.intern(&instrument("KEPT")).unwrap();
        let intern = |at| table.intern(&instrument(&format!("S{at}"))).unwrap();
        let ids: Vec<_> = (0..30_000).map(intern).collect();
        ids.into_iter().for_each(|id| assert!(table.release(id)));
        assert!(table.ids.capacity() <= 2 * ROOM_MIN, "{}", table.ids.capacity());
        assert_eq!(table.find(&instrument("KEPT")), Some(kept));
    }

    #[test]
    fn an_id_comes_back_after_all_lives_of_its_place_and_not_before() {
        let mut id = InstrumentId(3);
        for _ in 1..LIVES {
            id = id.next_life();
            assert!(id != InstrumentId(3) && id.index() == 3);
        }
        assert_eq!(id.next_life(), InstrumentId(3));
    }
}

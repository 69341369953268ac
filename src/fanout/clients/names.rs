//! Which names a client may bring, and when they are forgotten. Owns the bounds for names that are
//! not confirmed, and the end of an instrument that nothing wants. Whether a name exists is for the
//! exchange and its list to decide.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::clock::{MonoNs, Now};
use crate::fanout::hub::Hub;
use crate::fanout::protocol::candle_source::CandleSource;
use crate::fanout::protocol::messages::Refusal;
use crate::fanout::protocol::request::{Name, Wanted};
use crate::fanout::series::LetGo;
use crate::fanout::{ClientId, Fanout, Timer};
use crate::limits::{
    CLIENT_UNCONFIRMED_MAX, CLIENT_UNLISTED_MAX, INSTRUMENTS_MAX, TABLE_CALM_PERCENT,
    TABLE_WARNING_PERCENT, UNCONFIRMED_MAX, UNLISTED_NAME_COST,
};
use crate::market::table::TableFull;
use crate::market::{Instrument, InstrumentId, Interval, Market, SymbolList, Venue};
use crate::messages::{Command, EventName};

/// The names of a request, sorted.
pub(crate) struct Sorted {
    /// The names that the client may bring.
    pub(crate) names: Vec<Name>,
    /// The errors for names without room, or that come too fast.
    pub(crate) surplus: Vec<Refusal>,
    /// The errors for names that were rejected lately.
    pub(crate) refused: Vec<Refusal>,
}

impl Fanout {
    /// Sorts the names of a request.
    pub(crate) fn sort_names(
        &mut self,
        id: ClientId,
        wanted: &Wanted,
        names: Vec<Name>,
        now: Now,
    ) -> Sorted {
        let (names, refused) = self.split_refused(wanted, names, now);
        let (names, unconfirmed) = self.split_names(id, wanted, names);
        let (names, too_fast) = self.split_new(id, wanted, names, now);
        let mut surplus = Vec::from_iter(too_fast.map(|refusal| *refusal));
        let mut unconfirmed = unconfirmed.into_iter().peekable();
        while let Some(market) = unconfirmed.peek().map(|name| name.market) {
            let of_market = std::iter::from_fn(|| unconfirmed.next_if(|one| one.market == market));
            let symbols = shown_of(of_market);
            surplus.push(*self.too_many_unconfirmed(market, symbols));
        }
        Sorted { names, surplus, refused }
    }

    /// Splits off the new names that exceed the client's allowance.
    fn split_new(
        &mut self,
        id: ClientId,
        wanted: &Wanted,
        names: Vec<Name>,
        now: Now,
    ) -> (Vec<Name>, Option<Box<Refusal>>) {
        let (market, interval) = (wanted.market, wanted.asked());
        let Some(client) = self.clients.find(id) else { return (names, None) };
        client.new_names.earn(now);
        let mut costs_beyond: u32 = 0;
        let (names, beyond): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| {
            let instrument = name.instrument(interval);
            let cost = match self.hub.is_streamed(&instrument) {
                true => 0,
                false if self.hub.has_list(name.market) && !self.hub.is_confirmed(&instrument) => {
                    UNLISTED_NAME_COST
                }
                false => 1,
            };
            let is_taken = client.new_names.spend(cost);
            costs_beyond += if is_taken { 0 } else { cost };
            is_taken
        });
        if beyond.is_empty() {
            return (names, None);
        }
        self.metrics.new_names_refused.add(beyond.len() as u64);
        let beyond = shown_of(beyond.into_iter());
        let wait = client.new_names.wait(costs_beyond);
        let message = format!(
            "\"symbols\": {} are new to {market}, and this client has brought many such names \
             lately: ask again in {:.1} s",
            shown(&beyond),
            wait.as_secs_f64()
        );
        let refusal = Refusal::field("too_many_new_symbols", "symbols", message).about(market);
        let retry_after_ms = u64::try_from(wait.as_millis()).ok();
        (names, Some(Box::new(Refusal { symbols: beyond, retry_after_ms, ..*refusal })))
    }

    /// Splits the names of a request: those that the client may bring, and unconfirmed ones without
    /// room.
    fn split_names(
        &self,
        id: ClientId,
        wanted: &Wanted,
        names: Vec<Name>,
    ) -> (Vec<Name>, Vec<Name>) {
        let ids_each = match wanted.origin {
            CandleSource::Exchange => 1,
            CandleSource::Derived => 2,
        };
        let is_listed = self.hub.has_list(wanted.market);
        let free = UNCONFIRMED_MAX.saturating_sub(self.hub.counts().1);
        let allowed = match is_listed {
            true => CLIENT_UNCONFIRMED_MAX.min(free / 64),
            false => CLIENT_UNLISTED_MAX.min(free / 2),
        };
        let room = allowed.saturating_sub(self.hub.unconfirmed_of(id.index, is_listed));
        let mut room = room.min(free / ids_each);
        let interval = wanted.asked();
        names.into_iter().partition(|name| {
            let is_confirmed = self.hub.is_confirmed(&name.instrument(interval));
            let is_taken = is_confirmed || room > 0;
            room -= usize::from(is_taken && !is_confirmed);
            is_taken
        })
    }

    /// Why unconfirmed names are rejected.
    pub(crate) fn too_many_unconfirmed(
        &self,
        market: Market,
        symbols: Vec<String>,
    ) -> Box<Refusal> {
        let message = match self.hub.has_list(market) {
            true => format!(
                "\"symbols\": {market} does not list {}; at most {CLIENT_UNCONFIRMED_MAX} such \
                 names of a client are tried at a time, fewer while others try many: check their \
                 spelling, or ask again when the others are answered",
                shown(&symbols)
            ),
            false => format!(
                "\"symbols\": it is not known yet what {market} lists, and too many names wait for \
                 that: ask again in a few seconds for {}",
                shown(&symbols)
            ),
        };
        let refusal = Refusal::field("too_many_unconfirmed", "symbols", message);
        Box::new(Refusal { symbols, ..*refusal.about(market) })
    }

    /// Adds all the names, or none. If the table is full, the instrument that has rested longest
    /// makes room.
    pub(crate) fn intern_all(
        &mut self,
        wanted: &Wanted,
        names: &[Name],
        now: Now,
    ) -> Result<Vec<InstrumentId>, Box<Refusal>> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            let instrument = name.instrument(wanted.interval);
            let Ok(id) = self.intern(&instrument, wanted.origin, now) else {
                ids.into_iter().for_each(|id| self.let_go(id, now));
                let message = format!(
                    "\"symbols\": the server streams {INSTRUMENTS_MAX} series already and takes no \
                     new one"
                );
                let refusal = Refusal::field("too_many_instruments", "symbols", message);
                return Err(refusal.about(name.market));
            };
            ids.push(id);
        }
        self.show_table();
        Ok(ids)
    }

    fn intern(
        &mut self,
        instrument: &Instrument,
        origin: CandleSource,
        now: Now,
    ) -> Result<InstrumentId, TableFull> {
        if origin == CandleSource::Exchange {
            return self.with_room(now, |fanout| fanout.hub.intern(instrument));
        }
        let minutes = Instrument { interval: Interval::M1, ..instrument.clone() };
        let base = self.with_room(now, |fanout| fanout.hub.intern(&minutes))?;
        let id = self.with_room(now, |fanout| fanout.hub.intern_derived(instrument, base));
        if id.is_err() {
            self.let_go(base, now);
        }
        id
    }

    fn with_room(
        &mut self,
        now: Now,
        intern: impl Fn(&mut Self) -> Result<InstrumentId, TableFull>,
    ) -> Result<InstrumentId, TableFull> {
        match intern(self) {
            Ok(id) => Ok(id),
            Err(TableFull) => {
                let oldest = self.hub.next_rested(MonoNs(u64::MAX)).ok_or(TableFull)?;
                self.release(oldest, now);
                intern(self)
            }
        }
    }

    /// An interest in an instrument has ended, or was not added: the instrument goes if nothing
    /// wants it.
    pub(crate) fn let_go(&mut self, id: InstrumentId, now: Now) {
        let Some(stream) = self.hub.stream(id) else { return };
        match stream.let_go(now) {
            LetGo::Kept => {}
            LetGo::Lingers(until) => self.timers.push(Reverse((until, Timer::Linger(id)))),
            LetGo::Over => {
                self.release(id, now);
                self.show_table();
            }
        }
    }

    /// The linger of `id` may be over. The exchange's own series is kept for
    /// [`crate::limits::INSTRUMENT_REST`], so that its feed remembers what it has published; a
    /// derived series can be made again.
    pub(crate) fn end_linger(&mut self, id: InstrumentId, now: Now) {
        let Some(stream) = self.hub.stream(id) else { return };
        match stream.end_linger(now) {
            LetGo::Kept => return,
            LetGo::Lingers(until) => {
                return self.timers.push(Reverse((until, Timer::Linger(id))));
            }
            LetGo::Over => {}
        }
        if self.hub.base(id).is_some() {
            self.release(id, now);
            return self.show_table();
        }
        self.command(id, Command::Unsubscribe { id }, now);
        self.hub.rest(id, now);
    }

    /// Forgets the instruments that have rested long enough.
    pub(crate) fn end_rests(&mut self, now: Now) {
        while let Some(id) = self.hub.next_rested(now.mono) {
            self.release(id, now);
            self.show_table();
        }
    }

    /// Forgets an instrument that nothing wants, here and at its shard; and with a derived series
    /// its base, if nothing else wants that.
    fn release(&mut self, id: InstrumentId, now: Now) {
        let base = self.hub.base(id);
        self.command(id, Command::Forget { id }, now);
        self.hub.release(id);
        self.lost.remove(&id);
        if let Some(base) = base {
            self.let_go(base, now);
        }
    }

    /// Takes a market's list: the names in it are confirmed, and each client keeps as many of the
    /// others as its limit allows.
    pub(crate) fn take_list(&mut self, market: Market, list: Arc<SymbolList>, now: Now) {
        self.forget_listed(market, &list);
        let unlisted = self.hub.take_list(market, list);
        let mut surplus = BTreeMap::<u32, Vec<InstrumentId>>::new();
        for (index, ids) in self.hub.interested(&unlisted) {
            let count = self.hub.unconfirmed_of(index, true);
            let beyond = count.saturating_sub(CLIENT_UNCONFIRMED_MAX).min(ids.len());
            if beyond > 0 {
                surplus.insert(index, ids[ids.len() - beyond..].to_vec());
            }
        }
        for (index, ids) in surplus {
            let symbols = symbols_of(&self.hub, index, &ids);
            let symbols = symbols.into_iter().map(str::to_owned).collect();
            let refusal = self.too_many_unconfirmed(market, symbols);
            let id = self.clients.at(index).id;
            self.refuse_instruments(id, &ids, &refusal, now);
        }
        self.show_table();
    }

    /// Sets the gauges of the table, and logs once that the table is nearly full.
    pub(crate) fn show_table(&mut self) {
        let (known, unconfirmed) = self.hub.counts();
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.instruments.set(gauge(known));
        self.metrics.unconfirmed.set(gauge(unconfirmed));
        let percent = (known * 100 / INSTRUMENTS_MAX).max(unconfirmed * 100 / UNCONFIRMED_MAX);
        if percent < TABLE_CALM_PERCENT {
            self.is_table_filling = false;
        }
        if percent >= TABLE_WARNING_PERCENT && !std::mem::replace(&mut self.is_table_filling, true)
        {
            let text = format!(
                "little room is left for series: {known} of {INSTRUMENTS_MAX} are in use, \
                 {unconfirmed} of {UNCONFIRMED_MAX} with symbols that no exchange has confirmed; new \
                 ones will be refused"
            );
            self.notice(EventName::TableFilling, text);
        }
    }
}

/// Keeps each series under the first of its names. The second value has an error for each other
/// name, since a message has room for one.
pub(crate) fn once_each(names: Vec<Name>) -> (Vec<Name>, Vec<Refusal>) {
    let mut seen = HashMap::with_capacity(names.len());
    let mut repeated = Vec::new();
    for name in &names {
        match seen.entry((name.market, name.symbol.clone())) {
            Entry::Vacant(place) => drop(place.insert(name_of(name))),
            Entry::Occupied(first) => repeated.push(*named_twice(name, first.get())),
        }
    }
    let names = names.into_iter().filter(|name| {
        let first = seen.remove(&(name.market, name.symbol.clone()));
        first.is_some()
    });
    (names.collect(), repeated)
}

/// The client's name of a series; with its contract type on OKX, where the client chooses that word
/// too.
fn name_of(name: &Name) -> String {
    let word = name.spelling.as_ref().map(|own| &*own.contract_type);
    stream_name(name.market, name.shown(), word)
}

pub(crate) fn stream_name(market: Market, symbol: &str, word: Option<&str>) -> String {
    match market.venue() {
        Venue::Okx => format!("{symbol} ({})", word.unwrap_or(market.contract_type().name())),
        _ => symbol.to_owned(),
    }
}

/// The error for one series under two names.
pub(crate) fn named_twice(name: &Name, other: &str) -> Box<Refusal> {
    let shown = name.shown();
    let message = format!(
        "\"symbols\": {} is the series that you have as {other} already, and a connection has one \
         name for a series (\"symbol\" and \"contract_type\"): leave one of them out, or use \
         another connection",
        name_of(name)
    );
    let refusal = Refusal::field("named_twice", "symbols", message).about(name.market);
    Box::new(Refusal { symbols: vec![shown.to_owned()], ..*refusal })
}

/// The names as the client wrote them.
fn shown_of(names: impl Iterator<Item = Name>) -> Vec<String> {
    names.map(|name| name.shown().to_owned()).collect()
}

/// The first `SHOWN_MAX` symbols, for a sentence.
fn shown(symbols: &[String]) -> String {
    let named = symbols.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match symbols.len().saturating_sub(SHOWN_MAX) {
        0 => named,
        others => format!("{named} and {others} others"),
    }
}

/// The symbols of these instruments as a client (by index) writes them, each once though it may
/// have several intervals.
pub(crate) fn symbols_of<'a>(
    hub: &'a Hub,
    client: u32,
    instruments: &[InstrumentId],
) -> Vec<&'a str> {
    let mut seen = HashSet::with_capacity(instruments.len());
    let symbols = instruments.iter().map(|&one| hub.symbol_for(client, one));
    symbols.filter(|&symbol| seen.insert(symbol)).collect()
}

/// Symbols that a sentence names. Source: a line of a terminal.
const SHOWN_MAX: usize = 3;

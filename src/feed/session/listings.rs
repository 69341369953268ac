//! What the exchanges list, as far as it is known. Halted symbols are rejected, unknown ones
//! rejected or checked, misspelt ones explained. Owns when the lists are fetched. Everything works
//! without a list: the exchange then decides alone.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::MonoNs;
use crate::feed::session::placement::{Admission, Rejection};
use crate::feed::stream::{Check, ContractSize, FeedStream};
use crate::feed::{Feed, Output};
use crate::limits::{INSTRUMENTS_MAX, LIST_PARTS_MAX, LIST_PATIENCE};
use crate::market::{Instrument, InstrumentId, Listed, Market, SymbolList, spelled};
use crate::messages::{About, EventName, FeedEvent};
use crate::{text, venue};

/// The lists of all markets.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    /// By [`Market::index`].
    markets: [Listing; Market::COUNT],
}

#[derive(Debug)]
struct Listing {
    list: Option<Arc<SymbolList>>,
    /// When the list is fetched next; while it is being fetched, when its answer counts as lost.
    /// The end of time while no client wants an instrument of this market.
    next_at: MonoNs,
    is_asked: bool,
    /// Whether the list once failed to arrive, so that no instrument waits for it any longer.
    has_failed: bool,
    /// Instruments that wait for the list, or for their part of it.
    waiting: Vec<InstrumentId>,
    /// When the waiting ones are subscribed without the list. The end of time if none waits, or if
    /// the exchange ends a session for an unknown symbol.
    unseen_at: MonoNs,
    /// The wanted parts of the list. The first `parts_asked` of them were in the newest request.
    parts: Vec<String>,
    parts_asked: usize,
    /// Refused instruments with the exchange's words. They are rejected once the list can suggest
    /// the right symbol.
    refused: Vec<(InstrumentId, String)>,
}

impl Default for Listing {
    fn default() -> Self {
        Self {
            list: None,
            next_at: MonoNs(u64::MAX),
            is_asked: false,
            has_failed: false,
            waiting: Vec::new(),
            unseen_at: MonoNs(u64::MAX),
            parts: Vec::new(),
            parts_asked: 0,
            refused: Vec::new(),
        }
    }
}

impl Listing {
    /// Wants a part of the list. Returns whether its answer is still to come.
    fn want_part(&mut self, part: &str) -> bool {
        match self.parts.iter().position(|wanted| wanted == part) {
            Some(at) => at >= self.parts_asked || self.is_asked,
            None if self.parts.len() >= LIST_PARTS_MAX => false,
            None => {
                self.parts.push(part.to_owned());
                true
            }
        }
    }
}

impl Listing {
    /// Sets the contract size of `stream`, as far as it is needed and known.
    fn size(&self, stream: &mut FeedStream) {
        let Instrument { market, ref symbol, .. } = stream.instrument;
        if !venue::needs_contract_size(market) {
            return;
        }
        let listed = self.list.as_deref().map(|list| list.find(symbol));
        stream.contract_size = match (listed, stream.contract_size) {
            (Some(Some(Listed { contract_size: Some(size), .. })), _) => ContractSize::Known(*size),
            (_, known @ ContractSize::Known(_)) => known,
            (None, _) if !self.has_failed => ContractSize::Awaited,
            _ => ContractSize::Unknown,
        };
    }
}

impl Listings {
    /// When [`Feed::ask_lists`] has something to do.
    pub(crate) fn deadline(&self) -> Option<MonoNs> {
        let due = self.markets.iter().map(|listing| listing.next_at.min(listing.unseen_at)).min();
        due.filter(|&due| due < MonoNs(u64::MAX))
    }

    /// Returns whether a list has arrived and shows that `symbol` does not exist.
    pub(crate) fn lacks(&self, market: Market, symbol: &str) -> bool {
        let list = self.markets[market.index()].list.as_deref();
        let part = venue::list_part(market, symbol);
        list.is_some_and(|list| list.lacks(symbol, part))
    }

    /// `; did you mean …?`, if another contract type has `symbol`, or a similar symbol is listed.
    pub(crate) fn hint(&self, market: Market, symbol: &str) -> String {
        let list = |of: Market| self.markets[of.index()].list.as_deref();
        let has = |of: &Market| list(*of).is_some_and(|list| list.find(symbol).is_some());
        let listed = Market::of(market.venue()).find(|of| *of != market && has(of));
        if let Some(of) = listed.or_else(|| spelled::contract_type(market, symbol)) {
            return format!("; did you mean \"contract_type\":\"{}\"?", of.contract_type().name());
        }
        list(market).map_or(String::new(), |list| list.did_you_mean(symbol))
    }
}

impl Feed {
    /// Rejects `id` with the exchange's `words`. Waits for the list if it may still arrive, so that
    /// the error can name the right symbol.
    pub(crate) fn reject_unknown(&mut self, id: InstrumentId, words: &str, now: MonoNs) {
        let Some(stream) = self.streams.stream(id) else { return };
        let listing = &mut self.listings.markets[stream.instrument.market.index()];
        if listing.list.is_none() && listing.is_asked && !listing.has_failed {
            listing.refused.push((id, words.to_owned()));
        } else {
            self.reject(id, &Rejection::Unknown(words), now);
        }
    }

    /// Fetches the lists that are due.
    pub(crate) fn ask_lists(&mut self, now: MonoNs) {
        if self.is_stopping || self.listings.deadline().is_none_or(|due| due > now) {
            return;
        }
        for market in Market::all() {
            let listing = &mut self.listings.markets[market.index()];
            if listing.unseen_at <= now {
                self.place_waiting(market, now);
            }
            let listing = &mut self.listings.markets[market.index()];
            if listing.next_at > now {
                continue;
            }
            if std::mem::take(&mut listing.is_asked) {
                self.take_list(market, Err("no answer came".to_owned()), now);
            } else {
                (listing.is_asked, listing.next_at) = (true, now.after(ANSWER_LOST));
                let parts = listing.parts.clone();
                listing.parts_asked = parts.len();
                self.outputs.push_back(Output::List { market, parts });
            }
        }
    }

    /// Takes a market's list, or the reason why there is none.
    pub(crate) fn take_list(
        &mut self,
        market: Market,
        result: Result<Arc<SymbolList>, String>,
        now: MonoNs,
    ) {
        let listing = &mut self.listings.markets[market.index()];
        listing.is_asked = false;
        let refused = std::mem::take(&mut listing.refused);
        match result {
            Ok(list) if !list.is_empty() => {
                let is_unread = listing.parts.iter().any(|part| list.is_unread(part));
                let life = if list.is_cut() || is_unread { RETRY } else { FRESH };
                (listing.list, listing.next_at) = (Some(list), now.after(life));
                self.judge_silent_by_list(market, now);
                self.report_listings(market, now);
            }
            result => {
                listing.next_at = now.after(RETRY);
                let is_first = !std::mem::replace(&mut listing.has_failed, true);
                let why = result.err().unwrap_or_else(|| "it is empty".to_owned());
                if is_first && listing.list.is_none() {
                    let text = format!("no list of instruments: {why}; symbols are tried unseen");
                    self.notice(EventName::ListMissing, market, text);
                }
            }
        }
        let listing = &self.listings.markets[market.index()];
        for stream in self.streams.wanted().filter(|stream| stream.instrument.market == market) {
            if stream.contract_size == ContractSize::Awaited {
                self.urgent.push(stream.id);
            }
            listing.size(stream);
        }
        for (id, words) in refused {
            if self.streams.stream(id).is_some_and(|stream| stream.is_wanted) {
                self.reject(id, &Rejection::Unknown(&words), now);
            }
        }
        self.place_waiting(market, now);
    }

    /// Places the instruments that waited for the list, with it or without it.
    fn place_waiting(&mut self, market: Market, now: MonoNs) {
        let listing = &mut self.listings.markets[market.index()];
        let is_unseen = listing.unseen_at <= now;
        listing.unseen_at = MonoNs(u64::MAX);
        for id in std::mem::take(&mut listing.waiting) {
            let Some(stream) = self.streams.stream(id).filter(|stream| stream.is_wanted) else {
                continue;
            };
            let symbol = stream.instrument.symbol.clone();
            let is_admitted =
                is_unseen || matches!(self.admit_listed(id, market, &symbol, now), Admission::Now);
            if is_admitted && self.carrier(id).is_none() {
                self.place(id, market, now);
            }
        }
    }

    /// Decides about a new subscription by the list. Rejects it if it cannot succeed.
    pub(crate) fn admit_listed(
        &mut self,
        id: InstrumentId,
        market: Market,
        symbol: &str,
        now: MonoNs,
    ) -> Admission {
        let is_unseen = self.listings.markets[market.index()].list.is_none();
        let may_wait =
            is_unseen && (venue::drops_unknown(market) || !self.has_place_unseen(market, now));
        let listing = &mut self.listings.markets[market.index()];
        if listing.next_at == MonoNs(u64::MAX) {
            listing.next_at = now;
        }
        self.streams.stream_mut(id).into_iter().for_each(|stream| listing.size(stream));
        let part = venue::list_part(market, symbol);
        let is_first_ask = part.is_some_and(|part| listing.want_part(part));
        let Some(list) = listing.list.clone() else {
            if may_wait && !listing.has_failed {
                let streams = &self.streams;
                if !venue::drops_unknown(market) {
                    listing.unseen_at = listing.unseen_at.min(now.after(UNSEEN_PATIENCE));
                }
                if listing.waiting.len() >= INSTRUMENTS_MAX {
                    // Unwanted instruments make room.
                    listing
                        .waiting
                        .retain(|&id| streams.stream(id).is_some_and(|one| one.is_wanted));
                }
                listing.waiting.push(id);
                return Admission::Later;
            }
            return Admission::Now;
        };
        match list.find(symbol) {
            Some(listed) => match &listed.halted {
                None => Admission::Now,
                Some(state) => {
                    self.reject(id, &Rejection::Halted(state), now);
                    Admission::Rejected
                }
            },
            None if !venue::drops_unknown(market) => Admission::Now,
            None if list.lacks(symbol, part) => {
                self.reject(id, &Rejection::Unknown(""), now);
                Admission::Rejected
            }
            None if is_first_ask => {
                // The part that would have it is not read yet.
                if !listing.is_asked {
                    listing.next_at = now;
                }
                listing.waiting.push(id);
                Admission::Later
            }
            None => Admission::Now,
        }
    }

    /// How long an acknowledged stream may stay silent before REST is asked whether its symbol
    /// exists; zero if it is not listed.
    pub(crate) fn patience_with(&self, market: Market, symbol: &str) -> Duration {
        match self.listings.lacks(market, symbol) {
            true => Duration::ZERO,
            false => self.config.stream_idle_timeout,
        }
    }

    /// Reports once, to clients and in the log, streams that deliver though the list halts them,
    /// and streams that the list trades again. The stream counts more than the list.
    fn report_listings(&mut self, market: Market, now: MonoNs) {
        let Some(list) = self.listings.markets[market.index()].list.clone() else { return };
        let mut changes = Vec::new();
        let here = |stream: &&mut FeedStream| {
            stream.instrument.market == market && delivers_lately(stream, now)
        };
        for stream in self.streams.wanted().filter(here) {
            let symbol = &stream.instrument.symbol;
            let state = match list.find(symbol) {
                Some(listed) => listed.halted.as_ref().map(|state| format!("lists it as {state}")),
                None if !list.lacks(symbol, venue::list_part(market, symbol)) => continue,
                None => Some("does not list it".to_owned()),
            };
            if stream.unlisted_as == state {
                continue;
            }
            let message = match &state {
                Some(state) => format!("{symbol} delivers, but {market} {state}: candles go on"),
                None => format!("{market} lists {symbol} as trading again"),
            };
            stream.unlisted_as = state;
            changes.push((stream.id, About::from(&stream.instrument), message));
        }
        for (instrument, about, message) in changes {
            let message = text::visible(&message).into_owned();
            self.notice(EventName::ListingChanged, about, message.clone());
            let event = FeedEvent::ListingChanged { instrument, market, message };
            self.outputs.push_back(Output::Event(event));
        }
    }

    /// Applies a new list to streams that were subscribed before and do not deliver.
    fn judge_silent_by_list(&mut self, market: Market, now: MonoNs) {
        let here = |stream: &&mut FeedStream| {
            stream.instrument.market == market && !delivers_lately(stream, now)
        };
        let silent = self.streams.wanted().filter(here);
        let silent: Vec<_> = silent
            .map(|stream| (stream.id, stream.instrument.symbol.clone(), stream.check))
            .collect();
        for (id, symbol, check) in silent {
            let is_waiting = self.carrier(id).is_none();
            if is_waiting || !matches!(self.admit_listed(id, market, &symbol, now), Admission::Now)
            {
                continue;
            }
            if let Check::Due { shown, .. } = check {
                let at = now.after(self.patience_with(market, &symbol));
                self.bring_forward(id, at, shown);
            }
        }
    }
}

/// Returns whether a stream delivers, or did until shortly before: its session may be lost.
fn delivers_lately(stream: &FeedStream, now: MonoNs) -> bool {
    let last = stream.message_rate.last();
    stream.is_delivering || last.is_some_and(|at| at.after(LATELY) > now)
}

/// A stream that delivered within this time counts as delivering, whatever the list shows. Source:
/// no backoff and no silence before a check is longer.
const LATELY: Duration = Duration::from_secs(600);

/// A list is fetched again after this time. Source: exchanges announce listings a day ahead.
const FRESH: Duration = Duration::from_secs(3600);

/// How long symbols that do not fit on a market's first session wait for its list. Source: the
/// longest list, 17 MB, at 30 Mbit/s.
const UNSEEN_PATIENCE: Duration = Duration::from_secs(5);

/// A list that failed to arrive is fetched again after this time. Source: chosen.
const RETRY: Duration = Duration::from_secs(60);

/// A list that has not arrived after this time counts as lost. Source: longer than the ops core
/// waits for it.
const ANSWER_LOST: Duration = Duration::from_secs(120);
const _: () = assert!(ANSWER_LOST.as_secs() > LIST_PATIENCE.as_secs());

//! Names that an exchange or its list has just rejected: a client that asks for one again gets its
//! answer from memory, and the exchange is not asked. Owns what is remembered, and for how long.

use std::collections::{HashMap, VecDeque};

use crate::clock::{MonoNs, Now};
use crate::fanout::protocol::messages::{Refusal, cut};
use crate::fanout::protocol::request::{Name, Wanted};
use crate::fanout::{ClientId, Fanout};
use crate::limits::{REFUSED_NAMES_MAX, REFUSED_PATIENCE};
use crate::market::{Instrument, Market, SymbolList};

/// The newest rejections.
#[derive(Debug, Default)]
pub(crate) struct RefusedNames {
    words: HashMap<Instrument, Words>,
    /// When each name is forgotten, the earliest first; at most [`REFUSED_NAMES_MAX`] entries. An
    /// entry is outdated if the rejection of its name has another time.
    order: VecDeque<(MonoNs, Instrument)>,
}

#[derive(Debug)]
struct Words {
    until: MonoNs,
    message: Box<str>,
    exchange: Box<str>,
}

impl RefusedNames {
    fn remember(&mut self, instrument: Instrument, message: &str, exchange: &str, now: Now) {
        while self.order.len() >= REFUSED_NAMES_MAX {
            self.forget_first();
        }
        let until = now.mono.after(REFUSED_PATIENCE);
        let words = Words { until, message: cut(message).into(), exchange: cut(exchange).into() };
        self.words.insert(instrument.clone(), words);
        self.order.push_back((until, instrument));
    }

    fn forget_first(&mut self) {
        let Some((until, instrument)) = self.order.pop_front() else { return };
        if self.words.get(&instrument).is_some_and(|words| words.until == until) {
            self.words.remove(&instrument);
        }
        if self.order.is_empty() {
            // A flood of names leaves no storage behind.
            *self = Self::default();
        }
    }

    /// Forgets the rejections that are too old.
    fn forget_old(&mut self, now: MonoNs) {
        while self.deadline().is_some_and(|until| until <= now) {
            self.forget_first();
        }
    }

    /// Forgets the names that a new list shows as trading.
    fn forget_listed(&mut self, market: Market, list: &SymbolList) {
        self.words.retain(|one, _| {
            let listed = list.find(&one.symbol).filter(|_| one.market == market);
            listed.is_none_or(|listed| listed.halted.is_some())
        });
    }

    /// When the next name is forgotten.
    pub(crate) fn deadline(&self) -> Option<MonoNs> {
        self.order.front().map(|&(until, _)| until)
    }

    /// Number of remembered names.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// The error for a client that asks for `instrument`; `None`: it was not rejected lately.
    fn find(&self, instrument: &Instrument, now: Now) -> Option<Refusal> {
        let words = self.words.get(instrument).filter(|words| words.until > now.mono)?;
        Some(rejection(instrument, &words.message, &words.exchange))
    }
}

/// The error for an instrument that the exchange does not have or does not serve.
pub(crate) fn rejection(instrument: &Instrument, message: &str, exchange: &str) -> Refusal {
    let refusal = Refusal::new("symbol_rejected", message.to_owned()).about(instrument.market);
    Refusal {
        symbols: vec![instrument.symbol.to_string()],
        interval: Some(instrument.interval),
        exchange_message: (!exchange.is_empty()).then(|| exchange.to_owned()),
        ..*refusal
    }
}

impl Fanout {
    /// Remembers that the exchange has rejected `instrument`.
    pub(crate) fn remember_refused(
        &mut self,
        instrument: Instrument,
        message: &str,
        exchange: &str,
        now: Now,
    ) {
        self.refused.remember(instrument, message, exchange, now);
        self.show_refused();
    }

    /// Forgets the rejections that are too old.
    pub(crate) fn forget_refused(&mut self, now: Now) {
        if self.refused.deadline().is_some_and(|until| until <= now.mono) {
            self.refused.forget_old(now.mono);
            self.show_refused();
        }
    }

    /// Forgets rejected names that the market's new list shows as trading.
    pub(crate) fn forget_listed(&mut self, market: Market, list: &SymbolList) {
        self.refused.forget_listed(market, list);
        self.show_refused();
    }

    fn show_refused(&mut self) {
        let known = i64::try_from(self.refused.len()).unwrap_or(i64::MAX);
        self.metrics.refused_names.set(known);
    }

    /// Splits the names of a request: those that were not rejected lately, and the errors for the
    /// others.
    pub(crate) fn split_refused(
        &self,
        wanted: &Wanted,
        names: Vec<Name>,
        now: Now,
    ) -> (Vec<Name>, Vec<Refusal>) {
        let asked = wanted.asked();
        let mut refusals = Vec::new();
        let names = names.into_iter().filter(|name| {
            let found = self.refused.find(&name.instrument(asked), now);
            let is_refused = found.is_some();
            refusals.extend(found.map(|one| Refusal {
                interval: Some(wanted.interval),
                symbols: vec![name.shown().to_owned()],
                ..one
            }));
            !is_refused
        });
        let names = names.collect();
        self.metrics.refused_again.add(refusals.len() as u64);
        (names, refusals)
    }

    /// Sends the errors for names that were rejected lately. A client without subscriptions is
    /// closed with the last error.
    pub(crate) fn send_refused(
        &mut self,
        id: ClientId,
        mut refusals: Vec<Refusal>,
        echo: Option<&String>,
        now: Now,
    ) {
        let last = refusals.pop();
        for refusal in refusals {
            self.send_error(id, &Refusal { id: echo.cloned(), ..refusal });
        }
        if let Some(refusal) = last {
            self.end_symbol(id, &Refusal { id: echo.cloned(), ..refusal }, now);
        }
    }
}

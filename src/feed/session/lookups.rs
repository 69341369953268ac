//! Symbols that an exchange's list does not have. REST is asked about each one before it is
//! subscribed, so that a symbol that does not exist costs no session and no neighbour. Owns what
//! follows from the answer. If REST has no answer, the symbol is tried apart from others, see
//! [`crate::feed::session::suspects`].

use crate::clock::Now;
use crate::feed::Feed;
use crate::feed::limits::rate_limits::LimitedAction;
use crate::feed::stream::RestPurpose;
use crate::market::{InstrumentId, Market};
use crate::messages::RestResponse;
use crate::venue::{self, SymbolCheck};

impl Feed {
    /// Asks REST about a symbol, unless REST is denied to us. Returns whether an answer is awaited.
    pub(crate) fn look_up(&mut self, id: InstrumentId, market: Market) -> bool {
        let is_denied = self.gates.pauses.denied_until(market, LimitedAction::Rest).is_some();
        if !is_denied {
            self.rest_queue.push(market, RestPurpose::Name, id);
        }
        !is_denied
    }

    /// Takes REST's answer, or its absence: rejects the symbol, or gives it to a session.
    pub(crate) fn apply_name(
        &mut self,
        id: InstrumentId,
        result: &Result<RestResponse, String>,
        now: Now,
    ) {
        if !self.is_unplaced(id) {
            return;
        }
        let Some(instrument) = self.streams.stream(id).map(|one| one.instrument.clone()) else {
            return;
        };
        let (market, asked) = (instrument.market, (&*instrument.symbol, instrument.interval));
        let verdict = match result {
            Ok(response) => venue::read_symbol_check(market, &mut self.json, response, asked),
            Err(_) => SymbolCheck::Undecided,
        };
        match verdict {
            SymbolCheck::Unknown { message } => self.reject_unknown(id, &message, now.mono),
            SymbolCheck::Undecided if self.place_apart(id, market, now.mono) => {}
            SymbolCheck::Known { .. } | SymbolCheck::Undecided => {
                self.place_among(id, market, now.mono);
            }
        }
    }

    /// Returns whether `id` is wanted and no session carries it, so that the answer is awaited.
    pub(crate) fn is_unplaced(&self, id: InstrumentId) -> bool {
        self.streams.stream(id).is_some_and(|stream| stream.is_wanted) && self.carrier(id).is_none()
    }
}

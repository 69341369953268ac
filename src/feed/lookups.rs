//! Names that an exchange's list does not have: REST is asked about each before it is subscribed, so
//! that it costs no session and no neighbour if it does not exist. Owns what follows from the answer.
//! Where REST has none, the name is tried apart from others, see [`super::suspects`].

use crate::clock::Now;
use crate::market::{InstrumentId, Market};
use crate::messages::RestResponse;
use crate::venue::{self, RestQuery, SymbolCheck};

use super::Feed;
use super::gate::SpentOn;
use super::plan::Stream;
use super::silence::Ask;

impl Feed {
    /// Has REST asked about a name, unless we are denied REST. Returns whether the answer is waited
    /// for.
    pub(super) fn look_up(&mut self, id: InstrumentId, market: Market) -> bool {
        let is_denied = self.gates.pauses.denied_until(market, SpentOn::Rest).is_some();
        if !is_denied {
            self.questions.push(market, Ask::Name, id);
        }
        !is_denied
    }

    /// The question, unless nobody waits for its answer any longer.
    pub(super) fn name_query(&self, id: InstrumentId, now: Now) -> Option<RestQuery> {
        let stream = self.unplaced(id)?;
        let market = stream.instrument.market;
        let exchange_now = self.clocks[market.index()].now(now);
        let base = &self.config.rest_bases[market.index()];
        let (symbol, interval) = (&stream.instrument.symbol, stream.instrument.interval);
        Some(venue::symbol_check_query(market, base, symbol, interval, exchange_now))
    }

    /// REST has answered, or does not: rejects the name, or gives it to a session.
    pub(super) fn learn_name(
        &mut self,
        id: InstrumentId,
        result: &Result<RestResponse, String>,
        now: Now,
    ) {
        let Some(stream) = self.unplaced(id) else { return };
        let instrument = stream.instrument.clone();
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

    /// A wanted stream that no session carries.
    fn unplaced(&self, id: InstrumentId) -> Option<&Stream> {
        let stream = self.streams.stream(id).filter(|stream| stream.is_wanted)?;
        self.carrier(id).is_none().then_some(stream)
    }
}

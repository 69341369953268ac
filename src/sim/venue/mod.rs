//! The five exchanges' dialects, seen from the exchange's side. One file per exchange, with the
//! same questions in the same order: what is pushed, what a row of REST is, what REST answers.

pub mod binance;
pub(crate) mod bybit;
pub(crate) mod gateio;
pub(crate) mod hyperliquid;
pub(crate) mod okx;

use crate::market::{Market, Venue};
use crate::sim::amounts::Pushed;
use crate::sim::market::Listing;

/// Replaces `out` by the push of `candles`, oldest first, at `now_ms` in the exchange's time.
pub fn write_push(
    market: Market,
    out: &mut String,
    listing: &Listing,
    candles: &[Pushed<'_>],
    now_ms: i64,
) {
    out.clear();
    match market.venue() {
        Venue::Okx => okx::write_push(market, out, listing, candles),
        Venue::Bybit => bybit::write_push(market, out, listing, candles, now_ms),
        Venue::Gateio => gateio::write_push(market, out, listing, candles, now_ms),
        Venue::Hyperliquid | Venue::Binance => hyperliquid::write_push(out, listing, candles),
    }
}

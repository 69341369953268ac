//! Which exchange answers a question over REST, and how each refuses one too many.

use simd_json::OwnedValue;

use crate::clock::MonoNs;
use crate::market::Venue;
use crate::sim::exchange::Exchange;
use crate::sim::venue::{bybit, gateio, hyperliquid, okx};

use super::rows::Asked;
use super::{Response, Rest, TooMany, plain};

impl Rest {
    /// A port answers for every market of its venue.
    pub(crate) fn other(
        &mut self,
        exchanges: &[Exchange],
        index: usize,
        asked: Asked<'_>,
        now: MonoNs,
    ) -> Response {
        let exchange = &exchanges[index];
        let venue = exchange.profile.market.venue();
        let body = parse(asked.2);
        let weight = if venue == Venue::Hyperliquid { 20 } else { 1 };
        if let Err(refused) = self.spend(exchange, weight, now) {
            return refusal(venue, refused, exchange.unix_ms(now), now);
        }
        let now_ms = exchange.rest_ms(now);
        match venue {
            Venue::Okx => okx::answer(exchanges, asked, now_ms),
            Venue::Bybit => bybit::answer(exchanges, asked, now_ms),
            Venue::Gateio => gateio::answer(exchanges, asked, now_ms),
            Venue::Hyperliquid | Venue::Binance => {
                hyperliquid::answer(exchanges, index, asked, body.as_ref(), now_ms)
            }
        }
    }
}

fn parse(body: &str) -> Option<OwnedValue> {
    simd_json::to_owned_value(&mut body.as_bytes().to_vec()).ok()
}

fn refusal(venue: Venue, refused: TooMany, now_ms: i64, now: MonoNs) -> Response {
    let wait = refused.until.since(now).as_secs() + 1;
    match venue {
        Venue::Okx => {
            let body = "{\"msg\":\"Too Many Requests\",\"code\":\"50011\"}".to_owned();
            plain(429, body)
        }
        Venue::Bybit => {
            plain(403, "{\"retCode\":403,\"retMsg\":\"access too frequent\"}".to_owned())
        }
        Venue::Gateio => {
            let body =
                "{\"label\":\"TOO_MANY_REQUESTS\",\"message\":\"Request Rate limit Exceeded\"}";
            let reset = now_ms.div_euclid(1000) + i64::try_from(wait).unwrap_or(0);
            let headers = vec![
                ("X-Gate-RateLimit-Requests-Remain", "0".to_owned()),
                ("X-Gate-RateLimit-Reset-Timestamp", reset.to_string()),
            ];
            Response { headers, ..plain(429, body.to_owned()) }
        }
        Venue::Hyperliquid | Venue::Binance => plain(429, "null".to_owned()),
    }
}

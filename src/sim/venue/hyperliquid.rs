//! Hyperliquid: what it pushes, and what it answers over REST.

use simd_json::OwnedValue;
use simd_json::prelude::*;

use crate::clock::MonoNs;
use crate::market::{Market, Venue};
use crate::sim::amounts::{Pushed, append, price, steps};
use crate::sim::exchange::Exchange;
use crate::sim::market::{Listing, TrueCandle, push_number};
use crate::sim::rest::rows::{Asked, candles, find, join, played};
use crate::sim::rest::{Query, Response, Rest, plain};
use crate::sim::stream::Track;
use crate::sim::windows;

pub(crate) fn write_push(out: &mut String, listing: &Listing, candles: &[Pushed<'_>]) {
    out.push_str("{\"channel\":\"candle\",\"data\":");
    for pushed in candles {
        write_candle(out, listing, pushed.candle);
    }
    out.push('}');
}

/// The object that pushes and REST answers share.
pub(crate) fn write_candle(out: &mut String, listing: &Listing, candle: &TrueCandle) {
    out.push_str("{\"t\":");
    push_number(out, candle.open_time_ms.unsigned_abs());
    out.push_str(",\"T\":");
    push_number(out, candle.close_time_ms().unsigned_abs());
    let interval = windows::spelled(Venue::Hyperliquid, candle.interval).unwrap_or_default();
    append(out, &[",\"s\":\"", &listing.name, "\",\"i\":\"", interval, "\""]);
    let prices = [("o", candle.open), ("c", candle.close), ("h", candle.high), ("l", candle.low)];
    for (name, ticks) in prices {
        // Whole prices are shown with one decimal.
        let text = price(listing, ticks);
        let whole = if text.contains('.') { "" } else { ".0" };
        append(out, &[",\"", name, "\":\"", &text, whole, "\""]);
    }
    append(out, &[",\"v\":\"", &steps(listing, candle.volume), "\",\"n\":"]);
    push_number(out, candle.trades);
    out.push('}');
}

pub(crate) fn answer(
    exchanges: &[Exchange],
    index: usize,
    (path, _, text): Asked<'_>,
    body: Option<&OwnedValue>,
    now_ms: i64,
) -> Response {
    let malformed = || {
        plain(
            422,
            format!(
                "Failed to deserialize the JSON body into the target type ({} bytes)",
                text.len()
            ),
        )
    };
    let (true, Some(body)) = (path == "/info", body) else { return malformed() };
    let spot = find(Venue::Hyperliquid, "spot").map_or(index, Market::index);
    let perp = find(Venue::Hyperliquid, "usdm").map_or(index, Market::index);
    let is_dex = body.get("dex").and_then(|dex| dex.as_str()).is_some_and(|dex| !dex.is_empty());
    match body.get("type").and_then(|kind| kind.as_str()) {
        Some("meta" | "metaAndAssetCtxs") if is_dex => plain(200, "{\"universe\":[]}".to_owned()),
        Some("meta") => plain(200, perp_meta(&exchanges[perp])),
        Some("metaAndAssetCtxs") => {
            let count = exchanges[perp].market.listings().len();
            let contexts = vec![CONTEXT; count].join(",");
            plain(200, format!("[{},[{contexts}]]", perp_meta(&exchanges[perp])))
        }
        Some("exchangeStatus") => {
            plain(200, format!("{{\"time\":{now_ms},\"specialStatuses\":null}}"))
        }
        Some("perpDexs") => plain(200, "[null]".to_owned()),
        Some("spotMeta") => plain(200, spot_meta(&exchanges[spot])),
        Some("spotMetaAndAssetCtxs") => {
            let listings = exchanges[spot].market.listings().iter();
            let contexts = listings
                .map(|one| CONTEXT.replacen('{', &format!("{{\"coin\":\"{}\",", one.name), 1));
            let contexts = join(contexts.collect());
            plain(200, format!("[{},[{contexts}]]", spot_meta(&exchanges[spot])))
        }
        Some("candleSnapshot") => {
            match snapshot([index, spot, perp].map(|one| &exchanges[one]), body, now_ms) {
                Some(rows) => plain(200, format!("[{rows}]")),
                None => malformed(),
            }
        }
        _ => malformed(),
    }
}

impl Rest {
    /// The answer to a frame that asks over WebSocket what else is asked over REST; `None`: it is
    /// no such frame.
    ///
    /// Source: "Websocket", "Post requests".
    pub fn post(
        &mut self,
        exchanges: &[Exchange],
        index: usize,
        text: &str,
        now: MonoNs,
    ) -> Option<String> {
        let venue = exchanges[index].profile.market.venue();
        if venue != Venue::Hyperliquid || !text.contains("\"post\"") {
            return None;
        }
        let frame = simd_json::to_owned_value(&mut text.as_bytes().to_vec()).ok()?;
        let is_post = frame.get("method")?.as_str()? == "post";
        let (id, request) = (frame.get("id")?.as_u64()?, frame.get("request")?);
        let (kind, payload) = (request.get("type")?.as_str()?, request.get("payload")?);
        let response = match kind {
            "info" => {
                let body = simd_json::to_string(payload).ok()?;
                let asked = ("/info", &Query::new(), &*body);
                self.other(exchanges, index, asked, now)
            }
            "action" => plain(400, "The simulated exchange takes no actions".to_owned()),
            _ => return None,
        };
        let response = match (response.status, payload.get("type").and_then(|one| one.as_str())) {
            (200, Some(asked)) => format!(
                "{{\"type\":\"info\",\"payload\":{{\"type\":\"{asked}\",\"data\":{}}}}}",
                response.body
            ),
            _ => {
                let words = simd_json::to_string(&response.body).ok()?;
                format!("{{\"type\":\"error\",\"payload\":{words}}}")
            }
        };
        let answer =
            format!("{{\"channel\":\"post\",\"data\":{{\"id\":{id},\"response\":{response}}}}}");
        is_post.then_some(answer)
    }
}

/// `None`: malformed. A coin that none of `exchanges` has does not exist, and has no candles.
fn snapshot(exchanges: [&Exchange; 3], body: &OwnedValue, now_ms: i64) -> Option<String> {
    let wanted = body.get("req")?;
    let coin = wanted.get("coin")?.as_str()?;
    let start = wanted.get("startTime")?.as_i64()?;
    let end = wanted.get("endTime").and_then(|end| end.as_i64()).unwrap_or(i64::MAX);
    let found = exchanges.into_iter().find_map(|one| Some((one, one.market.find(coin)?)));
    let Some((exchange, index)) = found else { return Some(String::new()) };
    let interval = windows::read(Venue::Hyperliquid, wanted.get("interval")?.as_str()?)?;
    let last = end.min(now_ms).div_euclid(interval.ms());
    let first = start.div_euclid(interval.ms()).max(last - 4999);
    let listing = &exchange.market.listings()[index];
    let rows = candles(exchange, Track::of(index, interval), (first, last), now_ms);
    let rows = rows.into_iter().filter(|candle| {
        // The row of a window without trades comes late.
        candle.trades > 0 || now_ms > candle.close_time_ms() + DEAD_ROW_DELAY_MS
    });
    let rows = rows.map(|candle| {
        let mut row = String::new();
        write_candle(&mut row, listing, &candle);
        row
    });
    Some(join(rows.collect()))
}

fn perp_meta(exchange: &Exchange) -> String {
    let coin = |one: &Listing| {
        let delisted = if one.trading { "" } else { ",\"isDelisted\":true" };
        format!(
            "{{\"szDecimals\":{},\"name\":\"{}\",\"maxLeverage\":40{delisted}}}",
            one.quantity_decimals, one.name
        )
    };
    let mut rows: Vec<String> = exchange.market.listings().iter().map(coin).collect();
    rows.extend(
        played(exchange).iter().map(|name| format!("{{\"name\":\"{name}\",\"szDecimals\":2}}")),
    );
    format!("{{\"universe\":[{}]}}", join(rows))
}

/// Token 0 is USDC; the others are named after the coin's number.
fn spot_meta(exchange: &Exchange) -> String {
    let (mut tokens, mut universe) = (
        vec!["{\"name\":\"USDC\",\"szDecimals\":8,\"weiDecimals\":8,\"index\":0}".to_owned()],
        Vec::new(),
    );
    let mut names: Vec<(String, u32)> = exchange
        .market
        .listings()
        .iter()
        .map(|one| (one.name.to_string(), one.quantity_decimals))
        .collect();
    names.extend(played(exchange).into_iter().map(|name| (name, 2)));
    for (at, (name, decimals)) in names.iter().enumerate() {
        let token = match &**name {
            "PURR/USDC" => "PURR".to_owned(),
            "@107" => "HYPE".to_owned(),
            "@142" => "UBTC".to_owned(),
            "@151" => "UETH".to_owned(),
            other => format!("T{}", other.trim_start_matches('@')),
        };
        let number = at + 1;
        tokens.push(format!(
            "{{\"name\":\"{token}\",\"szDecimals\":{decimals},\"weiDecimals\":8,\"index\":{number}}}"
        ));
        let index = name.trim_start_matches('@').parse().unwrap_or(0);
        universe.push(format!(
            "{{\"tokens\":[{number},0],\"name\":\"{name}\",\"index\":{index},\"isCanonical\":{}}}",
            index == 0
        ));
    }
    format!("{{\"universe\":[{}],\"tokens\":[{}]}}", join(universe), join(tokens))
}

/// What goes with each coin, as far as clients need it to load a market.
const CONTEXT: &str = "{\"dayNtlVlm\":\"1.0\",\"funding\":\"0.0000125\",\"markPx\":\"1.0\",\"midPx\":\"1.0\",\"openInterest\":\"1.0\",\"oraclePx\":\"1.0\",\"premium\":\"0.0\",\"prevDayPx\":\"1.0\"}";
/// Hyperliquid's flat rows appear this late; the real delay is not known.
const DEAD_ROW_DELAY_MS: i64 = 10_000;

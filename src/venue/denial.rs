//! HTTP answers that are about us and not about the request: limits, blocks, outages. Owns how they
//! are distinguished, how long a `Retry-After` is obeyed, and which words of a body a person reads.
//! The same for REST, instrument lists and the opening handshake.

use std::time::{Duration, UNIX_EPOCH};

use crate::clock::UnixMs;
use crate::market::{Market, Venue};

use super::bybit;

/// What an answer denies us, whatever was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Too many requests or connections. Where the exchange's documents name a pause for this
    /// answer, with that pause.
    Limit {
        /// The documented pause.
        wait: Option<Duration>,
    },
    /// A firewall or a rule keeps this address out: asking again soon changes nothing.
    Block,
    /// The exchange, or a gateway before it, is out of order.
    Outage,
}

impl Denial {
    /// The pause after the first such answer, and how many times longer each further one is.
    ///
    /// A block is a person's decision and is asked about rarely from the beginning. An outage may
    /// be over in a second; three seconds later nobody should still be asking every second.
    pub fn pauses(self) -> (Duration, u32) {
        match self {
            Self::Limit { wait } => (wait.unwrap_or(LIMIT_PAUSE), 2),
            Self::Block => (BLOCK_PAUSE, 2),
            Self::Outage => (OUTAGE_PAUSE, 4),
        }
    }
}

/// Whether an answer with this status and (the beginning of) this body denies us everything;
/// `None`: it is an answer to the request.
pub fn denial(market: Market, status: u16, body: &[u8]) -> Option<Denial> {
    match status {
        418 | 429 => Some(Denial::Limit { wait: None }),
        403 if market.venue() == Venue::Bybit && bybit::is_limit(body) => {
            Some(Denial::Limit { wait: Some(bybit::SHUT_OUT) })
        }
        300..=399 | 401 | 403 | 407 | 451 => Some(Denial::Block),
        503 => Some(Denial::Outage),
        500.. if is_page(body) => Some(Denial::Outage),
        // There is nothing at this address: it is wrong, and others of the exchange may be right.
        400 | 404 | 405 | 410 => None,
        _ if is_page(body) => Some(Denial::Block),
        _ => None,
    }
}

/// Whether a body is a page for a person.
fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// A `Retry-After`, as far as it is obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter {
    /// At most [`retry_after_max`].
    pub wait: Duration,
    /// Whether more was asked for.
    pub is_capped: bool,
}

/// What the `Retry-After` `raw` most plausibly means at `now`, the exchange's time; `None`:
/// nothing.
///
/// It is a date or a number of seconds (RFC 9110, section 10.2.3). Seen too: the time at which to
/// come back, in seconds or finer since the Unix epoch, and a wait in milliseconds. A number is
/// read as seconds where that is a wait that the exchange may mean, or a whole number of hours;
/// else as milliseconds where that is such a wait. A time that has passed and a negative wait are
/// no wait.
pub fn retry_after(market: Market, raw: &str, now: UnixMs) -> Option<RetryAfter> {
    let max = retry_after_max(market);
    let asked = meant(raw.trim(), max, now)?;
    Some(RetryAfter { wait: asked.min(max), is_capped: asked > max })
}

/// The longest `Retry-After` that is obeyed; then one request finds out whether it still holds.
/// Source: Binance bans for up to three days (rest-api.md, "IP Limits"); the longest documented
/// pause of the others is Bybit's ten minutes.
pub fn retry_after_max(market: Market) -> Duration {
    match market.venue() {
        Venue::Binance => Duration::from_secs(3 * 86_400),
        Venue::Okx | Venue::Bybit | Venue::Gateio | Venue::Hyperliquid => Duration::from_secs(900),
    }
}

fn meant(raw: &str, max: Duration, now: UnixMs) -> Option<Duration> {
    let now_ms = u128::try_from(now.0).unwrap_or_default();
    let until = |at_ms: u128| millis(at_ms.saturating_sub(now_ms));
    if let Ok(date) = httpdate::parse_http_date(raw) {
        return Some(until(date.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()));
    }
    let is_negative = raw.starts_with('-');
    let (whole, fraction) =
        raw.strip_prefix('-').unwrap_or(raw).split_once('.').unwrap_or((raw, ""));
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    if is_negative {
        return Some(Duration::ZERO);
    }
    // A started second is a second. More digits than fit are a very long time.
    let rounded = u128::from(fraction.bytes().any(|byte| byte != b'0'));
    let number = whole.parse::<u128>().unwrap_or(u128::MAX).saturating_add(rounded);
    let (seconds, as_ms) = (millis(number.saturating_mul(1000)), millis(number));
    let is_hours = number % 3600 == 0 && number <= HOURS_SECONDS_MAX;
    Some(match number {
        1_000_000_000..10_000_000_000 => until(number * 1000),
        1_000_000_000_000..10_000_000_000_000 => until(number),
        1_000_000_000_000_000..10_000_000_000_000_000 => until(number / 1000),
        1_000_000_000_000_000_000..10_000_000_000_000_000_000 => until(number / 1_000_000),
        _ if seconds <= max || is_hours || as_ms > max => seconds,
        _ => as_ms,
    })
}

fn millis(ms: u128) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// The pause after a limit without `Retry-After`. Source: the longest window in which an exchange
/// counts requests is a minute.
const LIMIT_PAUSE: Duration = Duration::from_secs(60);

/// Source: a few requests in the first minutes show whether a block is a mistake of seconds.
const BLOCK_PAUSE: Duration = Duration::from_secs(30);

/// Source: a restart of a gateway takes seconds.
const OUTAGE_PAUSE: Duration = Duration::from_secs(2);

/// A whole number of hours is meant as such up to a week.
const HOURS_SECONDS_MAX: u128 = 7 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-30T00:00:00Z.
    const NOW: UnixMs = UnixMs(1_795_996_800_000);

    fn market(venue: Venue) -> Market {
        Market::of(venue).next().unwrap()
    }

    fn read(venue: Venue, raw: &str) -> Option<(u64, bool)> {
        let read = retry_after(market(venue), raw, NOW);
        read.map(|read| (u64::try_from(read.wait.as_millis()).unwrap(), read.is_capped))
    }

    #[test]
    fn a_retry_after_is_what_it_most_plausibly_means_and_never_longer_than_its_cap() {
        let cap = 900_000;
        for (raw, expected) in [
            ("7", Some((7_000, false))),
            (" 40 ", Some((40_000, false))),
            ("0", Some((0, false))),
            ("1.5", Some((2_000, false))),
            ("1.0", Some((1_000, false))),
            ("900", Some((900_000, false))),
            // Milliseconds.
            ("30000", Some((30_000, false))),
            ("1234", Some((1_234, false))),
            // Hours.
            ("3600", Some((cap, true))),
            ("86400", Some((cap, true))),
            // A time: in 60 s, long ago, and in years.
            ("1795996860", Some((60_000, false))),
            ("1795996860000", Some((60_000, false))),
            ("1795996860000000", Some((60_000, false))),
            ("1795996860000000000", Some((60_000, false))),
            ("1700000000", Some((0, false))),
            ("1999999999", Some((cap, true))),
            ("Mon, 30 Nov 2026 00:01:00 GMT", Some((60_000, false))),
            ("Mon, 30 Nov 2020 00:01:00 GMT", Some((0, false))),
            ("Mon, 30 Nov 2099 00:00:00 GMT", Some((cap, true))),
            // Nonsense.
            ("999999999", Some((cap, true))),
            ("99999999999999999999999999999999999999999999", Some((cap, true))),
            ("-5", Some((0, false))),
            ("-", None),
            ("", None),
            ("soon", None),
            ("1e9", None),
            ("+5", None),
            ("Infinity", None),
        ] {
            assert_eq!(read(Venue::Gateio, raw), expected, "{raw:?}");
        }
        assert_eq!(read(Venue::Binance, "172800"), Some((172_800_000, false)), "two days");
        assert_eq!(read(Venue::Binance, "300000"), Some((300_000, false)));
        assert_eq!(read(Venue::Binance, "1999999999"), Some((259_200_000, true)));
    }

    #[test]
    fn a_block_is_no_limit() {
        let page = b"\n <html><body><h1>403</h1>Access from your country is set to blocked.</body>";
        let json = br#"{"retCode":10024,"retMsg":"regulatory restrictions"}"#;
        let limit = br#"{"retCode":403,"retMsg":"access too frequent"}"#;
        let shut_out = Some(Denial::Limit { wait: Some(bybit::SHUT_OUT) });
        for (venue, status, body, expected) in [
            (Venue::Bybit, 403, &page[..], Some(Denial::Block)),
            (Venue::Bybit, 403, json, Some(Denial::Block)),
            (Venue::Bybit, 403, b"", Some(Denial::Block)),
            (Venue::Bybit, 403, limit, shut_out),
            (Venue::Bybit, 403, b"Access too frequent.", shut_out),
            (Venue::Binance, 403, limit, Some(Denial::Block)),
            (Venue::Binance, 429, page, Some(Denial::Limit { wait: None })),
            (Venue::Binance, 451, br#"{"code":0,"msg":"not from here"}"#, Some(Denial::Block)),
            (Venue::Okx, 302, b"", Some(Denial::Block)),
            (Venue::Okx, 200, page, Some(Denial::Block)),
            (Venue::Okx, 200, br#"{"code":"0","data":[]}"#, None),
            (Venue::Gateio, 503, page, Some(Denial::Outage)),
            (Venue::Gateio, 502, page, Some(Denial::Outage)),
            (Venue::Hyperliquid, 500, b"null", None),
            (Venue::Hyperliquid, 404, page, None),
        ] {
            let text = String::from_utf8_lossy(body);
            assert_eq!(denial(market(venue), status, body), expected, "{venue:?} {status} {text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = String::from_utf8_lossy(&bytes);
            let read = retry_after(market(Venue::Okx), &text, NOW);
            prop_assert!(read.is_none_or(|read| read.wait <= Duration::from_secs(900)));
        }
    }
}

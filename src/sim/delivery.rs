//! What the names of dated contracts mean: when they are delivered, and which base asset they have.

use std::ops::Range;

/// When the contract with this name is delivered, in ms since the Unix epoch; `None`: it is not
/// dated.
///
/// Source: names at Binance and OKX end in the date (`BTCUSD_261225`, `BTC-USD-261225`), at Bybit
/// in `25DEC26` or, inverse, in the quarter's letter and the year (`BTCUSDZ26`: the last Friday of
/// December); all are delivered at 08:00 UTC.
pub(super) fn delivery_ms(name: &str) -> Option<i64> {
    let end = name.rsplit(['-', '_']).next()?;
    let number = |range: Range<usize>| end.get(range)?.parse::<i64>().ok();
    let is_digits = end.len() == 6 && end.bytes().all(|byte| byte.is_ascii_digit());
    let days = if is_digits && end.len() < name.len() {
        days(2000 + number(0..2)?, number(2..4)?, number(4..6)?)
    } else if let Some(month) = MONTHS.iter().position(|month| end.get(2..5) == Some(*month)) {
        days(2000 + number(5..7)?, month as i64 + 1, number(0..2)?)
    } else {
        let (month, year) = quarter(name)?;
        // The Unix epoch was a Thursday.
        let last = days(year, month, 31).min(days(year, month + 1, 1) - 1);
        last - (last - 1).rem_euclid(7)
    };
    Some(days * DAY_MS + DELIVERY_HOUR_MS)
}

/// The base asset of `name`, which is quoted in `quote`.
pub(super) fn base_of<'a>(name: &'a str, quote: &str) -> &'a str {
    let pair = name.split(['_', '-', '/']).next().unwrap_or(name);
    let pair = if quarter(pair).is_some() { &pair[..pair.len() - 3] } else { pair };
    let pair = pair.strip_suffix("PERP").unwrap_or(pair);
    pair.strip_suffix(quote).unwrap_or(pair)
}

/// Month and year of a name that ends in the quarter's letter and the year.
fn quarter(name: &str) -> Option<(i64, i64)> {
    let end = name.get(name.len().checked_sub(3)?..)?;
    let month = match end.as_bytes().first()? {
        b'H' => 3,
        b'M' => 6,
        b'U' => 9,
        b'Z' => 12,
        _ => return None,
    };
    let is_year = end.bytes().skip(1).all(|byte| byte.is_ascii_digit());
    let year: i64 = end.get(1..).filter(|_| is_year)?.parse().ok()?;
    Some((month, 2000 + year))
}

/// Days from 1970-01-01 to this date of the Gregorian calendar; Howard Hinnant's `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

const DAY_MS: i64 = 86_400_000;
const DELIVERY_HOUR_MS: i64 = 8 * 3_600_000;
const MONTHS: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_when_a_contract_is_delivered() {
        // 2026-12-25, 2027-03-26 and 2024-06-28, each at 08:00 UTC.
        for (name, ms) in [
            ("BTCUSDT_261225", Some(1_798_185_600_000)),
            ("BTC-USD-270326", Some(1_806_048_000_000)),
            ("BTCUSDT-25DEC26", Some(1_798_185_600_000)),
            ("BTCUSDZ26", Some(1_798_185_600_000)),
            ("BTCUSDM24", Some(1_719_561_600_000)),
            ("BTCUSDT", None),
            ("BTCUSD_PERP", None),
            ("BTC-USDT-SWAP", None),
            ("BTCPERP", None),
            ("SIM0001USDT", None),
            ("币安人生USDT", None),
            ("1", None),
        ] {
            assert_eq!(delivery_ms(name), ms, "{name}");
        }
    }

    #[test]
    fn the_base_asset_is_found_in_every_exchanges_names() {
        for (name, quote, base) in [
            ("BTCUSDT_261225", "USDT", "BTC"),
            ("BTCUSD_PERP", "USD", "BTC"),
            ("BTC-USDT-SWAP", "USDT", "BTC"),
            ("BTCUSDT-25DEC26", "USDT", "BTC"),
            ("BTCPERP", "USDC", "BTC"),
            ("BTCUSDZ26", "USD", "BTC"),
            ("1000PEPEUSDT", "USDT", "1000PEPE"),
            ("币安人生USDT", "USDT", "币安人生"),
            ("PURR/USDC", "USDC", "PURR"),
            ("@107", "USDC", "@107"),
        ] {
            assert_eq!(base_of(name, quote), base, "{name}");
        }
    }
}

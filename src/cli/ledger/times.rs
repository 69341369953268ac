//! Points in time as people type them.

use time::format_description::well_known::Iso8601;
use time::{Date, OffsetDateTime, PrimitiveDateTime};

use crate::clock::UnixMs;

/// Reads `2026-11-30` (its beginning in UTC), `2026-11-30T13:10:00Z` or another RFC 3339 time, one
/// without an offset (UTC), or milliseconds since 1970.
///
/// # Errors
/// The text is none of these, with what would be right.
pub(super) fn parse(text: &str) -> Result<UnixMs, String> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return of_number(text, number);
    }
    let with_t = text.replacen(' ', "T", 1);
    // `Iso8601::DATE` reads a time too, and drops it.
    let date = if text.contains(['T', ' ']) { "" } else { text };
    let seconds = Date::parse(date, &Iso8601::DATE)
        .map(|date| date.midnight().assume_utc())
        .or_else(|_| OffsetDateTime::parse(&with_t, &Iso8601::DEFAULT))
        .or_else(|_| {
            PrimitiveDateTime::parse(&with_t, &Iso8601::DEFAULT).map(PrimitiveDateTime::assume_utc)
        })
        .map(|at| at.unix_timestamp_nanos().div_euclid(1_000_000));
    let ms = seconds.ok().and_then(|ms| i64::try_from(ms).ok());
    ms.map(UnixMs).ok_or_else(|| format!("{text:?} is no time; {EXAMPLES}"))
}

/// A whole number is one of milliseconds; seconds, microseconds and `20261130` are refused.
fn of_number(text: &str, number: i64) -> Result<UnixMs, String> {
    match number {
        MS_MIN..=MS_MAX => Ok(UnixMs(number)),
        _ => Err(format!("{text} are no milliseconds between 1973 and 5138; {EXAMPLES}")),
    }
}

const EXAMPLES: &str = "give 2026-11-30, 2026-11-30T13:10:00Z, 2026-11-30T14:10:00+01:00 or \
                        1796044200000 (milliseconds since 1970)";

/// The smallest number that is taken for milliseconds: smaller ones are seconds.
const MS_MIN: i64 = 100_000_000_000;
/// The largest number that is taken for milliseconds: larger ones are microseconds.
const MS_MAX: i64 = 99_999_999_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_each_spelling() {
        for (text, ms) in [
            ("2026-11-30", 1_795_996_800_000),
            ("2026-11-30T13:10:00Z", 1_796_044_200_000),
            ("2026-11-30T13:10:00.250+00:00", 1_796_044_200_250),
            ("2026-11-30T14:10:00+01:00", 1_796_044_200_000),
            ("2026-11-30 13:10:00", 1_796_044_200_000),
            ("2026-11-30 13:10", 1_796_044_200_000),
            ("1796044200000", 1_796_044_200_000),
        ] {
            assert_eq!(parse(text), Ok(UnixMs(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_would_be_right() {
        for text in ["1796044200", "1796044200000000", "20261130", "yesterday", "2026-13-01", ""] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("2026-11-30T13:10:00Z"), "{text}: {error}");
        }
    }
}

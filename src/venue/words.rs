//! What an exchange's words mean where its codes do not tell: limits and faults of its own, which
//! are no symbol's fault. Reads texts; decides nothing.

use super::NotNow;

/// The limit or fault that `words` speak of; `None`: they may be about the symbol.
pub(super) fn not_now(words: &str) -> Option<NotNow> {
    let words = words.to_ascii_lowercase();
    let is_any = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if is_any(MESSAGE_TOO_LARGE) {
        Some(NotNow::SmallerMessage)
    } else if is_any(SESSION_FULL) {
        Some(NotNow::OtherSession)
    } else if is_any(ADDRESS_LIMITED) {
        Some(NotNow::Address)
    } else if is_any(FAULTS) {
        Some(NotNow::Session)
    } else {
        None
    }
}

/// Source: Bybit's spot answers `args size >10`; Binance documents `too many parameters`.
const MESSAGE_TOO_LARGE: &[&str] = &["args size", "too many parameters", "too many args"];

/// Source: Bybit, "Connect": the topics of one session have a length.
const SESSION_FULL: &[&str] = &["args length", "length exceeds"];

/// Source: Hyperliquid's `Cannot subscribe to more than 1000 channels.` and `Cannot send more than
/// 2000 messages per minute.`; Binance's `Too many subscriptions` and `Too many requests`; OKX's
/// `Requests too frequent`; Bybit's `Too many visits`.
const ADDRESS_LIMITED: &[&str] =
    &["more than", "too many", "too frequent", "too fast", "rate limit", "limit reached", "exceed"];

/// Source: Gate's `service error`; OKX's `Internal system error` and `Service temporarily
/// unavailable`; the words of HTTP's 5xx.
const FAULTS: &[&str] =
    &["internal", "service error", "system error", "unavailable", "try again", "maintenance"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_faults_are_told_from_words_about_a_symbol() {
        for (words, meaning) in [
            ("Cannot subscribe to more than 1000 channels.", Some(NotNow::Address)),
            ("Cannot send more than 2000 messages per minute.", Some(NotNow::Address)),
            ("Too many subscriptions", Some(NotNow::Address)),
            ("Requests too frequent", Some(NotNow::Address)),
            ("args size >10", Some(NotNow::SmallerMessage)),
            ("Invalid request: too many parameters", Some(NotNow::SmallerMessage)),
            ("args length exceeds 21000", Some(NotNow::OtherSession)),
            ("Internal system error", Some(NotNow::Session)),
            ("Invalid request: invalid stream", None),
            ("unknown contract BTC_USDT_20220318", None),
            ("error:handler not found,topic:kline.1.X", None),
            ("request payload does not follow json schema", None),
        ] {
            assert_eq!(not_now(words), meaning, "{words}");
        }
    }
}

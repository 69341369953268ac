//! A captured session, ready to be sent again byte for byte. Reads the two forms captures come in
//! and finds each message's stream and the moment it came; does not know who listens.

use std::time::Duration;

use simd_json::OwnedValue;
use simd_json::prelude::*;

/// One captured message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Time since the first message of its file.
    pub offset: Duration,
    /// Its stream, e.g. `btcusdt@kline_1m`.
    pub stream: String,
    /// The payload without the combined wrapper, as it came.
    pub payload: String,
}

impl Captured {
    /// The symbol; Binance's in lower case.
    pub fn symbol(&self) -> &str {
        self.stream.split('@').next().unwrap_or("")
    }
}

/// The messages of one capture: lines `{"t":seconds,"dir":"recv","raw":"…"}`, or the bare messages
/// themselves, whose spacing is then that of their event times. Lines that carry no stream (sent
/// frames, acknowledgements) are passed over.
///
/// # Errors
/// The number of the first line that is no JSON, counted from 1.
pub fn parse(text: &str) -> Result<Vec<Captured>, usize> {
    let mut messages: Vec<Captured> = Vec::new();
    let mut before_ms = None;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Some((at_ms, stream, payload)) = parse_line(line).ok_or(number + 1)? else { continue };
        let gap_ms = (at_ms - before_ms.unwrap_or(at_ms)).clamp(0, GAP_MAX_MS).unsigned_abs();
        let offset = messages.last().map_or(Duration::ZERO, |before| before.offset);
        messages.push(Captured { offset: offset + Duration::from_millis(gap_ms), stream, payload });
        before_ms = Some(at_ms);
    }
    Ok(messages)
}

type Line = (i64, String, String);

/// `None`: no JSON. `Some(None)`: nothing to play.
fn parse_line(line: &str) -> Option<Option<Line>> {
    let value = parse_json(line)?;
    let Some(direction) = value.get("dir") else { return Some(parse_message(line, &value)) };
    let raw = value.get("raw").and_then(|raw| raw.as_str());
    let (Some("recv"), Some(raw)) = (direction.as_str(), raw) else { return Some(None) };
    let message = parse_json(raw).and_then(|value| parse_message(raw, &value));
    let received_ms = value.get("t").and_then(|t| t.cast_f64()).map(whole_ms);
    Some(message.map(|(at_ms, stream, data)| (received_ms.unwrap_or(at_ms), stream, data)))
}

fn parse_json(text: &str) -> Option<OwnedValue> {
    simd_json::to_owned_value(&mut text.as_bytes().to_vec()).ok()
}

fn parse_message(text: &str, value: &OwnedValue) -> Option<Line> {
    let text = text.trim();
    let (stream, data, payload) = match (value.get("stream"), value.get("data")) {
        (Some(stream), Some(data)) => {
            let start = text.find("\"data\":")? + "\"data\":".len();
            let payload = text.get(start..text.len() - 1)?.trim();
            (stream.as_str()?.to_owned(), data, payload)
        }
        _ => match value.get("k") {
            Some(kline) => {
                let (symbol, interval) = (kline.get("s")?.as_str()?, kline.get("i")?.as_str()?);
                (format!("{}@kline_{interval}", symbol.to_lowercase()), value, text)
            }
            None => return parse_other(text, value),
        },
    };
    let at_ms = data.get("E").and_then(|time| time.as_i64()).unwrap_or(0);
    Some((at_ms, stream, payload.to_owned()))
}

/// A push of OKX, Bybit, Gate or Hyperliquid: its stream is its symbol; candles of a minute only.
fn parse_other(text: &str, value: &OwnedValue) -> Option<Line> {
    let string = |value: &OwnedValue, key: &str| Some(value.get(key)?.as_str()?.to_owned());
    let (at_ms, symbol) = if let Some(topic) = string(value, "topic") {
        (value.get("ts")?.as_i64()?, topic.strip_prefix("kline.1.")?.to_owned())
    } else if let Some(arg) = value.get("arg").filter(|_| value.get("data").is_some()) {
        (string(arg, "channel")? == "candle1m").then_some(())?;
        (0, string(arg, "instId")?)
    } else if value.get("channel").and_then(|channel| channel.as_str()) == Some("candle") {
        let data = value.get("data")?;
        (string(data, "i")? == "1m").then_some(())?;
        (data.get("t")?.as_i64()?, string(data, "s")?)
    } else {
        let result = value.get("result")?;
        let result = result.as_array().map_or(Some(result), |many| many.first())?;
        let name = string(result, "n")?;
        (value.get("time")?.as_i64()? * 1000, name.strip_prefix("1m_")?.to_owned())
    };
    Some((at_ms, symbol, text.to_owned()))
}

#[allow(clippy::cast_possible_truncation, reason = "a time of day is far from the end of i64")]
fn whole_ms(seconds: f64) -> i64 {
    (seconds * 1000.0) as i64
}

/// Longer silences are shortened to this: a file may hold captures of different years.
const GAP_MAX_MS: i64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &str = r#"{"e":"kline","E":1500,"s":"BTCUSDT","k":{"s":"BTCUSDT","i":"1m"}}"#;

    #[test]
    fn wrapped_and_raw_messages_keep_their_payload_bytes() {
        let wrapped = format!(r#"{{"stream":"btcusdt@kline_1m","data":{RAW}}}"#);
        let later = RAW.replace("1500", "1750");
        let played = parse(&format!("{wrapped}\n\n{later}\n")).unwrap();
        assert_eq!(played[0].payload, RAW);
        assert_eq!(played[1].payload, later);
        assert_eq!(played[1].stream, "btcusdt@kline_1m");
        assert_eq!(played[1].symbol(), "btcusdt");
        assert_eq!(played[1].offset, Duration::from_millis(250));
    }

    #[test]
    fn session_lines_play_what_was_received() {
        let raw = RAW.replace('"', "\\\"");
        let lines = [
            r#"{"t":10.0,"dir":"connect","url":"wss://x"}"#.to_owned(),
            r#"{"t":10.1,"dir":"recv","raw":"{\"result\":null,\"id\":1}"}"#.to_owned(),
            format!(r#"{{"t":10.5,"dir":"recv","raw":"{raw}"}}"#),
            format!(r#"{{"t":12.5,"dir":"recv","raw":"{raw}"}}"#),
        ];
        let played = parse(&lines.join("\n")).unwrap();
        assert_eq!(played.len(), 2);
        assert_eq!(played[0].payload, RAW);
        assert_eq!(played[1].offset, Duration::from_secs(2));
    }

    #[test]
    fn captures_of_different_years_follow_each_other_within_a_minute() {
        let [later, earlier] = ["99999999999", "1000"].map(|time| RAW.replace("1500", time));
        let played = parse(&[RAW, &later, &earlier, RAW].join("\n")).unwrap();
        let seconds: Vec<f32> = played.iter().map(|one| one.offset.as_secs_f32()).collect();
        assert_eq!(seconds, [0.0, 60.0, 60.0, 60.5]);
    }

    #[test]
    fn a_broken_line_is_named() {
        assert_eq!(parse(&format!("{RAW}\n{{broken")), Err(2));
    }
}

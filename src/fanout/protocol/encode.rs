//! Candles and gaps as JSON. Owns the order and spelling of their fields; knows no client. Writes
//! into a buffer that is reused and allocates nothing once that has grown.

use std::io::Write;

use std::sync::Arc;

use crate::clock::{Now, RFC3339_BYTES, UnixMs, write_rfc3339};
use crate::fanout::protocol::candle_source::CandleSource;
use crate::market::{Candle, CandleUpdate, Decimal, Instrument, Interval, Market, VolumeUnit};
use crate::text;

/// What is the same in every message about one instrument, rendered once.
#[derive(Debug)]
pub(crate) struct Labels {
    /// `,"exchange":"binance","symbol":"BTCUSDT","contract_type":"spot"`.
    names: Vec<u8>,
    /// Number of its last bytes that hold symbol and contract type.
    named_bytes: usize,
    interval: Interval,
    /// The `source` of an `empty` message.
    empty_source: &'static str,
    market: Market,
}

/// The spelling of a series that a client uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spelling {
    pub(crate) symbol: Arc<str>,
    pub(crate) contract_type: Arc<str>,
    /// Both, as they stand in a message.
    pub(crate) names: Arc<[u8]>,
}

impl Spelling {
    pub(crate) fn new(symbol: &str, contract_type: Arc<str>) -> Self {
        let mut names = Vec::new();
        write_names(&mut names, symbol, &contract_type);
        Self { symbol: symbol.into(), contract_type, names: names.into() }
    }
}

/// The volumes of a candle, as clients receive them.
struct Volumes<'candle> {
    volume: &'candle Decimal,
    unit: VolumeUnit,
    /// The volume in another unit: the field, with the comma before it, and the value.
    beside: Option<(&'static [u8], &'candle Decimal)>,
}

impl<'candle> Volumes<'candle> {
    /// `volume` is the exchange's own, unless the exchange also gives the base amount: then it is
    /// that.
    fn new(market: Market, candle: &'candle Candle) -> Self {
        let Candle { volume: own, other_volume, .. } = candle;
        let (own_unit, other_unit) = (market.volume_unit(), market.other_unit());
        let field = |unit| match unit {
            VolumeUnit::Contracts => &b",\"contract_volume\":"[..],
            VolumeUnit::Quote | VolumeUnit::Base => b",\"quote_volume\":",
        };
        match (other_volume, other_unit) {
            (Some(base), VolumeUnit::Base) => {
                Self { volume: base, unit: other_unit, beside: Some((field(own_unit), own)) }
            }
            (None, VolumeUnit::Base) => {
                Self { volume: own, unit: own_unit, beside: Some((field(own_unit), own)) }
            }
            (other, _) => {
                let beside = other.as_ref().map(|other| (field(other_unit), other));
                Self { volume: own, unit: own_unit, beside }
            }
        }
    }

    fn write_unit(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"volume_unit\":\"");
        out.extend_from_slice(self.unit.name().as_bytes());
        out.push(b'"');
    }

    fn write_beside(&self, out: &mut Vec<u8>) {
        if let Some((field, value)) = self.beside {
            out.extend_from_slice(field);
            out.extend_from_slice(value.as_bytes());
        }
    }
}

/// The unit of the volume of `update`, if it is not the base asset although the market's other
/// candles count the base asset.
pub(crate) fn other_unit(market: Market, update: &CandleUpdate) -> Option<VolumeUnit> {
    let is_other = market.other_unit() == VolumeUnit::Base && update.candle.other_volume.is_none();
    is_other.then(|| market.volume_unit())
}

/// The `type` of a candle's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CandleType {
    /// A candle, open or closed.
    Quote,
    /// A closed candle that the exchange has restated.
    Correction,
}

impl Labels {
    /// Renders the constant parts for `instrument`.
    pub(crate) fn new(instrument: &Instrument, origin: CandleSource) -> Self {
        let row = instrument.market.row();
        let mut names = Vec::new();
        names.extend_from_slice(b",\"exchange\":");
        write_string(&mut names, row.venue.name());
        let named_from = names.len();
        write_names(&mut names, &instrument.symbol, row.contract_type.name());
        let named_bytes = names.len() - named_from;
        let empty_source = match origin {
            CandleSource::Exchange => "rest",
            CandleSource::Derived => "derived",
        };
        let Instrument { market, interval, .. } = *instrument;
        Self { names, named_bytes, interval, empty_source, market }
    }

    /// Writes another spelling of the instrument into a message about it.
    pub(crate) fn respell(&self, payload: &mut Vec<u8>, spelling: &Spelling) {
        let names = &self.names[..];
        let Some(at) = payload.windows(names.len()).position(|bytes| bytes == names) else {
            return;
        };
        let symbol_at = names.len() - self.named_bytes;
        payload.splice(at + symbol_at..at + names.len(), spelling.names.iter().copied());
    }

    /// The market of the instrument.
    pub(crate) fn market(&self) -> Market {
        self.market
    }

    /// The length of the instrument's candles.
    pub(crate) fn interval(&self) -> Interval {
        self.interval
    }

    /// Appends `update` as `candle_type`, its fields in the order of the client protocol, and last
    /// the candle that it replaces, if there is one. Returns the place in `out` where the fields of
    /// the Python connector end; they come first.
    pub(crate) fn write_candle(
        &self,
        out: &mut Vec<u8>,
        candle_type: CandleType,
        update: &CandleUpdate,
        replaced: Option<&Candle>,
        now: Now,
    ) -> usize {
        let candle = &update.candle;
        out.extend_from_slice(match candle_type {
            CandleType::Quote => b"{\"type\":\"quote\",\"current_time\":\"",
            CandleType::Correction => b"{\"type\":\"correction\",\"current_time\":\"",
        });
        write_time(out, now.unix_us, 6);
        out.extend_from_slice(b"\",\"timestamp\":\"");
        let timestamp = update.event_time.unwrap_or(candle.open_time);
        write_time(out, timestamp.0.saturating_mul(1000), 3);
        out.push(b'"');
        out.extend_from_slice(&self.names);
        let volumes = Volumes::new(self.market, candle);
        write_values(out, candle, &volumes);
        out.extend_from_slice(match update.is_closed() {
            true => b",\"is_closed_candle\":true",
            false => b",\"is_closed_candle\":false",
        });
        let basic_end = out.len();
        self.write_identity(out, update);
        volumes.write_unit(out);
        if update.source.missing() > 0 {
            write_unsigned(out, b",\"missing_minutes\":", u64::from(update.source.missing()));
        }
        volumes.write_beside(out);
        if let Some(replaced) = replaced {
            out.extend_from_slice(b",\"previous\":{");
            let start = out.len();
            let before = Volumes::new(self.market, replaced);
            write_values(out, replaced, &before);
            if before.unit != volumes.unit {
                before.write_unit(out);
            }
            before.write_beside(out);
            // The comma at the start of every field.
            out.remove(start);
            out.push(b'}');
        }
        out.push(b'}');
        basic_end
    }

    /// Appends an `empty`: a window in which nothing was traded.
    pub(crate) fn write_empty(&self, out: &mut Vec<u8>, open_time: UnixMs, now: Now) {
        self.begin(out, b"empty", now);
        write_signed(out, b",\"open_time\":", open_time.0);
        write_signed(out, b",\"close_time\":", self.interval.close_time(open_time).0);
        write_signed(out, b",\"seq\":", self.interval.seq(open_time));
        out.extend_from_slice(b",\"source\":\"");
        out.extend_from_slice(self.empty_source.as_bytes());
        out.extend_from_slice(b"\"}");
    }

    /// Appends a `history`: the requested history is sent. `windows`: the first and the last, if
    /// they are known. `counts`: windows that were sent, and windows that are missing.
    pub(crate) fn write_history(
        &self,
        out: &mut Vec<u8>,
        windows: Option<(UnixMs, UnixMs)>,
        counts: (u64, u64),
        now: Now,
    ) {
        self.begin(out, b"history", now);
        match windows {
            Some((first, last)) => {
                write_signed(out, b",\"from\":", first.0);
                write_signed(out, b",\"to\":", last.0);
            }
            None => out.extend_from_slice(b",\"from\":null,\"to\":null"),
        }
        write_unsigned(out, b",\"count\":", counts.0);
        write_unsigned(out, b",\"missing\":", counts.1);
        out.push(b'}');
    }

    /// From the brace to `interval`.
    fn begin(&self, out: &mut Vec<u8>, message_type: &[u8], now: Now) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(message_type);
        out.extend_from_slice(b"\",\"current_time\":\"");
        write_time(out, now.unix_us, 6);
        out.push(b'"');
        out.extend_from_slice(&self.names);
        out.extend_from_slice(b",\"interval\":\"");
        out.extend_from_slice(self.interval.name().as_bytes());
        out.push(b'"');
    }

    /// From `interval` to `final_by`.
    fn write_identity(&self, out: &mut Vec<u8>, update: &CandleUpdate) {
        let open_time = update.candle.open_time;
        out.extend_from_slice(b",\"interval\":\"");
        out.extend_from_slice(self.interval.name().as_bytes());
        write_signed(out, b"\",\"open_time\":", open_time.0);
        write_signed(out, b",\"close_time\":", self.interval.close_time(open_time).0);
        write_signed(out, b",\"seq\":", self.interval.seq(open_time));
        write_unsigned(out, b",\"revision\":", u64::from(update.revision));
        out.extend_from_slice(b",\"source\":\"");
        out.extend_from_slice(update.source.name().as_bytes());
        match update.final_by {
            None => out.extend_from_slice(b"\",\"final_by\":null"),
            Some(final_by) => {
                out.extend_from_slice(b"\",\"final_by\":\"");
                out.extend_from_slice(final_by.name().as_bytes());
                out.push(b'"');
            }
        }
    }

    /// Appends a `gap` of `missing` windows, at least 1, from the one that opens at
    /// `first_missing`. `from` and `to` are open times of missing windows. `reason`: one word.
    pub(crate) fn write_gap(
        &self,
        out: &mut Vec<u8>,
        first_missing: UnixMs,
        missing: u64,
        reason: &str,
        now: Now,
    ) {
        self.begin(out, b"gap", now);
        let span = i64::try_from(missing.saturating_sub(1)).unwrap_or(i64::MAX);
        let last = first_missing.0.saturating_add(span.saturating_mul(self.interval.ms()));
        write_signed(out, b",\"from\":", first_missing.0);
        write_signed(out, b",\"to\":", last);
        write_unsigned(out, b",\"count\":", missing);
        out.extend_from_slice(b",\"reason\":\"");
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(b"\"}");
    }
}

/// Symbol and contract type, each with a comma before it.
pub(crate) fn write_names(out: &mut Vec<u8>, symbol: &str, contract_type: &str) {
    out.extend_from_slice(b",\"symbol\":");
    write_string(out, symbol);
    out.extend_from_slice(b",\"contract_type\":");
    write_string(out, contract_type);
}

/// From `open` to `trade_num`, each with a comma before it.
fn write_values(out: &mut Vec<u8>, candle: &Candle, volumes: &Volumes<'_>) {
    for (name, value) in [
        (&b",\"open\":"[..], &candle.open),
        (b",\"high\":", &candle.high),
        (b",\"low\":", &candle.low),
        (b",\"close\":", &candle.close),
        (b",\"volume\":", volumes.volume),
    ] {
        out.extend_from_slice(name);
        out.extend_from_slice(value.as_bytes());
    }
    write_unsigned(out, b",\"trade_num\":", candle.trades);
}

/// Appends `text` as a JSON string. Hidden characters are escaped, so that a message has no newline
/// inside and nothing that a screen does not show.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for c in text.chars() {
        let Some(byte) = u8::try_from(c).ok().filter(u8::is_ascii) else {
            write_wide(out, c);
            continue;
        };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0..0x20 | 0x7f => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// As [`write_string`], for one character beyond ASCII.
fn write_wide(out: &mut Vec<u8>, c: char) {
    let mut units = [0; 2];
    if text::is_hidden(c) {
        for unit in c.encode_utf16(&mut units) {
            write!(out, "\\u{unit:04x}").expect("a Vec takes every write");
        }
    } else {
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// Appends `before`, then `value` in decimal.
pub(crate) fn write_unsigned(out: &mut Vec<u8>, before: &[u8], mut value: u64) {
    let mut digits = [0; DIGITS_MAX];
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(before);
    out.extend_from_slice(&digits[start..]);
}

/// As [`write_unsigned`], for a number that may be below zero.
pub(crate) fn write_signed(out: &mut Vec<u8>, before: &[u8], value: i64) {
    out.extend_from_slice(before);
    write_unsigned(out, if value < 0 { b"-" } else { b"" }, value.unsigned_abs());
}

fn write_time(out: &mut Vec<u8>, unix_us: i64, fraction: usize) {
    let mut text = [0; RFC3339_BYTES];
    let length = write_rfc3339(unix_us, fraction, &mut text);
    out.extend_from_slice(&text[..length]);
}

/// `u64::MAX` has 20 digits.
const DIGITS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Lapse, MonoNs, RoughLapse};
    use crate::market::{FinalBy, InstrumentId, Market, Source, Venue};

    fn labels(symbol: &str) -> Labels {
        let market = Market::find(Venue::Binance, "coinm").unwrap();
        Labels::new(
            &Instrument { market, symbol: symbol.into(), interval: Interval::M1 },
            CandleSource::Exchange,
        )
    }

    fn update() -> CandleUpdate {
        CandleUpdate {
            instrument: InstrumentId(0),
            candle: Candle {
                open_time: UnixMs(1_700_000_040_000),
                open: "29038.46000000".parse().unwrap(),
                high: "29040.1".parse().unwrap(),
                low: "0.00000001".parse().unwrap(),
                close: "29039".parse().unwrap(),
                volume: "3495670.8399999999".parse().unwrap(),
                other_volume: Some("9.49653573".parse().unwrap()),
                trades: 17,
            },
            event_time: Some(UnixMs(1_700_000_100_005)),
            received: MonoNs(0),
            until_ring: Lapse::default(),
            kernel: RoughLapse::UNKNOWN,
            final_by: Some(FinalBy::Flag),
            source: Source::Ws,
            revision: 0,
        }
    }

    fn candle_text(labels: &Labels, update: &CandleUpdate, candle_type: CandleType) -> String {
        let mut out = Vec::new();
        let now = Now { mono: MonoNs(0), unix_us: 1_700_000_100_123_456 };
        labels.write_candle(&mut out, candle_type, update, None, now);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_quote_has_every_field_in_the_order_of_the_protocol() {
        let text = candle_text(&labels("BTCUSD_PERP"), &update(), CandleType::Quote);
        assert_eq!(
            text,
            "{\"type\":\"quote\",\"current_time\":\"2023-11-14T22:15:00.123456+00:00\",\
             \"timestamp\":\"2023-11-14T22:15:00.005+00:00\",\"exchange\":\"binance\",\
             \"symbol\":\"BTCUSD_PERP\",\"contract_type\":\"coinm\",\"open\":29038.46,\
             \"high\":29040.1,\"low\":0.00000001,\"close\":29039,\"volume\":3495670.8399999999,\
             \"trade_num\":17,\"is_closed_candle\":true,\"interval\":\"1m\",\
             \"open_time\":1700000040000,\"close_time\":1700000099999,\"seq\":28333334,\
             \"revision\":0,\"source\":\"ws\",\"final_by\":\"flag\",\
             \"volume_unit\":\"contracts\",\"quote_volume\":9.49653573}"
        );
    }

    #[test]
    fn an_open_candle_says_so_and_falls_back_on_its_open_time() {
        let mut open = update();
        (open.final_by, open.event_time, open.candle.other_volume) = (None, None, None);
        let text = candle_text(&labels("X"), &open, CandleType::Quote);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["is_closed_candle"], false);
        assert_eq!(json["final_by"], serde_json::Value::Null);
        assert_eq!(json["timestamp"], "2023-11-14T22:14:00.000+00:00");
        assert!(json.get("quote_volume").is_none());
    }

    #[test]
    fn symbols_are_escaped_and_other_scripts_kept() {
        for symbol in ["币安人生USDTé", "A\"B\\C\u{1}\n\u{7f}\u{85}", "A\u{200b}\u{e0001}"] {
            let text = candle_text(&labels(symbol), &update(), CandleType::Correction);
            assert!(!text.contains(text::is_hidden));
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["symbol"], symbol);
            assert_eq!(json["type"], "correction");
        }
    }

    #[test]
    fn a_gap_names_its_first_and_last_window() {
        let mut out = Vec::new();
        labels("X").write_gap(&mut out, UnixMs(120_000), 3, "not_received", Now::default());
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((json["from"].as_i64(), json["to"].as_i64()), (Some(120_000), Some(240_000)));
        assert_eq!((json["count"].as_i64(), json["type"].as_str()), (Some(3), Some("gap")));
    }

    #[test]
    fn integers_are_written_whole() {
        let mut out = Vec::new();
        write_unsigned(&mut out, b"", u64::MAX);
        write_signed(&mut out, b" ", i64::MIN);
        write_signed(&mut out, b" ", 0);
        assert_eq!(out, b"18446744073709551615 -9223372036854775808 0");
    }
}

//! The server's messages, read as far as they are shown. Numbers stay texts, so that every digit is
//! that of the exchange.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A message of any type. A field that it does not have is `None`.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    /// `quote`, `error`, …
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    /// A sentence for people.
    #[serde(borrow)]
    pub(super) message: Option<Cow<'a, str>>,
    /// A word for programs.
    #[serde(borrow)]
    pub(super) code: Option<Cow<'a, str>>,
    /// The exchange's words.
    #[serde(borrow)]
    pub(super) exchange_message: Option<Cow<'a, str>>,
    /// Whose candles.
    #[serde(borrow)]
    pub(super) symbol: Option<Cow<'a, str>>,
    /// Which symbols an `error` is about.
    #[serde(borrow, default)]
    pub(super) symbols: Vec<Cow<'a, str>>,
    /// The length of them.
    #[serde(borrow)]
    pub(super) interval: Option<Cow<'a, str>>,
    /// Why something is missing.
    #[serde(borrow)]
    pub(super) reason: Option<Cow<'a, str>>,
    /// Start of the window of an `empty`.
    pub(super) open_time: Option<i64>,
    /// Open time of the first window.
    pub(super) from: Option<i64>,
    /// Windows.
    pub(super) count: Option<u64>,
    /// Windows that are missing.
    pub(super) missing: Option<u64>,
}

/// A `quote` or a `correction`.
#[derive(Debug, Deserialize)]
pub(super) struct Candle<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) current_time: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) timestamp: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) exchange: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) symbol: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) contract_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) open: &'a RawValue,
    #[serde(borrow)]
    pub(super) high: &'a RawValue,
    #[serde(borrow)]
    pub(super) low: &'a RawValue,
    #[serde(borrow)]
    pub(super) close: &'a RawValue,
    #[serde(borrow)]
    pub(super) volume: &'a RawValue,
    pub(super) trade_num: u64,
    pub(super) is_closed_candle: bool,
    #[serde(borrow)]
    pub(super) interval: Cow<'a, str>,
    pub(super) open_time: i64,
    pub(super) close_time: i64,
    pub(super) seq: i64,
    pub(super) revision: u64,
    #[serde(borrow)]
    pub(super) source: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) final_by: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) volume_unit: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) quote_volume: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) contract_volume: Option<&'a RawValue>,
    pub(super) missing_minutes: Option<u64>,
}

//! hyperliquid.
#![allow(unused)]

use std::time::Duration;

use crate::clock::UnixMs;
use crate::market::{ContractType, Interval};
use crate::messages::RestResponse;
use crate::metrics::DecodeErrorKind;
use crate::wire::Endpoint;
use crate::wire::json::{JsonReader, Value};

use super::fields::{join_once, no_sense, seconds};
use super::{
    Headers, InstrumentPage, Klines, Limits, Message, RestCandles, RestError, RestQuery,
    SubscribeOp, UNLIMITED,
};

/// Asks for a sign of life.
pub(super) const PING: &str = r#"{"method":"ping"}"#;

pub(super) fn limits() -> Limits {
    Limits {
        streams_per_session: 950,
        streams_per_message: 1,
        messages: 200,
        messages_window: Duration::from_secs(60),
        counts_heartbeats: true,
        connects: 27,
        connects_window: Duration::from_secs(60),
        sessions: 9,
        streams: 950,
        session_life: None,
        ping_interval_max: Duration::from_secs(20),
        rest_requests: 45,
        rest_window: Duration::from_secs(60),
        rest_rows: 1000,
    }
}

pub(super) fn endpoint(base: &Endpoint) -> Endpoint {
    join_once(base, "/ws")
}

pub(super) fn write_subscribe<'a>(
    out: &mut String,
    op: SubscribeOp,
    symbols: impl Iterator<Item = (&'a str, Interval)>,
) {
    out.clear();
}

pub(super) fn decode<'text>(
    root: Value<'_, 'text>,
    klines: &mut Klines<'text>,
) -> Result<Message<'text>, DecodeErrorKind> {
    Err(DecodeErrorKind::Unknown)
}

pub(super) fn candles_query(
    base: &str,
    symbol: &str,
    interval: Interval,
    from: UnixMs,
    to: UnixMs,
) -> RestQuery {
    RestQuery { url: base.to_owned(), body: None, headers: &[] }
}

pub(super) fn read_candles(
    json: &mut JsonReader,
    response: &RestResponse,
    interval: Interval,
) -> Result<RestCandles, RestError> {
    Err(no_sense(response, "not read"))
}

pub(super) fn instruments_query(
    contract_type: ContractType,
    base: &str,
    page: Option<&str>,
) -> RestQuery {
    RestQuery { url: base.to_owned(), body: None, headers: &[] }
}

pub(super) fn read_instruments(
    contract_type: ContractType,
    page: Option<&str>,
    response: &RestResponse,
) -> Result<InstrumentPage, String> {
    Ok(InstrumentPage::default())
}

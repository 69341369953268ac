//! okx.
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

/// Asks for [`PONG`].
pub(super) const PING: &str = "ping";
/// The answer to [`PING`]: no JSON.
pub(super) const PONG: &[u8] = b"pong";

pub(super) fn limits() -> Limits {
    Limits {
        streams_per_session: 240,
        streams_per_message: 100,
        messages: 470,
        messages_window: Duration::from_secs(3600),
        counts_heartbeats: false,
        connects: 2,
        connects_window: Duration::from_millis(1100),
        sessions: UNLIMITED,
        streams: UNLIMITED,
        session_life: None,
        ping_interval_max: Duration::from_secs(20),
        rest_requests: 30,
        rest_window: Duration::from_secs(2),
        rest_rows: 100,
    }
}

pub(super) fn endpoint(base: &Endpoint) -> Endpoint {
    join_once(base, "/ws/v5/business")
}

pub(super) fn write_subscribe<'a>(
    out: &mut String,
    op: SubscribeOp,
    symbols: impl Iterator<Item = (&'a str, Interval)>,
) {
    out.clear();
}

pub(super) fn decode<'text>(
    contract_type: ContractType,
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
    contract_type: ContractType,
    json: &mut JsonReader,
    response: &RestResponse,
    interval: Interval,
) -> Result<RestCandles, RestError> {
    Err(no_sense(response, "not read"))
}

pub(super) fn instruments_query(contract_type: ContractType, base: &str) -> RestQuery {
    RestQuery { url: base.to_owned(), body: None, headers: &[] }
}

pub(super) fn read_instruments(response: &RestResponse) -> Result<InstrumentPage, String> {
    Ok(InstrumentPage::default())
}

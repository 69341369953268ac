//! bybit.
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
pub(super) const PING: &str = r#"{"op":"ping"}"#;

pub(super) fn limits(contract_type: ContractType) -> Limits {
    Limits {
        streams_per_session: 280,
        streams_per_message: if contract_type == ContractType::Spot { 10 } else { 100 },
        messages: 20,
        messages_window: Duration::from_secs(1),
        counts_heartbeats: true,
        connects: 450,
        connects_window: Duration::from_secs(300),
        sessions: 900,
        streams: UNLIMITED,
        session_life: None,
        ping_interval_max: Duration::from_secs(20),
        rest_requests: 400,
        rest_window: Duration::from_secs(5),
        rest_rows: 1000,
    }
}

pub(super) fn endpoint(contract_type: ContractType, base: &Endpoint) -> Endpoint {
    join_once(
        base,
        match contract_type {
            ContractType::Linear => "/v5/public/linear",
            ContractType::Inverse => "/v5/public/inverse",
            _ => "/v5/public/spot",
        },
    )
}

pub(super) fn write_subscribe<'a>(
    out: &mut String,
    op: SubscribeOp,
    id: i64,
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
    contract_type: ContractType,
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

pub(super) fn instruments_query(
    contract_type: ContractType,
    base: &str,
    page: Option<&str>,
) -> RestQuery {
    RestQuery { url: base.to_owned(), body: None, headers: &[] }
}

pub(super) fn read_instruments(
    contract_type: ContractType,
    response: &RestResponse,
) -> Result<InstrumentPage, String> {
    Ok(InstrumentPage::default())
}

//! gateio.
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

/// Volumes with their decimals; without it, fractions of contracts are cut off.
pub(super) const HEADERS: Headers = &[("x-gate-size-decimal", "1")];

pub(super) fn write_ping(_contract_type: ContractType, out: &mut String, now: UnixMs) {
    let _ = (out, seconds(now));
}

pub(super) fn limits(contract_type: ContractType) -> Limits {
    Limits {
        streams_per_session: 150,
        streams_per_message: 1,
        messages: 50,
        messages_window: Duration::from_secs(1),
        counts_heartbeats: true,
        connects: 10,
        connects_window: Duration::from_secs(1),
        sessions: 270,
        streams: UNLIMITED,
        session_life: None,
        ping_interval_max: Duration::from_secs(20),
        rest_requests: 150,
        rest_window: Duration::from_secs(10),
        rest_rows: if contract_type == ContractType::Spot { 1000 } else { 1999 },
    }
}

pub(super) fn endpoint(contract_type: ContractType, base: &Endpoint) -> Endpoint {
    join_once(
        base,
        match contract_type {
            ContractType::Um => "/v4/ws/usdt",
            ContractType::Cm => "/v4/ws/btc",
            _ => "/ws/v4/",
        },
    )
}

pub(super) fn write_subscribe<'a>(
    contract_type: ContractType,
    out: &mut String,
    op: SubscribeOp,
    id: i64,
    symbols: impl Iterator<Item = (&'a str, Interval)>,
    now: UnixMs,
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

pub(super) fn instruments_query(contract_type: ContractType, base: &str) -> RestQuery {
    RestQuery { url: base.to_owned(), body: None, headers: &[] }
}

pub(super) fn read_instruments(
    contract_type: ContractType,
    response: &RestResponse,
) -> Result<InstrumentPage, String> {
    Ok(InstrumentPage::default())
}

//! A window as it leaves the ledger: its fields under the names of the client protocol.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::ledger::{Kind, StoredWindow};
use crate::market::{CandleUpdate, ClosedWindow, Decimal, Instrument, VolumeUnit};

/// One row of a window, with the names of its series.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) instrument: &'a Instrument,
    pub(super) kind: Kind,
    pub(super) stored: &'a StoredWindow,
}

impl<'a> Line<'a> {
    /// The line of a window; `None` if it is unknown.
    pub(super) fn known(instrument: &'a Instrument, stored: &'a StoredWindow) -> Option<Self> {
        let kind = match stored.window? {
            ClosedWindow::Candle(_) => Kind::Candle,
            ClosedWindow::Empty { .. } => Kind::Empty,
        };
        Some(Self { instrument, kind, stored })
    }

    /// The candle, if the window has one.
    pub(super) fn update(&self) -> Option<&'a CandleUpdate> {
        match &self.stored.window {
            Some(ClosedWindow::Candle(update)) => Some(update),
            Some(ClosedWindow::Empty { .. }) | None => None,
        }
    }

    /// Last ms of the window.
    pub(super) fn close_time(&self) -> i64 {
        self.instrument.interval.close_time(self.stored.open_time).0
    }

    /// The number of the window.
    pub(super) fn seq(&self) -> i64 {
        self.instrument.interval.seq(self.stored.open_time)
    }

    /// What was traded, in `unit`, if it is known.
    pub(super) fn amount(&self, unit: VolumeUnit) -> Option<&'a Decimal> {
        let candle = &self.update()?.candle;
        let market = self.instrument.market;
        if market.volume_unit() == unit {
            return Some(&candle.volume);
        }
        candle.other_volume.as_ref().filter(|_| market.other_unit() == unit)
    }

    /// The volume that clients receive, and its unit: the base amount where it is known, else the
    /// exchange's own volume.
    pub(super) fn volume(&self) -> Option<(&'a Decimal, VolumeUnit)> {
        let base = self.amount(VolumeUnit::Base).map(|amount| (amount, VolumeUnit::Base));
        let own = self.update().map(|update| &update.candle.volume);
        base.or(own.map(|own| (own, self.instrument.market.volume_unit())))
    }

    /// The number of trades, if the exchange counts them.
    pub(super) fn trades(&self) -> Option<u64> {
        let candle = &self.update()?.candle;
        (candle.trades > 0 || candle.volume.is_zero()).then_some(candle.trades)
    }
}

/// A line as JSON. What is not known is left out.
#[derive(Serialize)]
pub(super) struct JsonLine<'a> {
    exchange: &'static str,
    symbol: &'a str,
    contract_type: &'static str,
    interval: &'static str,
    kind: &'static str,
    open_time: i64,
    close_time: i64,
    seq: i64,
    revision: u16,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    candle: Option<JsonCandle<'a>>,
    received_time: i64,
    verified: bool,
    position: i64,
}

#[derive(Serialize)]
struct JsonCandle<'a> {
    open: &'a RawValue,
    high: &'a RawValue,
    low: &'a RawValue,
    close: &'a RawValue,
    volume: &'a RawValue,
    volume_unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    quote_volume: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contract_volume: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trade_num: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_time: Option<i64>,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    final_by: Option<&'static str>,
}

impl<'a> JsonLine<'a> {
    /// The fields of `line`.
    ///
    /// # Errors
    /// None that occurs: a decimal's digits are a JSON number.
    pub(super) fn new(line: Line<'a>) -> serde_json::Result<Self> {
        let Line { instrument, kind, stored } = line;
        let row = instrument.market.row();
        let candle = line.update().map(|update| JsonCandle::new(line, update)).transpose()?;
        Ok(Self {
            exchange: row.venue.name(),
            symbol: &instrument.symbol,
            contract_type: row.contract_type.name(),
            interval: instrument.interval.name(),
            kind: kind.name(),
            open_time: stored.open_time.0,
            close_time: line.close_time(),
            seq: line.seq(),
            revision: stored.revision,
            candle,
            received_time: stored.received.0,
            verified: stored.is_verified,
            position: stored.position,
        })
    }
}

impl<'a> JsonCandle<'a> {
    fn new(line: Line<'a>, update: &'a CandleUpdate) -> serde_json::Result<Self> {
        let number = |digits: &'a Decimal| serde_json::from_str::<&RawValue>(digits.as_str());
        let amount = |unit| line.amount(unit).map(number).transpose();
        let own = (&update.candle.volume, line.instrument.market.volume_unit());
        let (volume, unit) = line.volume().unwrap_or(own);
        let candle = &update.candle;
        Ok(Self {
            open: number(&candle.open)?,
            high: number(&candle.high)?,
            low: number(&candle.low)?,
            close: number(&candle.close)?,
            volume: number(volume)?,
            volume_unit: unit.name(),
            quote_volume: amount(VolumeUnit::Quote)?,
            contract_volume: amount(VolumeUnit::Contracts)?,
            trade_num: line.trades(),
            event_time: update.event_time.map(|at| at.0),
            source: update.source.name(),
            final_by: update.final_by.map(|by| by.name()),
        })
    }
}

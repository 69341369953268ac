//! Candles longer than a minute: the fold of their true minutes, and how each exchange spells their
//! length. The tables are the simulator's own, from the exchanges' documents, so that connector and
//! simulator check each other.

use crate::market::{Interval, Venue};

use super::market::{MINUTE_MS, SimMarket, TrueCandle};

/// A window's candle as far as its minutes are over: each is folded in once.
#[derive(Clone, Copy, Debug)]
pub struct Fold {
    interval: Interval,
    /// Number of the window, counted from the Unix epoch.
    window: i64,
    /// Minutes that are folded in.
    minutes: i64,
    candle: Option<TrueCandle>,
}

impl Fold {
    /// Nothing of this window yet.
    pub fn new(interval: Interval, window: i64) -> Self {
        Self { interval, window, minutes: 0, candle: None }
    }

    /// Whose candle it is: interval, and the number of the window.
    pub fn of(&self) -> (Interval, i64) {
        (self.interval, self.window)
    }

    /// The candle of the symbol at `index`, `elapsed_ms` into its window; time never goes back.
    pub fn at(&mut self, market: &SimMarket, index: usize, elapsed_ms: i64) -> TrueCandle {
        let count = self.interval.ms() / MINUTE_MS;
        let first = self.window * count;
        let whole = elapsed_ms.div_euclid(MINUTE_MS).clamp(0, count);
        while self.minutes < whole {
            let minute = market.truth(index, first + self.minutes);
            self.candle = Some(self.with(market, &minute));
            self.minutes += 1;
        }
        match self.candle {
            Some(candle) if self.minutes == count => candle,
            _ => {
                let elapsed_ms = elapsed_ms - self.minutes * MINUTE_MS;
                let running = market.running(index, first + self.minutes, elapsed_ms);
                self.with(market, &running)
            }
        }
    }

    /// What it is with `minute` behind it. A window opens with its first trade, but at Bybit with
    /// the close before; one without trades is flat.
    fn with(&self, market: &SimMarket, minute: &TrueCandle) -> TrueCandle {
        let (open_time_ms, interval) = (self.window * self.interval.ms(), self.interval);
        let Some(mut candle) = self.candle else {
            return TrueCandle { open_time_ms, interval, ..*minute };
        };
        if minute.trades == 0 {
            return candle;
        }
        if candle.trades == 0 {
            if market.market().venue() != Venue::Bybit {
                return TrueCandle { open_time_ms, interval, ..*minute };
            }
            candle.first_trade = minute.first_trade;
        }
        candle.high = candle.high.max(minute.high);
        candle.low = candle.low.min(minute.low);
        candle.close = minute.close;
        candle.volume += minute.volume;
        candle.turnover += minute.turnover;
        candle.taker_volume += minute.taker_volume;
        candle.taker_turnover += minute.taker_turnover;
        candle.trades += minute.trades;
        candle
    }
}

/// The candle of one window, `elapsed_ms` into it.
pub fn running(
    market: &SimMarket,
    index: usize,
    (interval, window): (Interval, i64),
    elapsed_ms: i64,
) -> TrueCandle {
    Fold::new(interval, window).at(market, index, elapsed_ms)
}

/// The true candle of a window of the symbol at `index`.
pub fn truth(market: &SimMarket, index: usize, of: (Interval, i64)) -> TrueCandle {
    running(market, index, of, of.0.ms())
}

/// How the exchange spells this interval in streams, pushes and questions; `None`: it has no such
/// candles. Contract types do not differ in this.
///
/// Source: Binance "Kline/Candlestick chart intervals"; OKX "Candlesticks channel" (from six hours
/// on the UTC variants); Bybit "Kline"; Gate "Candlesticks Channel"; Hyperliquid "Subscriptions".
pub fn spelled(venue: Venue, interval: Interval) -> Option<&'static str> {
    let (_, row) = SPELLINGS.into_iter().find(|(one, _)| *one == interval)?;
    let text = match venue {
        Venue::Binance => row[0],
        Venue::Okx => row[1],
        Venue::Bybit => row[2],
        Venue::Gateio => row[3],
        Venue::Hyperliquid => row[4],
    };
    (text != NONE).then_some(text)
}

/// The interval that the exchange spells so.
pub fn read(venue: Venue, text: &str) -> Option<Interval> {
    Interval::ALL.into_iter().find(|&interval| spelled(venue, interval) == Some(text))
}

/// In the order of [`spelled`].
#[rustfmt::skip]
const SPELLINGS: [(Interval, [&str; 5]); 12] = [
    //                binance okx       bybit  gateio hyperliquid
    (Interval::M1,   ["1m",   "1m",     "1",   "1m",  "1m"]),
    (Interval::M3,   ["3m",   "3m",     "3",   NONE,  "3m"]),
    (Interval::M5,   ["5m",   "5m",     "5",   "5m",  "5m"]),
    (Interval::M15,  ["15m",  "15m",    "15",  "15m", "15m"]),
    (Interval::M30,  ["30m",  "30m",    "30",  "30m", "30m"]),
    (Interval::H1,   ["1h",   "1H",     "60",  "1h",  "1h"]),
    (Interval::H2,   ["2h",   "2H",     "120", NONE,  "2h"]),
    (Interval::H4,   ["4h",   "4H",     "240", "4h",  "4h"]),
    (Interval::H6,   ["6h",   "6Hutc",  "360", NONE,  NONE]),
    (Interval::H8,   ["8h",   NONE,     NONE,  "8h",  "8h"]),
    (Interval::H12,  ["12h",  "12Hutc", "720", NONE,  "12h"]),
    (Interval::D1,   ["1d",   "1Dutc",  "D",   "1d",  "1d"]),
];

/// There are no candles of this length.
const NONE: &str = "";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Market;

    /// The first minute of a day.
    const MIDNIGHT: i64 = 20_139 * 1440;

    #[test]
    fn each_window_is_the_fold_of_its_minutes() {
        for market in Market::all().map(|market| SimMarket::new(7, market, 0)) {
            for (index, interval) in (0..market.listings().len()).zip([
                Interval::M3,
                Interval::M5,
                Interval::H1,
                Interval::M30,
                Interval::H8,
            ]) {
                assert_fold(&market, index, interval);
            }
        }
    }

    fn assert_fold(market: &SimMarket, index: usize, interval: Interval) {
        let count = interval.ms() / MINUTE_MS;
        for window in MIDNIGHT / count..MIDNIGHT / count + 3 {
            let candle = truth(market, index, (interval, window));
            let minutes = window * count..(window + 1) * count;
            let minutes: Vec<TrueCandle> =
                minutes.map(|minute| market.truth(index, minute)).collect();
            let traded: Vec<TrueCandle> =
                minutes.iter().filter(|one| one.trades > 0).copied().collect();
            // What a flat minute shows is the price before, not one of its own.
            let is_bybit = market.market().venue() == Venue::Bybit;
            let priced = if traded.is_empty() || is_bybit { &minutes } else { &traded };
            let sum = |of: fn(&TrueCandle) -> u64| minutes.iter().map(of).sum::<u64>();
            assert_eq!(candle.open_time_ms, window * interval.ms());
            assert_eq!(candle.close_time_ms(), (window + 1) * interval.ms() - 1);
            assert_eq!((candle.interval, candle.open), (interval, priced[0].open));
            assert_eq!(candle.high, priced.iter().map(|one| one.high).max().unwrap());
            assert_eq!(candle.low, priced.iter().map(|one| one.low).min().unwrap());
            assert_eq!(candle.close, minutes[minutes.len() - 1].close);
            assert_eq!((candle.volume, candle.trades), (sum(|m| m.volume), sum(|m| m.trades)));
            assert_eq!(candle.turnover, sum(|minute| minute.turnover));
            assert_eq!(candle.taker_turnover, sum(|minute| minute.taker_turnover));
        }
    }

    #[test]
    fn a_fold_that_grows_is_what_is_folded_at_once() {
        let bybit = Market::find(Venue::Bybit, "spot").unwrap();
        let binance = Market::find(Venue::Binance, "spot").unwrap();
        for market in [bybit, binance].map(|market| SimMarket::new(3, market, 0)) {
            for index in 0..market.listings().len() {
                let of = (Interval::M15, MIDNIGHT / 15 + 1);
                let mut fold = Fold::new(of.0, of.1);
                for elapsed_ms in (0..=of.0.ms()).step_by(8_750) {
                    let grown = fold.at(&market, index, elapsed_ms);
                    assert_eq!(grown, running(&market, index, of, elapsed_ms));
                }
            }
        }
    }

    #[test]
    fn a_quiet_window_opens_with_its_first_trade_but_at_bybit() {
        for (venue, opens_before) in [(Venue::Okx, false), (Venue::Bybit, true)] {
            let mut market = SimMarket::new(1, Market::find(venue, "spot").unwrap(), 0);
            let of = (Interval::M5, MIDNIGHT / 5 + 1);
            market.empty(0, MIDNIGHT + 5);
            let (flat, next) = (market.truth(0, MIDNIGHT + 5), market.truth(0, MIDNIGHT + 6));
            let candle = truth(&market, 0, of);
            assert_eq!(candle.open, if opens_before { flat.close } else { next.open });
            (0..5).for_each(|ago| market.empty(0, MIDNIGHT + 5 + ago));
            let empty = truth(&market, 0, of);
            assert_eq!((empty.trades, empty.open, empty.high), (0, flat.close, flat.close));
        }
    }

    #[test]
    fn no_two_intervals_share_a_spelling() {
        for venue in Venue::ALL {
            for &interval in Interval::SERVED {
                let text = spelled(venue, interval);
                assert_eq!(text.and_then(|text| read(venue, text)), text.map(|_| interval));
            }
        }
    }
}

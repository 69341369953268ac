//! Times and values that an exchange cannot mean: what comes of them at each of the five.

use std::time::Duration;

use connector_wss::clock::UnixMs;
use connector_wss::feed::{FeedConfig, SessionId};
use connector_wss::market::{FinalBy, InstrumentId, Interval, Market, Venue};
use connector_wss::messages::{Command, EventName, MarketEvent, RestResponse};
use connector_wss::metrics::{ConnectionErrorKind, DecodeErrorKind, FeedMetrics};
use connector_wss::venue::{self, RestError};
use connector_wss::wire::json::JsonReader;

use super::pair::{Pair, START_MS, config};

const SECOND: Duration = Duration::from_secs(1);
const HOUR_MS: i64 = 3_600_000;
const MONTH_MS: i64 = 30 * 24 * HOUR_MS;
const MILLENNIUM_MS: i64 = 365_250 * 24 * HOUR_MS;

/// One market of each exchange, with two of its symbols.
const MARKETS: [(Venue, &str, [&str; 2]); 5] = [
    (Venue::Binance, "spot", ["BTCUSDT", "ETHUSDT"]),
    (Venue::Okx, "spot", ["BTC-USDT", "ETH-USDT"]),
    (Venue::Bybit, "linear", ["BTCUSDT", "ETHUSDT"]),
    (Venue::Gateio, "um", ["BTC_USDT", "ETH_USDT"]),
    (Venue::Hyperliquid, "usdm", ["BTC", "ETH"]),
];

/// A candle to be pushed.
#[derive(Clone, Copy)]
struct Push<'a> {
    symbol: &'a str,
    open_ms: i64,
    event_ms: i64,
    /// Open, high, low, close.
    prices: [&'a str; 4],
    volume: &'a str,
    trades: u64,
    is_closed: bool,
}

impl<'a> Push<'a> {
    /// An ordinary candle of a minute after the start.
    fn of(symbol: &'a str, minute: i64, event_ms: i64) -> Self {
        Self {
            symbol,
            open_ms: START_MS + minute * 60_000,
            event_ms,
            prices: ["2.0", "3.0", "1.0", "2.5"],
            volume: "7.5",
            trades: 4,
            is_closed: false,
        }
    }

    fn closed(self) -> Self {
        Self { is_closed: true, ..self }
    }

    fn text(&self, venue: Venue) -> String {
        let Self { symbol, open_ms, event_ms, prices: [o, h, l, c], volume: v, .. } = *self;
        let (n, x, end) = (self.trades, self.is_closed, open_ms + 59_999);
        match venue {
            Venue::Binance => format!(
                r#"{{"e":"kline","E":{event_ms},"s":"{symbol}","k":{{"t":{open_ms},"T":{end},"s":"{symbol}","i":"1m","f":100,"L":200,"o":"{o}","c":"{c}","h":"{h}","l":"{l}","v":"{v}","n":{n},"x":{x},"q":"20.0","V":"1","Q":"2","B":"0"}}}}"#
            ),
            Venue::Okx => format!(
                r#"{{"arg":{{"channel":"candle1m","instId":"{symbol}"}},"data":[["{open_ms}","{o}","{h}","{l}","{c}","{v}","9","9","{}"]]}}"#,
                u8::from(x)
            ),
            Venue::Bybit => format!(
                r#"{{"topic":"kline.1.{symbol}","data":[{{"start":{open_ms},"end":{end},"interval":"1","open":"{o}","close":"{c}","high":"{h}","low":"{l}","volume":"{v}","turnover":"9","confirm":{x},"timestamp":{event_ms}}}],"ts":{event_ms},"type":"snapshot"}}"#
            ),
            Venue::Gateio => format!(
                r#"{{"time":{},"time_ms":{event_ms},"channel":"futures.candlesticks","event":"update","result":[{{"t":{},"v":"{v}","c":"{c}","h":"{h}","l":"{l}","o":"{o}","n":"1m_{symbol}","a":"1","w":{x}}}]}}"#,
                event_ms / 1000,
                open_ms / 1000
            ),
            Venue::Hyperliquid => format!(
                r#"{{"channel":"candle","data":{{"t":{open_ms},"T":{end},"s":"{symbol}","i":"1m","o":"{o}","c":"{c}","h":"{h}","l":"{l}","v":"{v}","n":{n}}}}}"#
            ),
        }
    }
}

/// A feed in which both symbols of a market are subscribed and accepted.
struct Scene {
    pair: Pair,
    market: Market,
    symbols: [&'static str; 2],
}

impl Scene {
    /// `wall_off`: how far the machine's clock is wrong, in ms.
    fn new(at: (Venue, &str, [&'static str; 2]), count: usize, wall_off: i64) -> Self {
        let patience = SECOND * 100_000;
        let config =
            FeedConfig { stream_idle_timeout: patience, ping_timeout: patience, ..config() };
        Self::with(config, at, count, wall_off)
    }

    fn with(
        config: FeedConfig,
        at: (Venue, &str, [&'static str; 2]),
        count: usize,
        wall_off: i64,
    ) -> Self {
        let (venue, contract_type, symbols) = at;
        let market = Market::find(venue, contract_type).unwrap();
        let mut pair = Pair::with(config);
        pair.manners.rest_status = Some(503);
        pair.now.unix_us += wall_off * 1000;
        let mut scene = Self { pair, market, symbols };
        for (id, symbol) in (0..).zip(symbols).take(count) {
            scene.pair.subscribe_at(id, market, symbol);
            scene.accept(symbol, i64::from(id) + 1);
        }
        scene
    }

    fn accept(&mut self, symbol: &str, id: i64) {
        let text = match self.market.venue() {
            Venue::Binance => return,
            Venue::Okx => format!(
                r#"{{"event":"subscribe","arg":{{"channel":"candle1m","instId":"{symbol}"}},"connId":"a"}}"#
            ),
            Venue::Bybit => format!(
                r#"{{"success":true,"ret_msg":"","conn_id":"d","req_id":"{id}","op":"subscribe"}}"#
            ),
            Venue::Gateio => format!(
                r#"{{"time":1,"id":{id},"channel":"futures.candlesticks","event":"subscribe","payload":["1m","{symbol}"],"result":{{"status":"success"}}}}"#
            ),
            Venue::Hyperliquid => format!(
                r#"{{"channel":"subscriptionResponse","data":{{"method":"subscribe","subscription":{{"type":"candle","interval":"1m","coin":"{symbol}"}}}}}}"#
            ),
        };
        self.pair.push(&text);
    }

    fn push(&mut self, push: Push<'_>) {
        let text = push.text(self.market.venue());
        self.pair.push(&text);
    }

    /// The running candle of the minute that it is at the exchange, of each symbol.
    fn push_running(&mut self, now_ms: i64) {
        let minute = (now_ms - START_MS).div_euclid(60_000);
        for symbol in self.symbols {
            self.push(Push::of(symbol, minute, now_ms));
        }
    }

    /// What ends a minute of a symbol: the closing push, or its successor.
    fn end_minute(&mut self, symbol: &str, minute: i64) {
        let at = START_MS + (minute + 1) * 60_000 + 10;
        match self.market.venue() {
            Venue::Hyperliquid => self.push(Push::of(symbol, minute + 1, at)),
            _ => self.push(Push::of(symbol, minute, at).closed()),
        }
    }

    fn metrics(&self) -> &FeedMetrics {
        self.pair.metrics.market(self.market)
    }

    fn errors(&self, kind: DecodeErrorKind) -> u64 {
        self.metrics().decode_errors[kind as usize].value()
    }

    /// (instrument, minute) of every closed candle.
    fn closes(&self) -> Vec<(u32, i64)> {
        let closed = self.pair.candles().into_iter().filter(|update| update.is_closed());
        closed
            .map(|update| {
                let minute = (update.candle.open_time.0 - START_MS) / 60_000;
                (update.instrument.0, minute)
            })
            .collect()
    }

    fn opens_of(&self, id: u32) -> usize {
        let opens = self.pair.candles().into_iter();
        opens.filter(|update| !update.is_closed() && update.instrument == InstrumentId(id)).count()
    }
}

fn date_of(ms: i64) -> (String, String) {
    let time = std::time::UNIX_EPOCH + Duration::from_millis(ms.unsigned_abs());
    ("date".to_owned(), httpdate::fmt_http_date(time))
}

/// Binance's rows of these minutes.
fn binance_rows(minutes: &[i64], date_ms: Option<i64>) -> RestResponse {
    let row = |minute: &i64| {
        let open = START_MS + minute * 60_000;
        format!(r#"[{open},"2","3","1","2.5","7.5",{},"20",4,"1","2","0"]"#, open + 59_999)
    };
    let body = format!("[{}]", minutes.iter().map(row).collect::<Vec<_>>().join(","));
    let limit_headers = date_ms.map(date_of).into_iter().collect();
    RestResponse { status: 200, retry_after: None, limit_headers, body: body.into_bytes() }
}

#[test]
fn one_push_of_the_future_is_refused_and_its_series_goes_on_at_every_exchange() {
    for at in MARKETS {
        for ahead_ms in [HOUR_MS, MONTH_MS, MILLENNIUM_MS] {
            for is_closed in [false, true] {
                let mut scene = Scene::new(at, 2, 0);
                let symbol = scene.symbols[0];
                scene.push_running(START_MS);
                scene.pair.pass(SECOND * 30);
                let open_ms = START_MS + ahead_ms / 60_000 * 60_000;
                let lie = Push { open_ms, is_closed, ..Push::of(symbol, 0, open_ms + 30_000) };
                scene.push(lie);
                assert_eq!(scene.errors(DecodeErrorKind::Future), 1, "{at:?} {ahead_ms}");
                scene.pair.pass(SECOND * 29);
                scene.push_running(START_MS + 59_000);
                scene.pair.pass(SECOND);
                scene.end_minute(symbol, 0);
                scene.pair.pass(SECOND * 2);
                let latest = scene.pair.candles().iter().map(|one| one.candle.open_time).max();
                assert!(latest <= Some(UnixMs(START_MS + 60_000)), "{at:?} {ahead_ms}: {latest:?}");
                assert_eq!(scene.closes(), [(0, 0)], "{at:?} {ahead_ms}");
                assert_eq!(scene.metrics().gaps.value(), 0);
            }
        }
    }
}

#[test]
fn a_minute_that_has_not_begun_neither_opens_nor_closes_nor_ends_the_one_before() {
    for at in MARKETS {
        for ahead in [1, 3] {
            for is_closed in [true, false] {
                let mut scene = Scene::new(at, 2, 0);
                let [symbol, other] = scene.symbols;
                scene.pair.manners.rest_status = None;
                // What cannot be makes REST be asked for its `Date`, until two have agreed.
                for (second, pause) in [(0, 31), (31, 1)] {
                    let now_ms = START_MS + second * 1_000;
                    let date = date_of(now_ms).1;
                    let rows = rows_of(scene.market, other, &[], Some(&date));
                    scene.pair.manners.rest_answer = Some(rows);
                    scene.push_running(now_ms);
                    scene.push(Push::of(other, 60, now_ms + HOUR_MS));
                    scene.pair.pass(SECOND * pause);
                }
                scene.pair.manners.rest_status = Some(503);
                let lie =
                    Push::of(symbol, ahead, START_MS + (ahead + i64::from(is_closed)) * 60_000);
                scene.push(Push { is_closed, ..lie });
                assert_eq!(scene.errors(DecodeErrorKind::Future), 3, "{at:?} {ahead} {is_closed}");
                assert_eq!(scene.closes(), [], "{at:?} {ahead} {is_closed}");
                scene.pair.pass(SECOND * 27);
                scene.push(Push { volume: "8", ..Push::of(symbol, 0, START_MS + 59_000) });
                scene.pair.pass(SECOND);
                scene.end_minute(symbol, 0);
                assert_eq!(scene.closes(), [(0, 0)], "{at:?} {ahead} {is_closed}");
                assert_eq!(scene.errors(DecodeErrorKind::Future), 3, "{at:?} {ahead} {is_closed}");
                assert_eq!(scene.metrics().gaps.value(), 0);
            }
        }
    }
}

#[test]
fn what_was_not_understood_may_have_been_the_last_word_about_a_minute() {
    for at in MARKETS {
        for (spoil, named) in [
            (("2.5\"", "2.x\""), 1),
            // Cut off behind the symbol, or before.
            (("cut", "behind"), 1),
            (("cut", "before"), 2),
        ] {
            let mut scene = Scene::new(at, 2, 0);
            let [symbol, other] = scene.symbols;
            scene.push_running(START_MS);
            scene.pair.pass(SECOND * 58);
            let text = Push::of(symbol, 0, START_MS + 58_000).text(scene.market.venue());
            let text = match spoil {
                ("cut", "behind") => {
                    let end = text.rfind(&format!("{symbol}\"")).unwrap() + symbol.len() + 1;
                    text[..end].to_owned()
                }
                ("cut", _) => "{".to_owned(),
                (right, wrong) => text.replace(right, wrong),
            };
            scene.pair.push(&text);
            scene.pair.pass(SECOND * 2);
            let at_ms = START_MS + 60_010;
            for name in [symbol, other] {
                scene.push(Push::of(name, 1, at_ms));
            }
            let by_successor = match venue::finality(scene.market) {
                venue::Finality::Flag => 0,
                _ => 2 - named,
            };
            assert_eq!(scene.closes().len(), by_successor, "{at:?} {text}");
        }
    }
}

#[test]
fn a_candle_refused_for_a_stranger_beside_it_may_have_been_the_last_word_about_a_minute() {
    let mut scene = Scene::new(MARKETS[3], 2, 0);
    let [symbol, other] = scene.symbols;
    scene.push_running(START_MS);
    scene.pair.pass(SECOND * 58);
    let text = Push::of(symbol, 0, START_MS + 58_000).text(Venue::Gateio);
    let (before, rest) = text.split_once('[').unwrap();
    let (candle, after) = rest.split_once(']').unwrap();
    let stranger = candle.replace(symbol, "NOSUCH_USDT");
    scene.pair.push(&format!("{before}[{candle},{stranger}]{after}"));
    assert_eq!(scene.errors(DecodeErrorKind::Unknown), 1);
    scene.pair.pass(SECOND * 2);
    for name in [symbol, other] {
        scene.push(Push::of(name, 1, START_MS + 60_010));
    }
    assert_eq!(scene.closes(), [(1, 0)], "the other one is closed by its successor");
}

#[test]
fn a_node_that_was_behind_for_a_while_does_not_end_the_window_it_left_out() {
    let mut scene = Scene::new(MARKETS[4], 2, 0);
    let symbol = scene.symbols[0];
    scene.push_running(START_MS);
    scene.pair.pass(SECOND * 60);
    scene.end_minute(symbol, 0);
    assert_eq!(scene.closes(), [(0, 0)]);
    scene.pair.pass(SECOND * 30);
    for _ in 0..4 {
        scene.push(Push::of(symbol, -9, START_MS));
        scene.pair.pass(SECOND * 10);
    }
    scene.push(Push::of(symbol, 2, START_MS + 130_000));
    assert_eq!(scene.closes(), [(0, 0)], "nothing was heard of the end of minute 1");
}

#[test]
fn the_very_first_push_of_a_market_may_lie() {
    for at in MARKETS {
        for ahead_ms in [HOUR_MS, MONTH_MS, MILLENNIUM_MS] {
            let mut scene = Scene::new(at, 1, 0);
            let symbol = scene.symbols[0];
            let open_ms = START_MS + ahead_ms / 60_000 * 60_000;
            scene.push(Push { open_ms, is_closed: true, ..Push::of(symbol, 0, open_ms + 30_000) });
            assert_eq!(scene.errors(DecodeErrorKind::Future), 1, "{at:?} {ahead_ms}");
            scene.push(Push::of(symbol, 0, START_MS + 100));
            assert_eq!((scene.opens_of(0), scene.closes().len()), (1, 0), "{at:?} {ahead_ms}");
        }
    }
}

#[test]
fn streams_that_agree_are_believed_though_the_local_clock_is_days_away() {
    for at in MARKETS {
        for wall_off in [-3 * 24 * HOUR_MS, 3 * 24 * HOUR_MS, -MILLENNIUM_MS / 30] {
            let mut scene = Scene::new(at, 2, wall_off);
            scene.push_running(START_MS);
            scene.push_running(START_MS + 2_000);
            assert!(scene.opens_of(0) + scene.opens_of(1) >= 2, "{at:?} {wall_off}");
            scene.pair.pass(SECOND * 58);
            // Among themselves they show what time it is: a liar is alone.
            scene.push_running(START_MS + 58_000);
            let open_ms = START_MS + HOUR_MS;
            let before = scene.errors(DecodeErrorKind::Future);
            if wall_off < 0 {
                scene.push(Push { open_ms, ..Push::of(scene.symbols[1], 0, open_ms) }.closed());
                assert_eq!(scene.errors(DecodeErrorKind::Future), before + 1, "{at:?}");
            }
            scene.pair.pass(SECOND * 2);
            scene.end_minute(scene.symbols[0], 0);
            assert_eq!(scene.closes(), [(0, 0)], "{at:?} {wall_off}");
        }
    }
}

#[test]
fn a_lone_stream_ahead_of_the_local_clock_is_believed_once_rest_shows_the_same_time() {
    for has_date in [true, false] {
        let mut scene = Scene::new(MARKETS[0], 1, -24 * HOUR_MS);
        let symbol = scene.symbols[0];
        scene.pair.manners.rest_status = if has_date { None } else { Some(503) };
        if has_date {
            scene.pair.rest_answers.push_back(binance_rows(&[0], Some(START_MS)));
        }
        for second in 0..12 {
            scene.push(Push::of(symbol, 0, START_MS + second * 1000));
            scene.pair.pass(SECOND);
            assert!(has_date || second >= 9 || scene.opens_of(0) == 0, "the wall clock has a word");
            assert!(!has_date || second < 2 || scene.opens_of(0) > 0, "REST was asked at once");
        }
        assert!(scene.opens_of(0) > 0, "without REST it takes ten seconds");
    }
}

#[test]
fn a_jump_is_believed_when_the_clock_agrees_and_not_before() {
    for at in MARKETS {
        let mut scene = Scene::new(at, 2, 0);
        let symbol = scene.symbols[0];
        scene.push_running(START_MS);
        scene.pair.pass(SECOND * 5);
        scene.push(Push::of(symbol, 5, START_MS + 300_000));
        assert_eq!(scene.errors(DecodeErrorKind::Future), 1, "{at:?}");
        scene.pair.pass(SECOND * 295);
        let before = scene.opens_of(0);
        scene.push(Push::of(symbol, 5, START_MS + 300_000));
        assert_eq!(scene.errors(DecodeErrorKind::Future), 1, "{at:?}");
        assert_eq!(scene.opens_of(0), before + 1, "{at:?}");
    }
}

#[test]
fn a_new_subscription_clears_a_watermark_that_lies_ahead_of_the_clock() {
    for at in MARKETS {
        let mut scene = Scene::new(at, 2, 0);
        let symbol = scene.symbols[0];
        // The exchange is an hour ahead, and says so everywhere; then its clock is set right.
        for round in 0..2 {
            scene.push_running(START_MS + HOUR_MS + round * 1000);
        }
        let ahead = HOUR_MS / 60_000;
        scene.end_minute(symbol, ahead);
        assert_eq!(scene.closes(), [(0, ahead)], "{at:?}");
        scene.pair.pass(SECOND * 2);
        for round in 2..7 {
            scene.push_running(START_MS + round * 1000);
        }
        let known = scene.pair.candles().len();
        scene.pair.unsubscribe(0);
        scene.pair.subscribe_at(0, scene.market, symbol);
        scene.accept(symbol, 4);
        scene.push(Push::of(symbol, 0, START_MS + 8_000));
        assert_eq!(scene.pair.candles().len(), known + 1, "{at:?}");
        assert_eq!(scene.metrics().gaps.value(), 0);
    }
}

#[test]
fn a_stream_that_delivers_and_is_always_late_is_counted_until_it_is_not() {
    for at in MARKETS {
        let mut scene = Scene::new(at, 2, 0);
        let symbol = scene.symbols[0];
        scene.push_running(START_MS);
        scene.pair.pass(SECOND * 60);
        scene.end_minute(symbol, 0);
        for second in 0..130 {
            scene.push(Push::of(symbol, -1, START_MS - 1_000));
            assert_eq!(scene.metrics().late_instruments.value(), i64::from(second >= 120));
            scene.pair.pass(SECOND);
        }
        scene.push(Push::of(symbol, 3, START_MS + 190_000));
        assert_eq!(scene.metrics().late_instruments.value(), 0, "{at:?}");
        let is_of_lateness =
            |one: &EventName| matches!(one, EventName::CandlesLate | EventName::CandlesTimely);
        let events = |scene: &Scene| {
            let events = scene.pair.notices.iter().map(|one| one.event);
            events.filter(is_of_lateness).collect::<Vec<_>>()
        };
        assert_eq!(events(&scene), [], "{at:?}: the other symbol is not late");
        for second in 0..130 {
            scene.push(Push::of(symbol, -1, START_MS - 1_000));
            scene.push(Push::of(scene.symbols[1], -1, START_MS - 1_000 + second));
            scene.pair.pass(SECOND);
        }
        scene.push(Push::of(symbol, 5, START_MS + 320_000));
        scene.pair.pass(SECOND);
        assert_eq!(events(&scene), [EventName::CandlesLate, EventName::CandlesTimely], "{at:?}");
    }
}

#[test]
fn a_row_of_the_future_does_not_show_that_a_window_is_over() {
    let mut scene = Scene::new(MARKETS[0], 2, 0);
    scene.push_running(START_MS);
    scene.pair.manners.rest_status = None;
    for _ in 0..40 {
        scene.pair.rest_answers.push_back(binance_rows(&[0, 60], Some(START_MS + 66_000)));
    }
    scene.pair.pass(SECOND * 90);
    assert_eq!(scene.closes(), []);
    assert!(scene.errors(DecodeErrorKind::Future) > 0);
    scene.pair.rest_answers =
        (0..40).map(|_| binance_rows(&[0, 1], Some(START_MS + 95_000))).collect();
    scene.pair.pass(SECOND * 31);
    let mut closes = scene.closes();
    closes.sort_unstable();
    assert_eq!(closes, [(0, 0), (1, 0)]);
}

/// An answer with the rows of these minutes as a market's exchange writes them, all running where
/// it says so, with the values of [`Push::of`]. `says`: what it names as its time.
fn rows_of(market: Market, symbol: &str, minutes: &[i64], says: Option<&str>) -> RestResponse {
    let row = |minute: &i64| {
        let open = START_MS + minute * 60_000;
        let (end, seconds) = (open + 59_999, open / 1000);
        match market.venue() {
            Venue::Binance => {
                format!(r#"[{open},"2.0","3.0","1.0","2.5","7.5",{end},"20.0",4,"1","2","0"]"#)
            }
            Venue::Okx => format!(r#"["{open}","2.0","3.0","1.0","2.5","7.5","9","9","0"]"#),
            Venue::Bybit => format!(r#"["{open}","2.0","3.0","1.0","2.5","7.5","9"]"#),
            Venue::Gateio => format!(
                r#"{{"t":{seconds},"v":"7.5","c":"2.5","h":"3.0","l":"1.0","o":"2.0","sum":"9"}}"#
            ),
            Venue::Hyperliquid => format!(
                r#"{{"t":{open},"T":{end},"s":"{symbol}","i":"1m","o":"2.0","c":"2.5","h":"3.0","l":"1.0","v":"7.5","n":4}}"#
            ),
        }
    };
    let rows = minutes.iter().map(row).collect::<Vec<_>>().join(",");
    let time = says.and_then(|says| httpdate::parse_http_date(says).ok());
    let time = time.map(|time| time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis());
    let body = match market.venue() {
        Venue::Okx => format!(r#"{{"code":"0","msg":"","data":[{rows}]}}"#),
        Venue::Bybit => {
            let time = time.map_or(String::new(), |time| format!(r#","time":{time}"#));
            let category = market.contract_type().name();
            format!(
                r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"{category}","symbol":"{symbol}","list":[{rows}]}}{time}}}"#
            )
        }
        Venue::Binance | Venue::Gateio | Venue::Hyperliquid => format!("[{rows}]"),
    };
    let limit_headers = says.map(|says| ("date".to_owned(), says.to_owned())).into_iter().collect();
    RestResponse { status: 200, retry_after: None, limit_headers, body: body.into_bytes() }
}

#[test]
fn two_rows_of_one_window_that_differ_close_nothing_at_every_exchange() {
    for at in MARKETS {
        let mut scene = Scene::new(at, 1, 0);
        let symbol = scene.symbols[0];
        scene.push(Push { volume: "1", trades: 1, ..Push::of(symbol, 0, START_MS + 1_000) });
        let flagged = |minutes: &[i64], differs: bool| {
            let date = date_of(START_MS + 130_000).1;
            let mut answer = rows_of(scene.market, symbol, minutes, Some(&date));
            let text =
                String::from_utf8(answer.body).unwrap().replace(r#""9","0"]"#, r#""9","1"]"#);
            let text = if differs { text.replacen("7.5", "9.5", 1) } else { text };
            answer.body = text.into_bytes();
            answer
        };
        let (conflict, right) = (flagged(&[0, 0, 1], true), flagged(&[0, 0, 1], false));
        scene.pair.manners.rest_status = None;
        scene.pair.manners.rest_answer = Some(conflict);
        scene.pair.pass(SECOND * 150);
        let of_minute_0 = |scene: &Scene| scene.closes().iter().filter(|one| one.1 == 0).count();
        assert!(!scene.pair.rests.is_empty(), "{at:?}: REST was asked");
        assert_eq!(of_minute_0(&scene), 0, "{at:?}");
        scene.pair.manners.rest_answer = Some(right);
        scene.pair.pass(SECOND * 200);
        assert_eq!(of_minute_0(&scene), 1, "{at:?}: the same row twice is one row");
    }
}

/// What was published of windows that are over.
fn ended(scene: &Scene) -> Vec<String> {
    let is_end = |event: &&MarketEvent| match event {
        MarketEvent::Candle(update) => update.is_closed(),
        MarketEvent::Empty { .. } | MarketEvent::Gap { .. } => true,
        _ => false,
    };
    scene.pair.published.iter().filter(is_end).map(|event| format!("{event:?}")).collect()
}

#[test]
fn a_date_that_no_push_agrees_with_proves_nothing_at_every_exchange() {
    let years_ms = 10 * 365 * 24 * HOUR_MS;
    let mut dates: Vec<Option<String>> = vec![None, Some("tomorrow".into()), Some(String::new())];
    let off = [HOUR_MS, MONTH_MS, years_ms, -HOUR_MS, -years_ms];
    dates.extend(off.map(|off| Some(date_of(START_MS + off).1)));
    for at in MARKETS {
        for date in &dates {
            let mut scene = Scene::new(at, 2, 0);
            scene.push_running(START_MS);
            let answer = rows_of(scene.market, scene.symbols[0], &[0], date.as_deref());
            scene.pair.manners.rest_answer = Some(answer);
            for second in 1..60 {
                scene.pair.pass(SECOND);
                scene.push_running(START_MS + second * 1000);
            }
            // A break over two ends of minutes: only REST could say what was in them.
            scene.pair.pass(SECOND * 90);
            assert!(!scene.pair.rests.is_empty(), "it was asked");
            assert_eq!(ended(&scene), [""; 0], "{at:?} {date:?}");
            scene.pair.published.clear();
            scene.push_running(START_MS + 150_000);
            scene.pair.pass(SECOND);
            let is_running = scene.opens_of(0) > 0 && scene.opens_of(1) > 0;
            assert!(is_running, "{at:?} {date:?}: the streams go on: {:?}", scene.pair.published);
        }
    }
}

#[test]
fn a_row_of_the_future_beside_stale_rows_closes_nothing_at_every_exchange() {
    for at in MARKETS {
        for future in [30, 60, 5_000_000] {
            let mut scene = Scene::new(at, 2, 0);
            let symbol = scene.symbols[0];
            for second in 0..60 {
                scene.push_running(START_MS + second * 1000);
                scene.pair.pass(SECOND);
            }
            for second in 60..150 {
                let date = date_of(START_MS + second * 1000).1;
                let answer = rows_of(scene.market, symbol, &[0, future], Some(&date));
                scene.pair.manners.rest_answer = Some(answer);
                scene.pair.pass(SECOND);
            }
            assert!(!scene.pair.rests.is_empty(), "it was asked");
            assert_eq!(ended(&scene), [""; 0], "{at:?} {future}");
            assert!(scene.errors(DecodeErrorKind::Future) > 0, "{at:?} {future}: counted");
        }
    }
}

#[test]
fn an_answer_about_another_symbol_closes_nothing_and_is_counted() {
    for at in [MARKETS[2], MARKETS[4]] {
        let mut scene = Scene::new(at, 1, 0);
        let [symbol, other] = scene.symbols;
        scene.push(Push::of(symbol, 0, START_MS));
        let answer = |scene: &Scene, symbol: &str, second: i64| {
            let date = date_of(START_MS + second * 1000).1;
            rows_of(scene.market, symbol, &[0, 1, 2], Some(&date))
        };
        for second in 1..150 {
            scene.pair.manners.rest_answer = Some(answer(&scene, other, second));
            scene.pair.pass(SECOND);
        }
        assert_eq!(ended(&scene), [""; 0], "{at:?}");
        assert!(scene.metrics().backfills_failed.value() > 0, "{at:?}");
        let mut told = scene.pair.notices.iter().map(|notice| &*notice.text);
        let words = format!("the answer is not about {symbol} 1m");
        assert!(told.any(|text| text.contains(&words)), "{at:?}: {:#?}", scene.pair.notices);
        for second in 150..240 {
            scene.pair.manners.rest_answer = Some(answer(&scene, symbol, second));
            scene.pair.pass(SECOND);
        }
        assert!(scene.closes().starts_with(&[(0, 0), (0, 1)]), "{at:?}: {:?}", scene.closes());
    }
}

#[test]
fn an_answer_that_names_another_interval_or_contract_type_is_refused() {
    let about = |at: (Venue, &str, [&str; 2]), from: &str, to: &str| {
        let market = Market::find(at.0, at.1).unwrap();
        let mut answer = rows_of(market, at.2[0], &[0, 1], None);
        let body = String::from_utf8(answer.body).unwrap().replace(from, to);
        answer.body = body.into_bytes();
        let asked = (at.2[0], Interval::M1);
        venue::read_candles(market, &mut JsonReader::default(), &answer, asked)
    };
    for (at, from, to) in [
        (MARKETS[2], "linear", "inverse"),
        (MARKETS[3], r#""sum":"9""#, r#""n":"1m_ETH_USDT""#),
        (MARKETS[3], r#""sum":"9""#, r#""n":"5m_BTC_USDT""#),
        (MARKETS[4], r#""i":"1m""#, r#""i":"5m""#),
    ] {
        let read = about(at, from, to);
        assert!(matches!(read, Err(RestError::Failed { .. })), "{at:?} {to}: {read:?}");
        assert_eq!(about(at, "", "").map(|read| read.candles.len()), Ok(2), "{at:?}");
    }
}

#[test]
fn a_first_push_of_long_ago_begins_no_series() {
    for at in MARKETS {
        for minutes in [60, MONTH_MS / 60_000, (START_MS / 60_000) - 1] {
            let mut scene = Scene::new(at, 2, 0);
            let [old, live] = scene.symbols;
            scene.push(Push::of(live, 0, START_MS));
            scene.push(Push::of(old, -minutes, START_MS - minutes * 60_000).closed());
            assert_eq!(scene.metrics().late.value(), 1, "{at:?} {minutes}");
            scene.pair.pass(SECOND * 10);
            scene.push(Push::of(old, 0, START_MS + 10_000));
            scene.pair.pass(SECOND * 50);
            scene.end_minute(old, 0);
            scene.pair.pass(SECOND * 10);
            assert_eq!((scene.closes(), scene.metrics().gaps.value()), (vec![(0, 0)], 0), "{at:?}");
        }
    }
}

#[test]
fn a_first_push_that_is_dated_a_month_after_its_own_minute_begins_no_series() {
    // Binance, Bybit and Gate.io date their pushes; nothing else is known yet.
    for at in [MARKETS[0], MARKETS[2], MARKETS[3]] {
        let mut scene = Scene::new(at, 1, 0);
        let symbol = scene.symbols[0];
        let old = Push { is_closed: true, ..Push::of(symbol, -30 * 1440, START_MS + 1_000) };
        scene.push(old);
        assert_eq!(scene.closes(), [], "{at:?}");
        scene.push(Push::of(symbol, 0, START_MS + 58_000));
        scene.pair.pass(SECOND * 60);
        scene.end_minute(symbol, 0);
        assert_eq!(scene.closes(), [(0, 0)], "{at:?}");
        assert_eq!(scene.metrics().gaps.value(), 0, "{at:?}");
    }
}

#[test]
fn a_series_that_began_in_another_age_goes_on_today_and_names_every_window_between() {
    for at in MARKETS {
        let mut scene = Scene::new(at, 2, 0);
        let [old, live] = scene.symbols;
        let age = START_MS / 60_000 - 10;
        // Nobody else has shown the time yet.
        scene.push(Push::of(old, -age, START_MS - age * 60_000).closed());
        scene.push(Push::of(live, 0, START_MS));
        scene.pair.pass(SECOND * 5);
        scene.push(Push::of(old, 0, START_MS + 5_000));
        scene.pair.pass(SECOND * 55);
        scene.end_minute(old, 0);
        scene.pair.pass(SECOND * 20);
        scene.push(Push::of(old, 1, START_MS + 80_000));
        scene.pair.pass(SECOND * 40);
        scene.end_minute(old, 1);
        scene.pair.pass(SECOND * 20);
        // Each closed window follows the one before, or a gap that names those between.
        let mut next = None;
        for event in &scene.pair.published {
            let (first, windows) = match event {
                MarketEvent::Candle(update) if update.is_closed() && update.revision == 0 => {
                    (update.candle.open_time, 1)
                }
                MarketEvent::Empty { open_time, .. } => (*open_time, 1),
                MarketEvent::Gap { first_missing, missing, .. } => (*first_missing, *missing),
                _ => continue,
            };
            if event.instrument() != InstrumentId(0) {
                continue;
            }
            assert!(next.is_none_or(|next| next == first.0), "{at:?}: {next:?}, {event:?}");
            next = Some(first.0 + i64::try_from(windows).unwrap() * 60_000);
        }
        let last = scene.closes().last().copied();
        assert!(matches!(last, Some((0, 0 | 1))), "{at:?}: it goes on: {last:?}");
    }
}

#[test]
fn a_wall_clock_that_is_wrong_was_news_of_a_quiet_stream() {
    for at in MARKETS {
        // The first look is at windows of an hour later, where nothing is; its date corrects that.
        let mut scene = Scene::with(config(), at, 1, HOUR_MS);
        for second in 0..50 {
            let minutes: &[i64] = if scene.pair.rests.is_empty() { &[] } else { &[0] };
            let date = date_of(START_MS + second * 1000).1;
            let answer = rows_of(scene.market, scene.symbols[0], minutes, Some(&date));
            scene.pair.manners.rest_answer = Some(answer);
            scene.pair.pass(SECOND);
        }
        assert!(scene.pair.rests.len() > 1, "{at:?}: it was looked at");
        let silent =
            scene.metrics().connection_errors[ConnectionErrorKind::Silent as usize].value();
        assert_eq!(silent, 0, "{at:?}: {:#?}", scene.pair.notices);
    }
}

#[test]
fn a_candle_that_cannot_be_is_refused_and_found_again_by_rest() {
    let bad: [[&str; 4]; 4] = [
        ["2.0", "1.0", "3.0", "2.5"],
        ["2.0", "3.0", "1.0", "3.5"],
        ["0.5", "3.0", "1.0", "2.5"],
        ["0", "3.0", "0", "2.5"],
    ];
    for at in MARKETS {
        for prices in bad {
            let mut scene = Scene::new(at, 2, 0);
            scene.push_running(START_MS);
            scene.push(Push { prices, ..Push::of(scene.symbols[0], 0, START_MS + 100) });
            assert_eq!(scene.errors(DecodeErrorKind::Impossible), 1, "{at:?} {prices:?}");
            assert_eq!(scene.opens_of(0), 1);
        }
    }
    let mut scene = Scene::new(MARKETS[0], 2, 0);
    scene.push_running(START_MS);
    scene.pair.pass(SECOND * 60);
    let push = Push::of(scene.symbols[0], 0, START_MS + 60_010).closed();
    scene.push(Push { prices: bad[0], ..push });
    scene.push(Push { trades: 0, ..push });
    assert_eq!(scene.errors(DecodeErrorKind::Impossible), 2);
    scene.pair.manners.rest_status = None;
    for _ in 0..4 {
        scene.pair.rest_answers.push_back(binance_rows(&[0, 1], Some(START_MS + 66_000)));
    }
    scene.pair.pass(SECOND * 8);
    assert!(scene.closes().contains(&(0, 0)), "{:?}", scene.closes());
    let found = scene.pair.candles().into_iter().find(|update| update.is_closed()).unwrap();
    assert_eq!((found.final_by, found.candle.close.as_str()), (Some(FinalBy::Rest), "2.5"));
    // Nothing was ever traded: all zero is what an exchange says then.
    let quiet = Push { prices: ["0", "0", "0", "0"], volume: "0", trades: 0, ..push };
    let text = Push { open_ms: START_MS + 60_000, event_ms: START_MS + 120_010, ..quiet };
    scene.pair.pass(SECOND * 52);
    scene.push(text);
    assert_eq!(scene.errors(DecodeErrorKind::Impossible), 2);
}

#[test]
fn a_push_about_another_session_s_symbol_proves_nothing() {
    for at in MARKETS {
        let (venue, contract_type, [first, second]) = at;
        let market = Market::find(venue, contract_type).unwrap();
        let mut pair = Pair::with(FeedConfig { max_symbols_per_session: 1, ..config() });
        pair.manners.rest_status = Some(503);
        pair.subscribe_at(0, market, first);
        pair.subscribe_at(1, market, second);
        let sessions: Vec<SessionId> = pair.peers.keys().copied().collect();
        assert_eq!(sessions.len(), 2, "{at:?}");
        pair.push_to(sessions[0], &Push::of(second, 0, START_MS).text(venue));
        assert_eq!(pair.candles().len(), 0, "{at:?}");
        let foreign = DecodeErrorKind::Foreign as usize;
        assert_eq!(pair.metrics.market(market).decode_errors[foreign].value(), 1);
        pair.push_to(sessions[1], &Push::of(second, 0, START_MS).text(venue));
        assert_eq!(pair.candles().len(), 1, "{at:?}");
    }
}

#[test]
fn what_an_old_session_still_pushes_is_no_error_and_no_candle() {
    // Asked for anew, a series may have another id.
    for (at, again) in MARKETS.into_iter().flat_map(|at| [(at, 0), (at, 7)]) {
        let (venue, contract_type, [first, second]) = at;
        let market = Market::find(venue, contract_type).unwrap();
        let mut pair = Pair::with(FeedConfig { max_symbols_per_session: 2, ..config() });
        pair.manners.rest_status = Some(503);
        pair.subscribe_at(0, market, first);
        pair.subscribe_at(1, market, second);
        let old = pair.only();
        // The exchange takes its time to answer; meanwhile others take the place.
        pair.manners.is_mute = true;
        pair.unsubscribe(0);
        pair.subscribe_at(2, market, &first.replace("BTC", "SOL"));
        if again != 0 {
            pair.feed.handle_command(Command::Forget { id: InstrumentId(0) }, pair.now);
        }
        pair.subscribe_at(again, market, first);
        let new = pair.peers.keys().copied().find(|&session| session != old).unwrap();
        let push = Push::of(first, 0, START_MS).text(venue);
        pair.push_to(old, &push);
        // A session that nobody needs any more has not read our Close.
        pair.manners.is_dead = true;
        pair.unsubscribe(1);
        pair.unsubscribe(2);
        pair.push_to(old, &push);
        assert_eq!(pair.candles().len(), 0, "{at:?} {again}");
        let errors = &pair.metrics.market(market).decode_errors;
        assert_eq!(errors.iter().map(|one| one.value()).sum::<u64>(), 0, "{at:?} {again}");
        pair.push_to(new, &push);
        assert_eq!(pair.candles().len(), 1, "{at:?}");
    }
}

/// What announces that a session will be ended, where an exchange says so.
fn announcement(venue: Venue) -> Option<String> {
    Some(match venue {
        Venue::Binance => r#"{"e":"serverShutdown","E":1770123456789}"#.to_owned(),
        Venue::Okx => {
            r#"{"event":"notice","code":"64008","msg":"Please reconnect.","connId":"a4d3ae55"}"#
                .to_owned()
        }
        Venue::Gateio => {
            r#"{"time":1,"channel":"futures.system","event":"update","result":{"type":"upgrade"}}"#
                .to_owned()
        }
        Venue::Bybit | Venue::Hyperliquid => return None,
    })
}

#[test]
fn a_shutdown_that_is_announced_every_second_leads_to_one_replacement() {
    for at in MARKETS {
        let Some(notice) = announcement(at.0) else { continue };
        let mut scene = Scene::new(at, 1, 0);
        let symbol = scene.symbols[0];
        let mut replacements = Vec::new();
        for second in 0..1500 {
            scene.push(Push::of(symbol, second / 60, START_MS + second * 1000));
            scene.pair.push(&notice);
            scene.pair.pass(SECOND);
            scene.accept(symbol, 1);
            if second % 300 == 299 {
                replacements.push(scene.pair.connects.len() - 1);
            }
        }
        assert_eq!(replacements, [1, 1, 2, 2, 3], "{at:?}");
        assert_eq!(scene.pair.peers.len(), 1, "{at:?}");
        let lost = scene.metrics().connection_errors.iter().map(|one| one.value()).sum::<u64>();
        assert_eq!(lost, 0, "{at:?}: the clients lose nothing");
    }
}

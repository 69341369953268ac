//! What exchanges write, list and serve in 2026, and what was made of it.

use connector_wss::market::{Market, Venue};
use connector_wss::venue::{self, Klines};
use connector_wss::wire::Endpoint;

fn market(venue: Venue, contract_type: &str) -> Market {
    Market::find(venue, contract_type).unwrap()
}

fn read_in_one_pass(market: Market, text: &str) -> Vec<[String; 2]> {
    let mut klines = Klines::new();
    venue::read_push(market, text, &mut klines).unwrap_or_else(|| panic!("{text}"));
    klines
        .iter()
        .map(|kline| [kline.candle.close, kline.candle.volume].map(|one| one.to_string()))
        .collect()
}

#[test]
fn a_usdm_push_with_spaces_in_it_takes_the_slow_reader() {
    let text = r#"{"e":"kline","E":1791269859051,"s":"BTCUSDT","k":{"t":1791269820000, "T":1791269879999, "s":"BTCUSDT", "i":"1m", "f":8149080204, "L":8149080532, "o":"85300.00", "c":"85296.00", "h":"85300.00", "l":"85296.00", "v":"8.410", "n":321, "x":false, "q":"717368.32060", "V":"4.732", "Q":"403639.25130", "B":"0"}}"#;
    let read = read_in_one_pass(market(Venue::Binance, "usdm"), text);
    assert_eq!(read, [["85296", "8.41"]]);
}

#[test]
fn a_combined_push_takes_the_slow_reader() {
    let text = r#"{"stream":"btcusd_perp@kline_1m","data":{"e":"kline","E":1790373660003,"s":"BTCUSD_PERP","k":{"t":1790373600000,"T":1790373659999,"s":"BTCUSD_PERP","i":"1m","f":1155840109,"L":1155840149,"o":"83723.8","c":"83732.4","h":"83732.5","l":"83723.8","v":"180","n":41,"x":true,"q":"0.21498328","V":"94","Q":"0.11224187","B":"0"}}}"#;
    let read = read_in_one_pass(market(Venue::Binance, "coinm"), text);
    assert_eq!(read, [["83732.4", "180"]]);
}

#[test]
fn gate_futures_with_the_volume_last_take_the_slow_reader() {
    let text = r#"{"time":1790350200,"time_ms":1790350200123,"channel":"futures.candlesticks","event":"update","result":[{"t":1790350140,"c":"83729","h":"83735","l":"83685.9","o":"83727.1","a":"337220.70089","n":"1m_BTC_USDT","w":true,"v":541352}]}"#;
    for text in
        [text.to_owned(), text.replace(r#""a":"337220.70089","#, "").replace(r#""w":true,"#, "")]
    {
        assert_eq!(read_in_one_pass(market(Venue::Gateio, "um"), &text), [["83729", "541352"]]);
    }
}

#[test]
fn coinm_begins_on_the_path_that_is_being_shut_down() {
    let base = Endpoint::parse("wss://dstream.binance.com").unwrap();
    let url = |alt| venue::endpoint(market(Venue::Binance, "coinm"), &base, alt).to_string();
    let [first, other] = [false, true].map(url);
    assert_eq!(first, "wss://dstream.binance.com/market/ws");
    assert_eq!(other, "wss://dstream.binance.com/ws");
}

#[test]
fn a_configured_path_gets_the_exchange_s_appended() {
    for (venue, contract_type, url) in [
        (Venue::Gateio, "um", "wss://ws.gate.com/v4/ws/futures/usdt"),
        (Venue::Gateio, "spot", "wss://gateway.example/gate"),
        (Venue::Okx, "swap", "wss://wspap.okx.com:8443/ws/v5/business?brokerId=9999"),
        (Venue::Bybit, "linear", "wss://gateway.example/bybit-linear"),
        (Venue::Hyperliquid, "usdm", "wss://gateway.example/hl"),
        (Venue::Binance, "usdm", "wss://fstream.binance.com/market/ws"),
    ] {
        let base = Endpoint::parse(url).unwrap();
        let market = market(venue, contract_type);
        assert_eq!(venue::endpoint(market, &base, false).to_string(), url);
    }
}

#[test]
fn a_symbol_that_may_still_trade_is_refused_as_halted() {
    for (venue, contract_type, body) in [
        (Venue::Gateio, "spot", r#"[{"id":"A_B","trade_status":"sellable"}]"#),
        (Venue::Gateio, "spot", r#"[{"id":"A_B","trade_status":"buyable"}]"#),
        (Venue::Gateio, "um", r#"[{"name":"A_B","in_delisting":true,"status":"delisting"}]"#),
        (Venue::Gateio, "cm", r#"[{"name":"A_B","in_delisting":true}]"#),
        (Venue::Binance, "spot", r#"{"symbols":[{"symbol":"AB","status":"CANCEL_ONLY"}]}"#),
        (
            Venue::Bybit,
            "linear",
            r#"{"retCode":0,"result":{"category":"linear","list":[{"symbol":"AB","status":"PreLaunch"}]}}"#,
        ),
    ] {
        let market = market(venue, contract_type);
        let page = venue::read_instruments(market, None, body.as_bytes()).unwrap();
        assert_eq!((page.listed.len(), page.listed[0].halted.as_deref()), (1, None), "{venue:?}");
    }
}

//! The exchanges' own candles of five minutes beside their minutes, at a client: each the truth,
//! digit by digit.

use connector_wss::market::{Market, Venue};
use connector_wss::sim::{self, SimOptions};
use serde_json::json;

use super::client::Text;
use super::exchanges::{assert_truth, synthetic};
use super::harness::Server;

#[test]
fn minutes_and_the_exchange_s_own_five_minutes_are_both_the_truth() {
    let options = SimOptions { time_scale: 40, symbols_extra: 1, ..SimOptions::default() };
    let simulator = sim::start(options).unwrap();
    let server = Server::start(simulator.env(), &[]);
    let markets = [
        (Venue::Binance, "usdm"),
        (Venue::Okx, "swap"),
        (Venue::Bybit, "linear"),
        (Venue::Gateio, "spot"),
        (Venue::Gateio, "um"),
        (Venue::Hyperliquid, "usdm"),
    ];
    let subscribed = markets.map(|(venue, name)| {
        let market = Market::find(venue, name).unwrap();
        let symbol = synthetic(market, 1);
        let mut client = server.connect();
        for interval in ["1m", "5m"] {
            let request = json!({
                "exchange": venue.name(), "contract_type": name, "symbols": [symbol],
                "closed_only": true, "interval": interval, "source": "exchange",
            });
            client.send(&request.to_string());
        }
        (market, symbol, client)
    });
    for (market, symbol, mut client) in subscribed {
        let mut closed: [Vec<Text>; 2] = Default::default();
        while closed[0].len() < 8 || closed[1].len() < 2 {
            let text = client.next();
            assert!(text.is("quote") || text.is("subscribed"), "{market}: {}", text.text);
            if text.is_closed_candle() {
                closed[usize::from(text.json["interval"] == "5m")].push(text);
            }
        }
        assert_truth(&simulator, market, &symbol, &closed[0]);
        assert_truth(&simulator, market, &symbol, &closed[1]);
    }
    for name in ["gaps", "decode_errors"] {
        assert_eq!(server.metric(&format!("connector_{name}_total"), &[]), 0.0, "{name}");
    }
}

//! What the exchanges other than Binance answer to subscriptions, each in its way.

use std::time::Duration;

use crate::clock::MonoNs;
use crate::market::{ContractType, Interval, Venue};
use crate::sim::frames::{self, Frame, Op, Request, Topic};
use crate::sim::stream::Track;

use super::{ConnectionId, Exchange, Output, Subscription, lock};

impl Exchange {
    pub(super) fn frame(&mut self, id: ConnectionId, text: &str, now: MonoNs) {
        let now_ms = self.time.unix_ms(now);
        let is_long = text.len() > OKX_FRAME_BYTES_MAX && self.profile.market.venue() == Venue::Okx;
        if is_long && self.settings.enforce_limits {
            self.outputs.push_back((id, Output::Close(1009, "Frame too long")));
            self.offend(now);
            return self.disconnected(id);
        }
        match frames::parse(self.profile.market, text, now_ms) {
            Frame::Answer(answer) => self.send(id, answer.into(), now),
            Frame::Subscribe(request) => {
                self.counters.subscribe_frames += 1;
                if !self.count_operation(id, now) {
                    return self.send(id, frames::okx_too_fast().into(), now);
                }
                match self.profile.market.venue() {
                    Venue::Okx => self.begin_okx(id, &request, now),
                    Venue::Bybit => self.begin_bybit(id, &request, now),
                    Venue::Gateio => self.begin_gateio(id, &request, now),
                    Venue::Hyperliquid | Venue::Binance => {
                        self.begin_hyperliquid(id, &request, now);
                    }
                }
            }
            Frame::Unsubscribe(request) => self.end(id, &request, now),
        }
    }

    /// What `topic` is here: a traded symbol's candles, or nothing.
    fn wanted(&self, topic: &Topic) -> Option<Subscription> {
        let (symbol, interval) = topic.candles.as_ref()?;
        let track = Track::of(self.symbol_index(symbol)?, *interval);
        Some(Subscription { name: topic.name.clone(), track: Some(track) })
    }

    /// Index of `symbol`, if it is traded, or is one of a capture that is played.
    fn symbol_index(&self, symbol: &str) -> Option<usize> {
        let index = self.market.find(symbol)?;
        self.market.listings()[index].trading.then_some(index)
    }

    fn is_played(&self, symbol: &str) -> bool {
        self.settings.playback.iter().any(|message| message.symbol() == symbol)
    }

    /// A subscription to what a capture holds: its messages come instead of the market's.
    fn played(&self, topic: &Topic) -> Option<Subscription> {
        let (symbol, _) = topic
            .candles
            .as_ref()
            .filter(|(symbol, interval)| *interval == Interval::M1 && self.is_played(symbol))?;
        Some(Subscription { name: symbol.clone(), track: None })
    }

    fn accept(&mut self, id: ConnectionId, op: Op, request_id: &str, topic: &str, now: MonoNs) {
        let now_ms = self.time.unix_ms(now);
        let text = frames::accepted(self.profile.market, op, request_id, topic, now_ms);
        self.send(id, text.into(), now);
    }

    /// Each argument for itself.
    fn begin_okx(&mut self, id: ConnectionId, request: &Request, now: MonoNs) {
        let is_routed = self.connections.get(&id).is_some_and(|open| open.routed);
        for topic in &request.topics {
            match self.played(topic).or_else(|| self.wanted(topic)).filter(|_| is_routed) {
                Some(one) => {
                    self.accept(id, Op::Subscribe, &request.id, &topic.name, now);
                    self.add(id, vec![one], now);
                }
                None => {
                    let text = frames::okx_refused(&request.id, &topic.name);
                    self.send(id, text.into(), now);
                }
            }
        }
    }

    /// All or nothing.
    fn begin_bybit(&mut self, id: ConnectionId, request: &Request, now: MonoNs) {
        let Some(open) = self.connections.get(&id) else { return };
        let bytes: usize = request.topics.iter().map(|topic| topic.name.len() + 3).sum();
        let is_spot = self.profile.market.contract_type() == ContractType::Spot;
        let has = |topic: &&Topic| open.subscriptions.iter().any(|one| one.name == topic.name);
        let doubled = request.topics.iter().find(has);
        let strange = request
            .topics
            .iter()
            .find(|topic| self.wanted(topic).is_none() && self.played(topic).is_none());
        let words = if is_spot && request.topics.len() > BYBIT_SPOT_ARGS_MAX {
            Some("args size >10".to_owned())
        } else if open.topic_bytes + bytes > BYBIT_ARGS_BYTES_MAX {
            self.offend(now);
            Some("args length exceeds 21000".to_owned())
        } else if let Some(topic) = strange {
            Some(match &topic.candles {
                Some(_) => format!("Invalid symbol :[{}]", topic.name),
                None => format!("error:handler not found,topic:{}", topic.name),
            })
        } else {
            doubled.map(|topic| format!("error:already subscribed,topic:{}", topic.name))
        };
        if let Some(words) = words {
            let text = frames::bybit_error("subscribe", &request.id, &words);
            return self.send(id, text.into(), now);
        }
        self.accept(id, Op::Subscribe, &request.id, "", now);
        self.with(id, |open| open.topic_bytes += bytes);
        let wanted = request.topics.iter();
        let wanted = wanted.filter_map(|topic| self.played(topic).or_else(|| self.wanted(topic)));
        let wanted = wanted.collect();
        self.add(id, wanted, now);
    }

    /// One symbol a frame; a contract of another settlement is accepted, and silent.
    fn begin_gateio(&mut self, id: ConnectionId, request: &Request, now: MonoNs) {
        let Some(topic) = request.topics.first() else { return };
        let symbol = topic.candles.clone().map_or(String::new(), |(symbol, _)| symbol);
        let is_spot = self.profile.market.contract_type() == ContractType::Spot;
        let is_foreign = match self.profile.market.contract_type() {
            ContractType::Um => symbol.ends_with("_USD"),
            ContractType::Cm => symbol.ends_with("_USDT"),
            _ => false,
        };
        match self.played(topic).or_else(|| self.wanted(topic)) {
            Some(one) => {
                self.accept(id, Op::Subscribe, &request.id, &topic.name, now);
                self.add(id, vec![one], now);
            }
            None if is_foreign => {
                self.accept(id, Op::Subscribe, &request.id, &topic.name, now);
                self.add(id, vec![Subscription { name: topic.name.clone(), track: None }], now);
            }
            None => {
                let what = if is_spot { "currency pair:" } else { "contract" };
                let prefix = if is_spot { "spot" } else { "futures" };
                let words = match topic.candles {
                    Some(_) => format!("unknown {what} {symbol}"),
                    None => "unknown interval".to_owned(),
                };
                let now_ms = self.time.unix_ms(now);
                let text = frames::gateio_refused(
                    prefix,
                    "subscribe",
                    &request.id,
                    &topic.name,
                    &words,
                    now_ms,
                );
                self.send(id, text.into(), now);
            }
        }
    }

    /// A coin that does not exist costs the connection, without a word.
    fn begin_hyperliquid(&mut self, id: ConnectionId, request: &Request, now: MonoNs) {
        let Some(topic) = request.topics.first() else { return };
        let has = self
            .connections
            .get(&id)
            .is_some_and(|open| open.subscriptions.iter().any(|one| one.name == topic.name));
        let listed = topic
            .candles
            .as_ref()
            .and_then(|(symbol, interval)| Some((self.market.find(symbol)?, *interval)));
        match self.played(topic).or_else(|| {
            // A delisted coin is accepted, and silent.
            let (index, interval) = listed?;
            let is_trading = self.market.listings()[index].trading;
            let track = is_trading.then_some(Track::of(index, interval));
            Some(Subscription { name: topic.name.clone(), track })
        }) {
            Some(_) if has => {
                let text = frames::hyperliquid_already(Op::Subscribe, &topic.name);
                self.send(id, text.into(), now);
            }
            Some(one) => {
                self.accept(id, Op::Subscribe, &request.id, &topic.name, now);
                self.add(id, vec![one], now);
            }
            None => self.with(id, |open| open.cut_at = Some(now.after(HYPERLIQUID_CUT))),
        }
    }

    fn end(&mut self, id: ConnectionId, request: &Request, now: MonoNs) {
        if !self.count_operation(id, now) {
            return self.send(id, frames::okx_too_fast().into(), now);
        }
        let names: Vec<String> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        self.unsubscribe(id, &names);
        match self.profile.market.venue() {
            Venue::Okx => {
                for topic in &request.topics {
                    self.accept(id, Op::Unsubscribe, &request.id, &topic.name, now);
                }
            }
            _ => {
                let topic = request.topics.first().map_or("", |topic| &topic.name);
                self.accept(id, Op::Unsubscribe, &request.id, topic, now);
            }
        }
    }

    /// What the exchange sends before it closes connections for its own reasons.
    pub(super) fn shutdown_notice(&self, now: MonoNs) -> String {
        let now_ms = self.time.unix_ms(now);
        match self.profile.market.venue() {
            Venue::Okx => "{\"event\":\"notice\",\"code\":\"64008\",\"msg\":\"The connection will soon be closed for a service upgrade. Please reconnect.\",\"connId\":\"a4d3ae55\"}".to_owned(),
            Venue::Gateio => format!(
                "{{\"time\":{},\"time_ms\":{now_ms},\"channel\":\"{}.system\",\"event\":\"update\",\"result\":{{\"type\":\"upgrade\"}}}}",
                now_ms / 1000,
                if self.profile.market.contract_type() == ContractType::Spot { "spot" } else { "futures" },
            ),
            // Bybit and Hyperliquid have none; this is Binance's message.
            Venue::Binance | Venue::Bybit | Venue::Hyperliquid => {
                format!("{{\"e\":\"serverShutdown\",\"E\":{now_ms}}}")
            }
        }
    }

    /// Streams of this address, over the markets that share the count.
    pub fn address_streams(&self) -> usize {
        lock(&self.address).streams
    }
}

/// Source: 64 KB of arguments in a frame.
const OKX_FRAME_BYTES_MAX: usize = 64 * 1024;
/// Source: "Spot can input up to 10 args for each subscription request".
const BYBIT_SPOT_ARGS_MAX: usize = 10;
/// Source: "args array" of one connection, at most 21,000 characters.
const BYBIT_ARGS_BYTES_MAX: usize = 21_000;
/// Source: 90 to 155 ms, measured.
const HYPERLIQUID_CUT: Duration = Duration::from_millis(120);

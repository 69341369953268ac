//! A client of the server: subscribes, reads or does not, leaves and comes back, and keeps a book
//! of each series.

use std::collections::BTreeMap;
use std::sync::Arc;

use connector_wss::clock::MonoNs;
use connector_wss::fanout::ClientId;
use connector_wss::market::{Interval, Market};
use connector_wss::wire::{Connection, Endpoint, Event, tls};
use rustls::ClientConfig;
use serde_json::Value;

use super::book::Book;

/// A series as clients name it.
pub(crate) type Series = (usize, String, Interval);

/// Half of the longer ones are wanted as the server derives them from minutes.
pub(crate) fn is_derived((market, symbol, interval): &Series) -> bool {
    *interval != Interval::M1 && (market + symbol.len()).is_multiple_of(2)
}

pub(crate) struct Client {
    pub(crate) id: Option<ClientId>,
    wire: Option<Connection>,
    /// Series whose newest subscription has not been answered: what still comes is of an older one.
    awaited: BTreeMap<Series, u64>,
    next_id: u64,
    /// It asks for whatever it likes, and is judged by nobody.
    pub(crate) is_hostile: bool,
    /// What it says and hears is printed.
    is_traced: bool,
    /// Said before the connection was open.
    unsaid: Vec<String>,
    pub(crate) books: BTreeMap<Series, Book>,
    /// When each series was last heard of, in ms.
    pub(crate) heard: BTreeMap<Series, i64>,
    /// What it has subscribed, and wants to have again after a break.
    pub(crate) wanted: BTreeMap<Series, bool>,
    /// Books that ended, with the time of their end.
    pub(crate) ended: Vec<(Series, Book, i64)>,
    /// It reads nothing before.
    pub(crate) reads_at: MonoNs,
    /// It has stopped reading on this connection, and so may have answered no ping.
    pub(crate) has_stopped_reading: bool,
    /// When it does something next.
    pub(crate) acts_at: MonoNs,
    pub(crate) resumes: u64,
    pub(crate) refused: u64,
    pub(crate) slow: u64,
    pub(crate) closed_candles: u64,
    /// Subscriptions that were ended by the server: with a refusal of `since`, or of the symbol.
    pub(crate) lost: Vec<Series>,
    /// Market and symbol that an exchange may refuse.
    pub(crate) culprit: Option<(usize, String)>,
    pub(crate) rejections: u64,
    /// A market whose clock, and the machine's, are wrong: nobody can know its time.
    pub(crate) unjudged: Option<Market>,
}

impl Client {
    pub(crate) fn new(acts_at: MonoNs) -> Self {
        Self {
            id: None,
            wire: None,
            awaited: BTreeMap::new(),
            next_id: 1,
            is_hostile: false,
            is_traced: std::env::var_os("TRACE").is_some(),
            unsaid: Vec::new(),
            books: BTreeMap::new(),
            heard: BTreeMap::new(),
            wanted: BTreeMap::new(),
            ended: Vec::new(),
            reads_at: MonoNs(0),
            has_stopped_reading: false,
            acts_at,
            resumes: 0,
            refused: 0,
            slow: 0,
            closed_candles: 0,
            lost: Vec::new(),
            culprit: None,
            rejections: 0,
            unjudged: None,
        }
    }

    pub(crate) fn open(&mut self, id: ClientId, nonce: [u8; 16], config: &Arc<ClientConfig>) {
        let endpoint = Endpoint::parse("ws://127.0.0.1:8765/").unwrap();
        self.id = Some(id);
        self.wire = Some(Connection::client(&endpoint, config, nonce, &[]).unwrap());
    }

    /// The connection is gone, however that came.
    pub(crate) fn drop_connection(&mut self) {
        (self.id, self.wire) = (None, None);
        self.unsaid.clear();
    }

    pub(crate) fn outgoing(&mut self) -> Vec<u8> {
        let Some(wire) = &mut self.wire else { return Vec::new() };
        let bytes = wire.outgoing().to_vec();
        wire.consume_outgoing(bytes.len());
        bytes
    }

    pub(crate) fn say(&mut self, request: &Value) {
        if self.is_traced {
            eprintln!("client {:?} says {request}", self.id);
        }
        match &mut self.wire {
            Some(wire) if wire.is_open() => wire.send_text(&request.to_string()),
            _ => self.unsaid.push(request.to_string()),
        }
    }

    pub(crate) fn say_close(&mut self) {
        if let Some(wire) = &mut self.wire {
            wire.send_close(1000, "");
        }
    }

    /// Subscribes one series; with a book, from where that is complete.
    pub(crate) fn subscribe(&mut self, series: &Series, history: u32, closed_only: bool) {
        let market = Market::all().nth(series.0).unwrap();
        let mut request = serde_json::json!({
            "exchange": market.venue().name(), "contract_type": market.contract_type().name(),
            "symbols": [series.1], "closed_only": closed_only, "interval": series.2.name(),
            "source": if is_derived(series) { "derived" } else { "exchange" },
        });
        let known = self.books.get(series).and_then(Book::resume_from);
        match known {
            Some(since) => {
                request["since"] = since.into();
                self.books.get_mut(series).unwrap().resume(since);
                self.resumes += 1;
            }
            None => {
                let may_lack = self.culprit.as_ref().is_some_and(|culprit| culprit.0 == series.0);
                let mut book = Book::of(series.2);
                book.may_lack = may_lack;
                self.books.insert(series.clone(), book);
                if history > 0 {
                    request["history"] = history.into();
                }
            }
        }
        self.wanted.insert(series.clone(), closed_only);
        self.lost.retain(|lost| lost != series);
        request["id"] = self.next_id.into();
        self.awaited.insert(series.clone(), self.next_id);
        self.next_id += 1;
        self.say(&request);
    }

    pub(crate) fn unsubscribe(&mut self, series: &Series, unix_ms: i64) {
        let market = Market::all().nth(series.0).unwrap();
        self.wanted.remove(series);
        self.lost.retain(|lost| lost != series);
        if let Some(book) = self.books.remove(series) {
            self.ended.push((series.clone(), book, unix_ms));
        }
        self.say(&serde_json::json!({
            "op": "unsubscribe", "exchange": market.venue().name(),
            "contract_type": market.contract_type().name(), "symbols": [series.1],
            "interval": series.2.name(),
        }));
    }

    /// Bytes from the server. `Err`: a rule is broken.
    pub(crate) fn receive(&mut self, bytes: &[u8], unix_ms: i64) -> Result<(), String> {
        let Some(wire) = &mut self.wire else { return Ok(()) };
        wire.handle_bytes(bytes)
            .map_err(|error| format!("the server spoke no WebSocket: {error}"))?;
        while let Some(event) = self.wire.as_mut().and_then(|wire| wire.next_event().ok().flatten())
        {
            match event {
                Event::Text(text) => self.take(text.as_str(), unix_ms)?,
                Event::Close { code, .. } => {
                    self.slow += u64::from(code == Some(1013));
                    return Ok(());
                }
                Event::Open { .. } => {
                    let wire = self.wire.as_mut();
                    let unsaid = std::mem::take(&mut self.unsaid);
                    wire.into_iter()
                        .for_each(|wire| unsaid.iter().for_each(|text| wire.send_text(text)));
                }
                Event::Binary(_) | Event::Ping | Event::Pong(_) => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, text: &str, unix_ms: i64) -> Result<(), String> {
        if self.is_traced {
            eprintln!("client {:?} hears {text}", self.id);
        }
        let json: Value = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
        if self.is_hostile {
            return Ok(());
        }
        let of = |field: &str| json[field].as_str().unwrap_or_default();
        if self.unjudged.is_some_and(|market| {
            (market.venue().name(), market.contract_type().name())
                == (of("exchange"), of("contract_type"))
        }) {
            return Ok(());
        }
        match json["type"].as_str() {
            Some("subscribed") => {
                self.awaited.retain(|_, id| json["id"] != *id);
                return Ok(());
            }
            Some("unsubscribed" | "notice" | "pong" | "list") => return Ok(()),
            Some("error") => return self.refused(&json, unix_ms),
            _ => {}
        }
        let name = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        let (exchange, contract_type) = (name("exchange"), name("contract_type"));
        let market = Market::all().find(|market| {
            (market.venue().name(), market.contract_type().name()) == (&*exchange, &*contract_type)
        });
        let market = market.ok_or_else(|| format!("of no market: {text}"))?;
        let interval = Interval::from_name(&name("interval"))
            .ok_or_else(|| format!("of no interval: {text}"))?;
        let series = (market.index(), name("symbol"), interval);
        if self.awaited.contains_key(&series) {
            return Ok(());
        }
        let Some(book) = self.books.get_mut(&series) else { return Ok(()) };
        self.heard.insert(series.clone(), unix_ms);
        self.closed_candles += u64::from(json["is_closed_candle"] == true);
        let ended = json["to"].as_i64().filter(|_| json["type"] == "gap");
        let is_over = json["is_closed_candle"] == true || json["type"] == "empty";
        let ended = ended.or(json["open_time"].as_i64().filter(|_| is_over));
        if ended.is_some_and(|open_time| open_time + interval.ms() > unix_ms + AHEAD_MS) {
            return Err(format!("{series:?}: over before its end, at {unix_ms}: {text}"));
        }
        book.take(&json, text).map_err(|why| format!("{series:?}: {why}"))
    }

    /// Only what cannot be given may be refused, and it is named.
    fn refused(&mut self, json: &Value, unix_ms: i64) -> Result<(), String> {
        let code = json["code"].as_str().unwrap_or_default();
        // It was refused while the client left it; or the client has wanted nothing for long.
        if matches!(code, "not_subscribed" | "idle_timeout") {
            return Ok(());
        }
        if code == "ping_timeout" && self.has_stopped_reading {
            return Ok(());
        }
        if code == "symbol_rejected" {
            return self.rejected(json, unix_ms);
        }
        if !code.starts_with("since_") || json["missing"].as_array().is_none_or(Vec::is_empty) {
            return Err(format!("refused: {json}"));
        }
        self.refused += 1;
        self.end_named(json, unix_ms);
        Ok(())
    }

    /// An exchange may refuse one symbol, and then only that one.
    fn rejected(&mut self, json: &Value, unix_ms: i64) -> Result<(), String> {
        let ended = self.end_named(json, unix_ms);
        let is_culprit = |one: &Series| self.culprit.as_ref() == Some(&(one.0, one.1.clone()));
        self.rejections += 1;
        match ended.iter().all(is_culprit) {
            true => Ok(()),
            false => Err(format!("a symbol is rejected that is none of the liar's: {json}")),
        }
    }

    /// The series that a message names end.
    fn end_named(&mut self, json: &Value, unix_ms: i64) -> Vec<Series> {
        let market = Market::all().find(|market| {
            json["exchange"] == market.venue().name()
                && json["contract_type"] == market.contract_type().name()
        });
        let is_named = |one: &&Series| {
            let mut symbols = json["symbols"].as_array().into_iter().flatten();
            market.is_some_and(|market| market.index() == one.0)
                && symbols.any(|name| name == one.1.as_str())
                && (json["interval"].is_null() || json["interval"] == one.2.name())
        };
        let named: Vec<Series> = self.books.keys().filter(is_named).cloned().collect();
        for one in &named {
            let book = self.books.remove(one).unwrap();
            self.ended.push((one.clone(), book, unix_ms));
            self.lost.push(one.clone());
        }
        named
    }
}

/// An exchange's clock may be so far ahead, as [`super::faults`] has it.
const AHEAD_MS: i64 = 1_000;

pub(crate) fn no_tls() -> Arc<ClientConfig> {
    tls::client_config(None).unwrap()
}

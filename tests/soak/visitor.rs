//! A client that comes, stays a while, goes in one way or another, and resumes; it keeps a book of
//! each of its series over all its visits.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use connector_wss::market::Market;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::Stage;
use super::book::Book;
use super::dice::Dice;

/// A series: index of the market, symbol.
pub(crate) type Series = (usize, String);

pub(crate) struct Visitor {
    dice: Dice,
    pub(crate) books: BTreeMap<Series, Book>,
    awaited: BTreeMap<Series, u64>,
    next_id: u64,
    pub(crate) resumes: u64,
    pub(crate) refusals: u64,
    has_lost: bool,
}

impl Visitor {
    /// One that wants a third of `series`.
    pub(crate) fn new(seed: u64, series: &[Series]) -> Self {
        let mut dice = Dice::new(seed);
        let wanted = series.iter().filter(|_| dice.one_in(3));
        let books = wanted.map(|one| (one.clone(), Book::default())).collect();
        let awaited = BTreeMap::new();
        Self { dice, books, awaited, next_id: 1, resumes: 0, refusals: 0, has_lost: false }
    }

    /// Comes and goes until all is over.
    pub(crate) fn visit(mut self, stage: &Stage) -> Self {
        while !stage.is_over.load(Ordering::Acquire) {
            let server = *stage.server.lock().unwrap();
            let Ok(stream) = TcpStream::connect(server) else {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            };
            stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            let Ok((mut socket, _)) = tungstenite::client(format!("ws://{server}/"), stream) else {
                continue;
            };
            let stay = Instant::now() + self.dice.ms(2_000, 25_000);
            if self.subscribe(&mut socket).is_some() {
                self.listen(&mut socket, stage, stay);
            }
            match self.dice.below(3) {
                0 => drop(socket.close(None)),
                1 => std::thread::sleep(self.dice.ms(0, 3_000)),
                _ => {}
            }
        }
        self
    }

    fn subscribe(&mut self, socket: &mut WebSocket<TcpStream>) -> Option<()> {
        self.awaited.clear();
        for (series, book) in &mut self.books {
            let market = Market::all().nth(series.0).unwrap();
            let mut request = json!({
                "exchange": market.venue().name(), "contract_type": market.contract_type().name(),
                "symbols": [series.1], "id": self.next_id,
            });
            match book.resume_from() {
                Some(since) => {
                    request["since"] = since.into();
                    book.resume(since);
                    self.resumes += 1;
                }
                None => *book = Book::default(),
            }
            self.awaited.insert(series.clone(), self.next_id);
            self.next_id += 1;
            socket.send(Message::text(request.to_string())).ok()?;
        }
        Some(())
    }

    fn listen(&mut self, socket: &mut WebSocket<TcpStream>, stage: &Stage, stay: Instant) {
        loop {
            let is_peace = stage.is_peace.load(Ordering::Acquire);
            let is_lonely = std::mem::take(&mut self.has_lost);
            let is_leaving = is_lonely || (Instant::now() > stay && !is_peace);
            if is_leaving || stage.is_over.load(Ordering::Acquire) {
                return;
            }
            match socket.read() {
                Ok(Message::Text(text)) => self.take(&text, stage),
                Ok(Message::Close(_)) => return,
                Ok(_) => {}
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(_) => return,
            }
        }
    }

    /// What cannot be given is named, and asked for no more.
    fn refused(&mut self, json: &Value, text: &str) {
        let code = json["code"].as_str().unwrap();
        assert!(code.starts_with("since_") && !json["missing"].is_null(), "{text}");
        self.refusals += 1;
        let market = Market::all().find(|market| {
            json["exchange"] == market.venue().name()
                && json["contract_type"] == market.contract_type().name()
        });
        let symbol = json["symbols"][0].as_str().unwrap().to_owned();
        // Its book is begun anew with the next visit.
        self.books.insert((market.unwrap().index(), symbol), Book::default());
        self.has_lost = true;
    }

    fn take(&mut self, text: &str, stage: &Stage) {
        let json: Value = serde_json::from_str(text).unwrap();
        match json["type"].as_str().unwrap() {
            "subscribed" => return self.awaited.retain(|_, id| json["id"] != *id),
            "notice" => return,
            "error" => return self.refused(&json, text),
            _ => {}
        }
        let market = Market::all().find(|market| {
            json["exchange"] == market.venue().name()
                && json["contract_type"] == market.contract_type().name()
        });
        let symbol = json["symbol"].as_str().unwrap().to_owned();
        let series = (market.unwrap().index(), symbol);
        if self.awaited.contains_key(&series) {
            return;
        }
        if json["is_closed_candle"] == true {
            stage.closed_candles.fetch_add(1, Ordering::Relaxed);
        }
        if json["type"] == "gap" && json["reason"] == "not_received" {
            let from = json["from"].as_i64().unwrap();
            stage.gaps.lock().unwrap().insert((series.clone(), from));
        }
        let book = self.books.get_mut(&series).unwrap();
        book.take(&json, text).unwrap_or_else(|why| panic!("{series:?}: {why}"));
    }
}

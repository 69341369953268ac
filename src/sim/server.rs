//! The simulator's sockets: one thread, mio, one listener per contract type for WebSocket and REST
//! alike. Deliberately shares no code with `wire`, so that the two check each other.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ServerConfig;
use tungstenite::Message;

use crate::clock::{Clock, MonoNs};
use crate::market::{Market, Venue};

use super::client::{Client, Gone};
use super::exchange::{ConnectionId, Exchange};
use super::http;
use super::rest::{Response, Rest};
use super::socket::Socket;

/// Everything the simulator's thread owns.
pub(super) struct Server {
    poll: Poll,
    listeners: Vec<TcpListener>,
    clients: HashMap<usize, Client>,
    next_token: usize,
    exchanges: Vec<Exchange>,
    rest: Rest,
    /// Answers that a fault delays.
    held: Vec<Held>,
    tls: Option<Arc<ServerConfig>>,
    clock: Clock,
    stop: Arc<AtomicBool>,
}

/// An answer that is sent later.
struct Held {
    at: MonoNs,
    token: usize,
    text: String,
    is_last: bool,
}

impl Server {
    /// A server for `listeners`, in the order of `exchanges`; the waker ends its waiting.
    pub(super) fn new(
        mut listeners: Vec<TcpListener>,
        exchanges: Vec<Exchange>,
        tls: Option<Arc<ServerConfig>>,
        clock: Clock,
        stop: Arc<AtomicBool>,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener, Token(index), Interest::READABLE)?;
        }
        let waker = Waker::new(poll.registry(), WAKER)?;
        let server = Self {
            poll,
            listeners,
            clients: HashMap::new(),
            next_token: WAKER.0 + 1,
            exchanges,
            rest: Rest::default(),
            held: Vec::new(),
            tls,
            clock,
            stop,
        };
        Ok((server, waker))
    }

    /// Serves until it is stopped, or the poll itself fails.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.stop.load(Ordering::Acquire) {
            match self.poll.poll(&mut events, Some(self.patience())) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                waited => waited?,
            }
            let now = self.clock.mono();
            for event in &events {
                match event.token() {
                    WAKER => {}
                    Token(index) if index < WAKER.0 => self.accept(index),
                    Token(token) => self.serve(token, now),
                }
            }
            self.advance(self.clock.mono());
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        let held = self.held.iter().map(|held| held.at);
        let due = self.exchanges.iter().filter_map(Exchange::next_deadline).chain(held).min();
        let left = due.map_or(PATIENCE_MAX, |due| due.since(self.clock.mono()));
        left.min(PATIENCE_MAX)
    }

    fn accept(&mut self, index: usize) {
        loop {
            let mut stream = match self.listeners[index].accept() {
                Ok((stream, _)) => stream,
                // Of one connection, or of none: others may wait, and no further event reports
                // them.
                Err(error) if is_passing(&error) => continue,
                // Nobody waits, or no file is left: the next connection brings the next event.
                Err(_) => return,
            };
            let token = self.next_token;
            self.next_token += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registered = self.poll.registry().register(&mut stream, Token(token), interest);
            let prepared = stream.set_nodelay(true).and(registered);
            let socket = prepared.and_then(|()| Socket::new(stream, self.tls.as_ref()));
            if let Ok(socket) = socket {
                self.clients.insert(token, Client::new(index, socket));
            }
        }
    }

    /// Something happened on the client's socket. It is taken out while it is served.
    fn serve(&mut self, token: usize, now: MonoNs) {
        let Some(mut client) = self.clients.remove(&token) else { return };
        let served = if client.frozen { Ok(()) } else { self.converse(token, &mut client, now) };
        match served {
            Ok(()) => drop(self.clients.insert(token, client)),
            Err(Gone) => self.exchanges[client.exchange].disconnected(ConnectionId(token)),
        }
    }

    fn converse(&mut self, token: usize, client: &mut Client, now: MonoNs) -> Result<(), Gone> {
        while let Some(request) = client.next_request()? {
            self.answer(token, client, request, now)?;
        }
        let id = ConnectionId(token);
        while let Some(message) = client.next_message()? {
            match message {
                Message::Text(text) => {
                    match self.rest.post(&self.exchanges, client.exchange, &text, now) {
                        Some(answer) => self.exchanges[client.exchange].answer(id, answer, now),
                        None => self.exchanges[client.exchange].text(id, &text, now),
                    }
                }
                Message::Ping(_) => self.exchanges[client.exchange].ping(id, now),
                Message::Pong(_) => self.exchanges[client.exchange].pong(id, now),
                // Binary: the venue knows none; the answer is that of invalid JSON.
                Message::Binary(_) => self.exchanges[client.exchange].text(id, "", now),
                Message::Close(_) | Message::Frame(_) => {}
            }
        }
        client.flush()
    }

    fn answer(
        &mut self,
        token: usize,
        client: &mut Client,
        request: Result<http::Request, u16>,
        now: MonoNs,
    ) -> Result<(), Gone> {
        let request = match request {
            Ok(request) => request,
            Err(status) => return client.respond(&refusal(status, 0), true),
        };
        if let Some(key) = request.websocket_key {
            client.exchange = self.with_path(client.exchange, &request.target);
            let exchange = &mut self.exchanges[client.exchange];
            return match exchange.connect(ConnectionId(token), &request.target, now) {
                Ok(()) => client.upgrade(&key),
                Err(why) => client.respond(&refusal(why.status, why.retry_after), true),
            };
        }
        let index = client.exchange;
        let response = self.rest.respond(&mut self.exchanges, index, &request, now);
        let text = http::response(&response, request.method, request.close);
        if response.delay.is_zero() {
            return client.respond(&text, request.close);
        }
        let is_last = request.close;
        self.held.push(Held { at: now.after(response.delay), token, text, is_last });
        Ok(())
    }

    /// The market whose path `target` is: that of the port if it has such a path, else another of
    /// the same exchange. Binance's markets have hosts of their own.
    fn with_path(&self, port: usize, target: &str) -> usize {
        let venue = self.exchanges[port].profile.market.venue();
        if venue == Venue::Binance || self.exchanges[port].has_path(target) {
            return port;
        }
        let mut others = Market::of(venue).map(Market::index);
        others.find(|&one| self.exchanges[one].has_path(target)).unwrap_or(port)
    }

    /// Lets the exchanges send what is due, and writes it.
    fn advance(&mut self, now: MonoNs) {
        let mut gone = Vec::new();
        while let Some(at) = self.held.iter().position(|held| held.at <= now) {
            let Held { token, text, is_last, .. } = self.held.remove(at);
            let Some(client) = self.clients.get_mut(&token) else { continue };
            if client.respond(&text, is_last).is_err() {
                gone.push(token);
            }
        }
        for exchange in &mut self.exchanges {
            exchange.advance(now);
            while let Some((id, output)) = exchange.poll_output() {
                let Some(client) = self.clients.get_mut(&id.0) else { continue };
                if client.is_websocket() && client.perform(output, now).is_err() {
                    gone.push(id.0);
                }
            }
        }
        for (&token, client) in &mut self.clients {
            let late = client.drop_at.is_some_and(|at| at <= now);
            if late || (client.dirty && client.flush().is_err()) {
                gone.push(token);
            }
        }
        for token in gone {
            if let Some(client) = self.clients.remove(&token) {
                self.exchanges[client.exchange].disconnected(ConnectionId(token));
            }
        }
    }
}

/// Returns whether an error of accept(2) concerns one connection only: others may still wait.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted)
}

fn refusal(status: u16, retry_after: u64) -> String {
    let retry_after = Some(retry_after).filter(|&seconds| seconds > 0);
    let body = format!("{{\"code\":-1,\"msg\":\"HTTP {status}\"}}");
    let response = Response { status, body, retry_after, ..Response::default() };
    http::response(&response, http::Method::Get, true)
}

/// Above every listener, below every client.
const WAKER: Token = Token(Market::COUNT);
/// The longest wait, so that peers which never answer a Close are dropped in time.
const PATIENCE_MAX: Duration = Duration::from_millis(500);

//! A client's life: accepted, upgraded, read, pinged, closed. Owns the closing rules: what is sent
//! before the FIN, and how long each step may take. Answers no request itself.

use std::net::SocketAddr;

use crate::clock::Now;
use crate::fanout::clients::admission::rejection_parts;
use crate::fanout::clients::client::{Client, ClientPhase, Due, PendingClose};
use crate::fanout::clients::rate_limit::{Handling, RateLimit};
use crate::fanout::delivery::publish::{CLOSE_NORMAL, CLOSE_POLICY};
use crate::fanout::protocol::messages::Refusal;
use crate::fanout::{ClientId, Fanout, Output};
use crate::limits::{CLOSE_DRAIN, CLOSE_NORMAL_LINGER, CLOSE_WRITE_PATIENCE};
use crate::messages::EventName;
use crate::metrics::RefusedBy;
use crate::wire::{Connection, Event, MessageKind, WireError};

impl Fanout {
    /// A TCP connection was accepted. Without room, or during the drain, it is answered with HTTP
    /// 503 or 429 at once and closed.
    pub fn handle_accepted(&mut self, peer: SocketAddr, now: Now) -> ClientId {
        let closed = self.rejection_of(peer.ip());
        let tls = self.config.access.tls.as_ref();
        let connection = tls.map_or_else(Connection::server, Connection::server_over_tls);
        let id = self.clients.insert(|id| Client::new(id, peer, connection, now));
        if let (Some(bytes_max), Some(client)) = (self.echo_bytes_max, self.clients.find(id)) {
            client.connection(&mut self.turn).accept_messages_up_to(bytes_max);
        }
        match closed {
            Some(by) => self.refuse_connection(id, by, now),
            None => {
                self.metrics.accepted.increment();
                self.metrics.clients.add(1);
                self.addresses.add(peer.ip());
                self.arm(id);
            }
        }
        id
    }

    /// Takes bytes from a client's socket, at most [`crate::limits::READ_BYTES_MAX`] at a time.
    /// What arrives after our Close is dropped.
    pub fn handle_bytes(&mut self, id: ClientId, bytes: &[u8], now: Now) {
        let Some(client) = self.clients.find(id) else { return };
        if matches!(client.phase, ClientPhase::Flushing { .. } | ClientPhase::Draining { .. }) {
            return;
        }
        client.note_bytes(now);
        if let Err(error) = client.connection(&mut self.turn).handle_bytes(bytes) {
            return self.fail(id, &error, now);
        }
        if client.handling == Handling::OnArrival {
            self.read_messages(id, now);
        }
    }

    /// Handles a client's messages, up to the client's share of one turn.
    pub(crate) fn read_messages(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.find(id) else { return };
        client.allowance.begin_turn();
        loop {
            let Some(client) = self.clients.find(id) else { return };
            if client.allowance.is_turn_over() {
                break;
            }
            match client.phase {
                ClientPhase::Live { .. } => {}
                ClientPhase::Handshaking { rejected_by } => {
                    match self.handshake(id, rejected_by, now) {
                        true => continue,
                        false => return,
                    }
                }
                ClientPhase::Flushing { .. } | ClientPhase::Draining { .. } => return,
            }
            match client.allowance.rate_limit(now) {
                RateLimit::Now => {}
                RateLimit::Later(until) => return self.pause(id, until, now),
                RateLimit::Never => return self.stop_flood(id, now),
            }
            match client.connection(&mut self.turn).next_event() {
                Err(error) => return self.fail(id, &error, now),
                Ok(None) => {
                    self.want_bytes(id, true);
                    return self.end_turn(id, now);
                }
                Ok(Some(event)) => {
                    client.allowance.spend();
                    self.handle_event(id, event, now);
                }
            }
        }
        if let Some(client) = self.clients.find(id).filter(|client| client.is_live()) {
            client.handling = Handling::NextTurn;
            self.unread.push_back(id);
            self.want_bytes(id, false);
        }
        self.end_turn(id, now);
    }

    fn handle_event(&mut self, id: ClientId, event: Event, now: Now) {
        if let (Event::Text(_) | Event::Binary(_), Some(client)) = (&event, self.clients.find(id)) {
            client.last_message = now.mono;
        }
        match event {
            Event::Text(_) | Event::Binary(_) if self.is_client_draining(id) => {}
            Event::Text(text) if self.is_echo() => {
                self.echo(id, MessageKind::Text, text.as_bytes())
            }
            Event::Binary(bytes) if self.is_echo() => self.echo(id, MessageKind::Binary, &bytes),
            Event::Text(text) => self.serve(id, text.as_bytes(), now),
            // Libraries that encode JSON as bytes send it as binary.
            Event::Binary(bytes) => self.serve(id, &bytes, now),
            Event::Open { .. } | Event::Ping | Event::Pong(_) => {}
            Event::Close { code, .. } => self.answer_close(id, code, now),
        }
    }

    /// Ends the work on a client after its bytes were handled.
    pub(crate) fn end_turn(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.find(id) else { return };
        if client.ready_bytes() > self.config.client_buffer_max + PONGS_BYTES_MAX {
            // The client sends requests and pings without reading the answers.
            return self.remove(id, now);
        }
        if client.is_blocked() && client.outbox.bytes() > self.config.client_buffer_max {
            return self.close_slow(id, now);
        }
        self.accept_closed(id, now);
        self.offer(id);
        self.arm(id);
    }

    /// The client has sent Close. The code decides what the client still receives.
    fn answer_close(&mut self, id: ClientId, code: Option<u16>, now: Now) {
        let (due, patience) = match code {
            None => (Due::Everything, self.config.close_linger),
            Some(CLOSE_NORMAL) => (Due::FirstQuotes, CLOSE_NORMAL_LINGER),
            Some(_) => (Due::Nothing, CLOSE_NORMAL_LINGER),
        };
        let Some(client) = self.clients.find(id) else { return };
        client.pending_close = Some(PendingClose { due, until: now.mono.after(patience) });
        client.subscribe_by = None;
    }

    /// A client's FIN has arrived: `read()` returned 0. Harmless when repeated.
    pub fn handle_half_closed(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.find(id) else { return };
        if std::mem::replace(&mut client.is_half_closed, true) {
            return;
        }
        match client.phase {
            ClientPhase::Handshaking { .. } | ClientPhase::Draining { .. } => self.remove(id, now),
            ClientPhase::Flushing { .. } => {}
            ClientPhase::Live { .. } => {
                if client.pending_close.is_none() {
                    self.answer_close(id, None, now);
                }
                self.accept_closed(id, now);
                self.arm(id);
            }
        }
    }

    /// A client's socket has failed: the client is gone, and the driver closes the socket. The
    /// driver does not call it after [`Output::Close`], though that is harmless.
    pub fn handle_lost(&mut self, id: ClientId, now: Now) {
        self.forget(id, now);
    }

    /// Ends a client that broke the protocol. The error is among the outgoing bytes already.
    pub(crate) fn fail(&mut self, id: ClientId, error: &WireError, now: Now) {
        match error {
            WireError::Protocol { .. } => self.metrics.protocol_errors.increment(),
            WireError::Handshake(_) | WireError::Refused { .. } => {
                self.metrics.refused.increment(RefusedBy::Request);
            }
            WireError::Tls(_) => self.metrics.refused.increment(RefusedBy::Tls),
        }
        if let Some(client) = self.clients.find(id) {
            let (event, text) = match error {
                // The operator must see this mistake. Without the port, so that an address that
                // repeats it is logged once a second.
                WireError::Tls(why) => {
                    (EventName::ClientTls, format!("a client at {}: {why}", client.peer.ip()))
                }
                _ => (EventName::ClientBroke, format!("client {}: {error}", client.peer)),
            };
            self.notice(event, text);
        }
        self.flush(id, now);
    }

    /// Sends an error, then Close 1008.
    pub(crate) fn close_with_error(&mut self, id: ClientId, refusal: &Refusal, now: Now) {
        self.end_with_error(id, CLOSE_POLICY, refusal, now);
    }

    /// Answers with an error, then Close 1000: the client asked for nothing else.
    pub(crate) fn close_with_answer(&mut self, id: ClientId, refusal: &Refusal, now: Now) {
        self.end_with_error(id, CLOSE_NORMAL, refusal, now);
    }

    fn end_with_error(&mut self, id: ClientId, code: u16, refusal: &Refusal, now: Now) {
        self.write_error_frame(refusal);
        if let Some(client) = self.clients.find(id).filter(|client| client.is_live()) {
            // Ahead of what is owed, which is no longer sent.
            client.append_frames(&mut self.turn, &self.frame);
            self.metrics.sent_messages.increment();
        }
        self.close(id, code, &refusal.message, now);
    }

    /// Sends Close. What is owed beyond the outgoing bytes is dropped.
    pub(crate) fn close(&mut self, id: ClientId, code: u16, reason: &str, now: Now) {
        if let Some(client) = self.clients.find(id) {
            client.connection(&mut self.turn).send_close(code, reason);
            self.flush(id, now);
        }
    }

    /// Ends the outgoing bytes: nothing is appended any more, and when they are written, FIN
    /// follows.
    pub(crate) fn flush(&mut self, id: ClientId, now: Now) {
        self.end_subscriptions(id, now);
        self.end_pause(id);
        let Some(client) = self.clients.find(id) else { return };
        client.connection(&mut self.turn).finish();
        client.outbox.clear(&mut self.frames);
        client.phase = ClientPhase::Flushing { until: now.mono.after(CLOSE_WRITE_PATIENCE) };
        if client.ready_bytes() == 0 {
            return self.shut_down(id, now);
        }
        self.offer(id);
        self.arm(id);
    }

    /// Everything is written: sends FIN, unless the client's FIN came first.
    pub(crate) fn shut_down(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.find(id) else { return };
        if client.is_half_closed {
            return self.remove(id, now);
        }
        client.phase = ClientPhase::Draining { until: now.mono.after(CLOSE_DRAIN) };
        self.outputs.push_back(Output::ShutdownWrite { client: id });
        self.arm(id);
    }

    /// Removes the client, and has the driver close its socket now.
    pub(crate) fn remove(&mut self, id: ClientId, now: Now) {
        if self.forget(id, now) {
            self.outputs.push_back(Output::Close { client: id });
        }
    }

    fn forget(&mut self, id: ClientId, now: Now) -> bool {
        self.end_subscriptions(id, now);
        let Some(mut client) = self.clients.remove(id) else { return false };
        client.outbox.clear(&mut self.frames);
        if client.is_admitted {
            self.metrics.clients.add(-1);
            self.addresses.remove(client.peer.ip());
        }
        true
    }

    /// Handles the deadline of the client that has come, if one has.
    pub(crate) fn client_timeout(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.find(id) else { return };
        client.armed = crate::clock::MonoNs(u64::MAX);
        if client.deadline(&self.config) <= now.mono {
            match client.phase {
                ClientPhase::Handshaking { rejected_by } => {
                    if rejected_by.is_none() {
                        self.metrics.refused.increment(RefusedBy::Timeout);
                    }
                    let (status, headers, why) = rejection_parts(RefusedBy::Timeout);
                    client.connection(&mut self.turn).refuse(status, headers, why);
                    self.flush(id, now);
                }
                ClientPhase::Flushing { .. } | ClientPhase::Draining { .. } => self.remove(id, now),
                ClientPhase::Live { .. } => self.live_timeout(id, now),
            }
        }
        self.arm(id);
    }

    fn live_timeout(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.find(id) else { return };
        if matches!(client.handling, Handling::Paused { until } if until <= now.mono) {
            client.handling = Handling::OnArrival;
            return self.read_messages(id, now);
        }
        if client.pending_close.is_some() {
            return self.accept_closed(id, now);
        }
        if client.subscribe_by.is_some_and(|deadline| deadline <= now.mono) {
            let refusal = self.subscribe_timeout_error(id);
            return self.close_with_error(id, &refusal, now);
        }
        if client.idle_deadline(&self.config).is_some_and(|deadline| deadline <= now.mono) {
            let seconds = self.config.access.idle_timeout.as_secs_f64();
            let message = format!(
                "no subscription and no message for {seconds} s; connect again when you need \
                 something, or send {{\"op\":\"ping\"}} now and then"
            );
            return self.close_with_error(id, &Refusal::new("idle_timeout", message), now);
        }
        if client.ping_deadline(&self.config).is_some_and(|deadline| deadline <= now.mono) {
            if client.pinged.is_some() {
                return self.close_silent(id, now);
            }
            client.pinged = Some(now.mono);
            // Some clients do not answer a ping without a payload.
            client.connection(&mut self.turn).send_ping(&now.mono.0.to_be_bytes());
            self.offer(id);
        }
    }

    /// Closes a client that has sent nothing since it was pinged.
    fn close_silent(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.find(id) else { return };
        let (seconds, peer) = (self.config.ping_timeout.as_secs_f64(), client.peer);
        let message = format!("no pong and no message within {seconds} s after a ping");
        self.metrics.ping_timeouts.increment();
        self.notice(EventName::ClientSilent, format!("client {peer} was closed (1008): {message}"));
        self.close_with_error(id, &Refusal::new("ping_timeout", message), now);
    }
}

/// Room for pongs and answers to a client that is behind, beyond what it may be owed.
const PONGS_BYTES_MAX: usize = 2 * crate::limits::READY_BYTES_MAX;

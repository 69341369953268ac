//! Decides whether a connection becomes a client: who is admitted, how the opening request is
//! answered, what a client without a token may send. Owns rejections before the first message; the
//! rules are in [`crate::fanout::clients::access`].

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::clock::Now;
use crate::fanout::clients::access::{Credential, TokenDigest, Tokens};
use crate::fanout::clients::client::{Client, ClientPhase};
use crate::fanout::delivery::turn_buffer::TurnBuffer;
use crate::fanout::protocol::messages::{Refusal, write_authenticated, write_health};
use crate::fanout::protocol::request::Op;
use crate::fanout::{ClientId, Fanout};
use crate::limits::{CLIENTS_MAX, REFUSALS_MAX};
use crate::messages::EventName;
use crate::metrics::RefusedBy;
use crate::wire::Request;

impl Fanout {
    /// Why a connection from `address` is not admitted now; `None`: it is admitted.
    pub(crate) fn rejection_of(&self, address: IpAddr) -> Option<RefusedBy> {
        let admitted = usize::try_from(self.metrics.clients.value()).unwrap_or(0);
        let per_address = self.config.access.connections_per_address_max;
        if self.is_draining {
            Some(RefusedBy::Draining)
        } else if admitted >= self.config.clients_max.min(CLIENTS_MAX) {
            Some(RefusedBy::Full)
        } else if per_address > 0 && self.addresses.count(address) >= per_address {
            Some(RefusedBy::Address)
        } else {
            None
        }
    }

    /// Rejects a connection: at once, or with TLS after its handshake. Above [`REFUSALS_MAX`] such
    /// connections at a time, the next ones are closed without an answer.
    pub(crate) fn refuse_connection(&mut self, id: ClientId, by: RefusedBy, now: Now) {
        self.metrics.refused.increment(by);
        let admitted = usize::try_from(self.metrics.clients.value()).unwrap_or(0);
        let refusals = self.clients.len().saturating_sub(admitted);
        let Some(client) = self.clients.find(id) else { return };
        client.is_admitted = false;
        if refusals > self.config.refusals_max.min(REFUSALS_MAX) {
            return self.remove(id, now);
        }
        if self.config.access.tls.is_some() {
            client.phase = ClientPhase::Handshaking { rejected_by: Some(by) };
            return self.arm(id);
        }
        refuse(client, &mut self.turn, by);
        self.flush(id, now);
    }

    /// Reads the opening request, if it has arrived, and answers it. With `rejected_by`, the answer
    /// is a rejection. Returns whether messages follow.
    pub(crate) fn handshake(
        &mut self,
        id: ClientId,
        rejected_by: Option<RefusedBy>,
        now: Now,
    ) -> bool {
        let Some(client) = self.clients.find(id) else { return false };
        let request = match client.connection(&mut self.turn).take_request() {
            Ok(Some(request)) => request,
            Ok(None) => {
                self.end_turn(id, now);
                return false;
            }
            Err(error) => {
                self.fail(id, &error, now);
                return false;
            }
        };
        if let Some(by) = rejected_by {
            refuse(client, &mut self.turn, by);
        } else if !self.config.access.admits_host(&request) {
            return self.refuse_request(id, RefusedBy::Host, now);
        } else if request.path == HEALTH && matches!(&*request.method, "GET" | "HEAD") {
            self.payload.clear();
            write_health(&mut self.payload, now);
            let body = String::from_utf8_lossy(&self.payload);
            client.connection(&mut self.turn).answer(200, NO_STORE, "application/json", &body);
        } else {
            return self.judge(id, &request, now);
        }
        self.flush(id, now);
        false
    }

    fn judge(&mut self, id: ClientId, request: &Request, now: Now) -> bool {
        if !self.config.access.admits_page(&request.origins, &request.hosts) {
            return self.refuse_request(id, RefusedBy::Origin, now);
        }
        let token = match (&self.config.access.tokens, Credential::of(request)) {
            (None, _) | (Some(_), Credential::Missing) => None,
            (Some(tokens), Credential::Token(token)) if tokens.contains(&token) => Some(token),
            (Some(_), Credential::Token(_) | Credential::Unusable) => {
                return self.refuse_request(id, RefusedBy::Token, now);
            }
        };
        let subscribe_by = now.mono.after(self.config.subscribe_timeout);
        let Some(client) = self.clients.find(id) else { return false };
        if let Err(error) = client.connection(&mut self.turn).accept(request) {
            self.fail(id, &error, now);
            return false;
        }
        client.phase = ClientPhase::Live { is_slow: false };
        client.subscribe_by = Some(subscribe_by);
        client.token = token;
        if self.is_draining {
            self.drain_client(id, now);
        }
        true
    }

    fn refuse_request(&mut self, id: ClientId, by: RefusedBy, now: Now) -> bool {
        self.metrics.refused.increment(by);
        if let Some(client) = self.clients.find(id) {
            refuse(client, &mut self.turn, by);
            let text =
                format!("a client at {} was refused: {}", client.peer.ip(), rejection_parts(by).2);
            self.notice(EventName::ClientRefused, text);
        }
        self.flush(id, now);
        false
    }

    /// Returns whether the client still has to show a token.
    pub(crate) fn lacks_token(&mut self, id: ClientId) -> bool {
        let needs_token = self.config.access.tokens.is_some();
        needs_token && self.clients.find(id).is_some_and(|client| client.token.is_none())
    }

    /// The error for a client that has shown no token; `None`: its message may be handled.
    pub(crate) fn token_error(&mut self, id: ClientId, op: Option<&Op>) -> Option<Box<Refusal>> {
        if matches!(op, Some(Op::Auth(_) | Op::Ping)) || !self.lacks_token(id) {
            return None;
        }
        let message = format!("a token is needed before anything else; send {AUTH_EXAMPLE}");
        Some(Refusal::new("auth_required", message))
    }

    /// The error for a client that has not subscribed in time.
    pub(crate) fn subscribe_timeout_error(&mut self, id: ClientId) -> Box<Refusal> {
        let seconds = self.config.subscribe_timeout.as_secs_f64();
        if self.lacks_token(id) {
            let message = format!("no token within {seconds} s; send {AUTH_EXAMPLE}");
            return Refusal::new("auth_timeout", message);
        }
        let message = format!(
            "no subscription within {seconds} s; send one object such as {{\"exchange\":\
             \"binance\",\"contract_type\":\"spot\",\"symbols\":[\"BTCUSDT\"]}}"
        );
        Refusal::new("subscribe_timeout", message)
    }

    /// Checks the token in a message: a valid one admits the client, a wrong one closes it. If no
    /// token is needed, every token is valid.
    pub(crate) fn authenticate(
        &mut self,
        id: ClientId,
        token: TokenDigest,
        echo: Option<String>,
        now: Now,
    ) {
        let lacked_token = self.lacks_token(id);
        if let Some(tokens) = &self.config.access.tokens {
            if !tokens.contains(&token) {
                self.metrics.refused.increment(RefusedBy::Token);
                let refusal =
                    Refusal::new("unauthorized", rejection_parts(RefusedBy::Token).2.to_owned());
                return self.close_with_error(id, &Refusal { id: echo, ..*refusal }, now);
            }
            let subscribe_by = now.mono.after(self.config.subscribe_timeout);
            let Some(client) = self.clients.find(id) else { return };
            client.token = Some(token);
            if lacked_token {
                client.subscribe_by = Some(subscribe_by);
            }
        }
        self.payload.clear();
        write_authenticated(&mut self.payload, echo.as_deref());
        self.send_payload(id);
    }

    /// Sets the certificate for new connections. Existing ones keep theirs.
    pub fn set_tls(&mut self, tls: Arc<ServerConfig>) {
        self.config.access.tls = Some(tls);
    }

    /// Sets the tokens. A client with a token that is not among them gets an error and close 1008;
    /// the others stay.
    pub fn set_tokens(&mut self, tokens: Tokens, now: Now) {
        let is_revoked = |client: &Client| {
            client.is_live() && client.token.is_some_and(|token| !tokens.contains(&token))
        };
        let ids = self.clients.ids().into_iter();
        let revoked = ids.filter(|&id| self.clients.peek(id).is_some_and(is_revoked));
        let revoked: Vec<ClientId> = revoked.collect();
        self.config.access.tokens = Some(tokens);
        for id in revoked {
            let message = "the token was revoked; connect with another one".to_owned();
            self.close_with_error(id, &Refusal::new("token_revoked", message), now);
        }
    }
}

fn refuse(client: &mut Client, turn: &mut TurnBuffer, by: RefusedBy) {
    let (status, headers, why) = rejection_parts(by);
    client.connection(turn).refuse(status, headers, why);
}

/// Status, further header lines, and a sentence. For a malformed request `wire` has its own text.
pub(crate) fn rejection_parts(by: RefusedBy) -> (u16, &'static str, &'static str) {
    match by {
        RefusedBy::Full => (503, RETRY_AFTER, "too many clients"),
        RefusedBy::Draining => (503, RETRY_AFTER, "the server is going down"),
        RefusedBy::Address => (429, RETRY_AFTER, "too many connections from this address"),
        RefusedBy::Timeout => (408, "", "the request did not arrive in time"),
        RefusedBy::Host => (403, "", HOST_REFUSED),
        RefusedBy::Origin => (
            403,
            "",
            "pages of this origin may not connect; CONNECTOR_WSS_ORIGINS names those that may",
        ),
        RefusedBy::Token => (401, CHALLENGE, "the token is not valid here"),
        RefusedBy::Tls | RefusedBy::Request => (400, "", "the request is malformed"),
    }
}

/// The error for an unknown name in `Host`, on both ports.
pub const HOST_REFUSED: &str = "this server does not answer to that host name; address it as \
    localhost or 127.0.0.1, or name the host in CONNECTOR_WSS_ORIGINS";

const HEALTH: &str = "/health";
const RETRY_AFTER: &str = "Retry-After: 5\r\n";
const CHALLENGE: &str = "WWW-Authenticate: Bearer error=\"invalid_token\"\r\n";
const NO_STORE: &str = "Cache-Control: no-store\r\n";
const AUTH_EXAMPLE: &str = r#"{"op":"auth","token":"…"}"#;

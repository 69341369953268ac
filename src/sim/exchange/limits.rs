//! The limits of an exchange and what breaking them does: connections, messages per second, pings
//! that want their pong, and the life of a connection.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::MonoNs;
use crate::market::Venue;

use super::{Connection, ConnectionId, Exchange, Output, Refusal, lock};

impl Exchange {
    pub(super) fn admit(&mut self, now: MonoNs) -> Result<(), Refusal> {
        let until =
            |end: MonoNs, status| Refusal { status, retry_after: end.since(now).as_secs() + 1 };
        if now < self.refuse_until {
            return Err(until(self.refuse_until, 503));
        }
        let address = self.address.clone();
        let mut address = lock(&address);
        if now < address.banned_until {
            return Err(until(address.banned_until, 418));
        }
        let limit = self.profile.connects.filter(|_| self.settings.enforce_limits);
        if let Some((count_max, window)) = limit {
            forget_before(&mut address.connects, window, now);
            if address.connects.len() >= count_max {
                let end = address.connects[0].after(window);
                drop(address);
                self.offend(now);
                return Err(until(end, 429));
            }
        }
        if address.connections >= self.profile.connections_max && self.settings.enforce_limits {
            drop(address);
            self.offend(now);
            return Err(until(now.after(FULL_PAUSE), 429));
        }
        address.connects.push_back(now);
        address.connections += 1;
        Ok(())
    }

    /// Counts a broken limit; repeated ones end in a ban.
    pub(super) fn offend(&mut self, now: MonoNs) {
        self.counters.limit_cuts += 1;
        let mut address = lock(&self.address);
        forget_before(&mut address.offences, OFFENCES_WINDOW, now);
        address.offences.push_back(now);
        if address.offences.len() >= OFFENCES_MAX {
            address.offences.clear();
            address.banned_until = now.after(BAN);
        }
    }

    /// Counts a client's frame; false if the connection was cut for it or is gone.
    pub(super) fn count_message(&mut self, id: ConnectionId, now: MonoNs) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        connection.last_received = now;
        let window = self.profile.messages.map_or(Duration::MAX, |(_, window)| window);
        if now.since(connection.window_start) >= window {
            connection.window_start = now;
            connection.window_messages = 0;
        }
        connection.window_messages += 1;
        let is_within = self
            .profile
            .messages
            .is_none_or(|(count_max, _)| connection.window_messages <= count_max);
        let is_address_within = self.profile.messages_address.is_none_or(|(count_max, window)| {
            let mut address = lock(&self.address);
            forget_before(&mut address.messages, window, now);
            address.messages.push_back(now);
            address.messages.len() <= count_max
        });
        if (is_within && is_address_within) || !self.settings.enforce_limits {
            return true;
        }
        self.outputs.push_back((id, Output::Close(1008, "Too many requests")));
        self.offend(now);
        self.disconnected(id);
        false
    }

    /// Counts a subscribe or unsubscribe frame; false if there were too many.
    pub(super) fn count_operation(&mut self, id: ConnectionId, now: MonoNs) -> bool {
        let Some((count_max, window)) = self.profile.operations else { return true };
        let Some(open) = self.connections.get_mut(&id) else { return false };
        forget_before(&mut open.operations, window, now);
        if open.operations.len() >= count_max && self.settings.enforce_limits {
            self.offend(now);
            return false;
        }
        open.operations.push_back(now);
        true
    }

    pub(super) fn connection_deadline(&self, open: &Connection) -> MonoNs {
        let patience = self.profile.server_ping.map(|(_, patience)| patience);
        let pong = open.pong_owed_since.zip(patience).map(|(since, time)| since.after(time));
        let play = self.play_due(open).filter(|_| !open.silent);
        let quiet = self.quiet_end(open).map(|(end, _)| end);
        let life = open.opened.after(self.settings.connection_life);
        let others = [pong, play, quiet, open.cut_at].into_iter().flatten();
        others.fold(life.min(open.next_ping), MonoNs::min)
    }

    /// When silence ends the connection, and how.
    fn quiet_end(&self, open: &Connection) -> Option<(MonoNs, Output)> {
        let server = self.profile.quiet_server.map(|time| {
            let end = match self.profile.market.venue() {
                Venue::Okx => Output::Close(4004, "No data received in 30s"),
                _ => Output::Cut,
            };
            (open.last_sent.after(time), end)
        });
        let client = self.profile.quiet_client.and_then(|time| {
            let since = match self.profile.market.venue() {
                // Only a socket without subscriptions is cut.
                Venue::Gateio if !open.subscriptions.is_empty() => return None,
                // Data keeps the connection as pings do.
                Venue::Bybit => open.last_received.max(open.last_sent),
                _ => open.last_received,
            };
            Some((since.after(time), Output::Cut))
        });
        server.into_iter().chain(client).min_by_key(|(end, _)| *end)
    }

    pub(super) fn advance_connections(&mut self, now: MonoNs) {
        let mut ended = Vec::new();
        let payload = self.time.unix_ms(now).to_string();
        let (interval, patience) =
            self.profile.server_ping.unwrap_or((Duration::MAX, Duration::MAX));
        let mut pinged = Vec::new();
        for (&id, open) in &self.connections {
            let late = open.pong_owed_since.map(|since| since.after(patience));
            let quiet = self.quiet_end(open).filter(|(end, _)| *end <= now);
            if late.is_some_and(|late| late <= now) || open.cut_at.is_some_and(|at| at <= now) {
                ended.push((id, Output::Cut));
            } else if let Some((_, output)) = quiet {
                ended.push((id, output));
            } else if now >= open.opened.after(self.settings.connection_life) {
                ended.push((id, Output::Close(1001, "Connection lifetime reached")));
            } else if now >= open.next_ping {
                pinged.push(id);
            }
        }
        for id in pinged {
            self.with(id, |open| {
                open.next_ping = now.after(interval);
                open.pong_owed_since = open.pong_owed_since.or(Some(now));
            });
            self.outputs.push_back((id, Output::Ping(payload.clone())));
        }
        for (id, output) in ended {
            self.disconnected(id);
            self.outputs.push_back((id, output));
        }
    }
}

fn forget_before(times: &mut VecDeque<MonoNs>, window: Duration, now: MonoNs) {
    while times.front().is_some_and(|&time| now.since(time) >= window) {
        times.pop_front();
    }
}

/// `Retry-After` of a connection too many.
const FULL_PAUSE: Duration = Duration::from_secs(10);
const OFFENCES_WINDOW: Duration = Duration::from_secs(300);
/// Limits broken within [`OFFENCES_WINDOW`] before the address is banned. The venue says
/// "repeated"; the number is ours.
pub(super) const OFFENCES_MAX: usize = 5;
/// Source: bans "scale in duration from 2 minutes to 3 days".
const BAN: Duration = Duration::from_secs(120);

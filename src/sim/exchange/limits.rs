//! The limits of an exchange and what breaking them does: connections, messages per second, pings
//! that want their pong, and the life of a connection.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::MonoNs;

use super::{Connection, ConnectionId, Exchange, Output, Refusal};

impl Exchange {
    pub(super) fn admit(&mut self, now: MonoNs) -> Result<(), Refusal> {
        let until =
            |end: MonoNs, status| Refusal { status, retry_after: end.since(now).as_secs() + 1 };
        if now < self.refuse_until {
            return Err(until(self.refuse_until, 503));
        }
        if now < self.banned_until {
            return Err(until(self.banned_until, 418));
        }
        forget_before(&mut self.connects, CONNECTS_WINDOW, now);
        let limit = self.profile.connects_max.filter(|_| self.settings.enforce_limits);
        if limit.is_some_and(|limit| self.connects.len() >= limit) {
            self.offend(now);
            return Err(until(self.connects[0].after(CONNECTS_WINDOW), 429));
        }
        self.connects.push_back(now);
        Ok(())
    }

    /// Counts a broken limit; repeated ones end in a ban.
    pub(super) fn offend(&mut self, now: MonoNs) {
        self.counters.limit_cuts += 1;
        forget_before(&mut self.offences, CONNECTS_WINDOW, now);
        self.offences.push_back(now);
        if self.offences.len() >= OFFENCES_MAX {
            self.offences.clear();
            self.banned_until = now.after(BAN);
        }
    }

    /// Counts a client's frame; false if the connection was cut for it or is gone.
    pub(super) fn count_message(&mut self, id: ConnectionId, now: MonoNs) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        if now.since(connection.window_start) >= MESSAGES_WINDOW {
            connection.window_start = now;
            connection.window_messages = 0;
        }
        connection.window_messages += 1;
        let limit = self.profile.messages_per_second;
        if connection.window_messages <= limit || !self.settings.enforce_limits {
            return true;
        }
        self.outputs.push_back((id, Output::Close(1008, "Too many requests")));
        self.offend(now);
        self.disconnected(id);
        false
    }

    pub(super) fn connection_deadline(&self, open: &Connection) -> MonoNs {
        let pong = open.pong_owed_since.map(|since| since.after(self.profile.pong_patience));
        let play = self.play_due(open).filter(|_| !open.silent);
        let life = open.opened.after(self.settings.connection_life);
        [pong, play].into_iter().flatten().fold(life.min(open.next_ping), MonoNs::min)
    }

    pub(super) fn advance_connections(&mut self, now: MonoNs) {
        let mut ended = Vec::new();
        let payload = self.time.unix_ms(now).to_string();
        for (&id, open) in &mut self.connections {
            let late = open.pong_owed_since.map(|since| since.after(self.profile.pong_patience));
            if late.is_some_and(|late| late <= now) {
                ended.push((id, Output::Cut));
            } else if now >= open.opened.after(self.settings.connection_life) {
                ended.push((id, Output::Close(1001, "Connection lifetime reached")));
            } else if now >= open.next_ping {
                open.next_ping = now.after(self.profile.ping_interval);
                open.pong_owed_since = open.pong_owed_since.or(Some(now));
                self.outputs.push_back((id, Output::Ping(payload.clone())));
            }
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

const MESSAGES_WINDOW: Duration = Duration::from_secs(1);
/// Source: "300 connections per attempt every 5 minutes per IP".
const CONNECTS_WINDOW: Duration = Duration::from_secs(300);
/// Limits broken within [`CONNECTS_WINDOW`] before the address is banned. The venue says
/// "repeated"; the number is ours.
pub(super) const OFFENCES_MAX: usize = 5;
/// Source: bans "scale in duration from 2 minutes to 3 days".
const BAN: Duration = Duration::from_secs(120);

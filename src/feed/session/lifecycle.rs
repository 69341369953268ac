//! The life of a session: connect, handshake, heartbeat, loss, backoff, renewal, close. Owns the
//! times at which a session changes its [`SessionPhase`]; knows no candle.

use std::time::Duration;

use crate::clock::{MonoNs, Now};
use crate::feed::limits::budget::Claim;
use crate::feed::limits::rate_limits::LimitedAction;
use crate::feed::session::suspects::SOON;
use crate::feed::session::timers::OpenTimer;
use crate::feed::session::{ReportedLoss, Session, SessionPhase, Succession};
use crate::feed::stream::Check;
use crate::feed::{Feed, Output, SessionId};
use crate::limits::{CLOSE_DRAIN, CONNECT_PATIENCE, VENUE_UNSENT_BYTES_MAX};
use crate::market::Market;
use crate::messages::{EventName, FeedEvent};
use crate::metrics::{ConnectionErrorKind, WaitReason};
use crate::wire::{Connection, WireError};
use crate::{text, venue};

/// Whether the socket of a lost session is still open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Socket {
    Open,
    Gone,
}

impl Feed {
    /// Takes an empty place for a session of `market`, which connects as soon as the limits allow
    /// it.
    pub(crate) fn new_session(&mut self, market: Market, now: MonoNs) -> usize {
        let free = self.sessions.iter().position(|session| session.phase == SessionPhase::Free);
        let index = free.unwrap_or(self.sessions.len());
        let number = u32::try_from(index).expect("no more sessions than instruments");
        let generation = free.map_or(0, |index| self.sessions[index].id.generation);
        let mut session = Session::new(SessionId { index: number, generation }, market);
        session.enter(SessionPhase::Waiting { until: now });
        session.is_alternate = self.gates.of(market).is_alternate;
        if index == self.sessions.len() {
            self.sessions.push(session);
        } else {
            self.sessions[index] = session;
        }
        assert!(self.sessions[index].id.index() == index, "a session's id names its place");
        index
    }

    /// Does everything that is due on one session.
    pub(crate) fn tick(&mut self, index: usize, at: Now) {
        let now = at.mono;
        match self.sessions[index].phase {
            SessionPhase::Free => {}
            SessionPhase::Waiting { .. } | SessionPhase::Open { .. }
                if self.sessions[index].is_left(now) =>
            {
                self.retire(index, now);
            }
            SessionPhase::Waiting { until } if until <= now => self.connect(index, now),
            SessionPhase::Waiting { .. } => {}
            SessionPhase::Connecting { since } if since.after(CONNECT_PATIENCE) <= now => {
                match self.begun_refusal(index) {
                    Some(refusal) => self.lose_wire(index, &refusal, Socket::Open, at),
                    None => {
                        let why = "no handshake in time";
                        self.lose_to(index, ConnectionErrorKind::Timeout, why, now);
                    }
                }
            }
            SessionPhase::Connecting { .. } => {}
            SessionPhase::Open { .. } => self.tick_open(index, at),
            SessionPhase::Closing { since, .. } if since.after(CLOSE_DRAIN) <= now => {
                self.finish_close(index, Socket::Open);
            }
            SessionPhase::Closing { .. } => {}
        }
    }

    /// The claim of a session on the exchange's limits: that of its most deserving member.
    pub(crate) fn claim(&self, session: &Session) -> Claim {
        let mut members = session.members.iter().filter_map(|&id| self.streams.stream(id));
        match members.any(|stream| stream.claim() == Claim::Served) {
            true => Claim::Served,
            false => Claim::New,
        }
    }

    fn connect(&mut self, index: usize, now: MonoNs) {
        let market = self.sessions[index].market;
        if !self.judge_end(index, now) {
            return;
        }
        self.report_denied_elsewhere(index, now);
        let claim = self.claim(&self.sessions[index]);
        let is_early = self.gates.sessions_at(market, claim) > now;
        let must_wait = is_early || self.is_being_resolved(market);
        if must_wait || !self.gates.of_mut(market).breaker.admit(now) {
            return self.report_waiting(index, now);
        }
        if !self.gates.pauses.admit(market, LimitedAction::Connect, now) {
            // Another session of the group connects first.
            return self.gates.of_mut(market).breaker.forget();
        }
        self.gates.group_mut(market).connects.spend(claim, now);
        let session = &mut self.sessions[index];
        session.id.generation = session.id.generation.wrapping_add(1);
        session.is_on_trial = true;
        session.enter(SessionPhase::Connecting { since: now });
        let base = &self.config.ws_bases[session.market.index()];
        let endpoint = venue::endpoint(session.market, base, session.is_alternate);
        self.outputs.push_back(Output::Connect { session: session.id, endpoint });
    }

    /// Returns whether the host of `market` had no address, and a session asks for it again.
    pub(crate) fn is_being_resolved(&self, market: Market) -> bool {
        let asks = |session: &Session| session.market == market && session.is_reaching();
        self.gates.of(market).unresolved_until.is_some() && self.sessions.iter().any(asks)
    }

    /// An attempt has reached the exchange, or may have.
    fn count_attempt(&self, index: usize) {
        let session = &self.sessions[index];
        if session.is_reaching() {
            self.metrics.market(session.market).connects.increment();
        }
    }

    /// An attempt has not left this host: what it took of the budget is free again.
    fn take_back_attempt(&mut self, index: usize) {
        let session = &self.sessions[index];
        let (market, claim) = (session.market, self.claim(session));
        if let SessionPhase::Connecting { since } = session.phase {
            self.gates.group_mut(market).connects.take_back(claim, since);
        }
    }

    /// When the name is asked for again, if the session's host, or its proxy's, has no address. A
    /// failure of another kind shows that it has one.
    fn resolves_at(
        &mut self,
        index: usize,
        kind: ConnectionErrorKind,
        now: MonoNs,
    ) -> Option<MonoNs> {
        let session = &self.sessions[index];
        let gate = self.gates.of_mut(session.market);
        if kind == ConnectionErrorKind::Dns {
            let soon = now.after(self.rng.between(LOOK_UP_PAUSE, LOOK_UP_PAUSE_MAX));
            let known = gate.unresolved_until.filter(|&at| at > now);
            gate.unresolved_until = Some(known.unwrap_or(soon));
            return gate.unresolved_until;
        }
        if kind.may_have_reached() && session.is_reaching() {
            gate.unresolved_until = None;
        }
        None
    }

    pub(crate) fn begin_handshake(&mut self, index: usize, now: Now) {
        self.count_attempt(index);
        let session = &mut self.sessions[index];
        self.gates.of_mut(session.market).unresolved_until = None;
        let base = &self.config.ws_bases[session.market.index()];
        let endpoint = venue::endpoint(session.market, base, session.is_alternate);
        let headers = venue::handshake_headers(session.market);
        match Connection::client(&endpoint, &self.config.tls, self.rng.nonce(), headers) {
            Ok(wire) => session.wire = Some(wire),
            Err(error) => return self.lose_wire(index, &error, Socket::Open, now),
        }
        self.transmit(index);
    }

    /// Subscribes all members, because the handshake is done.
    pub(crate) fn opened(&mut self, index: usize, now: MonoNs) {
        let life = venue::limits(self.sessions[index].market).session_life;
        let life = life.map(|life| self.rng.between(life, life + RENEWAL_SPREAD));
        let session = &mut self.sessions[index];
        if let SessionPhase::Connecting { since } = session.phase {
            self.gates.pauses.admitted(session.market, LimitedAction::Connect, since);
        }
        session.end_denial();
        session.enter(SessionPhase::Open { since: now });
        (session.last_received, session.last_candle) = (now, now);
        session.renew_at = life.map_or(MonoNs(u64::MAX), |life| now.after(life));
        session.next_ping = now.after(session.ping_interval(self.config.ping_interval));
        session.ask_for_all();
        let (market, count) = (session.market, session.members.len());
        let was_lost = session.lost_at.is_some();
        if was_lost {
            self.market_metrics(market).reconnections.increment();
        }
        let word = if was_lost { "up again" } else { "up" };
        let text = format!("session {index} is {word}: {count} symbols");
        self.notice_of_session(EventName::SessionUp, index, text);
    }

    fn tick_open(&mut self, index: usize, at: Now) {
        let now = at.mono;
        let is_reading = self.queue.has_room();
        let session = &mut self.sessions[index];
        if !is_reading {
            // The socket is not read, so that its silence proves nothing.
            (session.last_received, session.last_candle) = (now, now);
            session.ping_sent = session.ping_sent.map(|_| now);
        }
        if self.is_timer_due(index, OpenTimer::Answer, now) {
            if !self.isolate_unanswered(index, now) {
                let why = "a subscription was not answered";
                self.suspect(index, None, why, now);
                return self.lose_to(index, ConnectionErrorKind::Timeout, why, now);
            }
            if !self.sessions[index].is_open() {
                return;
            }
        }
        let unsent = self.sessions[index].wire.as_ref().map_or(0, |wire| wire.outgoing().len());
        if unsent > VENUE_UNSENT_BYTES_MAX {
            let why = "the exchange does not read what it is sent";
            return self.lose_to(index, ConnectionErrorKind::Timeout, why, now);
        }
        let may_subscribe = self.gates.pauses.subscribes_at(self.sessions[index].market) <= now;
        if self.is_timer_due(index, OpenTimer::Pong, now) {
            let why = "a ping was not answered";
            return self.lose_to(index, ConnectionErrorKind::Timeout, why, now);
        }
        if self.is_timer_due(index, OpenTimer::Ping, now) {
            self.sessions[index].ping(self.config.ping_interval, at);
        }
        if may_subscribe {
            self.sessions[index].send_due(&self.streams, at);
        }
        self.transmit(index);
        if self.is_timer_due(index, OpenTimer::Proof, now) {
            self.prove(index, now);
        }
        if self.is_timer_due(index, OpenTimer::Renewal, now) {
            let _successor = self.renew(index, "it is nearly a day old", now);
        }
        if self.is_timer_due(index, OpenTimer::Silence, now) {
            self.suspect_silence(index, now);
        }
        if self.is_timer_due(index, OpenTimer::Check, now) {
            self.collect_checks(index, now);
        }
    }

    /// Records that a session works. Earlier failures are forgotten.
    pub(crate) fn prove(&mut self, index: usize, now: MonoNs) {
        let session = &mut self.sessions[index];
        if !session.is_quarantine {
            session.backoff.reset();
        }
        let market = session.market;
        if std::mem::take(&mut session.is_on_trial) {
            let gate = self.gates.of_mut(market);
            gate.is_alternate = session.is_alternate;
            if gate.breaker.succeed() {
                let text = "connections work again".to_owned();
                self.notice(EventName::BreakerClosed, market, text);
            }
            self.wake_siblings(index, now);
            if self.gates.pauses.status(market, LimitedAction::Rest) == 0 {
                // No answer arrived from REST either: perhaps the network was out of order.
                self.gates.pauses.release(market, LimitedAction::Rest, now);
            }
        }
    }

    /// Lets the waiting sessions of the same host try soon, because the host works.
    fn wake_siblings(&mut self, index: usize, now: MonoNs) {
        let market = self.sessions[index].market;
        for other in 0..self.sessions.len() {
            let soon = now.after(self.rng.between(Duration::ZERO, LONE_BACKOFF_MAX));
            let is_sibling = other != index
                && !self.sessions[other].waits_alone()
                && self.is_same_host(self.sessions[other].market, market);
            let session = &mut self.sessions[other];
            if let SessionPhase::Waiting { until } = session.phase
                && is_sibling
            {
                session.enter(SessionPhase::Waiting { until: soon.min(until) });
            }
        }
    }

    fn is_same_host(&self, one: Market, other: Market) -> bool {
        let bases = &self.config.ws_bases;
        bases[one.index()].host == bases[other.index()].host
    }

    /// Returns whether every other session that is wanted on the same host has shown that it works.
    fn is_lone_failure(&self, index: usize) -> bool {
        let market = self.sessions[index].market;
        let is_wanted =
            |other: &Session| !other.members.is_empty() && other.phase != SessionPhase::Free;
        let others = self.sessions.iter().enumerate().filter(|&(at, other)| {
            at != index && is_wanted(other) && self.is_same_host(other.market, market)
        });
        let mut others = others.map(|(_, other)| other.is_proven()).peekable();
        others.peek().is_some() && others.all(|is_proven| is_proven)
    }

    /// Replaces a session after the exchange announced its end. The exchange may repeat the
    /// announcement every second, also on the replacement; only one replacement follows.
    pub(crate) fn renew_announced(&mut self, index: usize, now: MonoNs) {
        if now < self.sessions[index].announced_until {
            return;
        }
        if let Some(successor) = self.renew(index, "the exchange announced a shutdown", now) {
            self.sessions[successor].announced_until = now.after(ANNOUNCED_AGAIN);
        }
    }

    /// Opens a second session with the same instruments, which takes over once it delivers. Returns
    /// its place; `None` if this session ends anyway or is replaced already.
    pub(crate) fn renew(&mut self, index: usize, why: &str, now: MonoNs) -> Option<usize> {
        let session = &mut self.sessions[index];
        session.renew_at = MonoNs(u64::MAX);
        let is_leaving = !session.is_open() || session.members.is_empty() || self.is_stopping;
        if is_leaving || session.succession != Succession::Alone {
            return None;
        }
        session.succession = Succession::Replaced;
        let reported_loss = session.reported_loss.take();
        let (market, members) = (session.market, session.members.clone());
        let is_quarantine = session.is_quarantine;
        let text = format!("session {index} is replaced: {why}");
        self.notice_of_session(EventName::SessionReplaced, index, text);
        let successor = self.new_session(market, now);
        self.sessions[successor].members = members;
        self.sessions[successor].succession = Succession::SuccessorOf(index);
        self.sessions[successor].reported_loss = reported_loss;
        self.sessions[successor].is_quarantine = is_quarantine;
        Some(successor)
    }

    /// Ends the session that this one replaces, if this one is ready.
    pub(crate) fn take_over(&mut self, index: usize, now: MonoNs) {
        let session = &mut self.sessions[index];
        if session.has_delivered()
            && session.subscribe_queue.is_done()
            && let Some(old) = session.take_predecessor()
        {
            self.retire(old, now);
        }
    }

    /// The exchange's refusal of the handshake, if it had begun to arrive.
    pub(crate) fn begun_refusal(&self, index: usize) -> Option<WireError> {
        self.sessions[index].wire.as_ref()?.begun_refusal()
    }

    pub(crate) fn lose_wire(&mut self, index: usize, error: &WireError, socket: Socket, now: Now) {
        let kind = match error {
            WireError::Tls(_) => ConnectionErrorKind::Tls,
            WireError::Handshake(_) => ConnectionErrorKind::Handshake,
            WireError::Refused { .. } => return self.lose_refused(index, error, socket, now),
            WireError::Protocol { .. } => ConnectionErrorKind::Protocol,
        };
        self.lose(index, kind, &error.to_string(), socket, now.mono);
    }

    pub(crate) fn lose_to(
        &mut self,
        index: usize,
        kind: ConnectionErrorKind,
        why: &str,
        now: MonoNs,
    ) {
        self.lose(index, kind, why, Socket::Open, now);
    }

    /// Ends a session that failed, counts the error, and connects again after a delay.
    pub(crate) fn lose(
        &mut self,
        index: usize,
        kind: ConnectionErrorKind,
        why: &str,
        socket: Socket,
        now: MonoNs,
    ) {
        if matches!(self.sessions[index].phase, SessionPhase::Closing { .. }) {
            return self.finish_close(index, socket);
        }
        let market = self.sessions[index].market;
        self.market_metrics(market).connection_errors[kind as usize].increment();
        match kind.may_have_reached() {
            true => self.count_attempt(index),
            false => self.take_back_attempt(index),
        }
        let resolves_at = self.resolves_at(index, kind, now);
        if matches!(self.sessions[index].phase, SessionPhase::Connecting { .. })
            && kind != ConnectionErrorKind::Handshake
        {
            self.gates.pauses.release(market, LimitedAction::Connect, now);
        }
        if std::mem::take(&mut self.sessions[index].is_on_trial) {
            // The end of a suspect, or the failure of one session in a market that works, proves
            // nothing about the market.
            let mut others = self.sessions.iter().enumerate().filter(|&(at, _)| at != index);
            let works = others.any(|(_, other)| other.market == market && other.is_proven())
                || matches!(self.sessions[index].phase, SessionPhase::Open { since }
                    if self.lives_beside(index, market, since));
            if works || !kind.may_have_reached() || self.ends_for_suspects(index) {
                self.gates.of_mut(market).breaker.forget();
            } else {
                self.fail_trial(market, now);
            }
        }
        self.forget_deliveries(index, why, now);
        let is_lone = self.is_lone_failure(index);
        let session = &mut self.sessions[index];
        session.clear_of_suspicion(now);
        // A session without members may be closed for being idle.
        let was_idle = session.members.is_empty() && session.has_lived(SOON, now);
        session.lost_at = Some(now).filter(|_| !was_idle);
        let is_replaced = session.succession == Succession::Replaced;
        let retry_at = if is_replaced || session.members.is_empty() || self.is_stopping {
            None
        } else if resolves_at.is_some() {
            resolves_at
        } else {
            let delay = session.backoff.next(self.config.reconnect_delay, &mut self.rng);
            let is_capped = is_lone && !session.waits_alone();
            Some(now.after(if is_capped { delay.min(LONE_BACKOFF_MAX) } else { delay }))
        };
        let has_last_words = session.is_open()
            && socket == Socket::Open
            && session.wire.as_ref().is_some_and(|wire| !wire.outgoing().is_empty());
        let fate = if session.is_open() { "is lost" } else { "did not come up" };
        let retry = retry_at.map_or(String::new(), |at| self.next_attempt(index, at, now));
        self.report_lost(index, why);
        let session = &mut self.sessions[index];
        session.enter(SessionPhase::Closing { since: now, retry_at });
        let text = format!("session {index} {fate} ({}): {why}{retry}", kind.label());
        self.notice_of_session(EventName::SessionLost, index, text);
        if has_last_words {
            self.transmit(index);
        } else {
            self.finish_close(index, socket);
        }
    }

    /// The time of the next attempt in words for the log, after breaker, budget and exchange.
    fn next_attempt(&mut self, index: usize, backoff: MonoNs, now: MonoNs) -> String {
        let session = &self.sessions[index];
        let (market, claim) = (session.market, self.claim(session));
        let wait = self.gates.wait(market, claim, backoff, now);
        self.remember_wait(market, LimitedAction::Connect, wait);
        let seconds = wait.until.since(now).as_secs_f64();
        let why = match wait.reason {
            WaitReason::Backoff => String::new(),
            reason => format!(": {}", self.wait_words(market, LimitedAction::Connect, reason)),
        };
        format!("; next attempt in {seconds:.1} s{why}")
    }

    /// Reports a lost session to its clients: once from the loss, or the first failed attempt, to
    /// the first candle. Clients that another session still serves receive nothing.
    pub(crate) fn report_lost(&mut self, index: usize, why: &str) {
        let session = &mut self.sessions[index];
        let serves = session.succession == Succession::Alone && !session.members.is_empty();
        if !serves || self.is_stopping || session.reported_loss.is_some() {
            return;
        }
        let (market, instruments) = (session.market, session.members.clone());
        let why = text::visible(why).into_owned();
        session.reported_loss = Some(ReportedLoss::Lost(why.clone()));
        let event = FeedEvent::SessionLost { market, instruments, why };
        self.outputs.push_back(Output::Event(event));
    }

    /// Reports that the session is back, at its first candle after [`Self::report_lost`].
    pub(crate) fn report_back(&mut self, index: usize) {
        let session = &mut self.sessions[index];
        if session.reported_loss.take().is_some() && !session.members.is_empty() {
            let (market, instruments) = (session.market, session.members.clone());
            self.outputs.push_back(Output::Event(FeedEvent::SessionBack { market, instruments }));
        }
    }

    fn fail_trial(&mut self, market: Market, now: MonoNs) {
        let breaker = &mut self.gates.of_mut(market).breaker;
        if breaker.fail(now) {
            let failures = breaker.failures();
            let wait = breaker.ask_again_at().map_or(Duration::ZERO, |at| at.since(now));
            let text = format!("{failures} failures in a row: no connection for {wait:?}");
            self.notice(EventName::BreakerOpen, market, text);
        }
    }

    /// Treats the members of a lost session as if they had never delivered. Members that another
    /// session carries already are checked there.
    fn forget_deliveries(&mut self, index: usize, why: &str, now: MonoNs) {
        let members = self.sessions[index].members.clone();
        for &id in &members {
            if let Some(stream) = self.streams.stream_mut(id) {
                stream.remember_served(now);
                (stream.is_delivering, stream.check) = (false, Check::Idle);
                stream.mark_break(now);
            }
        }
        if let Some(successor) = self.successor(index) {
            self.sessions[successor].succession = Succession::Alone;
            if self.sessions[successor].is_open() {
                self.arm_checks(successor, &members, now);
            } else {
                self.report_lost(successor, why);
            }
        }
    }

    fn successor(&self, index: usize) -> Option<usize> {
        let is_successor = |of: &Session| of.succession == Succession::SuccessorOf(index);
        self.sessions.iter().position(is_successor)
    }

    /// Ends a session for good, because it is empty or replaced, or the feed stops.
    pub(crate) fn retire(&mut self, index: usize, now: MonoNs) {
        let session = &mut self.sessions[index];
        match session.phase {
            SessionPhase::Free => {}
            SessionPhase::Waiting { .. } => self.free(index),
            SessionPhase::Connecting { .. } => {
                self.count_attempt(index);
                self.finish_close(index, Socket::Open);
            }
            SessionPhase::Closing { since, .. } => {
                session.enter(SessionPhase::Closing { since, retry_at: None });
            }
            SessionPhase::Open { .. } => {
                session.enter(SessionPhase::Closing { since: now, retry_at: None });
                if let Some(wire) = &mut session.wire {
                    wire.send_close(CLOSE_NORMAL, "");
                }
                self.transmit(index);
            }
        }
    }

    fn finish_close(&mut self, index: usize, socket: Socket) {
        let session = &mut self.sessions[index];
        if socket == Socket::Open {
            self.outputs.push_back(Output::Disconnect { session: session.id });
        }
        match session.phase {
            SessionPhase::Closing { retry_at: Some(until), .. } => {
                session.reset_connection();
                session.enter(SessionPhase::Waiting { until });
            }
            _ => self.free(index),
        }
    }

    fn free(&mut self, index: usize) {
        let session = &mut self.sessions[index];
        if std::mem::take(&mut session.is_on_trial) {
            self.gates.of_mut(session.market).breaker.forget();
        }
        session.members.clear();
        session.reset_connection();
        session.enter(SessionPhase::Free);
        if let Some(old) = session.take_predecessor() {
            self.sessions[old].succession = Succession::Alone;
        }
        if let Some(successor) = self.successor(index) {
            self.sessions[successor].succession = Succession::Alone;
        }
    }

    pub(crate) fn stop(&mut self, now: MonoNs) {
        self.is_stopping = true;
        for index in 0..self.sessions.len() {
            self.retire(index, now);
        }
    }

    /// Computes the next deadline and the gauges. Not on the hot path: a push only moves deadlines
    /// to later times.
    pub(crate) fn refresh(&mut self, at: Now) {
        let now = at.mono;
        let rest_queue = self.rest_queue.deadline(now, &self.gates);
        let others = [rest_queue, self.listings.deadline(), self.watch_deadline()];
        let mut deadline = others.into_iter().flatten().min().filter(|_| !self.is_stopping);
        let (mut active, mut wanted) = ([0; Market::COUNT], [0; Market::COUNT]);
        for index in 0..self.sessions.len() {
            let session = &self.sessions[index];
            deadline = deadline.into_iter().chain(self.session_deadline(session)).min();
            active[session.market.index()] += i64::from(session.is_open());
            // A session for new instruments does not make the market unready.
            let is_wanted =
                session.is_open() || session.is_joinable() && self.claim(session) == Claim::Served;
            wanted[session.market.index()] += i64::from(is_wanted);
        }
        self.deadline = deadline;
        for market in Market::all() {
            let (at, metrics) = (market.index(), self.market_metrics(market));
            metrics.active_sessions.set(active[at]);
            metrics.wanted_sessions.set(wanted[at]);
            let breaker = &self.gates.of(market).breaker;
            metrics.breaker_state.set(breaker.gauge());
            let denied = |on| i64::from(self.gates.pauses.denied_for(market, on, now).is_some());
            metrics.rest_denied.set(denied(LimitedAction::Rest));
            metrics.sessions_denied.set(denied(LimitedAction::Connect));
            metrics.consecutive_failures.set(i64::from(breaker.failures()));
        }
        if !self.is_stopping {
            self.report_waits(at);
        }
    }
}

/// An announcement this soon after a replacement is the one that led to it. Source: OKX announces a
/// minute ahead (notice 64008); no exchange documents more than ten.
const ANNOUNCED_AGAIN: Duration = Duration::from_secs(600);

/// Longest wait before a session connects again while all other sessions of its host are up.
/// Source: six attempts a minute are a small part of what any exchange allows.
const LONE_BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Pause before a name that had no address is looked up again, at least. Source: the resolver of
/// this host is asked, and no exchange.
const LOOK_UP_PAUSE: Duration = Duration::from_secs(1);

/// The same pause at most. Source: a session connects within 2 s after its name server answers.
const LOOK_UP_PAUSE_MAX: Duration = Duration::from_millis(1_500);

/// Sessions that opened together are renewed at times spread over this. Source: a session lives a
/// day, so that 15 minutes are left.
const RENEWAL_SPREAD: Duration = Duration::from_secs(45 * 60);

/// Code of a normal close. Source: RFC 6455.
const CLOSE_NORMAL: u16 = 1000;

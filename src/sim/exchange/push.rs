//! What an exchange sends by itself: closing and running candles of its streams, or the captured
//! messages that take their place.

use std::time::Duration;

use tungstenite::Utf8Bytes;

use crate::clock::MonoNs;
use crate::market::{ContractType, Venue};
use crate::sim::amounts::Pushed;
use crate::sim::market::{MINUTE_MS, TrueCandle};
use crate::sim::stream::{Stream, Track};
use crate::sim::venue::{self, binance};
use crate::sim::windows;

use super::{Connection, ConnectionId, Exchange, Output};

impl Exchange {
    /// When the closing push of `window` is due, in the exchange's time: as late as that of its
    /// last minute.
    pub(super) fn close_at_ms(&self, Track { index, interval, .. }: Track, window: i64) -> i64 {
        let (least, most) = self.settings.close_delay_ms;
        let end_ms = (window + 1) * interval.ms();
        let chance = self.market.chance(index, end_ms / MINUTE_MS - 1);
        end_ms - 1 + (least + chance % (most.saturating_sub(least) + 1)) as i64
    }

    pub(super) fn advance_stream(&mut self, stream: &mut Stream, now: MonoNs) {
        let now_ms = self.time.unix_ms(now);
        let (track, window_ms) = (stream.track, stream.track.interval.ms());
        let oldest = now_ms.div_euclid(window_ms) - CATCH_UP_WINDOWS;
        stream.window = stream.window.max(oldest);
        self.push_delayed(stream, now, now_ms);
        while now_ms >= self.close_at_ms(track, stream.window) {
            self.push_close(stream, now, now_ms);
            stream.window += 1;
        }
        let running = now_ms.div_euclid(window_ms) == stream.window;
        let interval = self.settings.push_interval;
        let mut pushes = 0;
        while stream.next_push <= now && pushes < CATCH_UP_PUSHES {
            // When late, the same state is not sent again for every push that was missed.
            if running && (pushes == 0 || self.settings.always_push) {
                self.push_running(stream, now, now_ms);
            }
            pushes += 1;
            stream.next_push = stream.next_push.after(interval);
        }
        // What is still due after that is given up, not sent at once.
        let soonest = if self.settings.always_push { now } else { now.after(interval) };
        if stream.next_push <= now {
            stream.next_push = soonest;
        }
        let close = self.time.mono(self.close_at_ms(track, stream.window));
        let delayed = stream.delayed.iter().map(|(at, ..)| *at);
        stream.next_due = delayed.fold(close.min(stream.next_push), MonoNs::min);
    }

    /// Closing pushes that a fault has put off.
    fn push_delayed(&mut self, stream: &mut Stream, now: MonoNs, now_ms: i64) {
        while let Some(at) = stream.delayed.iter().position(|(at, ..)| *at <= now) {
            let (_, candle, flag) = stream.delayed.remove(at);
            self.push(stream, &[Pushed { candle: &candle, flag }], now, now_ms);
        }
    }

    /// The faults of a stream's close. True if it is not to be pushed now.
    fn spoil_close(
        &mut self,
        stream: &mut Stream,
        truth: TrueCandle,
        now: MonoNs,
        now_ms: i64,
    ) -> bool {
        let flag = Some(true);
        if std::mem::take(&mut stream.lose_close) {
            self.counters.spoilt += 1;
            return true;
        }
        let is_pushed = truth.trades > 0 || self.profile.market.venue() != Venue::Hyperliquid;
        if is_pushed && std::mem::take(&mut stream.delay_close) {
            self.counters.spoilt += 1;
            stream.delayed.push((self.time.mono(now_ms + CLOSE_DELAY_MS), truth, flag));
            return true;
        }
        if is_pushed && stream.reorder_close {
            let Some(first_ms) = self.first_push_ms(stream.track, stream.window + 1, now_ms) else {
                return false;
            };
            stream.reorder_close = false;
            self.counters.spoilt += 1;
            if first_ms == now_ms {
                let next = self.running(stream.track, stream.window + 1, now_ms);
                let opened = Pushed { candle: &next, flag: Some(false) };
                self.push(stream, &[opened], now, now_ms);
            }
            stream.delayed.push((self.time.mono(first_ms + REORDER_DELAY_MS), truth, flag));
            return true;
        }
        if !stream.restate_close {
            return false;
        }
        let end_ms = (stream.window + 1) * stream.track.interval.ms();
        let first = self.running(stream.track, stream.window, end_ms - 1);
        if first.trades > 0 && first != truth {
            stream.restate_close = false;
            self.counters.spoilt += 1;
            self.push(stream, &[Pushed { candle: &first, flag }], now, now_ms);
            stream.delayed.push((self.time.mono(now_ms + RESTATE_DELAY_MS), truth, flag));
            return true;
        }
        false
    }

    /// What the candle of `window` is at `at_ms`.
    fn running(&self, track: Track, window: i64, at_ms: i64) -> TrueCandle {
        let elapsed_ms = at_ms - window * track.interval.ms();
        windows::running(&self.market, track.index, (track.interval, window), elapsed_ms)
    }

    /// When a running candle of `window` can be pushed for the first time: now, but Hyperliquid
    /// says nothing before the first trade. `None` if that is too far away to wait for.
    fn first_push_ms(&self, track: Track, window: i64, now_ms: i64) -> Option<i64> {
        let is_pushed = |ms: &i64| {
            let venue = self.profile.market.venue();
            venue != Venue::Hyperliquid || self.running(track, window, *ms).trades > 0
        };
        (now_ms..now_ms + REORDER_WAIT_MS).step_by(250).find(is_pushed)
    }

    fn push_close(&mut self, stream: &mut Stream, now: MonoNs, now_ms: i64) {
        let (track, market) = (stream.track, self.profile.market);
        let truth = windows::truth(&self.market, track.index, (track.interval, stream.window));
        if self.spoil_close(stream, truth, now, now_ms) {
            return;
        }
        let next = self.running(track, stream.window + 1, now_ms);
        let closed = Pushed { candle: &truth, flag: Some(true) };
        let opened = Pushed { candle: &next, flag: Some(false) };
        let is_alone = market.contract_type() == ContractType::Spot;
        let times = 1 + usize::from(std::mem::take(&mut stream.double_close));
        self.counters.spoilt += times as u64 - 1;
        for _ in 0..times {
            match market.venue() {
                Venue::Binance => self.push(stream, &[closed], now, now_ms),
                Venue::Bybit if !is_alone => {
                    self.push(stream, &[closed, opened], now, now_ms);
                }
                Venue::Okx | Venue::Bybit => {
                    self.push(stream, &[closed], now, now_ms);
                    self.push(stream, &[opened], now, now_ms);
                }
                Venue::Gateio => {
                    // `w` is documented as sometimes missing; then the next candle closes it.
                    let is_flagged =
                        !self.market.chance(track.index, stream.window).is_multiple_of(3);
                    let closed = Pushed { flag: is_flagged.then_some(true), ..closed };
                    match is_alone {
                        true => {
                            self.push(stream, &[closed], now, now_ms);
                            self.push(stream, &[opened], now, now_ms);
                        }
                        false => self.push(stream, &[closed, opened], now, now_ms),
                    }
                }
                // Nothing closes a candle; its last trade may still be sent.
                Venue::Hyperliquid => {
                    if truth.trades > 0 && stream.pushed != Some(truth) {
                        self.push(stream, &[closed], now, now_ms);
                    }
                }
            }
        }
    }

    fn push_running(&mut self, stream: &mut Stream, now: MonoNs, now_ms: i64) {
        let changed = stream.refresh(&self.market, now_ms);
        let quiet = self.profile.only_changes && !self.settings.always_push;
        let on_trades = self.profile.market.venue() == Venue::Hyperliquid;
        if on_trades && stream.candle.trades == 0 {
            return;
        }
        let is_new = changed && stream.pushed != Some(stream.candle);
        if is_new || !quiet || stream.owes_first(now) {
            let candle = stream.candle;
            let flag = Some(false);
            self.push(stream, &[Pushed { candle: &candle, flag }], now, now_ms);
        }
    }

    /// Sends `candles` to everyone who listens, encoded once for each of the two forms.
    fn push(&mut self, stream: &mut Stream, candles: &[Pushed<'_>], now: MonoNs, now_ms: i64) {
        let listing = &self.market.listings()[stream.track.index];
        let market = self.profile.market;
        let Some(last) = candles.last() else { return };
        let now_ms = now_ms + self.skew_ms;
        match market.venue() {
            Venue::Binance => {
                let (kind, closed) = (market.contract_type(), last.flag == Some(true));
                let said = (last.candle, stream.track.form);
                binance::write_kline(&mut self.text, kind, listing, said, now_ms, closed);
            }
            _ => venue::write_push(market, &mut self.text, listing, candles, now_ms),
        }
        stream.pushed = Some(*last.candle);
        let name = binance::stream_name(listing, stream.track);
        let mut forms: [Option<Utf8Bytes>; 2] = [None, None];
        let times = 1 + usize::from(std::mem::take(&mut stream.duplicate_next));
        self.counters.spoilt += times as u64 - 1;
        for subscriber in stream.subscribers.iter_mut().filter(|one| one.from <= now) {
            let Some(connection) = self.connections.get_mut(&subscriber.id) else { continue };
            subscriber.had_first = true;
            if connection.silent || subscriber.is_muted {
                continue;
            }
            connection.last_sent = now;
            let form = forms[usize::from(connection.combined)].get_or_insert_with(|| {
                if connection.combined {
                    binance::wrap(&name, &self.text).into()
                } else {
                    self.text.as_str().into()
                }
            });
            for _ in 0..times {
                self.counters.messages_sent += 1;
                self.outputs.push_back((subscriber.id, Output::Text(form.clone())));
            }
        }
    }

    /// When the connection's next captured message is due.
    pub(super) fn play_due(&self, open: &Connection) -> Option<MonoNs> {
        let next = self.settings.playback.get(open.played)?;
        let speed = self.settings.playback_speed;
        let offset = if speed == 0 { Duration::ZERO } else { next.offset / speed };
        Some(open.play_at?.after(offset))
    }

    pub(super) fn play(&mut self, now: MonoNs) {
        let playback = self.settings.playback.clone();
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            for _ in 0..PLAYBACK_BATCH {
                let Some(open) = self.connections.get(&id) else { break };
                if open.silent || self.play_due(open).is_none_or(|due| due > now) {
                    break;
                }
                let message = &playback[open.played];
                let is_wanted = open.subscriptions.iter().any(|one| one.name == message.stream);
                if open.routed && is_wanted {
                    let text: Utf8Bytes = if open.combined {
                        binance::wrap(&message.stream, &message.payload).into()
                    } else {
                        message.payload.as_str().into()
                    };
                    self.send(id, text, now);
                }
                self.with(id, |open| open.played += 1);
            }
        }
    }
}

/// Delays of faults, in the exchange's time. Source: closes up to 4 s late were recorded (OKCOIN),
/// restatements were not.
const CLOSE_DELAY_MS: i64 = 4_000;
const REORDER_DELAY_MS: i64 = 700;
const RESTATE_DELAY_MS: i64 = 3_000;
/// How long a close waits for the next window's first trade, to come after it.
const REORDER_WAIT_MS: i64 = 5_000;
/// Windows closed late after a stall; older ones are skipped.
const CATCH_UP_WINDOWS: i64 = 10;
/// Pushes of one stream sent at once when the pace is faster than the duty cycle.
const CATCH_UP_PUSHES: usize = 64;
/// Captured messages sent to one connection in one turn.
const PLAYBACK_BATCH: usize = 256;

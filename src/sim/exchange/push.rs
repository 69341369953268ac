//! What an exchange sends by itself: closing and running candles of its streams, or the captured
//! messages that take their place.

use std::time::Duration;

use tungstenite::Utf8Bytes;

use crate::clock::MonoNs;
use crate::sim::binance;
use crate::sim::market::{MINUTE_MS, TrueCandle};
use crate::sim::stream::Stream;

use super::{Connection, ConnectionId, Exchange, Output};

impl Exchange {
    /// When the closing push of `minute` is due, in the exchange's time.
    pub(super) fn close_at_ms(&self, index: usize, minute: i64) -> i64 {
        let (least, most) = self.settings.close_delay_ms;
        let delay = least + self.market.chance(index, minute) % (most.saturating_sub(least) + 1);
        (minute + 1) * MINUTE_MS - 1 + delay as i64
    }

    pub(super) fn advance_stream(&mut self, index: usize, stream: &mut Stream, now: MonoNs) {
        let now_ms = self.time.unix_ms(now);
        let oldest = now_ms.div_euclid(MINUTE_MS) - CATCH_UP_MINUTES;
        stream.minute = stream.minute.max(oldest);
        while now_ms >= self.close_at_ms(index, stream.minute) {
            self.push_close(index, stream, now, now_ms);
            stream.minute += 1;
        }
        let running = now_ms.div_euclid(MINUTE_MS) == stream.minute;
        let interval = self.settings.push_interval;
        for _ in 0..CATCH_UP_PUSHES {
            if stream.next_push > now {
                break;
            }
            if running {
                self.push_running(index, stream, now, now_ms);
            }
            stream.next_push = stream.next_push.after(interval);
        }
        stream.next_push = stream.next_push.max(now);
        let close = self.time.mono(self.close_at_ms(index, stream.minute));
        stream.next_due = close.min(stream.next_push);
    }

    fn push_close(&mut self, index: usize, stream: &mut Stream, now: MonoNs, now_ms: i64) {
        if std::mem::take(&mut stream.lose_close) {
            return;
        }
        let truth = self.market.truth(index, stream.minute);
        let times = 1 + usize::from(std::mem::take(&mut stream.double_close));
        for _ in 0..times {
            self.push(index, stream, &truth, now, now_ms, true);
        }
    }

    fn push_running(&mut self, index: usize, stream: &mut Stream, now: MonoNs, now_ms: i64) {
        let changed = stream.refresh(&self.market, index, now_ms);
        let quiet = self.profile.only_changes && !self.settings.always_push;
        if changed || !quiet || stream.owes_first(now) {
            let candle = stream.candle;
            self.push(index, stream, &candle, now, now_ms, false);
        }
    }

    /// Sends `candle` to everyone who listens, encoded once for each of the two forms.
    fn push(
        &mut self,
        index: usize,
        stream: &mut Stream,
        candle: &TrueCandle,
        now: MonoNs,
        now_ms: i64,
        closed: bool,
    ) {
        let listing = &self.market.listings()[index];
        let kind = self.profile.contract_type;
        binance::write_kline(&mut self.text, kind, listing, candle, now_ms, closed);
        let mut forms: [Option<Utf8Bytes>; 2] = [None, None];
        let times = 1 + usize::from(std::mem::take(&mut stream.duplicate_next));
        for subscriber in stream.subscribers.iter_mut().filter(|one| one.from <= now) {
            let Some(connection) = self.connections.get(&subscriber.id) else { continue };
            subscriber.had_first = true;
            if connection.silent {
                continue;
            }
            let form = forms[usize::from(connection.combined)].get_or_insert_with(|| {
                if connection.combined {
                    binance::wrap(&stream.name, &self.text).into()
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
                if open.routed && open.subscriptions.contains(&message.stream) {
                    let text: Utf8Bytes = if open.combined {
                        binance::wrap(&message.stream, &message.payload).into()
                    } else {
                        message.payload.as_str().into()
                    };
                    self.send(id, text);
                }
                self.with(id, |open| open.played += 1);
            }
        }
    }
}

/// Minutes closed late after a stall; older ones are skipped.
const CATCH_UP_MINUTES: i64 = 10;
/// Pushes of one stream sent at once when the pace is faster than the duty cycle.
const CATCH_UP_PUSHES: usize = 64;
/// Captured messages sent to one connection in one turn.
const PLAYBACK_BATCH: usize = 256;

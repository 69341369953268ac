//! The notice of what the basic fields of a quote leave out although it changes the meaning of
//! their numbers. Owns when it is sent: before the first such quote of a series. A whole quote
//! carries these facts itself.

use crate::clock::Now;
use crate::fanout::clients::names::symbols_of;
use crate::fanout::delivery::basic::is_basic;
use crate::fanout::frame::FrameMeta;
use crate::fanout::protocol::encode::other_unit;
use crate::fanout::protocol::messages::write_notice;
use crate::fanout::{ClientId, Fanout};
use crate::market::{CandleUpdate, Instrument, Market};

impl Fanout {
    /// Sends the notice before a quote is published, to clients that get its basic form: once,
    /// until a closed candle of the series leaves nothing out.
    pub(crate) fn warn_basic(&mut self, update: &CandleUpdate, meta: &FrameMeta, now: Now) {
        let Some(stream) = self.hub.stream(update.instrument) else { return };
        if stream.basic_count == 0 || !meta.is_quote() {
            return;
        }
        let is_left_out = leaves_out(stream.labels.market(), update);
        if !is_left_out && (!update.is_closed() || !stream.has_basic_warning) {
            return;
        }
        stream.has_basic_warning = is_left_out;
        let mut unwarned = Vec::new();
        let groups = stream.interests_mut().chunk_by_mut(|a, b| a.client == b.client);
        for group in groups {
            let is_wanted = group.iter().any(|interest| interest.wants(meta));
            if is_left_out && (!is_wanted || !is_basic(group, meta)) {
                continue;
            }
            if is_left_out && !group[0].is_warned {
                unwarned.push(group[0].client);
            }
            group[0].is_warned = is_left_out;
        }
        for index in unwarned {
            let id = self.clients.at(index).id;
            self.warn(id, update, now);
            self.offer(id);
        }
    }

    /// The same for one client that is about to get the newest candle.
    pub(crate) fn warn_basic_to(&mut self, id: ClientId, update: &CandleUpdate, now: Now) {
        let Some(stream) = self.hub.stream(update.instrument) else { return };
        if leaves_out(stream.labels.market(), update) {
            stream.has_basic_warning = true;
            let own = stream.of_client(id.index).first_mut();
            if own.is_some_and(|own| !std::mem::replace(&mut own.is_warned, true)) {
                self.warn(id, update, now);
            }
        }
    }

    fn warn(&mut self, id: ClientId, update: &CandleUpdate, now: Now) {
        let of = update.instrument;
        let Instrument { market, interval, .. } = *self.hub.instrument(of);
        let symbols = symbols_of(&self.hub, id.index, &[of]);
        let (interval, open_time) = (interval.name(), update.candle.open_time.0);
        let mut what = Vec::new();
        if update.source.missing() > 0 {
            what.push(format!("lacks {} of its minutes so far", update.source.missing()));
        }
        if let Some(unit) = other_unit(market, update) {
            what.push(format!("counts {} in \"volume\", not the base asset", unit.name()));
        }
        let message = format!(
            "the {interval} candle that opened at {open_time} {}; only quotes with \
             \"fields\":\"all\" say so (missing_minutes, volume_unit), and this notice comes once, \
             for it and those that follow",
            what.join(", and ")
        );
        self.payload.clear();
        let about = Some((market, &symbols[..]));
        write_notice(&mut self.payload, "not_in_basic", &message, about, now);
        self.send_payload(id);
    }
}

/// Returns whether the basic fields leave out something that changes the meaning of the others.
fn leaves_out(market: Market, update: &CandleUpdate) -> bool {
    update.source.missing() > 0 || other_unit(market, update).is_some()
}

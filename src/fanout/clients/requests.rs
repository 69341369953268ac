//! Answers requests: subscribe, unsubscribe, list, ping; and ends subscriptions. Owns the rule that
//! `subscribed` and the newest candles are sent in the turn of the request.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::clock::Now;
use crate::fanout::clients::client::Subscription;
use crate::fanout::clients::names::{Sorted, named_twice, once_each, stream_name, symbols_of};
use crate::fanout::clients::refused_names::rejection;
use crate::fanout::derive::derived_windows_max;
use crate::fanout::protocol::candle_source::{CandleSource, HistoryRequest};
use crate::fanout::protocol::encode::Spelling;
use crate::fanout::protocol::messages::{
    ListWriter, Refusal, Shown, write_error, write_notice, write_pong, write_subscribed,
    write_unsubscribed,
};
use crate::fanout::protocol::request::{self, Name, Op, Request, Wanted};
use crate::fanout::series::{ANY_WINDOW, CatchUp, Interest};
use crate::fanout::{ClientId, Fanout};
use crate::limits::{CLIENT_SAME_SERIES_MAX, CLIENT_SERIES_MAX, SERIES_SPELLINGS_MAX};
use crate::market::{Instrument, InstrumentId, Interval, Market};
use crate::wire::write_text_frame;

impl Fanout {
    /// Handles one message of a client, text or binary.
    pub(crate) fn serve(&mut self, id: ClientId, text: &[u8], now: Now) {
        let request = match request::parse(&mut text.to_vec()) {
            Ok(request) => request,
            Err(refusal) => {
                return match self.token_error(id, None) {
                    Some(refusal) => self.send_error(id, &refusal),
                    None => self.refuse(id, &refusal, now),
                };
            }
        };
        let Request { id: echo, names_op, op } = request;
        if let Some(refusal) = self.token_error(id, Some(&op)) {
            return self.send_error(id, &Refusal { id: echo, ..*refusal });
        }
        let result = match op {
            Op::Subscribe(wanted) => self.subscribe(id, wanted, echo.clone(), now),
            Op::Unsubscribe { market, word, names, interval, origin } => {
                let unwanted = Unwanted { market, word, names, interval, origin };
                self.unsubscribe(id, &unwanted, echo.as_deref(), now)
            }
            Op::Auth(token) => {
                self.authenticate(id, token, echo.clone(), now);
                Ok(())
            }
            Op::List => {
                self.list(id, echo.as_deref());
                Ok(())
            }
            Op::Ping => {
                self.payload.clear();
                write_pong(&mut self.payload, now, echo.as_deref());
                self.send_payload(id);
                Ok(())
            }
        };
        if let Err(refusal) = result {
            self.refuse(id, &Refusal { id: echo, names_op, ..*refusal }, now);
        }
    }

    /// Answers a request with an error. A client that has no subscription after its first request
    /// is closed with 1000, as the Python connector does, since it waits for nothing else. A client
    /// that names an `op` knows this protocol, and may go on.
    pub(crate) fn refuse(&mut self, id: ClientId, refusal: &Refusal, now: Now) {
        let Some(client) = self.clients.find(id) else { return };
        let is_first = client.subscribe_by.is_some();
        if refusal.names_op || !is_first {
            return self.send_error(id, refusal);
        }
        self.metrics.client_errors.increment();
        self.close_with_answer(id, refusal, now);
    }

    fn subscribe(
        &mut self,
        id: ClientId,
        wanted: Wanted,
        echo: Option<String>,
        now: Now,
    ) -> Result<(), Box<Refusal>> {
        let (names, repeated) = once_each(self.names(&wanted)?);
        let Some(client) = self.clients.find(id) else { return Ok(()) };
        client.allowance.spend_on(names.len());
        let Sorted { names, mut surplus, refused } = self.sort_names(id, &wanted, names, now);
        surplus.extend(repeated);
        surplus.extend(wanted.impossible.as_deref().cloned());
        let spelled = names.iter().map(|name| name.spelling.clone()).collect::<Vec<_>>();
        self.check_room(id, wanted.market, names.len())?;
        self.check_history(&wanted, &names, now)?;
        if names.is_empty() {
            let Some(last) = surplus.pop() else {
                self.send_refused(id, refused, echo.as_ref(), now);
                return Ok(());
            };
            surplus.extend(refused);
            self.send_surplus(id, surplus, echo.as_ref());
            return Err(Box::new(last));
        }
        let instruments = self.intern_all(&wanted, &names, now)?;
        self.check_repeated(id, &wanted, &instruments, now)?;
        self.check_spelled(id, &wanted, (&instruments, &spelled), now)?;
        let subscription = Subscription {
            key: 0,
            id: echo,
            market: wanted.market,
            word: wanted.word.clone(),
            interval: wanted.interval,
            origin: wanted.origin,
            unquoted: instruments.len(),
            instruments: instruments.clone(),
            limit: wanted.limit,
            remaining: wanted.limit,
            closed_only: wanted.closed_only,
            mark: wanted.mark,
            basic: wanted.basic,
        };
        self.payload.clear();
        let symbols: Vec<&str> = names.iter().map(Name::shown).collect();
        let shown = show(&subscription, &symbols);
        let shown = Shown { remaining: None, ..shown };
        write_subscribed(&mut self.payload, &shown, subscription.id.as_deref());
        self.send_payload(id);
        let (past, echo) = (wanted.past, subscription.id.clone());
        self.send_surplus(id, surplus, echo.as_ref());
        let added = self.add_subscription(id, subscription, &spelled, past.is_some(), now);
        let Some(key) = added else {
            return Ok(());
        };
        self.send_refused(id, refused, echo.as_ref(), now);
        self.send_lost(id, &instruments, now);
        self.serve_first(id, key, instruments, past, now);
        Ok(())
    }

    /// Refuses more series than a client may have at once.
    fn check_room(
        &mut self,
        id: ClientId,
        market: Market,
        more: usize,
    ) -> Result<(), Box<Refusal>> {
        let Some(client) = self.clients.find(id) else { return Ok(()) };
        let series: usize = client.subscriptions.iter().map(|one| one.instruments.len()).sum();
        let series_max = self.config.access.client_series_max.min(CLIENT_SERIES_MAX);
        if series + more <= series_max {
            return Ok(());
        }
        let message = format!("\"symbols\": a client may subscribe {series_max} series at once");
        let refusal = Refusal::field("too_many_subscriptions", "symbols", message);
        Err(refusal.about(market))
    }

    /// What a new subscription gets first: history, or else the newest candle of each series.
    fn serve_first(
        &mut self,
        id: ClientId,
        key: u32,
        instruments: Vec<InstrumentId>,
        past: Option<HistoryRequest>,
        now: Now,
    ) {
        for instrument in instruments {
            if let Some(past) = past {
                let catch_up = CatchUp::new(id, key, past, self.publications, now);
                self.begin_catch_up(catch_up, instrument, now);
                continue;
            }
            self.send_latest(id, key, instrument, now);
            self.end_exhausted(id, now);
        }
    }

    fn send_surplus(&mut self, id: ClientId, surplus: Vec<Refusal>, echo: Option<&String>) {
        for refusal in surplus {
            self.send_error(id, &Refusal { id: echo.cloned(), ..refusal });
        }
    }

    /// Sends a new subscription the notices that were sent when the session was lost.
    fn send_lost(&mut self, id: ClientId, wanted: &[InstrumentId], now: Now) {
        let mut notices = BTreeMap::<_, Vec<InstrumentId>>::new();
        for &instrument in wanted {
            let base = self.hub.lost_base(instrument);
            if let Some((code, why)) = base.and_then(|base| self.lost.get(&base)) {
                let market = self.hub.instrument(instrument).market;
                notices.entry((*code, why.clone(), market)).or_default().push(instrument);
            }
        }
        for ((code, why, market), instruments) in notices {
            let message = self.with_wait(&why, market, now);
            let symbols = symbols_of(&self.hub, id.index, &instruments);
            self.payload.clear();
            write_notice(&mut self.payload, code, &message, Some((market, &symbols[..])), now);
            self.send_payload(id);
        }
    }

    /// The requested symbols, or all that are streamed.
    fn names(&self, wanted: &Wanted) -> Result<Vec<Name>, Box<Refusal>> {
        if let Some(names) = &wanted.names {
            return Ok(names.iter().map(|name| self.as_listed(name)).collect());
        }
        let streamed = match wanted.origin {
            CandleSource::Exchange => wanted.interval,
            CandleSource::Derived => Interval::M1,
        };
        let names = self.hub.streaming(wanted.market, streamed);
        if names.is_empty() {
            let message = format!(
                "\"symbols\": nothing of {} is streamed; name symbols, or stream some from the start \
                 with CONNECTOR_PRELOAD",
                wanted.market
            );
            let refusal = Refusal::field("nothing_streamed", "symbols", message);
            return Err(refusal.about(wanted.market));
        }
        let name = |symbol| Name { market: wanted.market, symbol, spelling: None };
        Ok(names.into_iter().map(name).collect())
    }

    /// The name with the symbol that the market's list has for it.
    fn as_listed(&self, name: &Name) -> Name {
        match self.hub.listed_for(name) {
            Some(symbol) => Name { symbol, ..name.clone() }.without_own_spelling(),
            None => name.clone(),
        }
    }

    /// Rejects a wish for more history than is kept.
    fn check_history(&self, wanted: &Wanted, names: &[Name], now: Now) -> Result<(), Box<Refusal>> {
        let kept = self.config.history_candles;
        let derived_max = derived_windows_max(wanted.interval);
        let refusal = match wanted.past {
            Some(HistoryRequest::Last(count))
                if usize::try_from(count).unwrap_or(usize::MAX) > kept =>
            {
                let message = format!(
                    "\"history\": {count} candles are more than are kept; ask for at most {kept} \
                     (CONNECTOR_HISTORY_CANDLES)"
                );
                Refusal::field("history_too_long", "history", message)
            }
            Some(HistoryRequest::Last(count))
                if wanted.origin == CandleSource::Derived && count as usize > derived_max =>
            {
                let message = format!(
                    "\"history\": {count} derived candles of {} need more minutes than are looked \
                     back at; ask for at most {derived_max}",
                    wanted.interval.name()
                );
                Refusal::field("history_too_long", "history", message)
            }
            // The host's clock may be wrong by hours. Whether `since` is too far back is checked
            // later.
            Some(HistoryRequest::Since(since))
                if since.0 > now.unix_ms().0 + CLOCK_ERROR_MAX_MS =>
            {
                let message = format!(
                    "\"since\": {} lies in the future; it is {} here",
                    since.0,
                    now.unix_ms().0
                );
                Refusal::field("since_in_future", "since", message)
            }
            _ => return Ok(()),
        };
        let refusal = refusal.about(wanted.market);
        let symbols = names.iter().map(|name| name.shown().to_owned()).collect();
        Err(Box::new(Refusal { symbols, ..*refusal }))
    }

    /// Rejects one subscription too many of the same series.
    fn check_repeated(
        &mut self,
        id: ClientId,
        wanted: &Wanted,
        instruments: &[InstrumentId],
        now: Now,
    ) -> Result<(), Box<Refusal>> {
        let repeated = instruments.iter().find(|&&of| {
            let stream = self.hub.stream(of);
            stream.is_some_and(|one| one.of_client(id.index).len() >= CLIENT_SAME_SERIES_MAX)
        });
        let Some(&repeated) = repeated else { return Ok(()) };
        let symbol = self.hub.instrument(repeated).symbol.to_string();
        let message = format!(
            "\"symbols\": {symbol} is subscribed {CLIENT_SAME_SERIES_MAX} times by this client \
             already; unsubscribe it first"
        );
        instruments.iter().for_each(|&of| self.let_go(of, now));
        let refusal = Refusal::field("too_many_subscriptions", "symbols", message);
        Err(Box::new(Refusal { symbols: vec![symbol], ..*refusal.about(wanted.market) }))
    }

    /// Rejects a series that the client has under another spelling, and one spelling too many.
    fn check_spelled(
        &mut self,
        id: ClientId,
        wanted: &Wanted,
        (instruments, spelled): (&[InstrumentId], &[Option<Spelling>]),
        now: Now,
    ) -> Result<(), Box<Refusal>> {
        let refusal = instruments.iter().zip(spelled).find_map(|(&of, spelling)| {
            let stream = self.hub.stream(of)?;
            let is_here = !stream.of_client(id.index).is_empty();
            let word = stream.spelling_of(id.index).map(|own| own.contract_type.clone());
            let is_other = is_here && stream.spelling_of(id.index) != spelling.as_ref();
            if !is_other && stream.has_room_for(spelling.as_ref()) {
                return None;
            }
            let instrument = self.hub.instrument(of);
            let (market, symbol) = (instrument.market, instrument.symbol.to_string());
            let name = Name { market, symbol, spelling: spelling.clone() };
            if is_other {
                let other = stream_name(market, self.hub.symbol_for(id.index, of), word.as_deref());
                return Some(named_twice(&name, &other));
            }
            let shown = name.shown();
            let message = format!(
                "\"symbols\": {shown} is streamed under {SERIES_SPELLINGS_MAX} other names already; \
                 ask for {}",
                instrument.symbol
            );
            let refusal = Refusal::field("too_many_spellings", "symbols", message);
            Some(Box::new(Refusal { symbols: vec![shown.to_owned()], ..*refusal }))
        });
        let Some(refusal) = refusal else { return Ok(()) };
        instruments.iter().for_each(|&of| self.let_go(of, now));
        Err(refusal.about(wanted.market))
    }

    /// Gives the subscription its key and its interests, and subscribes at the exchange if needed.
    fn add_subscription(
        &mut self,
        id: ClientId,
        mut subscription: Subscription,
        spelled: &[Option<Spelling>],
        is_catching_up: bool,
        now: Now,
    ) -> Option<u32> {
        let client = self.clients.find(id)?;
        let key = client.next_key;
        client.next_key += 1;
        subscription.key = key;
        let interest = Interest {
            client: id.index,
            key,
            closed_only: subscription.closed_only,
            is_basic: subscription.basic,
            spelling: 0,
            is_limited: subscription.limit > 0,
            is_quoted: false,
            is_catching_up,
            first: ANY_WINDOW,
            is_begun: false,
            is_warned: false,
            since_serial: self.publications,
        };
        let instruments = subscription.instruments.clone();
        if subscription.mark {
            self.marks.add(subscription.together(), id, key);
        }
        client.subscriptions.push(subscription);
        client.subscribe_by = None;
        self.metrics.subscriptions.add(1);
        for (instrument, own) in instruments.into_iter().zip(spelled) {
            let Some(stream) = self.hub.stream(instrument) else { continue };
            let spelling = stream.number_of(own.as_ref()).unwrap_or(0);
            let first = stream.history.newest().unwrap_or(ANY_WINDOW);
            let interest = Interest { first, spelling, ..interest };
            if self.hub.add(instrument, interest) {
                self.command_subscribe(instrument, now);
            }
        }
        Some(key)
    }

    fn unsubscribe(
        &mut self,
        id: ClientId,
        unwanted: &Unwanted,
        echo: Option<&str>,
        now: Now,
    ) -> Result<(), Box<Refusal>> {
        let Some(client) = self.clients.find(id) else { return Ok(()) };
        let market = unwanted.market;
        let names = unwanted.names.as_ref();
        let hub = &self.hub;
        let names = names.map(|names| {
            let meant = |name: &Name| hub.listed_for(name).unwrap_or_else(|| name.symbol.clone());
            names.iter().map(|name| (name.market, meant(name))).collect::<Vec<_>>()
        });
        let named = names.as_ref().map(|names| {
            names.iter().map(|(market, symbol)| (*market, &**symbol)).collect::<HashSet<_>>()
        });
        let mut leaving = Vec::new();
        for subscription in client.subscriptions.iter().filter(|one| unwanted.covers(one)) {
            let unwanted = subscription.instruments.iter().filter(|&&instrument| {
                let Instrument { market: of, symbol, .. } = self.hub.instrument(instrument);
                match &named {
                    Some(named) => named.contains(&(*of, &**symbol)),
                    None => market.is_none_or(|market| market == *of),
                }
            });
            leaving.extend(unwanted.map(|&instrument| (subscription.key, instrument)));
        }
        if leaving.is_empty() {
            let what = named.map_or("nothing", |_| "none of \"symbols\"");
            let message =
                format!("{what} is subscribed here; send {{\"op\":\"list\"}} to see what is");
            let refusal = Refusal::new("not_subscribed", message);
            return Err(match market {
                Some(market) => refusal.about(market),
                None => refusal,
            });
        }
        client.is_served = false;
        client.allowance.spend_on(leaving.len());
        let mut left: Vec<InstrumentId> = leaving.iter().map(|&(_, left)| left).collect();
        left.sort_unstable();
        left.dedup();
        // The instruments may be forgotten in `leave`, and their names with them.
        let names = symbols_of(&self.hub, id.index, &left);
        self.payload.clear();
        write_unsubscribed(&mut self.payload, market, unwanted.word.as_deref(), &names, echo);
        for &(key, instrument) in &leaving {
            self.leave(id, key, instrument, now);
        }
        self.send_payload(id);
        Ok(())
    }

    fn list(&mut self, id: ClientId, echo: Option<&str>) {
        let Some(client) = self.clients.find(id) else { return };
        self.payload.clear();
        let mut list = ListWriter::new(&mut self.payload);
        for subscription in &client.subscriptions {
            let ids = subscription.instruments.iter();
            let symbols: Vec<&str> = ids.map(|&one| self.hub.symbol_for(id.index, one)).collect();
            list.push(&show(subscription, &symbols));
        }
        list.finish(echo);
        self.send_payload(id);
    }

    /// Takes one instrument from a subscription. The subscription ends with its last instrument.
    fn leave(&mut self, id: ClientId, key: u32, instrument: InstrumentId, now: Now) {
        let Some(interest) = self.hub.remove(instrument, id.index, key) else { return };
        self.let_go(instrument, now);
        let Some(client) = self.clients.find(id) else { return };
        let subscription = client.subscription(key);
        subscription.instruments.retain(|&one| one != instrument);
        if !interest.is_quoted {
            subscription.unquoted -= 1;
        }
        if subscription.instruments.is_empty() {
            client.subscriptions.retain(|one| one.key != key);
            self.metrics.subscriptions.add(-1);
            self.marks.remove(id, key);
        }
    }

    fn end_subscription(&mut self, id: ClientId, subscription: &Subscription, now: Now) {
        self.metrics.subscriptions.add(-1);
        self.marks.remove(id, subscription.key);
        for &instrument in &subscription.instruments {
            if self.hub.remove(instrument, id.index, subscription.key).is_some() {
                self.let_go(instrument, now);
            }
        }
    }

    /// Ends the subscriptions that have reached their limit.
    pub(crate) fn end_exhausted(&mut self, id: ClientId, now: Now) {
        while let Some(client) = self.clients.find(id) {
            let at = client.subscriptions.iter().position(Subscription::is_exhausted);
            let Some(at) = at else { return };
            client.is_served = true;
            let subscription = client.subscriptions.remove(at);
            self.end_subscription(id, &subscription, now);
        }
    }

    /// Ends all subscriptions of a client.
    pub(crate) fn end_subscriptions(&mut self, id: ClientId, now: Now) {
        let Some(client) = self.clients.find(id) else { return };
        for subscription in std::mem::take(&mut client.subscriptions) {
            self.end_subscription(id, &subscription, now);
        }
    }

    /// The exchange has rejected an instrument: every client that wants it gets an error and keeps
    /// its other instruments. A client without others is closed with 1000, so that no program waits
    /// for ever.
    pub(crate) fn reject(&mut self, of: InstrumentId, message: &str, exchange: &str, now: Now) {
        for derived in self.hub.with_derived(vec![of]).split_off(1) {
            self.reject(derived, message, exchange, now);
        }
        let clients = self.hub.reject(of);
        let Some(instrument) = self.hub.find_instrument(of) else { return };
        let refusal = rejection(instrument, message, exchange);
        for index in clients {
            let id = self.clients.at(index).id;
            self.reject_for(id, of, &refusal, now);
        }
        // The end of the last interest has done this, but there may have been none.
        self.let_go(of, now);
    }

    fn reject_for(&mut self, id: ClientId, of: InstrumentId, refusal: &Refusal, now: Now) {
        let Some(stream) = self.hub.stream(of) else { return };
        let keys: Vec<u32> = stream.of_client(id.index).iter().map(|one| one.key).collect();
        let Some(client) = self.clients.find(id) else { return };
        let echo = keys.first().and_then(|&key| client.subscription(key).id.clone());
        let refusal = self.respelled(id, of, refusal);
        for key in keys {
            self.leave(id, key, of, now);
        }
        self.end_symbol(id, &Refusal { id: echo, ..refusal }, now);
    }

    /// Ends some instruments in all subscriptions of a client with one error.
    pub(crate) fn refuse_instruments(
        &mut self,
        id: ClientId,
        instruments: &[InstrumentId],
        refusal: &Refusal,
        now: Now,
    ) {
        for &of in instruments {
            let Some(stream) = self.hub.stream(of) else { continue };
            let keys: Vec<u32> = stream.of_client(id.index).iter().map(|one| one.key).collect();
            keys.into_iter().for_each(|key| self.leave(id, key, of, now));
        }
        self.end_symbol(id, refusal, now);
    }

    /// Ends one symbol of one subscription with an error.
    pub(crate) fn refuse_symbol(
        &mut self,
        id: ClientId,
        key: u32,
        of: InstrumentId,
        refusal: &Refusal,
        now: Now,
    ) {
        let Some(client) = self.clients.find(id) else { return };
        let echo = client.subscription(key).id.clone();
        let interval = Some(self.hub.instrument(of).interval);
        let refusal = self.respelled(id, of, refusal);
        self.leave(id, key, of, now);
        self.end_symbol(id, &Refusal { id: echo, interval, ..refusal }, now);
    }

    /// The error about one series, with the client's own spelling of it.
    fn respelled(&mut self, id: ClientId, of: InstrumentId, refusal: &Refusal) -> Refusal {
        let mut refusal = refusal.clone();
        let spelling = self.hub.stream(of).and_then(|stream| stream.spelling_of(id.index));
        if let Some(Spelling { symbol, contract_type, .. }) = spelling {
            refusal.symbols = vec![symbol.to_string()];
            refusal.contract_type = Some(contract_type.to_string());
        }
        refusal
    }

    /// Sends the error that ends a symbol. A client without other subscriptions is closed.
    pub(crate) fn end_symbol(&mut self, id: ClientId, refusal: &Refusal, now: Now) {
        let Some(client) = self.clients.find(id) else { return };
        if client.subscriptions.is_empty() {
            self.metrics.client_errors.increment();
            return self.close_with_answer(id, refusal, now);
        }
        self.send_error(id, refusal);
        self.accept_closed(id, now);
        self.offer(id);
        self.arm(id);
    }

    /// Sends a `notice` about a session or a listing to each client that wants at least one of
    /// `instruments`, with the symbols that the client wants.
    pub(crate) fn send_session(
        &mut self,
        code: &str,
        message: &str,
        market: Market,
        instruments: &[InstrumentId],
        now: Now,
    ) {
        if self.is_draining {
            return;
        }
        for (index, wanted) in self.hub.interested(instruments) {
            let id = self.clients.at(index).id;
            let symbols = symbols_of(&self.hub, index, &wanted);
            self.payload.clear();
            let about = Some((market, &symbols[..]));
            write_notice(&mut self.payload, code, message, about, now);
            self.send_payload(id);
            self.offer(id);
        }
    }

    /// Sends an `error`; the connection stays.
    pub(crate) fn send_error(&mut self, id: ClientId, refusal: &Refusal) {
        self.metrics.client_errors.increment();
        self.write_error_frame(refusal);
        self.send_payload(id);
    }

    /// Writes an `error` into `payload` and, as a frame, into `frame`.
    pub(crate) fn write_error_frame(&mut self, refusal: &Refusal) {
        self.payload.clear();
        write_error(&mut self.payload, refusal);
        self.frame.clear();
        write_text_frame(&mut self.frame, &self.payload);
    }

    /// Sends the message in `payload` to one client: at once, or after what it is owed.
    pub(crate) fn send_payload(&mut self, id: ClientId) {
        self.frame.clear();
        write_text_frame(&mut self.frame, &self.payload);
        self.send_frame(id);
    }

    /// Sends the message in `frame` to one client, as [`Self::send_payload`] does.
    pub(crate) fn send_frame(&mut self, id: ClientId) {
        let Some(client) = self.clients.find(id).filter(|client| client.is_live()) else { return };
        if client.is_behind() {
            let frame = self.frames.insert(&self.frame, None);
            client.outbox.owe(&mut self.frames, frame);
        } else {
            client.append_frames(&mut self.turn, &self.frame);
            self.metrics.sent_messages.increment();
        }
    }
}

/// What a client no longer wants; `None` means any.
struct Unwanted {
    market: Option<Market>,
    word: Option<Arc<str>>,
    names: Option<Vec<Name>>,
    interval: Option<Interval>,
    origin: Option<CandleSource>,
}

impl Unwanted {
    /// Returns whether symbols of the subscription may be meant.
    fn covers(&self, subscription: &Subscription) -> bool {
        let venue = self.market.map(Market::venue);
        venue.is_none_or(|venue| venue == subscription.market.venue())
            && self.interval.is_none_or(|interval| interval == subscription.interval)
            && self.origin.is_none_or(|origin| origin == subscription.origin)
    }
}

fn show<'a>(subscription: &Subscription, symbols: &'a [&'a str]) -> Shown<'a> {
    Shown {
        market: subscription.market,
        word: subscription.word.clone(),
        interval: subscription.interval,
        origin: subscription.origin,
        symbols,
        limit: subscription.limit,
        remaining: (subscription.limit > 0).then_some(subscription.remaining),
        closed_only: subscription.closed_only,
        mark: subscription.mark,
        basic: subscription.basic,
    }
}

/// A `since` later than this after the host's clock is a mistake of the client. Source: a clock
/// that is set wrong is rarely a day off.
const CLOCK_ERROR_MAX_MS: i64 = 86_400_000;

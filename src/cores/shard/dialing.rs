//! How a session's socket is connected: the look-up of the host or of its proxy, each address in
//! turn, and the answer of the proxy. Owns the list of dead addresses.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::clock::{MonoNs, Now};
use crate::cores::machine::wait::Waiter;
use crate::cores::shard::passage::Passage;
use crate::cores::shard::{ShardCore, Slot, token};
use crate::feed::SessionId;
use crate::limits::CONNECT_PATIENCE;
use crate::messages::OpsRequest;
use crate::metrics::ConnectionErrorKind;
use crate::wire::Endpoint;

/// Where a session's connection goes first.
pub(crate) struct Route {
    /// The host of the exchange, or of the proxy before it.
    host: String,
    port: u16,
    passage: Option<Passage>,
}

/// How far a session's socket has come.
pub(crate) enum Reach {
    /// TCP is under way. A proxy is asked next.
    Dialing(Option<Passage>),
    /// The proxy was asked, and has not answered.
    Asking(Passage),
    /// The socket belongs to the session.
    Connected,
}

impl Slot {
    /// When an answer must have come: from an address that is not the last one, or from a proxy.
    pub(crate) fn gives_up_at(&self) -> Option<MonoNs> {
        let patience = match &self.reach {
            Reach::Connected => return None,
            Reach::Dialing(_) if !self.others.is_empty() => ADDRESS_PATIENCE,
            Reach::Dialing(None) => return None,
            Reach::Dialing(Some(_)) | Reach::Asking(_) => PROXY_PATIENCE,
        };
        Some(self.dialed.after(patience))
    }
}

impl ShardCore {
    pub(crate) fn dial(
        &mut self,
        session: SessionId,
        endpoint: &Endpoint,
        now: Now,
        waiter: &Waiter,
    ) {
        let (host, port) = (&*endpoint.host, endpoint.port);
        let (host, port, passage) = match self.proxies.of(endpoint.tls, host, port) {
            Some(proxy) => (&*proxy.host, proxy.port, Some(Passage::new(proxy, host, port))),
            None => (host, port, None),
        };
        if let Ok(address) = host.parse::<IpAddr>() {
            let address = SocketAddr::new(address, port);
            return self.connect(session, passage, vec![address], now, waiter);
        }
        let host = host.to_owned();
        self.resolving.push((session, Route { host: host.clone(), port, passage }));
        if self.ask(OpsRequest::Resolve { host, port }).is_err() {
            self.resolving.retain(|(waiting, _)| *waiting != session);
            let why = "too many look-ups are waiting already";
            self.feed.handle_connect_failed(session, ConnectionErrorKind::Local, why, now);
        }
    }

    pub(crate) fn resolved(
        &mut self,
        host: &str,
        port: u16,
        result: &Result<Vec<SocketAddr>, String>,
        now: Now,
        waiter: &Waiter,
    ) {
        let is_asked = |(_, route): &(_, Route)| route.host == host && route.port == port;
        let Some(at) = self.resolving.iter().position(is_asked) else { return };
        let (session, Route { passage, .. }) = self.resolving.swap_remove(at);
        match result {
            Ok(addresses) if !addresses.is_empty() => {
                let turn = usize::try_from(now.mono.0 / 1_000_000).unwrap_or(0);
                self.dead.retain(|&(_, at)| at.after(DEAD_FOR) > now.mono);
                let is_dead =
                    |address: &SocketAddr| self.dead.iter().any(|(dead, _)| dead == address);
                let order = order(addresses, turn, is_dead);
                self.connect(session, passage, order, now, waiter);
            }
            Ok(_) => {
                let why = format!("{host} has no address");
                self.fail(session, passage.as_ref(), ConnectionErrorKind::Dns, &why, now);
            }
            Err(why) => self.fail(session, passage.as_ref(), ConnectionErrorKind::Dns, why, now),
        }
    }

    /// Tries the last of `addresses`, and the others if it fails.
    fn connect(
        &mut self,
        session: SessionId,
        passage: Option<Passage>,
        mut addresses: Vec<SocketAddr>,
        now: Now,
        waiter: &Waiter,
    ) {
        let at = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        let Some(address) = addresses.pop() else { return };
        let opened = open_socket(address).and_then(|stream| {
            waiter.watch(&stream, token(self.number, at), true)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                let slot = Slot {
                    session,
                    sampling: self.rx_timestamps.ask(&stream),
                    stream,
                    reach: Reach::Dialing(passage),
                    address,
                    dialed: now.mono,
                    others: addresses,
                    is_blocked: false,
                };
                self.next_try = self.next_try.into_iter().chain(slot.gives_up_at()).min();
                if at == self.slots.len() {
                    self.slots.push(Some(slot));
                } else {
                    self.slots[at] = Some(slot);
                }
                self.by_session.insert(session, at);
                self.open_sockets += 1;
            }
            Err(error) if addresses.is_empty() || kind_of(&error) == ConnectionErrorKind::Local => {
                let why = error.to_string();
                self.fail(session, passage.as_ref(), kind_of(&error), &why, now);
            }
            Err(_) => {
                self.note_dead(address, now);
                self.connect(session, passage, addresses, now, waiter);
            }
        }
    }

    /// TCP is there, or has failed.
    pub(crate) fn established(&mut self, at: usize, now: Now, waiter: &Waiter) {
        let Some(Some(slot)) = self.slots.get_mut(at) else { return };
        let error = match slot.stream.take_error() {
            Ok(None) => None,
            Ok(Some(error)) | Err(error) => Some(error),
        };
        if let Some(error) = error {
            return self.connect_to_another(at, &error, now, waiter);
        }
        let _watched = waiter.rewatch(&slot.stream, token(self.number, at), false);
        let reach = std::mem::replace(&mut slot.reach, Reach::Connected);
        let Reach::Dialing(Some(passage)) = reach else {
            let session = slot.session;
            self.feed.handle_connected(session, now);
            return self.transmit(session, now, waiter);
        };
        // A socket that has sent nothing yet has room for the whole request.
        let sent = slot.stream.write(passage.request());
        let is_sent = matches!(sent, Ok(count) if count == passage.request().len());
        slot.reach = Reach::Asking(passage);
        if !is_sent {
            self.refuse(at, "it does not take what it is asked", now);
        }
    }

    /// Reads the answer of the proxy. Returns whether any bytes came.
    pub(crate) fn read_answer(&mut self, at: usize, now: Now) -> bool {
        let Some(Some(slot)) = self.slots.get_mut(at) else { return false };
        let Reach::Asking(passage) = &mut slot.reach else { return false };
        let count = match slot.stream.read(&mut self.scratch) {
            Ok(count) => count,
            Err(error) if super::is_transient(&error) => return false,
            Err(error) => {
                self.refuse(at, &error.to_string(), now);
                return true;
            }
        };
        let session = slot.session;
        match passage.take(&self.scratch[..count], count == 0) {
            Ok(None) => {}
            Ok(Some(taken)) => {
                slot.reach = Reach::Connected;
                self.feed.handle_connected(session, now);
                if taken < count {
                    self.feed.handle_bytes(session, &self.scratch[taken..count], now);
                }
            }
            Err(why) => {
                self.forget(session);
                self.feed.handle_connect_failed(session, ConnectionErrorKind::Proxy, &why, now);
            }
        }
        true
    }

    /// The proxy of the slot at `at` has failed, for this reason.
    fn refuse(&mut self, at: usize, why: &str, now: Now) {
        let Some(Some(slot)) = self.slots.get(at) else { return };
        let Reach::Asking(passage) = &slot.reach else { return };
        let (session, why) = (slot.session, passage.failed(&why));
        self.forget(session);
        self.feed.handle_connect_failed(session, ConnectionErrorKind::Proxy, &why, now);
    }

    /// The address of the slot at `at` has failed, for this reason.
    fn connect_to_another(&mut self, at: usize, error: &io::Error, now: Now, waiter: &Waiter) {
        let Some(Some(slot)) = self.slots.get_mut(at) else { return };
        let (session, address) = (slot.session, slot.address);
        let others = std::mem::take(&mut slot.others);
        let passage = match std::mem::replace(&mut slot.reach, Reach::Connected) {
            Reach::Dialing(passage) => passage,
            Reach::Asking(_) | Reach::Connected => None,
        };
        self.forget(session);
        self.note_dead(address, now);
        if others.is_empty() {
            let why = error.to_string();
            return self.fail(session, passage.as_ref(), kind_of(error), &why, now);
        }
        self.connect(session, passage, others, now, waiter);
    }

    /// If no answer comes, not even a refusal, the next address is tried, or the failure of the
    /// proxy is reported.
    pub(crate) fn leave_silent_addresses(&mut self, now: Now, waiter: &Waiter) {
        for at in 0..self.slots.len() {
            let Some(slot) = &self.slots[at] else { continue };
            if slot.gives_up_at().is_none_or(|until| until > now.mono) {
                continue;
            }
            if matches!(slot.reach, Reach::Asking(_)) {
                let why = format!("no answer to CONNECT within {PROXY_PATIENCE:?}");
                self.refuse(at, &why, now);
            } else {
                let error = io::Error::from(io::ErrorKind::TimedOut);
                self.connect_to_another(at, &error, now, waiter);
            }
        }
        self.next_try = self.slots.iter().flatten().filter_map(Slot::gives_up_at).min();
    }

    /// The attempt has failed. If it went through a proxy, the reason names the proxy.
    fn fail(
        &mut self,
        session: SessionId,
        passage: Option<&Passage>,
        kind: ConnectionErrorKind,
        why: &str,
        now: Now,
    ) {
        let (kind, why) = match passage {
            Some(passage) if kind == ConnectionErrorKind::Dns => (kind, passage.failed(&why)),
            Some(passage) if kind != ConnectionErrorKind::Local => {
                (ConnectionErrorKind::Proxy, passage.failed(&why))
            }
            _ => (kind, why.to_owned()),
        };
        self.feed.handle_connect_failed(session, kind, &why, now);
    }

    fn note_dead(&mut self, address: SocketAddr, now: Now) {
        self.dead.retain(|&(dead, _)| dead != address);
        if self.dead.len() == DEAD_MAX {
            self.dead.remove(0);
        }
        self.dead.push((address, now.mono));
    }
}

/// How long an address may be silent while another one could be tried. Source: a round trip around
/// the world takes 300 ms at worst; the last address has the rest of the attempt's time.
const ADDRESS_PATIENCE: Duration = Duration::from_millis(400);

/// How long a proxy may take to be reached and to reach the exchange. Source: a little less than
/// the whole attempt, so that the reason names the proxy.
const PROXY_PATIENCE: Duration = Duration::from_secs(8);

const _: () = assert!(PROXY_PATIENCE.as_secs() < CONNECT_PATIENCE.as_secs());

/// How long an address that has failed is tried after the others.
const DEAD_FOR: Duration = Duration::from_secs(60);

/// Most failed addresses that are remembered. At the bound, the oldest is forgotten.
const DEAD_MAX: usize = 32;

/// The order in which addresses are tried, the last one first. The order rotates, so that load is
/// spread; dead addresses come after all others.
fn order(
    addresses: &[SocketAddr],
    turn: usize,
    is_dead: impl Fn(&SocketAddr) -> bool,
) -> Vec<SocketAddr> {
    let mut order = addresses.to_vec();
    order.rotate_left(turn % addresses.len());
    order.sort_by_key(|address| !is_dead(address));
    order
}

fn kind_of(error: &io::Error) -> ConnectionErrorKind {
    match (error.kind(), Errno::from_io_error(error)) {
        (_, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)) => {
            ConnectionErrorKind::Local
        }
        (io::ErrorKind::TimedOut, _) => ConnectionErrorKind::Timeout,
        _ => ConnectionErrorKind::Tcp,
    }
}

/// A non-blocking socket that connects to `address`. It becomes writable when it is connected or
/// has failed.
fn open_socket(address: SocketAddr) -> io::Result<TcpStream> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    begin(|| socket.connect(&SockAddr::from(address)))?;
    Ok(socket.into())
}

/// Calls `connect` again for as long as signals interrupt it. An interrupted call may have begun
/// the connection all the same: the next one then reports that it is under way, or done.
fn begin(mut connect: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        let Err(error) = connect() else { return Ok(()) };
        match Errno::from_io_error(&error) {
            Some(Errno::INTR) => {}
            Some(Errno::INPROGRESS | Errno::ALREADY | Errno::ISCONN) => return Ok(()),
            _ => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_connect_is_called_again_and_a_refused_one_is_not() {
        for (then, is_begun) in [
            (Errno::INPROGRESS, true),
            (Errno::ALREADY, true),
            (Errno::ISCONN, true),
            (Errno::NETUNREACH, false),
            (Errno::CONNREFUSED, false),
        ] {
            let mut calls = [Errno::INTR, Errno::INTR, then].into_iter();
            let begun = begin(|| Err(calls.next().unwrap().into()));
            assert_eq!((begun.is_ok(), calls.len()), (is_begun, 0), "{then}");
        }
    }

    #[test]
    fn every_address_is_tried_once_in_turn_and_the_dead_ones_last() {
        let addresses: Vec<SocketAddr> =
            (1..=3).map(|number| SocketAddr::from(([127, 0, 0, number], 443))).collect();
        let firsts: Vec<_> =
            (0..3).map(|turn| *order(&addresses, turn, |_| false).last().unwrap()).collect();
        assert!(addresses.iter().all(|address| firsts.contains(address)));
        for turn in 0..3 {
            let order = order(&addresses, turn, |address| *address == addresses[1]);
            assert_eq!((order.len(), order[0]), (3, addresses[1]), "{turn}");
        }
    }
}

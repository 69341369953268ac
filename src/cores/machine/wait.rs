//! How a core waits for its next work: it spins, parks in `epoll_wait`, or spins first and then
//! parks. Owns the epoll set of one executor; knows tokens, not what they stand for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{Timespec, epoll};

use crate::clock::MonoNs;
use crate::config::Wait;
use crate::cores::machine::doorbell::Doorbell;
use crate::limits::{ADAPTIVE_SPIN, PARK_MAX};
use crate::metrics::CoreMetrics;

/// A socket that became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The token of its registration.
    pub token: Token,
    /// There may be bytes to read, the end of the stream, or an error.
    pub readable: bool,
    /// There may be room to write.
    pub writable: bool,
    /// Both directions have ended, or the connection failed.
    pub ended: bool,
}

/// The registration of a socket: its owner, and its slot there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(u64);

impl Token {
    const BELL: Self = Self(u64::MAX);

    /// The token of `slot` at `owner`.
    pub const fn new(owner: u16, slot: u32) -> Self {
        Self((owner as u64) << 32 | slot as u64)
    }

    /// The owner.
    pub fn owner(self) -> u64 {
        self.0 >> 32
    }

    /// Its slot at the owner.
    #[allow(clippy::cast_possible_truncation)]
    pub fn slot(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }
}

/// The epoll set, the doorbell and the waiting strategy of one executor.
pub struct Waiter {
    mode: Wait,
    set: OwnedFd,
    bell: Arc<Doorbell>,
    events: Vec<epoll::Event>,
    /// When the first turn without work began; `None` if the latest turn had work.
    idle_since: Option<MonoNs>,
    /// A bit for each of the latest pauses between work, the newest in the lowest bit: whether the
    /// pause was short enough that spinning through it was, or would have been, right.
    short_pauses: u8,
}

impl Waiter {
    /// A waiter for a core that `bell` wakes.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn new(mode: Wait, bell: Arc<Doorbell>) -> io::Result<Self> {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(Token::BELL.0);
        epoll::add(&set, &bell, data, epoll::EventFlags::IN)?;
        Ok(Self {
            mode,
            set,
            bell,
            events: Vec::with_capacity(READY_MAX),
            idle_since: None,
            short_pauses: 0,
        })
    }

    /// Watches a socket for bytes to read, and for room to write if `writable`.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn watch(&self, socket: impl AsFd, token: Token, writable: bool) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.0);
        Ok(epoll::add(&self.set, socket, data, interest(writable))?)
    }

    /// Changes whether the socket is watched for room to write.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn rewatch(&self, socket: impl AsFd, token: Token, writable: bool) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.0);
        Ok(epoll::modify(&self.set, socket, data, interest(writable))?)
    }

    /// Stops watching for bytes, and for room unless `writable`.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn ignore_reads(&self, socket: impl AsFd, token: Token, writable: bool) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token.0);
        let flags = if writable { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
        Ok(epoll::modify(&self.set, socket, data, flags)?)
    }

    /// Adds the sockets that are ready now to `ready`, without waiting.
    pub fn poll(&mut self, ready: &mut Vec<Ready>) {
        self.wait(Duration::ZERO, ready);
    }

    /// Returns whether the core spins between work for now, rather than parks.
    pub fn spins(&self) -> bool {
        match self.mode {
            Wait::Spin => true,
            Wait::Adaptive => self.short_pauses.count_ones() > u8::BITS / 2,
            Wait::Park => false,
        }
    }

    /// Returns whether to park after the turn that began at `now`, and remembers whether that turn
    /// found work. [`Wait::Adaptive`] spins for at most [`ADAPTIVE_SPIN`] after the last work, and
    /// only while most of the latest pauses were shorter than that; otherwise it parks at once.
    pub fn should_park(&mut self, worked: bool, now: MonoNs) -> bool {
        if worked {
            if let Some(idle_since) = self.idle_since.take() {
                let is_short = now.since(idle_since) < ADAPTIVE_SPIN;
                self.short_pauses = self.short_pauses << 1 | u8::from(is_short);
            }
            return false;
        }
        let idle_since = *self.idle_since.get_or_insert(now);
        match self.mode {
            Wait::Spin => false,
            Wait::Adaptive if self.spins() => now.since(idle_since) >= ADAPTIVE_SPIN,
            Wait::Adaptive | Wait::Park => true,
        }
    }

    /// Announces the park: from now on a ring wakes this core. The caller looks at every queue once
    /// more, and then calls [`Self::park`] or, if it found work, [`Self::stay_awake`].
    pub fn announce_park(&self) {
        self.bell.announce_park();
    }

    /// Takes the announcement back, because there is work.
    pub fn stay_awake(&self) {
        self.bell.end_park();
    }

    /// Sleeps until a socket is ready, the doorbell rings, `deadline` has come, or [`PARK_MAX`] is
    /// over. Adds the ready sockets to `ready`.
    pub fn park(
        &mut self,
        now: MonoNs,
        deadline: Option<MonoNs>,
        metrics: &CoreMetrics,
        ready: &mut Vec<Ready>,
    ) {
        let until = deadline.map_or(PARK_MAX, |deadline| deadline.since(now).min(PARK_MAX));
        metrics.parks.increment();
        self.wait(until, ready);
        self.bell.end_park();
    }

    fn wait(&mut self, timeout: Duration, ready: &mut Vec<Ready>) {
        self.events.clear();
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let buffer = rustix::buffer::spare_capacity(&mut self.events);
        // An interrupted wait is an early wake-up; the next turn follows at once.
        let _count = epoll::wait(&self.set, buffer, Some(&timeout));
        for event in &self.events {
            let data = event.data;
            let token = Token(data.u64());
            if token == Token::BELL {
                self.bell.clear();
                continue;
            }
            let flags = event.flags;
            let ended = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
            let read = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
            ready.push(Ready {
                token,
                readable: ended || flags.intersects(read),
                writable: ended || flags.contains(epoll::EventFlags::OUT),
                ended,
            });
        }
    }
}

/// Most sockets that one wait reports. The next wait reports the others. Source: a minute's close
/// of a thousand sockets in one batch.
const READY_MAX: usize = 1024;

fn interest(writable: bool) -> epoll::EventFlags {
    let read = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
    if writable { read | epoll::EventFlags::OUT } else { read }
}

const _: () = assert!(PARK_MAX.as_secs() == 0, "a park is shorter than a second");

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    fn waiter(mode: Wait) -> Waiter {
        Waiter::new(mode, Arc::new(Doorbell::new().unwrap())).unwrap()
    }

    #[test]
    fn each_mode_parks_in_its_own_time() {
        let at = |us: u64| MonoNs(us * 1000);
        let mut spin = waiter(Wait::Spin);
        assert!(!spin.should_park(false, at(1_000_000)));
        let mut park = waiter(Wait::Park);
        assert!(!park.should_park(true, at(1)));
        assert!(park.should_park(false, at(2)));
    }

    #[test]
    fn adaptive_spins_while_pauses_are_short() {
        let at = |us: u64| MonoNs(us * 1000);
        let mut adaptive = waiter(Wait::Adaptive);
        let spin = u64::try_from(ADAPTIVE_SPIN.as_micros()).unwrap();
        let mut time = 0;
        // Whether the first turn without work would park, and the pause after which work comes.
        let mut pause = |us: u64| {
            let parks = adaptive.should_park(false, at(time));
            assert!(adaptive.should_park(false, at(time + spin)), "no pause is spun through");
            time += us;
            assert!(!adaptive.should_park(true, at(time)));
            parks
        };
        for _ in 0..5 {
            assert!(pause(spin - 1), "nothing is known yet");
        }
        for _ in 0..4 {
            assert!(!pause(spin));
        }
        assert!(pause(spin), "most of the latest were long");
    }

    #[test]
    fn a_ring_before_the_park_is_not_lost() {
        let mut waiter = waiter(Wait::Park);
        waiter.announce_park();
        waiter.bell.ring();
        let (mut ready, metrics) = (Vec::new(), CoreMetrics::default());
        waiter.park(MonoNs(0), None, &metrics, &mut ready);
        assert!(ready.is_empty(), "the bell is no socket");
        // The flag is down again: a ring now costs nothing and leaves nothing behind.
        waiter.bell.ring();
        assert!(rustix::io::read(waiter.bell.as_fd(), &mut [0; 8]).is_err());
    }

    #[test]
    fn a_socket_with_bytes_is_reported_under_its_token() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let mut waiter = waiter(Wait::Park);
        waiter.watch(&server, Token::new(3, 7), false).unwrap();
        client.write_all(b"x").unwrap();
        let mut ready = Vec::new();
        while ready.is_empty() {
            waiter.poll(&mut ready);
        }
        assert_eq!((ready[0].token.owner(), ready[0].token.slot()), (3, 7));
        assert!(ready[0].readable && !ready[0].writable);
    }
}

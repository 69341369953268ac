//! How long an exchange's bytes lay in the kernel before a shard had read them. Owns which reads
//! ask for the kernel's receive timestamp and how it is used. Does not know what the bytes mean.
//!
//! The kernel stamps a packet by the wall clock when it takes the packet from the driver, so that
//! the time in the card and its interrupt is not included. TCP joins packets. A read gets the stamp
//! of the last packet in it; the bytes before that packet lay longer.
//!
//! A read that asks for the stamp takes 4.62 µs, another one 4.25 µs (300 bytes over loopback,
//! benches/receive_stamp.rs). So only one read of [`STAMPED_READ_EVERY`] asks.

use std::io::{self, IoSliceMut, Read};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use crate::clock::{Clock, RoughLapse};
use crate::messages::{About, EventName, Notice};
use crate::metrics::ShardMetrics;

/// One shard's stamps.
pub(crate) struct RxTimestamps {
    clock: Clock,
    metrics: Arc<ShardMetrics>,
    /// Room for one stamp; never grows.
    control: Vec<u8>,
    /// Number of reads in a row that asked for a stamp and got none.
    unanswered: u32,
    /// Why there are no stamps, until it is reported.
    trouble: Option<String>,
}

/// Which read of one socket asks next.
#[derive(Debug)]
pub(crate) struct Sampling {
    /// Number of reads with bytes before the one that asks; `None`: no read asks.
    before: Option<u32>,
}

impl RxTimestamps {
    /// Converts stamps to `clock`, and counts in `metrics`.
    pub(crate) fn new(clock: Clock, metrics: Arc<ShardMetrics>) -> Self {
        let control = nix::cmsg_space!(TimeSpec);
        Self { clock, metrics, control, unanswered: 0, trouble: None }
    }

    /// Asks the kernel to stamp what `stream` receives.
    pub(crate) fn ask(&mut self, stream: &TcpStream) -> Sampling {
        match setsockopt(stream, sockopt::ReceiveTimestampns, &true) {
            Ok(()) => Sampling { before: Some(0) },
            Err(error) => {
                self.trouble = Some(error.desc().to_owned());
                Sampling { before: None }
            }
        }
    }

    /// Reads as `stream` does, and for some reads returns how long the last byte had waited in the
    /// kernel.
    pub(crate) fn read(
        &mut self,
        mut stream: &TcpStream,
        sampling: &mut Sampling,
        into: &mut [u8],
    ) -> io::Result<(usize, RoughLapse)> {
        if sampling.before == Some(0) {
            let (count, unix_ns) = receive(stream, into, &mut self.control)?;
            sampling.before = Some(STAMPED_READ_EVERY - 1);
            let is_end = count == 0;
            return Ok((count, if is_end { RoughLapse::UNKNOWN } else { self.judge(unix_ns) }));
        }
        let count = stream.read(into)?;
        sampling.before = sampling.before.map(|before| before - 1);
        Ok((count, RoughLapse::UNKNOWN))
    }

    /// The notice that there are no stamps, once in the process's life.
    pub(crate) fn take_notice(&mut self) -> Option<Notice> {
        static IS_REPORTED: AtomicBool = AtomicBool::new(false);
        let why = self.trouble.take()?;
        let is_reported = IS_REPORTED.swap(true, Ordering::Relaxed);
        let text = format!("the kernel gives no receive stamps ({why}): no hop \"kernel\"");
        let (event, about) = (EventName::StampsMissing, About::default());
        (!is_reported).then_some(Notice { event, about, text })
    }

    /// The time in the kernel, from the stamp of a read that has just ended.
    fn judge(&mut self, unix_ns: Option<i64>) -> RoughLapse {
        let Some(unix_ns) = unix_ns else {
            self.unanswered += 1;
            if self.unanswered == UNANSWERED_READS_MAX {
                self.trouble = Some("asked for, and not given".to_owned());
            }
            return RoughLapse::UNKNOWN;
        };
        self.unanswered = 0;
        let now = self.clock.reading();
        let Some(arrived) = now.mono_at(unix_ns, AGE_MAX) else {
            self.metrics.stamps_dropped.increment();
            return RoughLapse::UNKNOWN;
        };
        let ns = now.mono.ns_since(arrived);
        self.metrics.kernel_to_read.record_ns(ns);
        RoughLapse::of_ns(ns)
    }
}

/// Reads, and takes the stamp that came with the bytes: ns since the Unix epoch. Allocates nothing.
fn receive(
    stream: &TcpStream,
    into: &mut [u8],
    control: &mut Vec<u8>,
) -> io::Result<(usize, Option<i64>)> {
    let mut parts = [IoSliceMut::new(into)];
    let flags = MsgFlags::empty();
    let received = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(control), flags)?;
    let stamp = received.cmsgs().find_map(|message| match message {
        ControlMessageOwned::ScmTimestampns(stamp) => Some(unix_ns(stamp)),
        _ => None,
    });
    Ok((received.bytes, stamp))
}

fn unix_ns(stamp: TimeSpec) -> i64 {
    stamp.tv_sec().saturating_mul(1_000_000_000).saturating_add(stamp.tv_nsec())
}

/// One in this many reads that bring bytes asks for its stamp. Source: asking costs 370 ns
/// (benches/receive_stamp.rs), so 22 ns a read; every read of a stamped socket also costs some 35
/// ns more. It is a prime, so that every one of several symbols that are pushed in turn is
/// measured.
const STAMPED_READ_EVERY: u32 = 17;

/// An older stamp is dropped: the wall clock was set, or the socket was not read. Source: a busy
/// shard reads a socket many times a second.
const AGE_MAX: Duration = Duration::from_secs(1);

/// After this many reads in a row without the requested stamp, a notice reports it. Source: the
/// kernel begins to stamp a moment after the first socket of the host has asked.
const UNANSWERED_READS_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    /// Both ends of a connection: to write to, to read from.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, near)
    }

    fn rx_timestamps() -> (RxTimestamps, Arc<ShardMetrics>) {
        let metrics = Arc::new(ShardMetrics::default());
        (RxTimestamps::new(Clock::new(), Arc::clone(&metrics)), metrics)
    }

    fn measured(metrics: &ShardMetrics) -> u64 {
        metrics.kernel_to_read.cumulative().last().map_or(0, |(_, count)| count)
    }

    #[test]
    fn one_read_of_seventeen_measures_how_long_its_bytes_lay() {
        let (mut far, near) = pair();
        let (mut rx_timestamps, metrics) = rx_timestamps();
        let mut sampling = rx_timestamps.ask(&near);
        let mut read = |sampling: &mut Sampling| {
            far.write_all(b"candle").unwrap();
            let mut into = [0; 64];
            let (count, kernel) = rx_timestamps.read(&near, sampling, &mut into).unwrap();
            assert_eq!(&into[..count], b"candle");
            kernel
        };
        // The kernel begins a moment after it was asked; on a busy machine that is a while.
        let (clock, patience) = (Clock::new(), Duration::from_secs(20));
        let until = clock.now().mono.after(patience);
        while read(&mut sampling) == RoughLapse::UNKNOWN {
            assert!(clock.now().mono < until, "no stamps");
        }
        assert_eq!(measured(&metrics), 1);
        for _ in 0..3 {
            for _ in 1..STAMPED_READ_EVERY {
                assert_eq!(read(&mut sampling), RoughLapse::UNKNOWN);
            }
            let ns = read(&mut sampling).ns();
            assert!(ns.is_some_and(|ns| ns > 0), "{ns:?}");
        }
        assert_eq!((measured(&metrics), metrics.stamps_dropped.value()), (4, 0));
    }

    #[test]
    fn a_read_that_finds_nothing_is_no_read_and_the_end_is_the_end() {
        let (far, near) = pair();
        let (mut rx_timestamps, metrics) = rx_timestamps();
        let mut sampling = rx_timestamps.ask(&near);
        near.set_nonblocking(true).unwrap();
        for before in [0, 1] {
            sampling.before = Some(before);
            let error = rx_timestamps.read(&near, &mut sampling, &mut [0; 64]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            assert_eq!(sampling.before, Some(before));
        }
        drop(far);
        near.set_nonblocking(false).unwrap();
        for before in [0, 1] {
            sampling.before = Some(before);
            let end = rx_timestamps.read(&near, &mut sampling, &mut [0; 64]).unwrap();
            assert_eq!(end, (0, RoughLapse::UNKNOWN));
        }
        assert_eq!((measured(&metrics), rx_timestamps.unanswered), (0, 0));
    }

    #[test]
    fn a_stamp_from_across_a_set_clock_is_counted_and_dropped() {
        let (mut rx_timestamps, metrics) = rx_timestamps();
        let now_ns = rx_timestamps.clock.reading().unix_ns;
        for wrong_ns in [now_ns + 60_000_000_000, now_ns - 60_000_000_000, 0] {
            assert_eq!(rx_timestamps.judge(Some(wrong_ns)), RoughLapse::UNKNOWN);
        }
        assert_eq!((measured(&metrics), metrics.stamps_dropped.value()), (0, 3));
    }

    #[test]
    fn missing_stamps_are_reported_once() {
        let (mut rx_timestamps, metrics) = rx_timestamps();
        for _ in 1..UNANSWERED_READS_MAX {
            assert_eq!(rx_timestamps.judge(None), RoughLapse::UNKNOWN);
        }
        assert_eq!(rx_timestamps.take_notice(), None, "it may still be about to begin");
        rx_timestamps.judge(None);
        let notice = rx_timestamps.take_notice().expect("it is reported");
        assert_eq!(notice.event, EventName::StampsMissing);
        for _ in 0..UNANSWERED_READS_MAX {
            rx_timestamps.judge(None);
        }
        let not_a_socket =
            TcpStream::from(std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        assert_eq!(rx_timestamps.ask(&not_a_socket).before, None);
        assert_eq!(rx_timestamps.take_notice(), None, "once");
        assert_eq!(measured(&metrics), 0);
    }
}

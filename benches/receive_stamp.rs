//! What the kernel's receive stamp costs: a plain read beside one that asks for the stamp, in turn,
//! in one run. One thread writes a message of 300 bytes to a loopback socket and reads it at the
//! other end; the read alone is timed.
//!
//! `cargo bench --bench receive_stamp`; `-- --quick` for a short run.

#![allow(missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

use std::io::{IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

const MESSAGE: [u8; 300] = [b'x'; 300];
/// Reads of one kind before the next kind's turn.
const BLOCK: usize = 2_000;

/// A way to read.
#[derive(Clone, Copy)]
enum Way {
    /// read(2); nobody asked for stamps on this socket.
    Plain,
    /// read(2) of a socket that is stamped: what most reads of a shard are.
    Unasked,
    /// recvmsg(2) with room for the stamp.
    Asked,
}

impl Way {
    const ALL: [Self; 3] = [Self::Plain, Self::Unasked, Self::Asked];

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "read, socket without stamps",
            Self::Unasked => "read, socket with stamps",
            Self::Asked => "recvmsg with the stamp",
        }
    }
}

struct Pair {
    near: TcpStream,
    far: TcpStream,
    control: Vec<u8>,
    into: Vec<u8>,
}

impl Pair {
    fn new(is_stamped: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        far.set_nodelay(true).unwrap();
        near.set_nonblocking(true).unwrap();
        setsockopt(&near, sockopt::ReceiveTimestampns, &is_stamped).unwrap();
        Self { near, far, control: nix::cmsg_space!(TimeSpec), into: vec![0; 64 * 1024] }
    }

    /// Bytes read, `None` if there were none; whether with a stamp.
    fn read(&mut self, way: Way) -> (Option<usize>, bool) {
        let Way::Asked = way else { return ((&self.near).read(&mut self.into).ok(), false) };
        let mut parts = [IoSliceMut::new(&mut self.into)];
        let (fd, flags) = (self.near.as_raw_fd(), MsgFlags::empty());
        let received = recvmsg::<()>(fd, &mut parts, Some(&mut self.control), flags);
        let Ok(received) = received else { return (None, false) };
        let is_stamp = |message| matches!(message, ControlMessageOwned::ScmTimestampns(_));
        (Some(received.bytes), received.cmsgs().any(is_stamp))
    }

    /// The median read of a block, and how many had a stamp.
    fn block(&mut self, way: Way) -> (u128, usize) {
        let mut stamped = 0;
        let timed = (0..BLOCK).map(|_| {
            self.far.write_all(&MESSAGE).unwrap();
            let start = Instant::now();
            let (count, is_stamped) = self.read(way);
            let ns = start.elapsed().as_nanos();
            assert_eq!(count, Some(MESSAGE.len()));
            stamped += usize::from(is_stamped);
            ns
        });
        (median(timed.collect()), stamped)
    }

    /// A read that finds nothing: the mean of a block.
    fn empty(&mut self, way: Way) -> u128 {
        let start = Instant::now();
        (0..BLOCK).for_each(|_| assert_eq!(self.read(way).0, None));
        start.elapsed().as_nanos() / BLOCK as u128
    }
}

fn median(mut values: Vec<u128>) -> u128 {
    values.sort_unstable();
    values[values.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return println!("benches are not tests");
    }
    let rounds = if arguments.iter().any(|argument| argument == "--quick") { 20 } else { 200 };
    if let Some(&cpu) = core_affinity::get_core_ids().unwrap_or_default().last() {
        core_affinity::set_for_current(cpu);
    }
    let mut pairs = [Pair::new(false), Pair::new(true), Pair::new(true)];
    let mut rows = Way::ALL.map(|way| (way, Vec::new(), Vec::new(), 0));
    for _ in 0..rounds {
        for ((way, reads, empties, stamps), pair) in rows.iter_mut().zip(&mut pairs) {
            let (ns, stamped) = pair.block(*way);
            reads.push(ns);
            empties.push(pair.empty(*way));
            *stamps += stamped;
        }
    }
    println!("\n300 bytes a read, {rounds} rounds of {BLOCK} reads each, in turn; medians");
    println!("{:<30}{:>10}{:>16}{:>10}", "", "ns", "ns, nothing", "stamps");
    for (way, reads, empties, stamps) in rows {
        let (read, empty) = (median(reads), median(empties));
        println!("{:<30}{read:>10}{empty:>16}{stamps:>10}", way.name());
    }
}

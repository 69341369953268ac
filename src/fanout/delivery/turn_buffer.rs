//! The frames published in one turn, stored once for all clients that keep up. Owns their bytes,
//! which parts of them a client gets, and the buffers for clients that need bytes of their own;
//! knows no interest and no socket.
//!
//! A turn ends when the driver has taken all outputs: what a socket has not taken by then is
//! copied, and the storage begins anew.

use std::ops::Range;

use arrayvec::ArrayVec;

use crate::fanout::ClientId;
use crate::fanout::delivery::buffer_pool::BufferPool;
use crate::limits::{RUN_BYTES_MAX, SHARED_PARTS_MAX};
use crate::wire::{Connection, touched};

/// The place of a frame in the turn's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    start: u32,
    end: u32,
}

impl Part {
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Its bytes, in the first or the second store.
    fn of(self, stores: [&[u8]; 2]) -> &[u8] {
        let Range { start, end } = self.range();
        match start.checked_sub(SECOND) {
            Some(start) => &stores[1][start..end - SECOND],
            None => &stores[0][start..end],
        }
    }
}

/// The first place of the second store: never next to a place in the first.
const SECOND: usize = RUN_BYTES_MAX + 1;

/// The frames of this turn, one after the other.
#[derive(Debug)]
pub(crate) struct TurnBuffer {
    bytes: Vec<u8>,
    /// The basic forms of quotes. They stand apart, so that a client's frames are neighbours and
    /// stay one piece. Not allocated before the first one.
    basic: Vec<u8>,
    /// The clients with a share. It may name clients that are gone, or a client twice.
    sharers: Vec<ClientId>,
    buffer_pool: BufferPool,
}

impl Default for TurnBuffer {
    /// Allocates the room for the longest turn.
    fn default() -> Self {
        let mut bytes = touched(RUN_BYTES_MAX);
        bytes.clear();
        let basic = Vec::new();
        Self { bytes, basic, sharers: Vec::new(), buffer_pool: BufferPool::default() }
    }
}

impl TurnBuffer {
    /// Adds a frame; `None` if there is no room for it in this turn.
    pub(crate) fn push(&mut self, frame: &[u8]) -> Option<Part> {
        push(&mut self.bytes, frame, 0)
    }

    /// As [`Self::push`], for the basic form of another frame.
    pub(crate) fn push_basic(&mut self, frame: &[u8]) -> Option<Part> {
        if self.basic.capacity() == 0 {
            self.basic = touched(RUN_BYTES_MAX);
            self.basic.clear();
        }
        push(&mut self.basic, frame, SECOND)
    }

    fn stores(&self) -> [&[u8]; 2] {
        [&self.bytes, &self.basic]
    }

    /// Returns whether the clients should be written to before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len().max(self.basic.len()) >= RUN_BYTES_MAX / 2
    }

    /// Notes that a client has a share.
    pub(crate) fn add_sharer(&mut self, id: ClientId) {
        self.sharers.push(id);
    }

    /// Takes the next client with a share.
    pub(crate) fn next_sharer(&mut self) -> Option<ClientId> {
        self.sharers.pop()
    }

    /// Begins the next turn: no client has a share any more.
    pub(crate) fn clear(&mut self) {
        assert!(self.sharers.is_empty(), "every share was written or copied");
        self.bytes.clear();
        self.basic.clear();
    }

    /// Copies a client's share into its connection.
    pub(crate) fn copy(&mut self, share: &mut SharedSlices, connection: &mut Connection) {
        for part in share.parts.drain(..) {
            self.buffer_pool.append(connection, part.of([&self.bytes, &self.basic]));
        }
        share.bytes = 0;
    }

    /// Copies one frame into a client's connection.
    pub(crate) fn copy_part(&mut self, part: Part, connection: &mut Connection) {
        self.buffer_pool.append(connection, part.of([&self.bytes, &self.basic]));
    }

    /// Appends frames for one client alone.
    pub(crate) fn append(&mut self, connection: &mut Connection, frames: &[u8]) {
        self.buffer_pool.append(connection, frames);
    }

    /// Takes back a buffer that the connection no longer needs: all its bytes are written.
    pub(crate) fn reclaim(&mut self, connection: &mut Connection) {
        self.buffer_pool.reclaim(connection);
    }
}

/// Appends a frame to a store with places from `base`; `None` if there is no room.
fn push(store: &mut Vec<u8>, frame: &[u8], base: usize) -> Option<Part> {
    if store.len() + frame.len() > RUN_BYTES_MAX {
        return None;
    }
    let bound = |at: usize| u32::try_from(at).expect("a run is far shorter than 4 GiB");
    let start = bound(base + store.len());
    store.extend_from_slice(frame);
    Some(Part { start, end: bound(base + store.len()) })
}

/// The frames of the turn that one client gets. Empty between turns.
#[derive(Debug, Default)]
pub(crate) struct SharedSlices {
    /// In order; neighbouring parts are joined.
    parts: ArrayVec<Part, SHARED_PARTS_MAX>,
    bytes: usize,
    /// Bytes of the client's own that are sent first, while there is a share.
    ahead: usize,
}

impl SharedSlices {
    /// Begins with a frame, after `ahead` bytes of the client's own.
    pub(crate) fn begin(&mut self, ahead: usize, part: Part) {
        assert!(self.is_empty(), "it is begun once");
        self.ahead = ahead;
        self.parts.push(part);
        self.bytes = part.range().len();
    }

    /// Bytes ready for the client, its own included.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.ahead + self.bytes
    }

    /// Adds a frame that was pushed after all frames in here. Returns whether there was room.
    pub(crate) fn add(&mut self, part: Part) -> bool {
        match self.parts.last_mut() {
            Some(last) if last.end == part.start => last.end = part.end,
            _ => {
                if self.parts.try_push(part).is_err() {
                    return false;
                }
            }
        }
        self.bytes += part.range().len();
        true
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Returns whether it has no bytes.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Notes that the first `count` bytes are written.
    pub(crate) fn consume(&mut self, mut count: usize) {
        assert!(count <= self.bytes, "consumed more bytes than there are");
        self.bytes -= count;
        while count > 0 {
            let first = &mut self.parts[0];
            let taken = count.min(first.range().len());
            first.start += u32::try_from(taken).expect("at most the part");
            count -= taken;
            if first.start == first.end {
                self.parts.remove(0);
            }
        }
    }
}

/// Bytes ready for one client's socket: its own, then its share of what is published to many.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    own: &'a [u8],
    turn: [&'a [u8]; 2],
    parts: &'a [Part],
    len: usize,
}

impl<'a> Outgoing<'a> {
    /// No bytes.
    pub(crate) const NONE: Self = Self { own: &[], turn: [&[], &[]], parts: &[], len: 0 };

    pub(crate) fn new(own: &'a [u8], share: &'a SharedSlices, turn: &'a TurnBuffer) -> Self {
        Self { own, turn: turn.stores(), parts: &share.parts, len: own.len() + share.bytes }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes in order, as pieces that are not empty; at most [`OUTGOING_PIECES_MAX`].
    pub fn pieces(self) -> impl Iterator<Item = &'a [u8]> {
        let own = Some(self.own).filter(|own| !own.is_empty());
        own.into_iter().chain(self.parts.iter().map(move |part| part.of(self.turn)))
    }

    /// A copy.
    pub fn to_vec(self) -> Vec<u8> {
        self.pieces().flatten().copied().collect()
    }
}

/// Pieces of [`Outgoing::pieces`] at most. Source: every part of a share, and the client's own
/// bytes.
pub const OUTGOING_PIECES_MAX: usize = SHARED_PARTS_MAX + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_piece_and_others_are_not() {
        let (mut turn, mut share) = (TurnBuffer::default(), SharedSlices::default());
        for (frame, is_wanted) in [("aa", true), ("bbb", true), ("c", false), ("dd", true)] {
            let part = turn.push(frame.as_bytes()).unwrap();
            assert!(!is_wanted || share.add(part));
        }
        let outgoing = Outgoing::new(b"own", &share, &turn);
        assert_eq!(outgoing.pieces().collect::<Vec<_>>(), [&b"own"[..], b"aabbb", b"dd"]);
        assert_eq!((outgoing.len(), outgoing.to_vec()), (10, b"ownaabbbdd".to_vec()));
    }

    #[test]
    fn basic_forms_do_not_stand_between_the_others() {
        let mut turn = TurnBuffer::default();
        let (mut whole, mut basic, mut both) =
            <(SharedSlices, SharedSlices, SharedSlices)>::default();
        for (long, short) in [("aaaa", "a"), ("bbbb", "b"), ("cccc", "c")] {
            let part = turn.push(long.as_bytes()).unwrap();
            assert!(whole.add(part) && both.add(part));
            let part = turn.push_basic(short.as_bytes()).unwrap();
            assert!(basic.add(part) && both.add(part));
        }
        let pieces = |share: &SharedSlices| {
            let outgoing = Outgoing::new(b"", share, &turn);
            outgoing.pieces().map(|piece| String::from_utf8_lossy(piece).into()).collect::<Vec<_>>()
        };
        assert_eq!(
            (pieces(&whole), pieces(&basic)),
            (vec!["aaaabbbbcccc".to_owned()], vec!["abc".to_owned()])
        );
        assert_eq!(pieces(&both), ["aaaa", "a", "bbbb", "b", "cccc", "c"]);
        turn.clear();
        assert!(!turn.is_full() && turn.push_basic(&vec![0; RUN_BYTES_MAX / 2]).is_some());
        assert!(turn.is_full());
        let end = turn.push(&vec![0; RUN_BYTES_MAX]).unwrap();
        let mut share = SharedSlices::default();
        assert!(share.add(end) && basic.add(end), "the last place of the first is no neighbour");
    }

    #[test]
    fn a_share_is_consumed_across_its_pieces() {
        let (mut turn, mut share) = (TurnBuffer::default(), SharedSlices::default());
        for frame in ["abc", "-", "def", "-", "ghi"] {
            let part = turn.push(frame.as_bytes()).unwrap();
            assert!(frame == "-" || share.add(part));
        }
        for (count, rest) in [(1, &b"bcdefghi"[..]), (5, b"ghi"), (0, b"ghi"), (3, b"")] {
            share.consume(count);
            assert_eq!(Outgoing::new(b"", &share, &turn).to_vec(), rest);
        }
        assert!(share.is_empty());
    }

    #[test]
    fn a_run_and_a_share_have_bounds() {
        let (mut turn, mut share) = (TurnBuffer::default(), SharedSlices::default());
        for _ in 0..SHARED_PARTS_MAX {
            assert!(share.add(turn.push(b"x").unwrap()));
            turn.push(b"-").unwrap();
        }
        assert!(!share.add(turn.push(b"x").unwrap()));
        assert_eq!(share.len(), SHARED_PARTS_MAX);
        assert_eq!(turn.push(&vec![0; RUN_BYTES_MAX]), None);
        assert!(!turn.is_full());
        turn.push(&vec![0; RUN_BYTES_MAX / 2]).unwrap();
        assert!(turn.is_full());
    }
}

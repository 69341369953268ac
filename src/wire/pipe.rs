//! Byte queues between a socket and a protocol library. Owns only the bytes under way: reading
//! takes from the front, writing adds to the back, an empty queue "would block".

use std::io::{self, Read, Write};

use super::storage::touched;

/// A queue of bytes. Bytes are taken from the front without moving the rest; the storage is reused
/// once the queue is empty.
#[derive(Debug)]
pub(super) struct ByteQueue {
    bytes: Vec<u8>,
    start: usize,
    /// An empty queue keeps at most this much storage.
    kept_max: usize,
}

impl Default for ByteQueue {
    fn default() -> Self {
        Self::keeping(KEEP_BYTES_MAX)
    }
}

impl ByteQueue {
    /// An empty queue that gives storage beyond `kept_max` bytes back whenever it is empty.
    pub(super) fn keeping(kept_max: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, kept_max }
    }

    /// The bytes in the queue.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Adds `bytes` at the back.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Drops the first `count` bytes.
    pub(super) fn consume(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.start, "consumed more bytes than there are");
        self.start += count;
        if self.start == self.bytes.len() {
            self.clear();
        } else if self.start > self.bytes.len() / 2 && self.start >= COMPACT_BYTES_MIN {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Drops every byte, and frees the storage of a burst.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        if self.bytes.capacity() > self.kept_max {
            self.bytes.shrink_to(self.kept_max);
        }
    }

    /// Returns whether `count` more bytes fit into the storage.
    pub(super) fn has_room(&self, count: usize) -> bool {
        self.bytes.capacity() - self.bytes.len() >= count
    }

    /// Makes storage for `capacity` bytes, and keeps it from now on.
    pub(super) fn prepare(&mut self, capacity: usize) {
        drop(self.move_into(touched(capacity)));
        self.kept_max = capacity;
    }

    /// Continues in `storage`, and drops its contents. Returns the previous storage.
    pub(super) fn move_into(&mut self, mut storage: Vec<u8>) -> Vec<u8> {
        storage.clear();
        storage.extend_from_slice(self.as_slice());
        self.start = 0;
        std::mem::replace(&mut self.bytes, storage)
    }

    /// Returns the storage of an empty queue if it is more than `kept` bytes.
    pub(super) fn take_storage(&mut self, kept: usize) -> Option<Vec<u8>> {
        let is_spare = self.is_empty() && self.bytes.capacity() > kept;
        is_spare.then(|| std::mem::take(&mut self.bytes)).inspect(|_| self.start = 0)
    }

    /// Returns whether the queue is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }
}

/// Below this, moving the rest to the front costs less than it saves.
const COMPACT_BYTES_MIN: usize = 4 * 1024;

/// Storage that an empty queue to an exchange keeps. Source: the answer to a busy batch, twice
/// over.
const KEEP_BYTES_MAX: usize = 64 * 1024;

impl Write for ByteQueue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The two queues of one connection as one stream, as protocol libraries need it.
pub(super) struct Pipe<'a> {
    /// The bytes from the peer.
    pub(super) incoming: &'a mut ByteQueue,
    /// Number of these bytes that may be read. For the reader, the others have not arrived.
    pub(super) readable: &'a mut usize,
    /// The bytes for the peer.
    pub(super) outgoing: &'a mut ByteQueue,
    /// Written bytes are dropped.
    pub(super) drops_writes: bool,
}

impl Read for Pipe<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = (*self.readable).min(out.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        out[..count].copy_from_slice(&self.incoming.as_slice()[..count]);
        self.incoming.consume(count);
        *self.readable -= count;
        Ok(count)
    }
}

impl Write for Pipe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.drops_writes {
            return Ok(bytes.len());
        }
        self.outgoing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{READ_BYTES_MAX, VENUE_QUEUE_BYTES};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_leave_in_the_order_in_which_they_came(
            steps in proptest::collection::vec((0usize..9000, 0usize..9000), 1..20)
        ) {
            let (mut queue, mut model) = (ByteQueue::default(), Vec::new());
            let mut next = 0u8;
            for (add, take) in steps {
                let mut one_more = |_| {
                    next = next.wrapping_add(1);
                    next
                };
                let added: Vec<u8> = (0..add).map(&mut one_more).collect();
                queue.push(&added);
                model.extend_from_slice(&added);
                let take = take.min(model.len());
                prop_assert_eq!(&queue.as_slice()[..take], &model[..take]);
                queue.consume(take);
                model.drain(..take);
                prop_assert_eq!(queue.as_slice(), &model[..]);
            }
        }
    }

    #[test]
    fn storage_is_lent_and_given_away_when_empty() {
        let mut queue = ByteQueue::keeping(1 << 20);
        queue.push(b"abc");
        queue.consume(1);
        assert!(!queue.has_room(4096));
        queue.move_into(Vec::with_capacity(8192));
        assert!(queue.has_room(4096));
        queue.push(&[b'd'; 4096]);
        assert_eq!(queue.take_storage(0), None, "it is in use");
        assert_eq!(&queue.as_slice()[..3], b"bcd");
        queue.consume(4098);
        assert_eq!(queue.take_storage(8192), None, "it is not much");
        assert_eq!(queue.take_storage(8191).map(|spare| spare.capacity()), Some(8192));
        queue.push(b"e");
        assert_eq!(queue.as_slice(), b"e");
    }

    #[test]
    fn a_prepared_queue_takes_a_whole_read_behind_a_rest_and_stays_where_it_is() {
        let mut queue = ByteQueue::default();
        queue.push(b"ab");
        queue.consume(1);
        queue.prepare(VENUE_QUEUE_BYTES);
        assert_eq!(queue.as_slice(), b"b", "what was in it is still there");
        let place = queue.bytes.as_ptr();
        for _ in 0..3 {
            queue.push(&[0; READ_BYTES_MAX - 1]);
            // All but an unfinished message.
            queue.consume(READ_BYTES_MAX - 300);
            queue.push(&[0; READ_BYTES_MAX]);
            queue.consume(queue.as_slice().len());
            queue.push(b"b");
            assert_eq!((queue.bytes.as_ptr(), queue.bytes.capacity()), (place, VENUE_QUEUE_BYTES));
        }
    }

    #[test]
    fn an_empty_queue_keeps_no_more_than_it_is_told_to() {
        for kept_max in [0, 1024] {
            let mut queue = ByteQueue::keeping(kept_max);
            queue.push(&[0; 10_000]);
            queue.consume(10_000);
            assert!(queue.bytes.capacity() <= kept_max);
        }
    }

    #[test]
    fn an_empty_pipe_would_block_and_never_ends() {
        let (mut incoming, mut outgoing) = (ByteQueue::default(), ByteQueue::default());
        incoming.push(b"xyz");
        let mut readable = 2;
        let mut pipe = Pipe {
            incoming: &mut incoming,
            readable: &mut readable,
            outgoing: &mut outgoing,
            drops_writes: false,
        };
        assert_eq!(pipe.read(&mut [0; 8]).unwrap(), 2);
        assert_eq!(pipe.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(incoming.as_slice(), b"z");
    }
}

//! Byte queues between a socket and a protocol library. Owns the bytes that are under way, nothing
//! else: reading takes from the front, writing adds to the back, an empty queue "would block".

use std::io::{self, Read, Write};

/// A queue of bytes. Bytes are taken from the front without moving the rest; the storage is reused
/// once the queue is empty.
#[derive(Debug, Default)]
pub(super) struct ByteQueue {
    bytes: Vec<u8>,
    start: usize,
}

impl ByteQueue {
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

    /// Drops every byte; a burst's worth of storage is given back.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        if self.bytes.capacity() > KEEP_BYTES_MAX {
            self.bytes.shrink_to(KEEP_BYTES_MAX);
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }
}

/// Below this, moving the rest to the front costs less than it saves.
const COMPACT_BYTES_MIN: usize = 4 * 1024;

/// An empty queue keeps at most this much storage. Source: the answer to a busy batch, twice over.
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

/// The two queues of one connection as one stream, as protocol libraries want it.
pub(super) struct Pipe<'a> {
    /// What the peer sent.
    pub(super) incoming: &'a mut ByteQueue,
    /// How many bytes of it may be read; the others have not come, as far as the reader knows.
    pub(super) readable: &'a mut usize,
    /// What the peer is to get.
    pub(super) outgoing: &'a mut ByteQueue,
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
        self.outgoing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_leave_in_the_order_in_which_they_came(
            steps in proptest::collection::vec((0usize..9000, 0usize..9000), 1..20)
        ) {
            let (mut queue, mut model) = (ByteQueue::default(), Vec::new());
            let mut next = 0u8;
            for (add, take) in steps {
                let added: Vec<u8> = (0..add).map(|_| { next = next.wrapping_add(1); next }).collect();
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
    fn an_empty_pipe_would_block_and_never_ends() {
        let (mut incoming, mut outgoing) = (ByteQueue::default(), ByteQueue::default());
        incoming.push(b"xyz");
        let mut readable = 2;
        let mut pipe =
            Pipe { incoming: &mut incoming, readable: &mut readable, outgoing: &mut outgoing };
        assert_eq!(pipe.read(&mut [0; 8]).unwrap(), 2);
        assert_eq!(pipe.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(incoming.as_slice(), b"z");
    }
}

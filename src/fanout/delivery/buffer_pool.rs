//! Buffers for bursts. Owns those that no client needs at the moment, so that a client is lent one
//! while it has much to send and keeps next to nothing while it has not.

use crate::limits::{
    IDLE_BUFFER_BYTES, LONG_BUFFER_BYTES, LONG_BUFFERS_MAX, SPARE_BUFFER_BYTES, SPARE_BUFFERS_MAX,
};
use crate::wire::Connection;

/// Buffers used again and again: after the first burst of a size no further one allocates.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    /// Of [`IDLE_BUFFER_BYTES`]: outgrown by a client that has more to send.
    small: Vec<Vec<u8>>,
    /// Of [`SPARE_BUFFER_BYTES`].
    buffers: Vec<Vec<u8>>,
    /// Of [`LONG_BUFFER_BYTES`].
    long: Vec<Vec<u8>>,
}

impl BufferPool {
    /// Adds whole frames to what is outgoing, in a buffer that has room: the small one that the
    /// connection keeps, or one that it is lent.
    pub(crate) fn append(&mut self, connection: &mut Connection, frames: &[u8]) {
        if connection.is_cramped(frames.len()) {
            let needed = connection.outgoing().len() + frames.len();
            // Else a long answer on top of much: the connection's own buffer grows.
            let lengths = [IDLE_BUFFER_BYTES, SPARE_BUFFER_BYTES, LONG_BUFFER_BYTES];
            if let Some(length) = lengths.into_iter().find(|&length| needed <= length) {
                let spare = self.buffer_pool(length).and_then(|(buffer_pool, _)| buffer_pool.pop());
                let spare = spare.unwrap_or_else(|| Vec::with_capacity(length));
                let outgrown = connection.lend(spare);
                self.keep(outgrown);
            }
        }
        connection.append_frames(frames);
    }

    /// Takes back what a connection, all of whose bytes are written, needs no more.
    pub(crate) fn reclaim(&mut self, connection: &mut Connection) {
        if let Some(buffer) = connection.give_back(IDLE_BUFFER_BYTES) {
            self.keep(buffer);
        }
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if let Some((buffer_pool, most)) = self.buffer_pool(buffer.capacity())
            && buffer_pool.len() < most
        {
            buffer_pool.push(buffer);
        }
    }

    /// The buffers of a length, and how many are kept; `None`: it is none of ours.
    fn buffer_pool(&mut self, length: usize) -> Option<(&mut Vec<Vec<u8>>, usize)> {
        match length {
            IDLE_BUFFER_BYTES => Some((&mut self.small, SPARE_BUFFERS_MAX)),
            SPARE_BUFFER_BYTES => Some((&mut self.buffers, SPARE_BUFFERS_MAX)),
            LONG_BUFFER_BYTES => Some((&mut self.long, LONG_BUFFERS_MAX)),
            _ => None,
        }
    }
}

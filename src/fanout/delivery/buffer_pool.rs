//! Buffers for bursts. Owns the buffers that no client needs now: a client borrows one while it has
//! much to send, and keeps almost nothing otherwise.

use crate::limits::{
    IDLE_BUFFER_BYTES, LONG_BUFFER_BYTES, LONG_BUFFERS_MAX, SPARE_BUFFER_BYTES, SPARE_BUFFERS_MAX,
};
use crate::wire::Connection;

/// Buffers that are used again: after the first burst of a size none is allocated.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    /// Of [`IDLE_BUFFER_BYTES`]: left by a client that has more to send.
    small: Vec<Vec<u8>>,
    /// Of [`SPARE_BUFFER_BYTES`].
    buffers: Vec<Vec<u8>>,
    /// Of [`LONG_BUFFER_BYTES`].
    long: Vec<Vec<u8>>,
}

impl BufferPool {
    /// Appends whole frames to the outgoing bytes: in the small buffer that the connection keeps if
    /// they fit, otherwise in a borrowed one.
    pub(crate) fn append(&mut self, connection: &mut Connection, frames: &[u8]) {
        if connection.is_cramped(frames.len()) {
            let needed = connection.outgoing().len() + frames.len();
            // A longer answer makes the connection's own buffer grow.
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

    /// Takes back a buffer that the connection no longer needs: all its bytes are written.
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

    /// The buffers of a length, and how many are kept; `None`: no length of this pool.
    fn buffer_pool(&mut self, length: usize) -> Option<(&mut Vec<Vec<u8>>, usize)> {
        match length {
            IDLE_BUFFER_BYTES => Some((&mut self.small, SPARE_BUFFERS_MAX)),
            SPARE_BUFFER_BYTES => Some((&mut self.buffers, SPARE_BUFFERS_MAX)),
            LONG_BUFFER_BYTES => Some((&mut self.long, LONG_BUFFERS_MAX)),
            _ => None,
        }
    }
}

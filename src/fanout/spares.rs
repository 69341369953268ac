//! Buffers for bursts. Owns those that no client needs at the moment, so that a client is lent one
//! while it has much to send and keeps next to nothing while it has not.

use crate::limits::{
    IDLE_BUFFER_BYTES, LONG_BUFFER_BYTES, LONG_BUFFERS_MAX, SPARE_BUFFER_BYTES, SPARE_BUFFERS_MAX,
};
use crate::wire::Connection;

/// Buffers used again and again: after the first burst of a size no further one allocates.
#[derive(Debug, Default)]
pub(super) struct Spares {
    /// Of [`SPARE_BUFFER_BYTES`].
    buffers: Vec<Vec<u8>>,
    /// Of [`LONG_BUFFER_BYTES`].
    long: Vec<Vec<u8>>,
}

impl Spares {
    /// Adds whole frames to what is outgoing, in a buffer that has room: the small one that the
    /// connection keeps, or one that it is lent.
    pub(super) fn append(&mut self, connection: &mut Connection, frames: &[u8]) {
        if connection.is_cramped(frames.len()) {
            let needed = connection.outgoing().len() + frames.len();
            if needed <= IDLE_BUFFER_BYTES {
                connection.lend(Vec::with_capacity(IDLE_BUFFER_BYTES));
            } else if needed <= SPARE_BUFFER_BYTES {
                let spare = self.buffers.pop();
                connection.lend(spare.unwrap_or_else(|| Vec::with_capacity(SPARE_BUFFER_BYTES)));
            } else if needed <= LONG_BUFFER_BYTES {
                let spare = self.long.pop();
                connection.lend(spare.unwrap_or_else(|| Vec::with_capacity(LONG_BUFFER_BYTES)));
            }
            // Else a long answer on top of much: the connection's own buffer grows.
        }
        connection.append_frames(frames);
    }

    /// Takes back what a connection, all of whose bytes are written, needs no more.
    pub(super) fn reclaim(&mut self, connection: &mut Connection) {
        let Some(buffer) = connection.give_back(IDLE_BUFFER_BYTES) else { return };
        let (buffers, buffers_max) = match buffer.capacity() {
            SPARE_BUFFER_BYTES => (&mut self.buffers, SPARE_BUFFERS_MAX),
            LONG_BUFFER_BYTES => (&mut self.long, LONG_BUFFERS_MAX),
            _ => return,
        };
        if buffers.len() < buffers_max {
            buffers.push(buffer);
        }
    }
}

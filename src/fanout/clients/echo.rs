//! The same listener with another answer: every message is sent back as it came. For conformance
//! suites, which judge the protocol stack by its echoes; no configuration leads here. Owns the
//! answer alone: accept, handshake, deadlines, outbox and closing are those of every client.

use crate::fanout::{ClientId, Fanout};
use crate::wire::{MessageKind, write_frame};

impl Fanout {
    /// Every client accepted from now on gets its messages back, up to `message_bytes_max` bytes
    /// each, and no candles.
    pub fn echo_messages(&mut self, message_bytes_max: usize) {
        self.echo_bytes_max = Some(message_bytes_max);
    }

    pub(crate) fn is_echo(&self) -> bool {
        self.echo_bytes_max.is_some()
    }

    /// Sends one message back: at once, or after what the client is owed. The message counts as the
    /// first subscription, so that an active client does not time out.
    pub(crate) fn echo(&mut self, id: ClientId, kind: MessageKind, payload: &[u8]) {
        if let Some(client) = self.clients.find(id) {
            client.subscribe_by = None;
        }
        self.frame.clear();
        write_frame(&mut self.frame, kind, payload);
        self.send_frame(id);
    }
}

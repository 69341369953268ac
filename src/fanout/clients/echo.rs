//! The same listener with another answer: every message goes back as it came. For conformance
//! suites, which judge the protocol stack by what it echoes; no configuration leads here. Owns the
//! answer alone: accept, handshake, deadlines, outbox and closing are every client's.

use crate::wire::{MessageKind, write_frame};

use crate::fanout::{ClientId, Fanout};

impl Fanout {
    /// Every client accepted from here on gets its messages back, up to `message_bytes_max` each;
    /// nobody is served candles.
    pub fn echo_messages(&mut self, message_bytes_max: usize) {
        self.echo_bytes_max = Some(message_bytes_max);
    }

    pub(crate) fn is_echo(&self) -> bool {
        self.echo_bytes_max.is_some()
    }

    /// One message of a client: sent back at once, or behind what the client is owed. It stands
    /// for the first subscription, so that who talks is not timed out.
    pub(crate) fn echo(&mut self, id: ClientId, kind: MessageKind, payload: &[u8]) {
        if let Some(client) = self.clients.find(id) {
            client.subscribe_by = None;
        }
        self.frame.clear();
        write_frame(&mut self.frame, kind, payload);
        self.send_frame(id);
    }
}

//! From an update to the clients' bytes: one frame for all, what each client is owed, and when.

pub(super) mod basic;
pub(super) mod buffer_pool;
pub(super) mod outbox;
pub(super) mod publish;
pub(super) mod slowest;
pub(super) mod turn_buffer;
mod unsaid;

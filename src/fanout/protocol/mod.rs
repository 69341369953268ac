//! The client protocol: what a request may contain, and how messages are written.

pub(super) mod candle_source;
pub(super) mod encode;
pub(super) mod messages;
pub(super) mod request;
pub(super) mod spelling;

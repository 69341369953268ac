//! What is allowed towards an exchange now: its limits, our own patience, and its refusals.

pub(super) mod backoff;
pub(super) mod breaker;
pub(super) mod budget;
mod denied;
pub(super) mod pauses;
pub(super) mod rate_limits;
pub(super) mod waits;

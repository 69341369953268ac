//! What REST is asked about the streams, and what follows from its answers: missing windows,
//! history that clients want, closed candles to verify, silent streams.

pub(super) mod answers;
pub(super) mod backfill;
mod deadlines;
mod missing;
pub(super) mod rest_evidence;
pub(super) mod rest_queue;
mod silence;
mod turns;
mod verify;

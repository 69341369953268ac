//! fanout.

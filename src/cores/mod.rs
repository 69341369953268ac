//! cores.

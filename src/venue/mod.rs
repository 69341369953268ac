//! venue.

//! What an operator runs beside the server: `doctor`, `healthcheck`, and candles on a terminal.

pub mod doctor;
pub mod healthcheck;
pub mod solo;

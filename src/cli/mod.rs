//! `connector-cli`: an exchange's candles on a terminal or in a pipe, and what is wrong with a
//! host. Owns the arguments and the presentation. The contents come from [`crate::cores`].

pub mod arguments;
pub mod doctor;
mod hints;
pub mod ledger;
mod message;
mod printer;
mod progress;
pub mod stream;

//! What can be set about the simulator, and what that means for one exchange.

use std::path::PathBuf;
use std::time::Duration;

use crate::market::Market;

use super::SimError;

use super::exchange::Settings;
use super::playback::{self, Captured};
use super::profile::{CONNECTION_LIFE, Profile};

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// The market's seed: the same seed gives the same candles.
    pub seed: u64,
    /// Port of each market by [`Market::index`], for WebSocket and REST alike; 0: any free one.
    pub ports: [u16; Market::COUNT],
    /// Time between two pushes of a running candle.
    pub push_interval: Duration,
    /// Load mode: updates a second of every subscribed stream; 0: off.
    pub updates_per_second: u32,
    /// First data after a subscription comes so much later.
    pub first_data_delay: Duration,
    /// Least and greatest delay of the closing push after the minute's last ms; `None`: as
    /// the venue does it (spot 5–120 ms, futures 200–2000 ms).
    pub close_delay_ms: Option<(u64, u64)>,
    /// Number of synthetic symbols listed beside the usual: `SIM0001USDT`, `SIM0001USD_PERP`.
    pub symbols_extra: usize,
    /// How many times as fast minutes pass, from the wall clock at the start.
    pub time_scale: u32,
    /// Whether the venue's documented limits hold (message rates, connections, REST weight).
    pub enforce_limits: bool,
    /// Life of a connection, then it is closed.
    pub connection_life: Duration,
    /// Whether TLS is spoken, with a certificate made at the start.
    pub tls: bool,
    /// Host names in that certificate, beside `localhost` and `127.0.0.1`.
    pub tls_names: Vec<String>,
    /// Where the authority's certificate is written, PEM.
    pub tls_ca_out: Option<PathBuf>,
    /// A captured session to play instead of the simulated market.
    pub playback: Option<Playback>,
}

/// A captured session to play.
#[derive(Clone, Debug)]
pub struct Playback {
    /// Files of messages, or of session lines; played one after the other.
    pub files: Vec<PathBuf>,
    /// Whose messages they are.
    pub market: Market,
    /// How many times as fast captured time runs; 0: as fast as possible.
    pub speed: u32,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            ports: [0; Market::COUNT],
            push_interval: Duration::from_millis(250),
            updates_per_second: 0,
            first_data_delay: Duration::ZERO,
            close_delay_ms: None,
            symbols_extra: 0,
            time_scale: 1,
            enforce_limits: true,
            connection_life: CONNECTION_LIFE,
            tls: false,
            tls_names: Vec::new(),
            tls_ca_out: None,
            playback: None,
        }
    }
}

impl SimOptions {
    /// The settings of the exchange with `profile`, which plays `playback` if there is one.
    pub(super) fn settings(&self, profile: &Profile, playback: Option<Vec<Captured>>) -> Settings {
        let load = self.updates_per_second > 0;
        let push_interval = if load {
            Duration::from_secs(1) / self.updates_per_second
        } else {
            self.push_interval
        };
        Settings {
            push_interval: if load {
                push_interval.max(PUSH_INTERVAL_MIN)
            } else {
                let least = profile.push_interval_min / self.time_scale.max(1);
                push_interval.max(PUSH_INTERVAL_MIN).max(least)
            },
            always_push: load,
            first_data_delay: self.first_data_delay,
            close_delay_ms: self.close_delay_ms.unwrap_or(profile.close_delay_ms),
            enforce_limits: self.enforce_limits,
            connection_life: self.connection_life,
            playback: playback.unwrap_or_default().into(),
            playback_speed: self.playback.as_ref().map_or(1, |playback| playback.speed),
        }
    }
}

impl Playback {
    /// Reads the captures, one after the other in time.
    ///
    /// # Errors
    /// A file that cannot be read, or a line that is no JSON.
    pub(super) fn load(&self) -> Result<Vec<Captured>, SimError> {
        let mut messages: Vec<Captured> = Vec::new();
        for path in &self.files {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| SimError::File(path.clone(), error))?;
            let parsed = playback::parse(&text);
            let parsed = parsed.map_err(|line| SimError::Playback(path.clone(), line))?;
            let start = messages.last().map_or(Duration::ZERO, |last| last.offset);
            let later = parsed.into_iter();
            messages.extend(later.map(|one| Captured { offset: start + one.offset, ..one }));
        }
        Ok(messages)
    }
}

/// 100,000 pushes a second and stream are more than any socket takes.
const PUSH_INTERVAL_MIN: Duration = Duration::from_micros(10);

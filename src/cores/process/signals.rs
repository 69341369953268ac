//! Waits for signals one by one, in spite of errors of the pipe that delivers them.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Signals that are caught from now on.
pub struct Signals {
    pipe: UnixStream,
}

impl Signals {
    /// Catches `signals`. Errors: a signal that cannot be caught, or no descriptor is left.
    pub fn catch(signals: &[i32]) -> io::Result<Self> {
        let (pipe, end) = UnixStream::pair()?;
        for &signal in signals {
            signal_hook::low_level::pipe::register(signal, end.try_clone()?)?;
        }
        Ok(Self { pipe })
    }

    /// Waits for one of them. An error is logged once, however often it comes again.
    pub fn wait(&mut self) {
        let mut is_logged = false;
        loop {
            match self.pipe.read(&mut [0]) {
                // The handler keeps the other end open for ever.
                Ok(_) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if !is_logged {
                        tracing::warn!("signals cannot be read ({error}): trying again");
                        is_logged = true;
                    }
                    std::thread::park_timeout(READ_AGAIN);
                }
            }
        }
    }
}

/// Pause after an error of the pipe.
const READ_AGAIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_ends_one_wait() {
        let signal = signal_hook::consts::SIGUSR2;
        let mut signals = Signals::catch(&[signal]).unwrap();
        for _ in 0..3 {
            signal_hook::low_level::raise(signal).unwrap();
            signals.wait();
        }
    }
}

//! Names of exchanges that a resolver answers with an address at which no exchange can be. Knows
//! such addresses, and which names were logged.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use crate::config;

/// What to do about a poisoned name.
pub(crate) const REMEDY: &str = "have /etc/resolv.conf name another name server, and take lines with \
    this name out of /etc/hosts; where a gateway of yours is meant, nothing";

/// The poisoned names that were logged.
#[derive(Debug, Default)]
pub(crate) struct Poisoned(Mutex<BTreeSet<String>>);

impl Poisoned {
    /// Logs once that `host` is poisoned, if it belongs to an exchange. The kept names are at most
    /// those of the exchanges.
    pub(crate) fn note(&self, host: &str, addresses: &[SocketAddr]) {
        let Some(words) = judge(host, addresses.iter().map(SocketAddr::ip)) else { return };
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.insert(host.to_owned()) {
            tracing::warn!("{words}: {REMEDY}");
        }
    }
}

/// What is wrong with the addresses of `host`, if that is the public name of an exchange.
pub(crate) fn judge(host: &str, mut addresses: impl Iterator<Item = IpAddr>) -> Option<String> {
    let astray = addresses.find(|address| is_astray(*address))?;
    let words = || {
        format!(
            "{host} is {astray} here, where no exchange is: a name server that blocks the name, or \
             a line in /etc/hosts"
        )
    };
    config::is_exchange_host(host).then(words)
}

/// Returns whether no host of the Internet has this address.
fn is_astray(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_unspecified() || v4.is_loopback() || v4.is_private() || v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            let is_local = v6.is_unique_local() || v6.is_unicast_link_local();
            v6.is_unspecified() || v6.is_loopback() || is_local
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_s_name_at_an_address_of_no_exchange_is_named_and_no_other() {
        let judged = |host: &str, address: &str| {
            judge(host, std::iter::once(address.parse().unwrap())).is_some()
        };
        for (address, expected) in [
            ("0.0.0.0", true),
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("192.168.0.1", true),
            ("169.254.1.1", true),
            ("::", true),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("::ffff:10.0.0.1", true),
            ("172.15.0.1", false),
            ("54.1.2.3", false),
            ("2600:9000::1", false),
        ] {
            assert_eq!(judged("stream.binance.com", address), expected, "{address}");
            assert!(!judged("simulator.internal", address), "{address}");
        }
        let words =
            judge("api.bybit.com", ["1.1.1.1", "::"].map(|it| it.parse().unwrap()).into_iter());
        assert!(words.unwrap().contains("api.bybit.com is :: here"));
    }
}

//! The path to an exchange through a proxy: a [`Tunnel`], and errors that name the proxy. Moves no
//! bytes.

use std::fmt::Display;

use crate::config::Proxy;
use crate::venue;
use crate::wire::{Tunnel, TunnelError};

/// One tunnel through one proxy.
pub(crate) struct Passage {
    proxy: String,
    variable: &'static str,
    tunnel: Tunnel,
}

impl Passage {
    /// Through `proxy` to `host` and `port`.
    pub(crate) fn new(proxy: &Proxy, host: &str, port: u16) -> Self {
        let tunnel = Tunnel::new(host, port, proxy.authorization.as_deref());
        Self { proxy: proxy.to_string(), variable: proxy.variable, tunnel }
    }

    /// The request to the proxy.
    pub(crate) fn request(&self) -> &[u8] {
        self.tunnel.request()
    }

    /// As [`Tunnel::take`].
    ///
    /// # Errors
    /// The reason, which names the proxy.
    pub(crate) fn take(&mut self, bytes: &[u8], is_last: bool) -> Result<Option<usize>, String> {
        self.tunnel.take(bytes, is_last).map_err(|error| self.refused(&error))
    }

    /// The reason of a failure, with the name of the proxy.
    pub(crate) fn failed(&self, why: &dyn Display) -> String {
        format!("proxy {}: {why}", self.proxy)
    }

    fn refused(&self, error: &TunnelError) -> String {
        let mut why = error.to_string();
        let TunnelError::Refused { status, body, .. } = error else { return self.failed(&why) };
        let words = venue::first_words(body);
        if !words.is_empty() {
            why += &format!(", {words:?}");
        }
        if *status == PROXY_AUTHENTICATION_REQUIRED {
            let variable = self.variable;
            why += &format!(" (it wants {variable}=http://USER:PASSWORD@HOST:PORT)");
        }
        self.failed(&why)
    }
}

/// Source: RFC 9110, section 15.5.8.
const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;

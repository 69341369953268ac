//! `connector-wss healthcheck`: asks the running server's ops port once, as container runtimes do.
//! Knows the port from the same configuration as the server.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::config::Config;

/// Asks whether the server with this `config` is healthy. Returns a line that confirms it.
///
/// # Errors
/// A line with the reason why it is not healthy.
pub fn ask(config: &Config) -> Result<String, String> {
    let url = format!("http://{}/health", address(config)?);
    let settings = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(PATIENCE))
        .build();
    let answer = ureq::Agent::new_with_config(settings).get(&url).call();
    let mut answer = answer.map_err(|error| no_answer(&url, &error))?;
    let status = answer.status().as_u16();
    if status == 200 {
        return Ok(format!("{url} answers 200: healthy"));
    }
    let body = answer.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string();
    Err(format!("{url} answers {status}: {}", body.unwrap_or_default().trim_end()))
}

fn no_answer(url: &str, error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => format!(
            "no server listens at {url} (connection refused): start it, or give this command the \
             CONNECTOR_WSS_HOST and CONNECTOR_WSS_HEALTH_CHECK_PORT that it runs with"
        ),
        error => format!("{url} does not answer: {error}"),
    }
}

/// The address of the ops port on this host.
fn address(config: &Config) -> Result<SocketAddr, String> {
    let refused = |name: &str, value: &str| Err(format!("{name}={value}: there is no port to ask"));
    if !config.health_check_enabled {
        return refused("CONNECTOR_WSS_HEALTH_CHECK_ENABLED", "false");
    }
    if config.health_check_port == 0 {
        return refused("CONNECTOR_WSS_HEALTH_CHECK_PORT", "0");
    }
    let host = match config.wss_address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => host,
    };
    Ok(SocketAddr::new(host, config.health_check_port))
}

/// Timeout of the check. Source: less than that of a container runtime, so that its log has a
/// reason.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most bytes of the answer. Source: room for a line for each possible core.
const BODY_BYTES_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn address_of(pairs: &[(&str, &str)]) -> Result<String, String> {
        address(&Config::from_pairs(pairs).unwrap()).map(|address| address.to_string())
    }

    #[test]
    fn the_port_is_asked_where_the_server_listens() {
        const HOST: &str = "CONNECTOR_WSS_HOST";
        assert_eq!(address_of(&[]).unwrap(), "127.0.0.1:8766");
        let port = ("CONNECTOR_WSS_HEALTH_CHECK_PORT", "9000");
        assert_eq!(address_of(&[(HOST, "0.0.0.0"), port]).unwrap(), "127.0.0.1:9000");
        assert_eq!(address_of(&[(HOST, "::")]).unwrap(), "[::1]:8766");
        assert_eq!(address_of(&[(HOST, "127.0.0.2")]).unwrap(), "127.0.0.2:8766");
    }

    #[test]
    fn a_port_that_is_not_known_is_refused_by_its_variable() {
        let variable = "CONNECTOR_WSS_HEALTH_CHECK_PORT";
        assert!(address_of(&[(variable, "0")]).unwrap_err().contains(variable));
        let variable = "CONNECTOR_WSS_HEALTH_CHECK_ENABLED";
        assert!(address_of(&[(variable, "false")]).unwrap_err().contains(variable));
    }
}

//! Texts to values, as Python users write them. Pure; says nothing about names or sources: `None`
//! means "not allowed" and the row of the table knows the words for it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::limits::REQUEST_SYMBOLS_MAX;
use crate::market::{Market, Venue};

use super::{Host, LogFormat, LogLevel, Preload, Wait};

/// Seconds: `3`, `3.0`, `.5`, `1e-1`.
pub(super) fn seconds(text: &str) -> Option<f64> {
    text.parse().ok().filter(|seconds: &f64| seconds.is_finite())
}

/// The duration of a number of seconds, to the microsecond.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn duration(seconds: f64) -> Duration {
    Duration::from_micros((seconds * 1e6).round() as u64)
}

/// A whole number: `10000`, `10_000`, `10.0`.
pub(super) fn count(text: &str) -> Option<usize> {
    let text = text.split_once('.').map_or(Some(text), |(whole, fraction)| {
        fraction.bytes().all(|byte| byte == b'0').then_some(whole)
    })?;
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_digit = |byte: u8| byte.is_ascii_digit() || byte == b'_';
    let starts_well = digits.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    (starts_well && digits.bytes().all(is_digit)).then_some(())?;
    digits.replace('_', "").parse().ok()
}

/// `true false 1 0 yes no on off`, any case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// An IP address, `localhost`, or a host name, which is not looked up here.
pub(super) fn host(text: &str) -> Option<Host> {
    if text.eq_ignore_ascii_case("localhost") {
        return Some(Host::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().map_or_else(|_| host_name(text), |address| Some(Host::Address(address)))
}

/// Letters, digits, `-`, `_` and dots. What is digits and dots only is a mistyped address.
fn host_name(text: &str) -> Option<Host> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_name = text.len() <= HOST_NAME_BYTES_MAX
        && text.bytes().all(is_known)
        && text.bytes().any(|byte| byte.is_ascii_alphabetic());
    is_name.then(|| Host::Name(text.to_owned()))
}

/// Source: RFC 1035, 2.3.4, without the length bytes.
const HOST_NAME_BYTES_MAX: usize = 253;

/// A name of Python's `logging`.
pub(super) fn level(text: &str) -> Option<LogLevel> {
    match text.to_ascii_uppercase().as_str() {
        "DEBUG" | "NOTSET" => Some(LogLevel::Debug),
        "INFO" => Some(LogLevel::Info),
        "WARNING" | "WARN" => Some(LogLevel::Warning),
        "ERROR" => Some(LogLevel::Error),
        "CRITICAL" | "FATAL" => Some(LogLevel::Critical),
        _ => None,
    }
}

/// `text`, `json`.
pub(super) fn format(text: &str) -> Option<LogFormat> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

/// `spin`, `adaptive`, `park`.
pub(super) fn wait(text: &str) -> Option<Wait> {
    match text.to_ascii_lowercase().as_str() {
        "spin" => Some(Wait::Spin),
        "adaptive" => Some(Wait::Adaptive),
        "park" => Some(Wait::Park),
        _ => None,
    }
}

/// CPU numbers, `2,3` or `2-5,8`, each below `max` and named once.
pub(super) fn cpus(text: &str, max: usize) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (count(first.trim())?, count(last.trim())?);
        (first <= last && last < max).then_some(())?;
        for cpu in first..=last {
            (!cpus.contains(&cpu)).then(|| cpus.push(cpu))?;
        }
    }
    Some(cpus)
}

/// Origins as browsers send them, in lower case: `scheme://host[:port]`, or `null`, between commas.
pub(super) fn origins(text: &str) -> Option<Vec<String>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| is_origin(part).then(|| part.to_ascii_lowercase())).collect()
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return ["null", "*"].contains(&text) };
    let fits = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let odd = |c: char| !c.is_ascii_graphic() || "/?#@\\\"<>*".contains(c);
    !scheme.is_empty() && scheme.chars().all(fits) && !host.is_empty() && !host.contains(odd)
}

/// `exchange:contract type:SYMBOL,SYMBOL;…`. White space around parts is forgiven.
pub(super) fn preload(text: &str) -> Option<Vec<Preload>> {
    let groups = text.split(';').map(str::trim).filter(|group| !group.is_empty());
    groups.map(preload_group).collect()
}

fn preload_group(group: &str) -> Option<Preload> {
    let mut parts = group.splitn(3, ':').map(str::trim);
    let venue = Venue::from_name(parts.next()?)?;
    let market = Market::find(venue, parts.next()?)?;
    let symbols = parts.next()?.split(',').map(str::trim);
    let symbols: Vec<_> = symbols.map(|s| market.canonical_symbol(s)).collect::<Option<_>>()?;
    (symbols.len() <= REQUEST_SYMBOLS_MAX).then_some(Preload { market, symbols })
}

/// A base URL of one of `schemes`: host, optional port and path; no user, query or fragment.
/// Slashes at the end are dropped.
pub(super) fn url(text: &str, schemes: [&str; 2]) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    schemes.iter().any(|known| known.eq_ignore_ascii_case(scheme)).then_some(())?;
    let odd = |c: char| c.is_control() || c.is_whitespace() || "?#@\\\"<>".contains(c);
    (!rest.contains(odd)).then_some(())?;
    let authority = rest.split('/').next()?;
    let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) =
        port_at.map_or((authority, None), |at| (&authority[..at], Some(&authority[at + 1..])));
    (!host.is_empty()).then_some(())?;
    if let Some(port) = port {
        port.parse::<u16>().ok().filter(|port| *port != 0)?;
    }
    Some(format!("{}://{}", scheme.to_ascii_lowercase(), rest.trim_end_matches('/')))
}

/// A URL without its user-info and query, which may be secret; [`url`] allows neither.
pub(super) fn without_secrets(text: &str) -> String {
    let (base, query) = text.split_at(text.find('?').unwrap_or(text.len()));
    let start = base.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = base.split_at(start);
    let (user, rest) = rest.split_at(rest.rfind('@').unwrap_or(0));
    let hidden = |part: &str, mark| if part.is_empty() { "" } else { mark };
    format!("{scheme}{}{rest}{}", hidden(user, "…"), hidden(query, "?…"))
}

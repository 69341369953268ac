//! The page on the ops port: one HTML text that brings its own styles and scripts, and the policy
//! that lets a browser load nothing else. Owns how the page is put together. The page gets its
//! figures from `/api/state`, and its candles from the clients' port like any other client.

use std::sync::LazyLock;

use data_encoding::BASE64;
use ring::digest::{SHA256, digest};

use crate::config::Config;
use crate::cores::ops::http::Response;
use crate::wire::http::RequestHead;

/// The page for the host in the request: its candles come from the same host.
pub(crate) fn page(head: &RequestHead<'_>, config: &Config, client_port: u16) -> Response {
    let scheme = if config.wss_tls_cert_file.is_some() { "wss" } else { "ws" };
    let clients = format!("{scheme}://{}:{client_port}", host(head));
    let (scripts, style) = (&PAGE.scripts, &PAGE.style);
    let policy = format!(
        "default-src 'none'; script-src {scripts}; style-src {style}; img-src data:; connect-src \
         'self' {clients}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let content_type = "text/html; charset=utf-8";
    Response { content_type, policy: Some(policy), ..Response::text(200, PAGE.html.as_str()) }
}

/// The host in the request for the page; any host if a policy cannot name it, as an IPv6 address.
fn host<'a>(head: &RequestHead<'a>) -> &'a str {
    let host = head.value("host").unwrap_or("*");
    if host.starts_with('[') { "*" } else { host.split(':').next().unwrap_or("*") }
}

struct Page {
    html: String,
    scripts: String,
    style: String,
}

/// Put together once. The policy names scripts and styles by their digests, so that only these run.
static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let scripts = [
        ("/* charts */", CHARTS),
        ("/* figures */", include_str!("dashboard/figures.js")),
        ("/* chart */", include_str!("dashboard/chart.js")),
    ];
    let style = include_str!("dashboard/page.css");
    let html = include_str!("dashboard/page.html").replacen("/* style */", style, 1);
    let put = |html: String, (place, script): &(&str, &str)| html.replacen(place, script, 1);
    Page {
        html: scripts.iter().fold(html, put),
        scripts: scripts.map(|(_, script)| source(script)).join(" "),
        style: source(style),
    }
});

/// An inline script or style as a policy names it.
fn source(text: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(digest(&SHA256, text.as_bytes()).as_ref()))
}

/// TradingView's Lightweight Charts 5.2.1, as its authors built it.
const CHARTS: &str = include_str!("dashboard/lightweight-charts/lightweight-charts.js");

/// The licence of [`CHARTS`], which its authors require to be passed on.
pub(crate) const LICENSES: &str = concat!(
    include_str!("dashboard/lightweight-charts/NOTICE"),
    "\n",
    include_str!("dashboard/lightweight-charts/LICENSE")
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::OPS_OUTPUT_BYTES_MAX;

    fn policy(host: &str, variables: &[(&str, &str)]) -> String {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = RequestHead::parse(request.as_bytes()).unwrap().unwrap();
        page(&head, &Config::from_pairs(variables).unwrap(), 8765).policy.unwrap()
    }

    #[test]
    fn everything_has_found_its_place() {
        for place in ["/* style */", "/* charts */", "/* figures */", "/* chart */"] {
            assert_eq!(include_str!("dashboard/page.html").matches(place).count(), 1, "{place}");
        }
        assert_eq!(PAGE.html.matches("<script>").count(), 3);
        assert_eq!(PAGE.html.matches("</script>").count(), 3, "no script ends early");
        assert!(PAGE.html.len() < OPS_OUTPUT_BYTES_MAX, "{} bytes", PAGE.html.len());
        assert!(!PAGE.html.contains('\r'), "a browser's digest is of the text with line feeds");
    }

    #[test]
    fn candles_may_come_from_the_clients_port_only() {
        let names = |policy: &str, clients: &str| {
            policy.contains(&format!("connect-src 'self' {clients}; "))
        };
        assert!(names(&policy("host:8766", &[]), "ws://host:8765"));
        assert!(names(&policy("10.0.0.1", &[]), "ws://10.0.0.1:8765"));
        assert!(names(&policy("[::1]:8766", &[]), "ws://*:8765"));
        let tls = [("CONNECTOR_WSS_TLS_CERT_FILE", "c"), ("CONNECTOR_WSS_TLS_KEY_FILE", "k")];
        assert!(names(&policy("host:8766", &tls), "wss://host:8765"));
    }
}

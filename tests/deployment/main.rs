//! The files for running it, against the program itself: every metric and label that the dashboard
//! and the alerts ask for is one that the real binary shows, and every variable, port and time that
//! a manifest names is the program's.

#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code, unreachable_pub)]
#[path = "../process/client.rs"]
mod client;
mod documents;
mod guide;
#[allow(dead_code)]
#[path = "../process/harness.rs"]
mod harness;
mod queries;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use connector_wss::config::{Config, VARIABLES};
use serde_json::Value;

use harness::{Server, wait_until};
use queries::{Exposition, breaches};

const DASHBOARD: &str = include_str!("../../tuning/grafana/connector-wss.json");
const RULES: &str = include_str!("../../tuning/prometheus/connector-wss.rules.yml");
const TUNING: &str = include_str!("../../tuning/README.md");
const RULE_TESTS: &str = include_str!("../../tuning/prometheus/connector-wss.rules.test.yml");
const SCRAPE: &str = include_str!("../../tuning/prometheus/prometheus.yml");
const UNIT: &str = include_str!("../../tuning/systemd/connector-wss.service");
const DOCKERFILE: &str = include_str!("../../tuning/docker/Dockerfile");
const DEPLOYMENT: &str = include_str!("../../tuning/kubernetes/deployment.yaml");
const STATEFUL_SET: &str = include_str!("../../tuning/kubernetes/with-claims/statefulset.yaml");
const COMPOSE: &str = include_str!("../../tuning/docker/compose.yaml");
const CONFIG_MAP: &str = include_str!("../../tuning/kubernetes/configmap.yaml");
const SERVICE: &str = include_str!("../../tuning/kubernetes/service.yaml");

/// Every text under a key among `names`, however deep.
fn texts<'a>(value: &'a Value, names: &[&str], found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let (true, Some(text)) = (names.contains(&name.as_str()), value.as_str()) {
                    found.push(text);
                }
                texts(value, names, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| texts(value, names, found)),
        _ => {}
    }
}

/// The dashboard's queries and the legends that show their labels.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut found = Vec::new();
    texts(&dashboard, &["expr", "query", "definition", "legendFormat"], &mut found);
    found.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_the_program_shows() {
    let server = Server::simulated();
    let shown = Exposition::parse(&server.get("/metrics").1);
    let rules: String = RULES.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let mut asked = BTreeSet::new();
    for text in dashboard().into_iter().chain([rules]) {
        assert_eq!(breaches(&text, &shown), Vec::<String>::new(), "in: {text}");
        asked.extend(queries::metrics(&text).into_iter().map(|metric| metric.name));
    }
    assert!(asked.len() > 30, "the queries were found: {asked:?}");
    for name in ["connector_hop_seconds_bucket", "connector_circuit_breaker_state"] {
        assert!(asked.contains(name), "{name}");
    }
}

#[test]
fn a_metric_or_label_that_is_not_shown_is_found() {
    let shown = Exposition::parse("connector_a{x=\"1\",y=\"2\"} 1\nconnector_b 2\n");
    let fine = "sum by (x, instance) (rate(connector_a{y=\"2\", x=~\"$x\"}[1m])) / connector_b";
    assert_eq!(breaches(fine, &shown), Vec::<String>::new());
    for (query, part) in [
        ("connector_c > 0", "connector_c"),
        ("rate(connector_a{z=\"1\"}[1m])", "z"),
        ("rate(connector_a{y=\"3\"}[1m])", "y=\"3\""),
        ("sum by (z) (connector_a)", "z"),
        ("sum without (z) (connector_a)", "z"),
        ("{{z}}", "z"),
        ("gap in {{ $labels.z }}", "z"),
    ] {
        let found = breaches(query, &shown);
        assert!(found.len() == 1 && found[0].contains(part), "{query}: {found:?}");
    }
}

#[test]
fn every_alert_is_tested_firing_and_not_firing() {
    let alerts = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<_> = alerts.collect();
    for name in [
        "ConnectorDown",
        "CircuitBreakerOpen",
        "HighQueueDepth",
        "HighLatency",
        "CandleGaps",
        "NoClosedCandle",
        "SlowClients",
        "DecodeErrors",
    ] {
        assert!(alerts.contains(&name), "{name}");
    }
    for name in alerts {
        assert!(TUNING.contains(&format!("| {name} |")), "{name} is in no document");
        let silent = format!(", alertname: {name}}}");
        assert!(RULE_TESTS.contains(&silent), "{name} is never looked at while it is silent");
        let fires =
            format!("\n        alertname: {name}\n        exp_alerts:\n          - exp_labels");
        assert!(RULE_TESTS.contains(&fires), "{name} never fires");
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn every_variable_that_a_file_names_is_one_of_the_program() {
    let mut paths = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning"), &mut paths);
    let mut named = 0;
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        for part in text.split("CONNECTOR_").skip(1) {
            let is_part = |c: &char| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_';
            let name: String = part.chars().take_while(is_part).collect();
            let name = format!("CONNECTOR_{name}");
            let is_known = VARIABLES.iter().any(|variable| variable.name == name);
            // The guide shows what is said of a misspelled one.
            assert!(is_known || name == "CONNECTOR_WSS_PROT", "{name} in {}", path.display());
            named += 1;
        }
    }
    assert!(named > 20, "the files were read: {named}");
}

/// What follows `key` on its line, without quotes.
fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.trim().strip_prefix(key));
    found.unwrap_or_else(|| panic!("no {key}")).trim().trim_matches('"')
}

#[test]
fn ports_and_paths_are_the_programs() {
    let config = Config::default();
    let (clients, ops) = (config.wss_port, config.health_check_port);
    assert_eq!(value(DOCKERFILE, "EXPOSE"), format!("{clients} {ops}"));
    assert_eq!(value(CONFIG_MAP, "CONNECTOR_WSS_PORT:"), clients.to_string());
    assert_eq!(value(CONFIG_MAP, "CONNECTOR_WSS_HEALTH_CHECK_PORT:"), ops.to_string());
    for (text, parts) in [
        (DEPLOYMENT, ["name: clients, containerPort: ", "name: ops, containerPort: "]),
        (SERVICE, ["name: clients, port: ", "name: ops, port: "]),
    ] {
        for (part, port) in parts.into_iter().zip([clients, ops]) {
            assert!(text.contains(&format!("{part}{port}")), "{part}{port}");
        }
    }
    assert!(SCRAPE.contains(&format!("127.0.0.1:{ops}")));
    let server = Server::simulated();
    wait_until("the preloaded symbol is live", || server.is_ready());
    for part in DEPLOYMENT.split("httpGet: {path: ").skip(1) {
        let path = part.split(',').next().unwrap();
        assert_eq!(server.get(path).0, 200, "{path}");
        assert!(part.contains("port: ops"), "{part}");
    }
    assert_eq!(DEPLOYMENT.matches("httpGet").count(), 3);
}

#[test]
fn the_time_to_stop_is_longer_than_the_drain() {
    let seconds = |text: &str, key| value(text, key).parse::<u64>().unwrap();
    let drain = seconds(CONFIG_MAP, "CONNECTOR_DRAIN_TIMEOUT:");
    let pre_stop = DEPLOYMENT.split("[sleep, \"").nth(1).unwrap().split('"').next().unwrap();
    let pre_stop: u64 = pre_stop.parse().unwrap();
    assert!(seconds(DEPLOYMENT, "terminationGracePeriodSeconds:") >= drain + pre_stop + 10);
    let drain = Config::default().drain_timeout.as_secs();
    assert!(seconds(UNIT, "TimeoutStopSec=") >= drain + 10);
}

/// What of a manifest is the pod, without its volumes.
fn pod(manifest: &str) -> &str {
    let template = manifest.split_once("\n  template:\n").unwrap().1;
    let ends = ["\n      volumes:\n", "\n  volumeClaimTemplates:\n"];
    ends.iter().find_map(|end| template.split_once(end)).unwrap().0
}

#[test]
fn the_two_ways_to_run_it_in_kubernetes_differ_in_the_volume_only() {
    assert_eq!(pod(STATEFUL_SET), pod(DEPLOYMENT));
    for key in ["replicas:", "name:", "labels:", "matchLabels:"] {
        assert_eq!(value(STATEFUL_SET, key), value(DEPLOYMENT, key));
    }
    assert_eq!(value(STATEFUL_SET, "serviceName:"), value(SERVICE, "name:"));
}

#[test]
fn the_ledger_has_room_in_each_volume() {
    let bytes_max: u64 = value(CONFIG_MAP, "CONNECTOR_LEDGER_BYTES_MAX:").parse().unwrap();
    let sizes =
        [value(DEPLOYMENT, "emptyDir: {sizeLimit:"), value(STATEFUL_SET, "requests: {storage:")];
    for size in sizes {
        let gib: u64 = size.trim().trim_end_matches("Gi}").parse().unwrap();
        assert_eq!(gib << 30, 2 * bytes_max, "{size}");
    }
}

#[test]
fn the_ledger_is_where_the_server_may_write_and_what_outlives_it() {
    let file = Config::default().ledger_file.unwrap();
    assert!(file.is_relative(), "{}", file.display());
    let folder = value(UNIT, "WorkingDirectory=");
    assert_eq!(folder, format!("/var/lib/{}", value(UNIT, "StateDirectory=")));
    assert!(DOCKERFILE.contains(&format!("\nVOLUME {folder}\nWORKDIR {folder}\n")));
    assert!(COMPOSE.contains(&format!("- data:{folder}\n")));
    assert!(TUNING.contains(&format!("--volume connector-wss:{folder} ")));
    assert!(DEPLOYMENT.contains(&format!("{{name: data, mountPath: {folder}}}")));
    assert!(TUNING.contains(&format!("`{folder}/{}`", file.display())));
}

#[test]
fn docker_and_compose_run_it_alike() {
    for (flag, key) in [
        ("memlock=", "memlock: "),
        ("nofile=", "nofile: "),
        ("--stop-timeout ", "stop_grace_period: "),
        ("seccomp=tuning/", "seccomp=../"),
    ] {
        let end = |c: char| c.is_whitespace();
        let given = TUNING.split(flag).nth(1).unwrap().split(end).next().unwrap();
        let composed = COMPOSE.split(key).nth(1).unwrap().split(end).next().unwrap();
        assert_eq!(composed.trim_end_matches('s'), given, "{key}");
    }
    for port in ["8765:8765", "127.0.0.1:8766:8766"] {
        assert!(
            COMPOSE.contains(&format!("- \"{port}\"")) && TUNING.contains(&format!("-p {port}"))
        );
    }
}

#[test]
fn the_service_of_the_servers_name_sets_none_of_its_variables() {
    assert_eq!(value(SERVICE, "name:"), "connector-wss", "CONNECTOR_WSS_PORT=tcp://… else");
    assert_eq!(value(DEPLOYMENT, "enableServiceLinks:"), "false");
}

#[test]
fn requests_are_limits_in_whole_cpus() {
    let requests = value(DEPLOYMENT, "requests:");
    assert_eq!(requests, value(DEPLOYMENT, "limits:"), "else the pod is not Guaranteed");
    let cpu = requests.split("cpu: \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(cpu.parse::<u32>().is_ok(), "{cpu}");
}

#[test]
fn the_job_is_called_the_same_everywhere() {
    let job = value(SCRAPE, "- job_name:");
    let alerts: BTreeMap<&str, usize> =
        RULES.split("job=\"").skip(1).map(|part| (part.split('"').next().unwrap(), 1)).collect();
    assert_eq!(alerts.into_keys().collect::<Vec<_>>(), [job]);
    // The operator calls a job as its Service.
    assert_eq!(value(SERVICE, "name:"), job);
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variable = variables.iter().find(|variable| variable["name"] == "job").unwrap();
    assert_eq!(variable["current"]["value"], job);
}

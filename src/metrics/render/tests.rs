use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::*;
use crate::limits::{OPS_OUTPUT_BYTES_MAX, SHARDS_MAX};
use crate::metrics::CoreMetrics;

fn metrics() -> Metrics {
    let shards: Vec<_> = (0..2).map(|_| Arc::new(ShardMetrics::default())).collect();
    for (shard, ns) in shards.iter().zip([3_000_000, 20_000_000_000]) {
        shard.markets[0].receive_lag.record_ns(ns);
        shard.markets[0].closed_quotes.add(2);
    }
    shards[1].markets[0].breaker_state.set(1);
    shards[0].markets[0].closed_by[FinalBy::Successor as usize].add(3);
    shards[1].markets[0].rejected.increment();
    let core = Arc::new(CoreMetrics::default());
    core.busy_ns.add(1_500_000_000);
    Metrics {
        shards,
        fanout: Arc::default(),
        ledger: Default::default(),
        cores: vec![("shard0+fanout".into(), core)],
    }
}

/// The names of design §5, and the label that splits each.
const PROMISED: [(&str, &str); 12] = [
    ("connector_quotes_processed_total", "is_closed=\"True\""),
    ("connector_quote_latency_seconds_bucket", "le=\"+Inf\""),
    ("connector_active_connections", "exchange="),
    ("connector_connection_errors_total", "error_type=\"connection_error\",cause=\"dns\""),
    ("connector_reconnections_total", "exchange="),
    ("connector_rest_backfills_total", "status=\"success\""),
    ("connector_queue_depth_closed", "exchange="),
    ("connector_queue_depth_open", "exchange="),
    ("connector_queue_blocking_events_total", "exchange="),
    ("connector_circuit_breaker_state", "exchange="),
    ("connector_duplicates_filtered_total", "exchange="),
    ("connector_build_info", "version="),
];

const PROCESS: ProcessFigures = ProcessFigures {
    cpu_seconds: 12.34,
    virtual_bytes: 1 << 40,
    resident_bytes: 345_678_848,
    start_seconds: 1_700_000_000.25,
    open_files: 11_280,
    open_files_max: None,
};

/// Checks one exposition as a strict reader would, and returns its samples by name and labels.
fn check(text: &str, format: Format) -> HashMap<String, f64> {
    let (mut samples, mut families) = (HashMap::new(), HashSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap().to_string();
            assert!(families.insert(family.clone()), "{family} twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, word) = rest.split_once(' ').unwrap();
            assert_eq!(name, family);
            kind = word.to_string();
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            let (name, unit) = rest.split_once(' ').unwrap();
            assert!(format == Format::OpenMetrics && name.ends_with(&format!("_{unit}")));
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let suffix = name.strip_prefix(&*family).expect(line);
            let allowed: &[&str] = match (&*kind, format) {
                ("counter", Format::OpenMetrics) => &["_total"],
                ("info", _) => &["_info"],
                ("histogram", _) => &["_bucket", "_count", "_sum"],
                _ => &[""],
            };
            assert!(allowed.contains(&suffix), "{line} in {kind} {family}");
            assert!(kind != "counter" || name.ends_with("_total"), "{line}");
            let value = value.parse().unwrap();
            assert!(samples.insert(series.to_string(), value).is_none(), "{series} twice");
        }
    }
    samples
}

#[test]
fn both_forms_are_well_formed_and_complete_from_the_start() {
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let text = render(&metrics(), Some(&PROCESS), format);
        assert_eq!(text.ends_with("\n# EOF\n"), format == Format::OpenMetrics);
        let samples = check(&text, format);
        for (name, label) in PROMISED {
            let of_name = samples.keys().filter(|series| series.starts_with(&format!("{name}{{")));
            let count = of_name.filter(|series| series.contains(label)).count();
            let expected = if name == "connector_build_info" { 1 } else { Market::COUNT };
            assert_eq!(count, expected, "{name} {label}");
        }
    }
}

#[test]
fn histograms_are_cumulative_over_shards_and_end_in_their_count() {
    let samples = check(&render(&metrics(), None, Format::OpenMetrics), Format::OpenMetrics);
    let labels = "exchange=\"binance\",contract_type=\"spot\"";
    let bucket = |le: &str| {
        samples[&format!("connector_quote_latency_seconds_bucket{{{labels},le=\"{le}\"}}")]
    };
    let bounds = ["0.001", "0.005", "0.01", "0.05", "0.1", "0.5", "1.0", "2.0", "5.0", "10.0"];
    assert_eq!(bounds.map(bucket), [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
    let part = |part| samples[&format!("connector_quote_latency_seconds_{part}{{{labels}}}")];
    assert_eq!((bucket("+Inf"), part("count")), (2.0, 2.0));
    assert!((part("sum") - 20.003).abs() < 1e-9);
    assert!(samples.keys().any(|series| series.contains("le=\"2.5e-06\"")));
}

#[test]
fn each_hop_of_the_way_is_a_histogram_and_finer_bounds_do_not_show_where_they_are_new() {
    let metrics = metrics();
    for shard in &metrics.shards {
        shard.kernel_to_read.record_ns(6_000);
        shard.received_to_ring.record_ns(700);
    }
    metrics.fanout.ring_to_taken.record_ns(250);
    metrics.fanout.taken_to_written.record_ns(9_000);
    metrics.fanout.received_to_written.record_ns(400);
    metrics.fanout.received_to_written.record_ns(2_000_000_000);
    let samples = check(&render(&metrics, None, Format::Prometheus), Format::Prometheus);
    let hop = |name: &str, hop: &str, le: &str| {
        samples.get(&format!("{name}_bucket{{hop=\"{hop}\",le=\"{le}\"}}")).copied()
    };
    let part = |name: &str, le: &str| hop("connector_hop_seconds", name, le).unwrap();
    assert_eq!([part("kernel", "5e-06"), part("kernel", "1e-05")], [0.0, 2.0]);
    assert_eq!([part("decode", "5e-07"), part("decode", "1e-06")], [0.0, 2.0]);
    assert_eq!([part("ring", "2.5e-07"), part("write", "5e-06")], [1.0, 0.0]);
    assert_eq!([part("write", "1e-05"), part("total", "1.0"), part("total", "+Inf")], [1., 1., 2.]);
    let old = |le| hop("connector_hop_latency_seconds", "received_to_written", le);
    assert_eq!([old("5e-07"), old("1e-06"), old("+Inf")], [None, Some(1.0), Some(2.0)]);
}

#[test]
fn the_lag_of_an_exchange_is_that_of_all_its_contract_types() {
    let metrics = metrics();
    metrics.shards[1].markets[1].receive_lag.record_ns(14_000_000);
    let samples = check(&render(&metrics, None, Format::Prometheus), Format::Prometheus);
    let bucket = |le: &str| {
        let name = "connector_receive_lag_seconds_bucket";
        samples[&format!("{name}{{exchange=\"binance\",le=\"{le}\"}}")]
    };
    assert_eq!(["0.005", "0.01", "0.015", "10.0", "+Inf"].map(bucket), [1., 1., 2., 2., 3.]);
    assert_eq!(samples["connector_receive_lag_seconds_count{exchange=\"okx\"}"], 0.0);
}

#[test]
fn counters_add_up_over_shards_and_the_worst_breaker_shows() {
    let samples = check(&render(&metrics(), None, Format::Prometheus), Format::Prometheus);
    let labels = "exchange=\"binance\",contract_type=\"spot\"";
    let value = |name: &str, more: &str| samples[&format!("{name}{{{labels}{more}}}")];
    assert_eq!(value("connector_quotes_processed_total", ",is_closed=\"True\""), 4.0);
    assert_eq!(value("connector_circuit_breaker_state", ""), 1.0);
    assert_eq!(value("connector_closed_by_total", ",by=\"successor\""), 3.0);
    assert_eq!(value("connector_closed_by_total", ",by=\"flag\""), 0.0);
    assert_eq!(value("connector_symbols_rejected_total", ""), 1.0);
    assert_eq!(samples["connector_core_busy_seconds_total{core=\"shard0+fanout\"}"], 1.5);
}

#[test]
fn openmetrics_is_served_where_it_is_asked_for() {
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                      version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
    assert_eq!(Format::accepted("application/openmetrics-text"), Format::OpenMetrics);
    for plain in ["", "*/*", "text/plain", "application/openmetrics-text;q=0, text/plain;q=0.1"] {
        assert_eq!(Format::accepted(plain), Format::Prometheus, "{plain}");
    }
    let plain_first = "application/openmetrics-text;q=0.2,text/plain;q=0.9";
    assert_eq!(Format::accepted(plain_first), Format::Prometheus);
}

#[test]
fn a_scrape_of_every_market_and_the_most_shards_fits_its_bound() {
    let shards: Vec<_> = (0..SHARDS_MAX).map(|_| Arc::new(ShardMetrics::default())).collect();
    for part in shards.iter().flat_map(|shard| &shard.markets) {
        part.closed_quotes.add(1_000_000_000_000);
        part.receive_lag.record_ns(1_000_000_000_000_000);
    }
    let core = |index| (format!("shard{index}"), Arc::new(CoreMetrics::default()));
    let cores = (0..SHARDS_MAX).map(core).collect();
    let metrics = Metrics { shards, fanout: Arc::default(), ledger: Default::default(), cores };
    let text = render(&metrics, Some(&PROCESS), Format::OpenMetrics);
    assert!(text.len() < OPS_OUTPUT_BYTES_MAX * 9 / 16, "{} bytes", text.len());
}

#[test]
fn the_process_shows_what_the_standard_clients_show() {
    let text = render(&metrics(), Some(&PROCESS), Format::Prometheus);
    let samples = check(&text, Format::Prometheus);
    for (name, value) in [
        ("process_cpu_seconds_total", 12.34),
        ("process_virtual_memory_bytes", (1_u64 << 40) as f64),
        ("process_resident_memory_bytes", 345_678_848.0),
        ("process_start_time_seconds", 1_700_000_000.25),
        ("process_open_fds", 11_280.0),
        ("process_max_fds", f64::INFINITY),
    ] {
        assert_eq!(samples[name], value, "{name}");
    }
    let without = render(&metrics(), None, Format::Prometheus);
    assert!(!without.contains("process_"), "what is not known is not shown");
}

#[test]
fn errors_have_the_types_of_the_python_connector_and_our_cause() {
    let metrics = metrics();
    let part = &metrics.shards[1].markets[0];
    part.connection_errors[ConnectionErrorKind::Dns as usize].increment();
    part.connection_errors[ConnectionErrorKind::Silent as usize].add(2);
    part.backfills_failed.add(3);
    let samples = check(&render(&metrics, None, Format::Prometheus), Format::Prometheus);
    let value = |name: &str, more: &str| {
        samples[&format!("{name}{{exchange=\"binance\",contract_type=\"spot\",{more}}}")]
    };
    let errors = |more| value("connector_connection_errors_total", more);
    assert_eq!(errors("error_type=\"connection_error\",cause=\"dns\""), 1.0);
    assert_eq!(errors("error_type=\"receive_error\",cause=\"silent\""), 2.0);
    assert_eq!(errors("error_type=\"backfill_error\",cause=\"rest\""), 3.0);
    assert_eq!(value("connector_rest_backfills_total", "status=\"failure\""), 3.0);
    assert_eq!(value("connector_rest_backfills_total", "status=\"success\""), 0.0);
}

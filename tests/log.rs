//! The log as a process has it: one subscriber, so one test.

use connector_wss::clock::Clock;
use connector_wss::config::Config;
use connector_wss::cores::log::{self, ENGINE_TARGET};

#[test]
fn lines_are_filtered_by_origin_and_all_written_when_flushed() {
    let folder = std::env::temp_dir().join(format!("connector-log-test-{}", std::process::id()));
    let pairs = [
        ("CONNECTOR_LOG_DIR", folder.to_str().unwrap()),
        ("CONNECTOR_LOG_LEVEL", "WARNING"),
        ("CONNECTOR_WSS_LOG_LEVEL", "DEBUG"),
    ];
    let guard = log::start(&Config::from_pairs(&pairs).unwrap(), Clock::new()).unwrap();
    tracing::info!(target: ENGINE_TARGET, "below the engine's level");
    tracing::warn!(target: ENGINE_TARGET, "binance spot: session lost");
    tracing::debug!(target: "connector_wss::cores", "seen");
    for _ in 0..1000 {
        tracing::info!(target: "connector_wss", "client {}", "left\nforged");
    }
    tracing::info!(target: "connector_wss", "Server shutdown complete");
    guard.flush();
    let text = std::fs::read_to_string(folder.join("connector.log")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1003);
    assert_eq!(&lines[0][10..11], "T");
    let pid = std::process::id();
    assert_eq!(&lines[0][23..], format!("+00:00 [{pid}] WARNING binance spot: session lost"));
    assert!(lines[1].ends_with(" DEBUG seen"), "{}", lines[1]);
    assert!(lines[2].ends_with(" INFO client left\\nforged"), "{}", lines[2]);
    assert!(lines[1002].ends_with(" INFO Server shutdown complete"), "{}", lines[1002]);
}

//! Small inputs that failed once: what is sent, what is answered, what must come of it.

use std::path::PathBuf;

use serde_json::Value;

/// The case file `name` from `CONNECTOR_CASES_DIR`, else from beside the repository; `None`, and
/// a line that says so, where the file is absent.
pub(crate) fn case(name: &str) -> Option<Value> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/cases");
    let folder = std::env::var_os("CONNECTOR_CASES_DIR").map_or(beside.into(), PathBuf::from);
    let Ok(text) = std::fs::read_to_string(folder.join(format!("{name}.json"))) else {
        println!("skipped: no case {name}");
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn every_case_file_is_json() {
    for name in ["binance-refused-door", "rest-one-bad-row"] {
        if let Some(case) = case(name) {
            assert!(case["expect"].is_string(), "{name}");
        }
    }
}

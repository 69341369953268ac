//! What a run is made on: the machine, and what of it is untuned.

use std::collections::BTreeMap;
use std::process::Command;

use crate::results::Finding;

/// The machine as it is now.
pub(crate) fn host() -> BTreeMap<String, String> {
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let known = |value: String| if value.is_empty() { "unknown".to_owned() } else { value };
    let pairs = [
        ("CPU", format!("{cpus} × {}", model.unwrap_or("unknown"))),
        ("kernel", known(read("/proc/sys/kernel/osrelease"))),
        ("governor", known(read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))),
        ("isolated CPUs", isolated()),
        ("mitigations", mitigations()),
        (
            "clock source",
            known(read("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        ),
        ("commit", known(commit())),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn isolated() -> String {
    match &*read("/sys/devices/system/cpu/isolated") {
        "" => "none".to_owned(),
        cpus => cpus.to_owned(),
    }
}

/// What the kernel command line says, and which weaknesses are worked around.
fn mitigations() -> String {
    let command_line = read("/proc/cmdline");
    let said = command_line.split_whitespace().find_map(|word| word.strip_prefix("mitigations="));
    let mut active: Vec<String> = std::fs::read_dir("/sys/devices/system/cpu/vulnerabilities")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| read(&entry.path().to_string_lossy()).starts_with("Mitigation"))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    active.sort();
    let active = if active.is_empty() { "none active".to_owned() } else { active.join(", ") };
    format!("{} ({active})", said.unwrap_or("auto"))
}

fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.unwrap_or_default()
}

/// What `tuning/check.sh` says; nothing where it cannot run.
pub(crate) fn findings() -> Vec<Finding> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning/check.sh");
    let Ok(output) = Command::new(script).arg("--json").output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Time of all CPUs since boot: what a hypervisor took of it, and all.
#[derive(Clone, Copy)]
pub(crate) struct CpuTimes {
    stolen: u64,
    total: u64,
}

impl CpuTimes {
    /// Source: proc(5), the first line of stat: its eighth number is what was stolen.
    pub(crate) fn now() -> Self {
        let text = read("/proc/stat");
        let line = text.lines().next().unwrap_or_default();
        let fields: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse().ok()).collect();
        Self { stolen: fields.get(7).copied().unwrap_or(0), total: fields.iter().sum() }
    }

    /// How much others had of the machine since then.
    pub(crate) fn disturbance(self) -> String {
        let now = Self::now();
        let stolen = (now.stolen - self.stolen) as f64 * 100.0;
        let stolen = stolen / (now.total - self.total).max(1) as f64;
        let load = read("/proc/loadavg");
        let load = load.split_whitespace().next().unwrap_or("unknown");
        format!("{stolen:.1} % of the CPUs' time stolen, load average {load} at the end")
    }
}

//! The host: io_uring, kernel, limits, usable CPUs, IPv6, proxies, and warnings about the
//! configuration.

use std::net::{Ipv6Addr, UdpSocket};
use std::path::Path;

use crate::config::Config;
use crate::cores::machine::rlimits::{self, Resource};
use crate::cores::machine::{open_files, probe};
use crate::cores::process::server::plan_cpus;
use crate::cores::tools::doctor::{Check, Outcome};

/// Everything about the host.
pub(crate) fn examine(config: &Config) -> Vec<Check> {
    let mut checks = vec![io_uring(), kernel(), memlock(), files(config), cpus(config)];
    checks.extend(cpu_quota(config));
    checks.push(ipv6());
    let proxies = config.proxies.summary();
    checks.extend(proxies.into_iter().map(|text| check("proxy", Outcome::Ok, text)));
    let warnings = config.warnings.iter();
    checks.extend(warnings.map(|text| {
        check("configuration", Outcome::Warning, text.clone())
            .remedy("`connector-wss --print-config` shows where each value comes from")
    }));
    checks
}

fn check(name: &'static str, outcome: Outcome, found: String) -> Check {
    Check::new("host", name, outcome, found)
}

fn io_uring() -> Check {
    match probe::io_uring() {
        Ok(()) => check("io_uring", Outcome::Ok, "available".to_owned()),
        Err(error) => {
            let found = format!("{}: {}", error.problem(), probe::RUNS_ANYWAY);
            check("io_uring", Outcome::Warning, found).remedy(error.remedy())
        }
    }
}

fn kernel() -> Check {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy().into_owned();
    let machine = system.machine().to_string_lossy();
    check("kernel", Outcome::Ok, format!("{release}, {machine}"))
}

fn memlock() -> Check {
    if let Err(error) = probe::memlock() {
        let found = format!("{}: {}", error.problem(), probe::RUNS_ANYWAY);
        return check("memlock", Outcome::Warning, found).remedy(error.remedy());
    }
    let limit = match rlimits::of(Resource::RLIMIT_MEMLOCK).soft {
        Some(bytes) => format!("{} KiB may be locked", bytes / 1024),
        None => "unlimited".to_owned(),
    };
    check("memlock", Outcome::Ok, limit)
}

fn files(config: &Config) -> Check {
    let hard = rlimits::of(Resource::RLIMIT_NOFILE).hard;
    match open_files::judge(hard, config.wss_clients_max, None) {
        None => {
            let limit = hard.map_or("any number of".to_owned(), |limit| limit.to_string());
            check("nofile", Outcome::Ok, format!("{limit} files may be open (hard limit)"))
        }
        Some(text) => {
            let (problem, remedy) = text.split_once(". ").unwrap_or((&text, ""));
            check("nofile", Outcome::Warning, problem.to_owned()).remedy(remedy)
        }
    }
}

fn cpus(config: &Config) -> Check {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    match plan_cpus(config) {
        Ok(plan) => check("CPUs", Outcome::Ok, format!("{usable} usable; {plan}")),
        Err(error) => check("CPUs", Outcome::Failed, error.to_string())
            .remedy("change the variable, or leave it empty to have the CPUs planned"),
    }
}

/// Checks whether the cgroup's quota covers the pinned cores; `None` without a quota.
fn cpu_quota(config: &Config) -> Option<Check> {
    let quota = cgroup_quota()?;
    let cores = plan_cpus(config).ok()?.executors.len();
    Some(judge_quota(quota, cores))
}

fn judge_quota(quota: f64, cores: usize) -> Check {
    let needed = u32::try_from(cores).map_or(f64::MAX, f64::from);
    let found = format!("the cgroup may use {quota:.2} CPUs, pinned cores: {cores}");
    if quota >= needed {
        return check("CPU quota", Outcome::Ok, found);
    }
    let found = format!("{found}. The kernel stops them whenever the quota is used up");
    check("CPU quota", Outcome::Warning, found).remedy(format!(
        "a quota of {cores} or more (docker run --cpus, Kubernetes resources.limits.cpu, systemd \
         CPUQuota), or none; fewer cores with CONNECTOR_SHARDS"
    ))
}

/// The CPUs that this process's cgroup may use at once, by the strictest `cpu.max` above it.
/// Source: the kernel's `Documentation/admin-guide/cgroup-v2.rst`.
fn cgroup_quota() -> Option<f64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = Path::new("/sys/fs/cgroup").join(path);
    let quotas = folder
        .ancestors()
        .filter_map(|folder| read_quota(&std::fs::read_to_string(folder.join("cpu.max")).ok()?));
    quotas.min_by(f64::total_cmp)
}

/// The CPUs that `cpu.max` allows: microseconds, or `max`, in each period.
fn read_quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then(|| quota / period)
}

/// Checks whether there is a way to IPv6 hosts. Connecting a datagram socket sends nothing.
fn ipv6() -> Check {
    let route = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect((IPV6_HOST, 53)));
    let found = match route {
        Ok(()) => "there is a route".to_owned(),
        Err(error) => {
            format!("there is no route ({error}): exchanges are reached by IPv4, which will do")
        }
    };
    check("IPv6", Outcome::Ok, found)
}

/// Any public address. Source: a name server of Google.
const IPV6_HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_below_the_pinned_cores_is_named_with_its_remedy() {
        assert_eq!(read_quota("50000 100000\n"), Some(0.5));
        assert_eq!(read_quota("max 100000\n"), None);
        assert_eq!(read_quota("200000"), None);
        let low = judge_quota(0.5, 2);
        assert_eq!(low.outcome, Outcome::Warning);
        assert!(low.found.contains("0.50 CPUs, pinned cores: 2"), "{low:?}");
        assert!(low.remedy.unwrap().contains("a quota of 2"));
        assert_eq!(judge_quota(2.0, 2).outcome, Outcome::Ok);
    }
}

//! The host: io_uring, kernel, limits, CPUs, and what the configuration says of itself.

use crate::config::Config;

use super::super::rlimits::{self, Resource};
use super::super::server::plan_cpus;
use super::super::{open_files, probe};
use super::{Check, Outcome};

/// Everything about the host.
pub(super) fn examine(config: &Config) -> Vec<Check> {
    let mut checks = vec![io_uring(), kernel(), memlock(), files(config), cpus(config)];
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

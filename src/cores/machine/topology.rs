//! Which core runs what, decided once at start from the CPUs that the process may use. A pure
//! function; the executors do the pinning.

use std::fmt;

use crate::limits::SHARDS_MAX;

/// The operator's choices. [`plan`] decides where it is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `CONNECTOR_SHARDS`.
    pub shards: Option<usize>,
    /// `CONNECTOR_SHARD_CPUS`.
    pub shard_cpus: Option<Vec<usize>>,
    /// `CONNECTOR_FANOUT_CPU`.
    pub fanout_cpu: Option<usize>,
    /// `CONNECTOR_OPS_CPU`.
    pub ops_cpu: Option<usize>,
}

/// One pinned executor and the roles that take turns on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorPlan {
    /// The CPU it is pinned to.
    pub cpu: usize,
    /// The shards it runs, by number.
    pub shards: Vec<usize>,
    /// Whether it runs the fan-out.
    pub fanout: bool,
}

/// The placement of every core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Every executor; together they run each shard once and the fan-out once.
    pub executors: Vec<ExecutorPlan>,
    /// The ops thread's CPU; `None` lets it float.
    pub ops_cpu: Option<usize>,
}

/// Why a wish cannot be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopologyError {
    /// A CPU that the process may not use.
    NotAllowed {
        /// The variable that names it.
        variable: &'static str,
        /// The CPU.
        cpu: usize,
        /// The CPUs that may be used.
        allowed: Vec<usize>,
    },
    /// Two shards on one CPU.
    SharedShardCpu(usize),
    /// The number of named CPUs is not the number of shards.
    CountMismatch {
        /// `CONNECTOR_SHARDS`.
        shards: usize,
        /// How many CPUs `CONNECTOR_SHARD_CPUS` names.
        cpus: usize,
    },
    /// No shard, or more than there are CPUs (or [`SHARDS_MAX`]).
    ShardCount {
        /// `CONNECTOR_SHARDS`.
        shards: usize,
        /// The most there can be.
        most: usize,
    },
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed { variable, cpu, allowed } => write!(
                f,
                "{variable} names CPU {cpu}, but this process may use only CPUs {allowed:?} \
                 (see taskset, cgroup cpuset, isolcpus)"
            ),
            Self::SharedShardCpu(cpu) => {
                write!(f, "CONNECTOR_SHARD_CPUS names CPU {cpu} twice; each shard needs its own")
            }
            Self::CountMismatch { shards, cpus } => write!(
                f,
                "CONNECTOR_SHARDS={shards}, but CONNECTOR_SHARD_CPUS names {cpus} CPUs; \
                 give one CPU for each shard, or leave one of the two out"
            ),
            Self::ShardCount { shards, most } => {
                write!(f, "CONNECTOR_SHARDS={shards} is impossible here; allowed: 1 to {most}")
            }
        }
    }
}

impl std::error::Error for TopologyError {}

impl fmt::Display for Topology {
    /// `CPU 1: shard 0 + fan-out; ops floats`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for executor in &self.executors {
            write!(f, "CPU {}: {}; ", executor.cpu, executor.name())?;
        }
        match self.ops_cpu {
            Some(cpu) => write!(f, "CPU {cpu}: ops"),
            None => f.write_str("ops floats"),
        }
    }
}

impl ExecutorPlan {
    /// What it runs: `shard0+fanout`.
    pub fn name(&self) -> String {
        let shards = self.shards.iter().map(|shard| format!("shard{shard}"));
        let fanout = self.fanout.then(|| "fanout".to_owned());
        shards.chain(fanout).collect::<Vec<_>>().join("+")
    }
}

impl Topology {
    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.executors.iter().map(|executor| executor.shards.len()).sum()
    }
}

/// Shards started by default, at most. Source: one shard decodes a million updates a second, so
/// more are of use only on request.
const DEFAULT_SHARDS_MAX: usize = 4;

/// Places every core on `cpus`, which must not be empty.
///
/// With three CPUs and more each core has its own: ops the first (interrupts are there), shards the
/// next, the fan-out the last. With two the shard and the fan-out share the second and ops floats;
/// with one everything shares it.
pub fn plan(cpus: &[usize], wishes: &Wishes) -> Result<Topology, TopologyError> {
    assert!(!cpus.is_empty(), "a running process has a CPU");
    let is_allowed = |variable, cpu: usize| {
        let allowed = || cpus.to_vec();
        let error = || TopologyError::NotAllowed { variable, cpu, allowed: allowed() };
        cpus.contains(&cpu).then_some(()).ok_or_else(error)
    };
    if let Some(cpu) = wishes.fanout_cpu {
        is_allowed("CONNECTOR_FANOUT_CPU", cpu)?;
    }
    if let Some(cpu) = wishes.ops_cpu {
        is_allowed("CONNECTOR_OPS_CPU", cpu)?;
    }
    for &cpu in wishes.shard_cpus.iter().flatten() {
        is_allowed("CONNECTOR_SHARD_CPUS", cpu)?;
    }
    let shards = shard_count(cpus, wishes)?;
    let ops_cpu = wishes.ops_cpu.or_else(|| (cpus.len() >= shards + 2).then(|| cpus[0]));
    let shard_cpus = shard_cpus(cpus, wishes, shards, ops_cpu)?;
    let fanout_cpu = wishes.fanout_cpu.unwrap_or_else(|| fanout_cpu(cpus, &shard_cpus, ops_cpu));
    let mut executors: Vec<_> = shard_cpus
        .iter()
        .enumerate()
        .map(|(shard, &cpu)| ExecutorPlan { cpu, shards: vec![shard], fanout: cpu == fanout_cpu })
        .collect();
    if executors.iter().all(|executor| !executor.fanout) {
        executors.push(ExecutorPlan { cpu: fanout_cpu, shards: Vec::new(), fanout: true });
    }
    Ok(Topology { executors, ops_cpu })
}

/// At most `quota` of `cpus`: with more, pinned cores would only wait for each other. `chance`
/// decides which ones, so that containers on one host do not all take the first.
pub fn within_quota(cpus: &[usize], quota: usize, chance: u64) -> Vec<usize> {
    let count = quota.clamp(1, cpus.len());
    let first = usize::try_from(chance).unwrap_or(0) % (cpus.len() - count + 1);
    cpus[first..first + count].to_vec()
}

fn shard_count(cpus: &[usize], wishes: &Wishes) -> Result<usize, TopologyError> {
    let named = wishes.shard_cpus.as_ref().map(Vec::len);
    let shards = match (wishes.shards, named) {
        (Some(shards), Some(cpus)) if shards != cpus => {
            return Err(TopologyError::CountMismatch { shards, cpus });
        }
        (Some(shards), _) | (None, Some(shards)) => shards,
        (None, None) => cpus.len().saturating_sub(2).clamp(1, DEFAULT_SHARDS_MAX),
    };
    let most = cpus.len().min(SHARDS_MAX);
    if (1..=most).contains(&shards) {
        Ok(shards)
    } else {
        Err(TopologyError::ShardCount { shards, most })
    }
}

fn shard_cpus(
    cpus: &[usize],
    wishes: &Wishes,
    shards: usize,
    ops_cpu: Option<usize>,
) -> Result<Vec<usize>, TopologyError> {
    if let Some(named) = &wishes.shard_cpus {
        let twice = named.iter().enumerate().find(|&(at, cpu)| named[..at].contains(cpu));
        return match twice {
            Some((_, &cpu)) => Err(TopologyError::SharedShardCpu(cpu)),
            None => Ok(named.clone()),
        };
    }
    let is_spoken_for = |cpu: &usize| Some(*cpu) == ops_cpu || Some(*cpu) == wishes.fanout_cpu;
    let (taken, free): (Vec<_>, Vec<_>) = cpus.iter().copied().partition(is_spoken_for);
    // With few CPUs and no choice by the operator, shards take the last ones. The first is left to
    // interrupts and ops.
    let skipped = if cpus.len() <= 2 && taken.is_empty() { cpus.len() - shards } else { 0 };
    Ok(free.into_iter().chain(taken).skip(skipped).take(shards).collect())
}

fn fanout_cpu(cpus: &[usize], shard_cpus: &[usize], ops_cpu: Option<usize>) -> usize {
    let last_shard = shard_cpus[shard_cpus.len() - 1];
    let is_free = |cpu: &&usize| !shard_cpus.contains(cpu) && Some(**cpu) != ops_cpu;
    if cpus.len() <= 2 { last_shard } else { *cpus.iter().rfind(is_free).unwrap_or(&last_shard) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_more_cpus_are_planned_than_the_quota_pays_for() {
        let cpus = [2, 3, 6, 7];
        for chance in 0..10 {
            assert_eq!(within_quota(&cpus, 4, chance), cpus);
            assert_eq!(within_quota(&cpus, 64, chance), cpus);
            let two = within_quota(&cpus, 2, chance);
            assert!(cpus.windows(2).any(|window| window == two), "{two:?}");
        }
        let ones: Vec<_> = (0..4).map(|chance| within_quota(&cpus, 1, chance)[0]).collect();
        assert_eq!(ones, cpus, "each has its turn");
    }

    fn text(cpus: &[usize], wishes: &Wishes) -> String {
        plan(cpus, wishes).map_or_else(|error| error.to_string(), |plan| plan.to_string())
    }

    #[test]
    fn placement_follows_the_number_of_cpus() {
        let none = Wishes::default();
        assert_eq!(text(&[5], &none), "CPU 5: shard0+fanout; ops floats");
        assert_eq!(text(&[0, 1], &none), "CPU 1: shard0+fanout; ops floats");
        assert_eq!(text(&[0, 1, 2], &none), "CPU 1: shard0; CPU 2: fanout; CPU 0: ops");
        assert_eq!(
            text(&[2, 3, 6, 7], &none),
            "CPU 3: shard0; CPU 6: shard1; CPU 7: fanout; CPU 2: ops"
        );
        let many: Vec<_> = (0..32).collect();
        assert_eq!(plan(&many, &none).unwrap().shards(), DEFAULT_SHARDS_MAX);
    }

    #[test]
    fn the_same_cpu_for_a_shard_and_the_fan_out_puts_both_on_one_executor() {
        let wishes =
            Wishes { shard_cpus: Some(vec![0, 1]), fanout_cpu: Some(1), ..Wishes::default() };
        assert_eq!(text(&[0, 1, 2], &wishes), "CPU 0: shard0; CPU 1: shard1+fanout; ops floats");
        let apart = Wishes { shard_cpus: Some(vec![0]), fanout_cpu: Some(1), ..Wishes::default() };
        assert_eq!(text(&[0, 1], &apart), "CPU 0: shard0; CPU 1: fanout; ops floats");
    }

    #[test]
    fn two_shards_fit_on_two_cpus() {
        let wishes = Wishes { shards: Some(2), ..Wishes::default() };
        assert_eq!(text(&[0, 1], &wishes), "CPU 0: shard0; CPU 1: shard1+fanout; ops floats");
    }

    #[test]
    fn an_impossible_wish_is_refused_with_the_reason() {
        let wish = |wishes| plan(&[0, 1], &wishes).unwrap_err();
        let shards = |shards| Wishes { shards: Some(shards), ..Wishes::default() };
        assert_eq!(wish(shards(3)), TopologyError::ShardCount { shards: 3, most: 2 });
        assert_eq!(wish(shards(0)), TopologyError::ShardCount { shards: 0, most: 2 });
        let cpus = |cpus: &[usize]| Wishes { shard_cpus: Some(cpus.to_vec()), ..Wishes::default() };
        assert_eq!(wish(cpus(&[1, 1])), TopologyError::SharedShardCpu(1));
        let both = Wishes { shards: Some(1), ..cpus(&[0, 1]) };
        assert_eq!(wish(both), TopologyError::CountMismatch { shards: 1, cpus: 2 });
        let text = wish(Wishes { ops_cpu: Some(9), ..Wishes::default() }).to_string();
        assert!(text.contains("CONNECTOR_OPS_CPU names CPU 9"), "{text}");
    }

    proptest! {
        #[test]
        fn every_plan_runs_each_shard_once_and_the_fan_out_once(
            count in 1usize..20, shards in proptest::option::of(1usize..20),
            fanout in proptest::option::of(0usize..20), ops in proptest::option::of(0usize..20),
        ) {
            let cpus: Vec<_> = (0..count).collect();
            let wishes = Wishes { shards, shard_cpus: None, fanout_cpu: fanout, ops_cpu: ops };
            if let Ok(topology) = plan(&cpus, &wishes) {
                let shards = topology.executors.iter().flat_map(|one| one.shards.clone());
                let mut run: Vec<_> = shards.collect();
                run.sort_unstable();
                prop_assert_eq!(run, (0..topology.shards()).collect::<Vec<_>>());
                prop_assert_eq!(topology.executors.iter().filter(|e| e.fanout).count(), 1);
                let mut used: Vec<_> = topology.executors.iter().map(|e| e.cpu).collect();
                used.sort_unstable();
                prop_assert!(used.is_sorted_by(|a, b| a < b), "no CPU twice");
            }
        }
    }
}

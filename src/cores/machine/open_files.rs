//! How many files this process may have open, and how they are divided. The soft limit is raised to
//! the hard one. If that is too low for the configured clients, fewer are admitted, so that
//! sessions, REST, name look-ups and the ops port always have files left. This is logged at start.

use std::fs;

use crate::config::Config;
use crate::cores::machine::rlimits::{self, Resource};
use crate::limits::{
    CLIENTS_MAX, FILES_BESIDE_CLIENTS, FILES_PER_EXECUTOR, OPS_CONNECTIONS_MAX, REFUSALS_MAX,
};

/// Raises the limit as far as the host allows.
pub fn raise_limit() {
    rlimits::raise(Resource::RLIMIT_NOFILE);
}

/// How many files the process and its clients may open at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Division {
    /// Clients that are admitted.
    pub(crate) clients: usize,
    /// Connections beyond them that are answered before they are closed.
    pub(crate) refusals: usize,
    /// Connections to the ops port.
    pub(crate) ops: usize,
    /// REST requests under way.
    pub(crate) rest: usize,
}

impl Division {
    /// No limit.
    pub(crate) const UNBOUNDED: Self = Self {
        clients: CLIENTS_MAX,
        refusals: REFUSALS_MAX,
        ops: OPS_CONNECTIONS_MAX,
        rest: usize::MAX,
    };

    /// What is left of the process's limit now, divided among `executors` and what they serve.
    pub(crate) fn now(executors: usize, config: &Config) -> Self {
        // The count includes the folder that is read.
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let left = limit().map(|limit| {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let left = limit.saturating_sub(open + FILES_PER_EXECUTOR * executors);
            // Exchanges that are simulated in this process hold the other ends of our connections.
            let simulated = (left / 2).min(FILES_BESIDE_CLIENTS);
            if config.simulate { left - simulated } else { left }
        });
        Self::of(left, config.wss_clients_max, config.rest_pool_max)
    }

    /// Divides `left` files (`None`: any number): up to half of them for the server's own needs,
    /// the rest for clients.
    fn of(left: Option<usize>, clients_max: usize, rest_max: usize) -> Self {
        let left = left.unwrap_or(usize::MAX);
        let own = (left / 2).clamp(OWN_MIN, FILES_BESIDE_CLIENTS);
        let others = left.saturating_sub(own);
        let refusals = (others / 8).clamp(1, REFUSALS_MAX);
        Self {
            clients: clients_max.min(others.saturating_sub(refusals)).max(1),
            refusals,
            ops: (own / 4).clamp(1, OPS_CONNECTIONS_MAX),
            rest: (own / 8).clamp(1, rest_max.max(1)),
        }
    }
}

/// A warning if `limit` (`None`: there is none) is less than `clients_max` clients may need.
/// `admitted`: the number of clients that are admitted then, if known.
pub(crate) fn judge(
    limit: Option<u64>,
    clients_max: usize,
    admitted: Option<usize>,
) -> Option<String> {
    let needed = u64::try_from(clients_max + REFUSALS_MAX + FILES_BESIDE_CLIENTS);
    let needed = needed.expect("a usize has at most 64 bits");
    let consequence = match admitted {
        Some(admitted) => format!("at most {admitted} clients are admitted"),
        None => "fewer clients are admitted".to_owned(),
    };
    limit.filter(|&limit| limit < needed).map(|limit| {
        format!(
            "only {limit} files may be open, CONNECTOR_WSS_CLIENTS_MAX={clients_max} needs up to \
             {needed}: {consequence}, the others are for the server itself. Raise the hard limit \
             (systemd `LimitNOFILE={needed}`, docker run --ulimit nofile={needed}, `ulimit -Hn`, or \
             `nofile` in /etc/security/limits.conf), or set CONNECTOR_WSS_CLIENTS_MAX lower"
        )
    })
}

/// The limit in force; `None`: there is none.
pub(crate) fn limit() -> Option<u64> {
    rlimits::of(Resource::RLIMIT_NOFILE).soft
}

/// Files that the server always keeps for itself. Source: a session to each of three markets, a
/// REST request and a list, a name being looked up, two scrapers, a log file being renamed.
const OWN_MIN: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_below_what_the_clients_need_is_reported_with_its_remedies() {
        let needed = 10 + REFUSALS_MAX + FILES_BESIDE_CLIENTS;
        let limit = needed as u64;
        assert_eq!(judge(None, 10, None), None);
        assert_eq!(judge(Some(limit), 10, None), None);
        let said = judge(Some(limit - 1), 10, Some(7)).unwrap();
        let needed = format!("LimitNOFILE={needed}");
        for part in
            [&*needed, "CONNECTOR_WSS_CLIENTS_MAX=10 ", "ulimit", "limits.conf", "at most 7"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
    }

    #[test]
    fn all_clients_are_admitted_where_the_limit_allows_it_and_the_server_has_its_own_first() {
        let all = Division { clients: 10_000, refusals: 256, ops: 256, rest: 20 };
        assert_eq!(Division::of(None, 10_000, 20), all);
        assert_eq!(Division::of(Some(10_000 + 256 + FILES_BESIDE_CLIENTS), 10_000, 20), all);
        let tight = Division::of(Some(44), 10_000, 20);
        assert_eq!(tight, Division { clients: 20, refusals: 2, ops: 5, rest: 2 });
        for left in 0..5_000 {
            let Division { clients, refusals, ops, rest } = Division::of(Some(left), 10_000, 20);
            let own = ops + rest;
            assert!(clients >= 1 && refusals >= 1 && ops >= 1 && rest >= 1, "{left}");
            if left >= 2 * OWN_MIN {
                assert!(
                    clients + refusals + 2 * own <= left,
                    "half of its own is for sessions: {left}"
                );
            }
        }
    }
}

//! How many files this process may have open: the soft limit is raised to the hard one, and where that
//! is too low for the clients that are configured, it is said at start, not when the first is lost.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::{FILES_BESIDE_CLIENTS, REFUSALS_MAX};

/// Raises the limit as far as the host allows. Returns what a user should know where that is less than
/// `clients_max` clients may need.
pub fn raise_limit(clients_max: usize) -> Option<String> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit { current: hard, maximum: hard };
    // Refused by a sandbox: what is in force is what counts.
    let _raised = setrlimit(Resource::Nofile, raised);
    judge(getrlimit(Resource::Nofile).current, clients_max)
}

/// What a user should know where `limit` (`None`: there is none) is less than `clients_max` clients may
/// need.
pub(super) fn judge(limit: Option<u64>, clients_max: usize) -> Option<String> {
    let needed = u64::try_from(clients_max + REFUSALS_MAX + FILES_BESIDE_CLIENTS);
    let needed = needed.expect("a usize has at most 64 bits");
    limit.filter(|&limit| limit < needed).map(|limit| {
        format!(
            "only {limit} files may be open, CONNECTOR_WSS_CLIENTS_MAX={clients_max} needs up to \
             {needed}: clients beyond the limit are not accepted. Raise the hard limit (systemd \
             `LimitNOFILE={needed}`, docker run --ulimit nofile={needed}, `ulimit -Hn`, or `nofile` \
             in /etc/security/limits.conf), or set CONNECTOR_WSS_CLIENTS_MAX lower"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_below_what_the_clients_need_is_told_with_its_remedies() {
        let needed = 10 + REFUSALS_MAX + FILES_BESIDE_CLIENTS;
        let limit = needed as u64;
        assert_eq!(judge(None, 10), None);
        assert_eq!(judge(Some(limit), 10), None);
        let said = judge(Some(limit - 1), 10).unwrap();
        let needed = format!("LimitNOFILE={needed}");
        for part in [&*needed, "CONNECTOR_WSS_CLIENTS_MAX=10 ", "ulimit", "limits.conf"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

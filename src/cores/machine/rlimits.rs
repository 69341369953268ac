//! The limits that the host sets for this process (`getrlimit(2)`). A host that does not answer
//! sets none: what is then refused is reported where it is refused. Such hosts exist, namely
//! sandboxes, so this is nix: rustix takes it for granted that the call succeeds.

pub(crate) use nix::sys::resource::Resource;
use nix::sys::resource::{self, RLIM_INFINITY};

/// The limit in force, and the most that it may be raised to. `None`: there is none, or it is not
/// known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
}

/// The limit of `resource` now.
pub(crate) fn of(resource: Resource) -> Limit {
    match resource::getrlimit(resource) {
        Ok((soft, hard)) => Limit { soft: finite(soft), hard: finite(hard) },
        Err(_) => Limit::default(),
    }
}

/// Returns whether the host has no limit of `resource`.
pub(crate) fn is_infinite(resource: Resource) -> bool {
    resource::getrlimit(resource).is_ok_and(|(soft, _)| soft == RLIM_INFINITY)
}

/// Raises the limit in force to the most that is allowed.
pub(crate) fn raise(resource: Resource) {
    // If a sandbox refuses this, the limit in force stays.
    let _raised = resource::getrlimit(resource)
        .and_then(|(_, hard)| resource::setrlimit(resource, hard, hard));
}

fn finite(limit: u64) -> Option<u64> {
    (limit != RLIM_INFINITY).then_some(limit)
}

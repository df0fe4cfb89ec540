//! How many files and connections the process may have open. Many systems start a process with 256 or 1,024 and let it
//! raise that by itself; a server that settles for hundreds at once needs more.

/// Taken where the system does not say.
const UNKNOWN: usize = 1_024;

/// Raises the limit as far as the system lets it, and says what it is then.
pub fn raise() -> usize {
    system::raise().unwrap_or(UNKNOWN)
}

#[cfg(unix)]
mod system {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// As much as is ever needed; some systems refuse to be asked for everything.
    const ENOUGH: u64 = 10_240;

    pub(super) fn raise() -> Option<usize> {
        let limit = getrlimit(Resource::Nofile);
        let wanted = limit.maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
        let current = limit.current.unwrap_or(u64::MAX);
        let is_raised = current < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_ok();
        usize::try_from(if is_raised { wanted } else { current }).ok()
    }
}

#[cfg(not(unix))]
mod system {
    pub(super) fn raise() -> Option<usize> {
        None
    }
}

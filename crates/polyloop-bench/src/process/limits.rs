//! How many descriptors this process may hold open.

#[cfg(unix)]
use super::number;

/// Raises the soft limit of open descriptors to the hard one, or as far as the system lets it.
///
/// Returns the limit before and after if it was raised, `None` if there was nothing to
/// raise or the system has no such limit.
#[cfg(unix)]
pub fn raise_descriptor_limit() -> Option<(u64, u64)> {
    use nix::sys::resource::{getrlimit, rlim_t, setrlimit, Resource};

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if soft >= hard {
        return None;
    }
    // Apple's systems have no hard limit, and refuse a soft one past this.
    const OPEN_MAX: rlim_t = 10_240;
    let mut limits = [hard, hard.min(OPEN_MAX)].into_iter().filter(|&limit| limit > soft);
    let limit = limits.find(|&limit| setrlimit(Resource::RLIMIT_NOFILE, limit, hard).is_ok())?;
    Some((number(soft)?, number(limit)?))
}

/// Raises the soft limit of open descriptors: this system has none.
#[cfg(not(unix))]
pub fn raise_descriptor_limit() -> Option<(u64, u64)> {
    None
}

/// Returns how many descriptors this process may hold open now, `None` without a limit.
#[cfg(unix)]
pub fn descriptor_limit() -> Option<u64> {
    use nix::sys::resource::{getrlimit, Resource};

    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    number(soft).filter(|_| soft != nix::libc::RLIM_INFINITY)
}

/// Returns how many descriptors this process may hold open now: this system has no limit.
#[cfg(not(unix))]
pub fn descriptor_limit() -> Option<u64> {
    None
}

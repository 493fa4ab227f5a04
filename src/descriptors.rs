//! How many files the process may have open, and which part of them connections may take.
//!
//! A connection takes a descriptor, and so does reading a settings file or dialling the renderer.
//! Without shares of their own, callers of one listener could take the descriptors of all the
//! others. This room knows the operating system's limit, not who connects.

use std::{io, num::NonZeroUsize};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most connections of each listener, so that together they leave descriptors for files and the
/// renderer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionShares {
    /// Connections of applications.
    pub lookup: NonZeroUsize,
    /// Connections of operators.
    pub admin: NonZeroUsize,
    /// Connections of probes and scrapers.
    pub telemetry: NonZeroUsize,
}

/// The most connections of applications, however many descriptors there are: an idle one takes some
/// 20 KiB.
const MOST_LOOKUP: usize = 512;
/// The most connections of operators.
const MOST_ADMIN: usize = 32;
/// The most connections of probes and scrapers, which may hold 16 KiB of unfinished headers each.
const MOST_TELEMETRY: usize = 128;
/// The most descriptors that are kept back for files, runtimes and the renderer.
const MOST_KEPT: usize = 256;

/// Raises the limit of open files to the most that the process may have (`RLIMIT_NOFILE`, soft to
/// hard), and returns it.
///
/// # Errors
/// When the system refuses; the limit stays as it was.
pub fn raise() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(maximum.unwrap_or(u64::MAX))
}

impl ConnectionShares {
    /// Shares out what the process may have open now.
    pub fn in_force() -> Self {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::of(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// Shares out that many descriptors: an eighth to probes, a sixteenth to operators, a quarter
    /// is kept, the rest is for applications.
    pub fn of(limit: usize) -> Self {
        let telemetry = (limit / 8).clamp(4, MOST_TELEMETRY);
        let admin = (limit / 16).clamp(2, MOST_ADMIN);
        let kept = (limit / 4).clamp(16, MOST_KEPT);
        let lookup = limit.saturating_sub(telemetry + admin + kept);
        let most = |count: usize| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        Self {
            lookup: most(lookup.min(MOST_LOOKUP)),
            admin: most(admin),
            telemetry: most(telemetry),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_files_and_the_renderer() {
        for limit in [64, 256, 1024, 4096, 1 << 20, usize::MAX] {
            let shares = ConnectionShares::of(limit);
            let taken = [shares.lookup, shares.admin, shares.telemetry]
                .map(NonZeroUsize::get)
                .iter()
                .sum::<usize>();
            assert!(limit - taken >= limit.min(1024) / 4, "{limit}: {shares:?}");
            assert!(
                shares.lookup.get() >= limit.min(MOST_LOOKUP) / 4,
                "{limit}: {shares:?}"
            );
            assert!(shares.telemetry.get() >= 4);
        }
    }

    #[test]
    fn hardly_any_descriptors_still_let_each_listener_take_one() {
        for limit in [0, 1, 16, 30] {
            assert!(ConnectionShares::of(limit).lookup.get() >= 1, "{limit}");
        }
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise().unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
        assert_eq!(raised, maximum.unwrap_or(u64::MAX));
    }
}

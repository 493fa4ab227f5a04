//! How long ago something was written, by a process before this one.
//!
//! Within a boot of the machine its own clock tells exactly: it counts suspension, and no step of
//! the wall clock moves it. Across boots only the wall clock can tell, but what was written before
//! this boot is at least as old as the boot. Pure but for [`ClockStamp::now`].

use std::{
    fs,
    time::{Duration, SystemTime},
};

/// A moment, by the clock of a boot and by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockStamp {
    /// Which boot; none when the system does not say.
    pub(super) boot: Option<u128>,
    /// Since that boot.
    pub(super) since_boot: Duration,
    /// Since 1970.
    pub(super) wall: Duration,
}

impl ClockStamp {
    /// Reads the clocks. What the system does not say is zero.
    pub(super) fn now() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let uptime = fs::read_to_string("/proc/uptime").ok();
        Self {
            boot: boot.and_then(|text| boot_id(&text)),
            since_boot: uptime.and_then(|text| uptime_of(&text)).unwrap_or_default(),
            wall: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    /// The time from this stamp to a later one, as well as it can be told; never negative.
    pub(super) fn elapsed(self, now: Self) -> Duration {
        if self.is_of_boot_of(now) {
            return now.since_boot.saturating_sub(self.since_boot);
        }
        now.wall.saturating_sub(self.wall).max(now.since_boot)
    }

    /// Whether the wall clock was set back between the two and nothing else tells the time.
    pub(super) fn is_ahead_of(self, now: Self) -> bool {
        !self.is_of_boot_of(now) && self.wall > now.wall
    }

    fn is_of_boot_of(self, other: Self) -> bool {
        self.boot.is_some() && self.boot == other.boot
    }
}

/// A UUID, as proc_sys_kernel(5) has it.
fn boot_id(text: &str) -> Option<u128> {
    u128::from_str_radix(&text.trim().replace('-', ""), 16).ok()
}

/// The first number of proc_uptime(5).
fn uptime_of(text: &str) -> Option<Duration> {
    let seconds = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const YEARS: u64 = 10 * 365 * DAY;

    fn stamp(boot: u128, since_boot: u64, wall: u64) -> ClockStamp {
        ClockStamp {
            boot: (boot > 0).then_some(boot),
            since_boot: Duration::from_secs(since_boot),
            wall: Duration::from_secs(wall),
        }
    }

    #[test]
    fn within_a_boot_no_step_of_the_wall_clock_changes_an_age() {
        let written = stamp(7, 1_000, YEARS * 5);
        for wall in [
            0,
            YEARS * 5 - DAY,
            YEARS * 5 + 60,
            YEARS * 5 + DAY,
            YEARS * 6,
        ] {
            let now = stamp(7, 1_060, wall);
            assert_eq!(written.elapsed(now), Duration::from_secs(60), "{wall}");
            assert!(!written.is_ahead_of(now));
        }
        assert_eq!(written.elapsed(stamp(7, 10, YEARS)), Duration::ZERO);
    }

    #[test]
    fn across_boots_an_age_is_that_of_the_wall_clock_and_at_least_that_of_the_boot() {
        let written = stamp(7, 1_000, YEARS * 5);
        for (since_boot, wall, age) in [
            (30, YEARS * 5 + 60, 60),
            (90, YEARS * 5 + 60, 90),
            (30, YEARS * 5 - DAY, 30),
            (30, YEARS * 4, 30),
            (0, 0, 0),
            (30, YEARS * 6, YEARS),
        ] {
            for boot in [0, 8] {
                let now = stamp(boot, since_boot, wall);
                assert_eq!(written.elapsed(now), Duration::from_secs(age));
                assert_eq!(written.is_ahead_of(now), wall < YEARS * 5);
            }
        }
        let unknown = stamp(0, 0, 100);
        assert_eq!(unknown.elapsed(stamp(0, 0, 160)), Duration::from_secs(60));
    }

    #[test]
    fn the_clocks_of_this_machine_are_read() {
        let (first, second) = (ClockStamp::now(), ClockStamp::now());
        assert!(first.boot.is_some() && first.boot == second.boot);
        assert!(first.since_boot > Duration::ZERO && first.wall > Duration::from_secs(YEARS));
        assert!(first.elapsed(second) < Duration::from_secs(5));
    }
}

//! What the process takes of the machine: read from the kernel when someone looks, as every
//! Prometheus client library does.

use std::fs;

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use crate::metrics::ProcessNumbers;

/// Reads what the process takes. What the kernel does not say is zero.
#[derive(Debug)]
pub(super) struct ProcessMeter {
    /// Seconds of Unix time, read once so that it does not move with the clock.
    started_at: f64,
}

impl ProcessMeter {
    pub(super) fn start() -> Self {
        Self {
            started_at: started_at().unwrap_or_default(),
        }
    }

    pub(super) fn read(&self) -> ProcessNumbers {
        ProcessNumbers {
            cpu_time: clock_gettime(ClockId::ProcessCPUTime)
                .try_into()
                .unwrap_or_default(),
            resident_bytes: resident_pages().unwrap_or_default() * page_size() as u64,
            open_descriptors: open_descriptors().unwrap_or_default(),
            max_descriptors: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            started_at: self.started_at,
        }
    }
}

/// The second field of `/proc/self/statm` (proc_pid_statm(5)).
fn resident_pages() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse().ok()
}

/// The entries of `/proc/self/fd`, but for the one that lists them.
fn open_descriptors() -> Option<u64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(listed.saturating_sub(1)).ok()
}

/// The boot of the machine (`btime` of `/proc/stat`), and the ticks from then on to the start of
/// the process: the 22nd field of `/proc/self/stat`, whose second one may hold anything and ends
/// with the last parenthesis (proc_pid_stat(5)).
fn started_at() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let ticks: f64 = stat.rsplit_once(')')?.1.split(' ').nth(20)?.parse().ok()?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let booted = machine.lines().find_map(|line| line.strip_prefix("btime "));
    let booted: f64 = booted?.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "it is 100")]
    let ticks_per_second = clock_ticks_per_second() as f64;
    Some(booted + ticks / ticks_per_second)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::SystemTime};

    use super::*;

    #[test]
    fn tells_what_this_process_takes() {
        let meter = ProcessMeter::start();
        let before = meter.read().cpu_time;
        let open: Vec<_> = (0..9).map(|_| File::open("/dev/null").unwrap()).collect();
        let now = meter.read();
        drop(open);
        assert!((1 << 20..1 << 36).contains(&now.resident_bytes), "{now:?}");
        assert!(!now.cpu_time.is_zero() && now.cpu_time >= before);
        assert!(now.max_descriptors >= now.open_descriptors && now.open_descriptors > 9);
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let age = unix.as_secs_f64() - now.started_at;
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
    }
}

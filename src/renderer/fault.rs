//! The faults that a renderer can be given, and the switch that sets and ends them.
//!
//! A fault is set at one place and read wherever it bites: `port` reads whether the port is open,
//! `workers` how long a render takes, `service` what is answered. Faults make trouble of renders;
//! the other methods suffer only from those of the whole process: [`Fault::Dead`], [`Fault::Hang`]
//! and [`Fault::Flap`].

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How long a flapping renderer is dead, and then well.
pub const FLAP: Duration = Duration::from_secs(2);

/// How many times the cost a render takes while the renderer is slow.
pub const SLOWNESS: u32 = 10;

/// What can be wrong with a renderer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A render takes [`SLOWNESS`] times its cost.
    Slow,
    /// The port is closed: connections are dropped, new ones refused.
    Dead,
    /// Connections and calls are accepted, and no call is answered; one that came in meanwhile
    /// never will be.
    Hang,
    /// Dead and well in turn, [`FLAP`] each.
    Flap,
    /// Renders with the rollout before the one asked for.
    Behind,
    /// Answers renders with what is not fit to be served: each [`Garbage`] in turn.
    Garbage,
    /// Answers renders with RESOURCE_EXHAUSTED and a pushback.
    Busy,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 7] = [
        Self::Slow,
        Self::Dead,
        Self::Hang,
        Self::Flap,
        Self::Behind,
        Self::Garbage,
        Self::Busy,
    ];

    /// The name it is switched on by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Dead => "dead",
            Self::Hang => "hang",
            Self::Flap => "flap",
            Self::Behind => "behind",
            Self::Garbage => "garbage",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a garbled answer has wrong, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// No payload.
    Empty,
    /// A payload larger than a sidecar accepts by default.
    Oversized,
    /// The revision is of another project.
    OtherProject,
    /// The digest is not that of the payload.
    WrongDigest,
}

impl Garbage {
    /// Every kind of garbage, in the order in which they come.
    pub const ALL: [Self; 4] = [
        Self::Empty,
        Self::Oversized,
        Self::OtherProject,
        Self::WrongDigest,
    ];
}

/// A fault to be set, and for how long; written `NAME[,for=DURATION]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultOrder {
    /// What is to be wrong.
    pub fault: Fault,
    /// For how long; for ever when none.
    pub lasts: Option<Duration>,
}

/// The longest that a fault may be told to last; one that lasts for ever is not told how long.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A text that is no [`FaultOrder`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no fault: write NAME[,for=DURATION], such as `slow,for=10s`, lasting a day at most, with NAME one of {names}", names = Fault::ALL.map(Fault::name).join(", "))]
pub struct InvalidFault(String);

impl FromStr for FaultOrder {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (name, lasts) = match text.split_once(',') {
                None => (text, None),
                Some((name, lasts)) => {
                    let lasts = lasts.trim().strip_prefix("for=")?;
                    let lasts = humantime::parse_duration(lasts).ok();
                    (name, Some(lasts.filter(|lasts| *lasts <= LONGEST)?))
                }
            };
            let fault = Fault::ALL
                .into_iter()
                .find(|fault| fault.name() == name.trim())?;
            Some(Self { fault, lasts })
        };
        parse().ok_or_else(|| InvalidFault(text.to_owned()))
    }
}

impl fmt::Display for FaultOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)?;
        match self.lasts {
            None => Ok(()),
            Some(lasts) => {
                let lasts =
                    Duration::from_millis(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
                write!(
                    f,
                    ",for={}",
                    humantime::format_duration(lasts)
                        .to_string()
                        .replace(' ', "")
                )
            }
        }
    }
}

impl From<Fault> for FaultOrder {
    fn from(fault: Fault) -> Self {
        Self { fault, lasts: None }
    }
}

/// Whether the port of a renderer takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Open,
    Closed,
}

/// The switch: at most one fault is in force at a time. Clones switch the same renderer.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    in_force: Arc<watch::Sender<Option<FaultInForce>>>,
}

#[derive(Clone, Debug)]
struct FaultInForce {
    fault: Fault,
    since: Instant,
    until: Option<Instant>,
    garbled: Arc<AtomicUsize>,
}

// === impl Faults ===

impl Faults {
    /// Sets a fault, in place of the one in force.
    pub fn set(&self, order: impl Into<FaultOrder>) {
        let FaultOrder { fault, lasts } = order.into();
        let since = Instant::now();
        let until = lasts.and_then(|lasts| since.checked_add(lasts));
        match lasts {
            Some(lasts) => tracing::warn!(%fault, ?lasts, "fault set"),
            None => tracing::warn!(%fault, "fault set"),
        }
        self.in_force.send_replace(Some(FaultInForce {
            fault,
            since,
            until,
            garbled: Arc::default(),
        }));
    }

    /// Ends the fault in force, if any.
    pub fn clear(&self) {
        if let Some(ended) = self.in_force.send_replace(None) {
            tracing::info!(fault = %ended.fault, "fault ended");
        }
    }

    /// The fault in force, and how long it still lasts if it ends by itself.
    pub fn in_force(&self) -> Option<FaultOrder> {
        let now = Instant::now();
        let in_force = self.in_force.borrow();
        let in_force = in_force.as_ref().filter(|in_force| in_force.lasts(now))?;
        Some(FaultOrder {
            fault: in_force.fault,
            lasts: in_force.until.map(|until| until - now),
        })
    }

    /// Whether no call is to be answered: the renderer hangs, or its connections are about to be
    /// cut.
    pub(super) fn is_mute(&self) -> bool {
        let now = Instant::now();
        self.in_force.borrow().as_ref().is_some_and(|in_force| {
            let hangs = in_force.fault == Fault::Hang && in_force.lasts(now);
            hangs || in_force.port(now).0 == Port::Closed
        })
    }

    /// Takes the next kind of garbage; a fault that is set anew starts with the first.
    pub(super) fn next_garbage(&self) -> Garbage {
        let turn = match &*self.in_force.borrow() {
            Some(in_force) => in_force.garbled.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        Garbage::ALL[turn % Garbage::ALL.len()]
    }

    /// Waits until the port is to be like that.
    pub(super) async fn until(&self, wanted: Port) {
        let mut changes = self.in_force.subscribe();
        loop {
            let now = Instant::now();
            let (port, next) = match &*changes.borrow_and_update() {
                Some(in_force) => in_force.port(now),
                None => (Port::Open, None),
            };
            if port == wanted {
                return;
            }
            let turned = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = changes.changed() => {}
                () = turned => {}
            }
        }
    }
}

impl FaultInForce {
    fn lasts(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// How the port is to be now, and when that may change by itself.
    fn port(&self, now: Instant) -> (Port, Option<Instant>) {
        if !self.lasts(now) {
            return (Port::Open, None);
        }
        match self.fault {
            Fault::Slow | Fault::Hang | Fault::Behind | Fault::Garbage | Fault::Busy => {
                (Port::Open, None)
            }
            Fault::Dead => (Port::Closed, self.until),
            Fault::Flap => {
                let turns = now.duration_since(self.since).as_nanos() / FLAP.as_nanos();
                let turns = u32::try_from(turns).unwrap_or(u32::MAX - 1);
                let next = self.since + FLAP * (turns + 1);
                let port = if turns.is_multiple_of(2) {
                    Port::Closed
                } else {
                    Port::Open
                };
                (port, Some(self.until.map_or(next, |until| until.min(next))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_set_by_its_name() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(FaultOrder::from(fault)));
        }
        let lasts = Some(Duration::from_secs(10));
        assert_eq!(
            "dead,for=10s".parse(),
            Ok(FaultOrder {
                fault: Fault::Dead,
                lasts
            })
        );
        for text in [
            "",
            "asleep",
            "dead,10s",
            "dead,for=",
            "dead,for=soon",
            "slow,for=1s,for=2s",
        ] {
            assert!(text.parse::<FaultOrder>().is_err(), "{text:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_ends_by_itself() {
        let faults = Faults::default();
        faults.set(FaultOrder {
            fault: Fault::Dead,
            lasts: Some(Duration::from_secs(10)),
        });
        faults.until(Port::Closed).await;
        let start = Instant::now();
        faults.until(Port::Open).await;
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        assert_eq!(faults.in_force(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flapping_port_is_closed_and_open_in_turn() {
        let faults = Faults::default();
        faults.set(Fault::Flap);
        let start = Instant::now();
        for turns in 0..5 {
            faults.until(Port::Closed).await;
            assert_eq!(start.elapsed(), FLAP * (2 * turns));
            faults.until(Port::Open).await;
            assert_eq!(start.elapsed(), FLAP * (2 * turns + 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_can_be_ended_and_replaced() {
        let faults = Faults::default();
        faults.set(Fault::Dead);
        faults.until(Port::Closed).await;
        faults.set(Fault::Garbage);
        faults.until(Port::Open).await;
        assert_eq!(faults.in_force(), Some(Fault::Garbage.into()));
        for garbage in Garbage::ALL.into_iter().chain(Garbage::ALL) {
            assert_eq!(faults.next_garbage(), garbage);
        }
        faults.clear();
        assert_eq!(faults.in_force(), None);
    }
}

//! Settings as the plain values that the rooms take.

use crate::{
    admission::{self, FetchLimits, FleetRate},
    fleet::FleetBudget,
    lookup,
    record::RecordStart,
    serve::listener::ListenAddress,
    settings::{Listen, Settings, Size},
};

/// The limits, but for the rate, which may be on its way up.
pub(super) fn admission(settings: &Settings, rate: f64) -> admission::Limits {
    admission::Limits {
        rate,
        burst: settings.admission.burst,
        concurrency: settings.admission.concurrency,
        queue: settings.admission.queue,
        fetch: FetchLimits {
            rate: settings.upstream.fetch.rate,
            concurrency: settings.upstream.fetch.concurrency,
        },
    }
}

pub(super) fn fleet(settings: &Settings) -> Option<FleetRate> {
    Some(FleetRate {
        rate: settings.admission.fleet_rate?,
        size: settings.admission.fleet_size?.get(),
    })
}

/// What the fleet's store divides.
pub(super) fn budget(settings: &Settings) -> Option<FleetBudget> {
    let FleetRate { rate, size } = fleet(settings)?;
    Some(FleetBudget { rate, size })
}

pub(super) fn lookup(settings: &Settings) -> lookup::WaitLimits {
    lookup::WaitLimits {
        patience: settings.lookup.patience,
        cold_patience: settings.lookup.cold_patience,
        max_patience: settings.lookup.max_patience,
        max_waiting: settings.lookup.max_waiting as usize,
    }
}

/// What holds from the start of a record on.
pub(super) fn record_start(settings: &Settings) -> RecordStart {
    RecordStart {
        target: settings.rollout.get(),
        limits: admission(settings, settings.admission.rate()),
        deadline: settings.upstream.deadline,
        patience: settings.lookup.patience,
        cold_patience: settings.lookup.cold_patience,
        max_age: settings.lookup.max_age,
    }
}

pub(super) fn address(listen: &Listen) -> ListenAddress {
    match listen {
        Listen::Tcp(address) => ListenAddress::Tcp(*address),
        Listen::Unix(path) => ListenAddress::Unix(path.clone()),
    }
}

pub(super) fn bytes(size: Size) -> usize {
    usize::try_from(size.bytes()).unwrap_or(usize::MAX)
}

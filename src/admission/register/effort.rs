//! How far the effort to make a project fresh has come, and the call that is in flight for it.

use crate::{
    admission::{
        action::Lease,
        budget::LaunchedCall,
        words::{Class, Want},
    },
    moment::Moment,
    revision::Order,
};

/// How far the effort to make a project fresh has come.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) enum Effort {
    /// It waits for its turn, or is not wanted.
    None,
    /// It was asked whether its render may start.
    Asked(u64),
    /// Its render may start at that moment.
    Granted(Moment, Option<Lease>),
    /// A call is in flight.
    Flight(Flight),
}

/// What calls are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admission) enum Stage {
    /// What is stored of a missing project is fetched.
    Fetch,
    /// What is held is confirmed by a fetch.
    Confirm,
    /// It is asked whether a render may start.
    Reserve,
    /// It is rendered.
    Render,
}

/// A call that is in flight.
#[derive(Clone, Copy, Debug)]
pub(in crate::admission) struct Flight {
    pub(in crate::admission) stage: Stage,
    /// Beside which calls it was launched.
    pub(in crate::admission) launch: LaunchedCall,
    pub(in crate::admission) since: Moment,
    /// What it was to bring.
    pub(in crate::admission) want: Want,
    /// What a caller demanded of it.
    pub(in crate::admission) demand: Option<Order>,
    pub(in crate::admission) class: Class,
    /// The project's last render failed.
    pub(in crate::admission) is_cooling: bool,
    /// Nothing is held of the project.
    pub(in crate::admission) is_unseen: bool,
    pub(in crate::admission) probes: Probes,
    /// Counted from 1 for those who wait.
    pub(in crate::admission) attempt: u32,
    pub(in crate::admission) lease: Option<Lease>,
}

/// What a call tells when it comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::admission) struct Probes {
    /// Whether the breaker closes.
    pub(in crate::admission) breaker: bool,
    /// Whether the renderer's pushback is over.
    pub(in crate::admission) hold: bool,
}

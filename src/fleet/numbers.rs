//! What a member counts, for metrics and logs.

use crate::{admission::FleetMode, store::beat::Beaten};

/// What is seen of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FleetNumbers {
    /// Whether it shares the fleet's budget now.
    pub is_joined: bool,
    /// Whether it renders with a part of the budget, by itself.
    pub is_apart: bool,
    /// Sidecars that are present, this one among them.
    pub present: u64,
    /// Sidecars that fell silent, and keep their share.
    pub absent: u64,
    /// The rate that the fleet was told, in renders/s.
    pub told: f64,
    /// What is left of it without the shares of the absent, and by the pace.
    pub in_force: f64,
    /// Calls of the store, by call and result.
    pub calls: [[u64; CallResult::ALL.len()]; StoreCall::ALL.len()],
    /// What asks for leases came to.
    pub leases: [u64; LeaseResult::ALL.len()],
    /// What came of values that were read.
    pub pulls: [u64; PullResult::ALL.len()],
    /// What came of values that were published.
    pub published: [u64; PublishResult::ALL.len()],
}

/// Declares an enum of labels with all its values and their names.
macro_rules! labels {
    ($(#[$doc:meta])+ $name:ident { $($(#[$of:meta])+ $value:ident = $label:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$of])+ $value,)+ }

        impl $name {
            /// All of them.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$value),+];

            /// Its name in metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$value => $label,)+ }
            }
        }
    };
}

labels! {
    /// A call of the store.
    StoreCall {
        /// A connection is dialled.
        Dial = "dial",
        /// A sidecar says that it lives.
        Beat = "beat",
        /// Leases and tokens are asked for.
        Acquire = "acquire",
        /// A render ended.
        Land = "land",
        /// A value is published.
        Put = "put",
        /// A value is read.
        Get = "get",
    }
}

labels! {
    /// What a call came to.
    CallResult {
        /// It was answered.
        Answered = "answered",
        /// There was no answer in time.
        TimedOut = "timed_out",
        /// The connection broke, or the store answered with an error.
        Failed = "failed",
    }
}

labels! {
    /// What became of an ask for a lease.
    LeaseResult {
        /// It was granted, with a token.
        Granted = "granted",
        /// Another sidecar holds it.
        Elsewhere = "elsewhere",
        /// Another sidecar has rendered the project.
        Landed = "landed",
        /// The fleet leaves the project alone.
        LeftAlone = "left_alone",
        /// No token was free.
        Waits = "waits",
        /// A grant was given up because its render could not start in time.
        Void = "void",
    }
}

labels! {
    /// What came of a value that was read.
    PullResult {
        /// It is held now.
        Stored = "stored",
        /// It was held already, and is known to be right.
        Validated = "validated",
        /// What is held is newer.
        Older = "older",
        /// There is none.
        Missing = "missing",
        /// It cannot be held.
        Rejected = "rejected",
        /// The store did not answer.
        Failed = "failed",
    }
}

labels! {
    /// What came of a value that was published.
    PublishResult {
        /// It is the newest.
        Newer = "newer",
        /// The same stood there.
        Validated = "validated",
        /// A newer one stands there.
        Older = "older",
        /// Another payload of the same order stands there, and stays.
        Conflict = "conflict",
        /// The store did not take it.
        Failed = "failed",
    }
}

impl FleetNumbers {
    pub(super) fn set_mode(&mut self, mode: FleetMode) {
        (self.is_joined, self.is_apart) = (mode == FleetMode::Joined, mode == FleetMode::Apart);
    }

    pub(super) fn set_fleet(&mut self, last: &Beaten) {
        (self.present, self.absent) = (last.present, last.absent);
        self.told = last.rates.told;
        self.in_force = last.rates.in_force * last.rates.pace;
    }
}

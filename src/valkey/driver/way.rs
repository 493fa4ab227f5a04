//! The way to the store: when it is dialled, and when a connection is given up.

use std::time::Duration;

use super::{FleetDriver, StoreDone};
use crate::{
    back_off::{BackOff, Ceilings},
    fleet::{CallResult, StoreCall},
    moment::Moment,
    valkey::link::{StoreCallError, StoreLink},
};

/// The waits between dials.
const DIALS: Ceilings = Ceilings {
    first: Duration::from_millis(200),
    growth: 1.6,
    longest: Duration::from_secs(10),
};
/// After as many calls in a row without an answer in time, the connection is given up.
const TIME_OUTS: u32 = 3;

/// The way to the store.
pub(super) struct StoreWay {
    pub(super) link: Option<StoreLink>,
    pub(super) dials: u64,
    pub(super) is_dialling: bool,
    pub(super) dial_at: Moment,
    pub(super) back_off: BackOff,
    pub(super) time_outs: u32,
    pub(super) is_beating: bool,
    /// The last thing that went wrong, for the log.
    pub(super) trouble: Option<String>,
}

impl StoreWay {
    /// There is no connection yet, and it is dialled at that moment.
    pub(super) fn new(dial_at: Moment) -> Self {
        Self {
            link: None,
            dials: 0,
            is_dialling: false,
            dial_at,
            back_off: BackOff::new(DIALS),
            time_outs: 0,
            is_beating: false,
            trouble: None,
        }
    }
}

impl FleetDriver {
    pub(super) fn dial(&mut self) {
        self.link.is_dialling = true;
        self.link.dials += 1;
        let dial = StoreLink::dial(self.options.clone(), self.link.dials);
        self.calls
            .push(Box::pin(async move { StoreDone::Dialled(dial.await) }));
    }

    pub(super) fn dialled(&mut self, dialled: Result<StoreLink, StoreCallError>, now: Moment) {
        self.link.is_dialling = false;
        match dialled {
            Ok(link) => {
                self.member
                    .count_call(StoreCall::Dial, CallResult::Answered);
                self.link.link = Some(link);
                (self.link.time_outs, self.link.is_beating) = (0, false);
                self.member.connected(now);
            }
            Err(error) => {
                let result = result_of(&error);
                self.member.count_call(StoreCall::Dial, result);
                self.link.trouble = Some(error.to_string());
                self.wait_to_dial(now);
            }
        }
    }

    pub(super) fn wait_to_dial(&mut self, now: Moment) {
        let spread = Duration::from_secs_f64(f64::from(self.member.count()) / 2_000.0);
        let wait = self.link.back_off.after_failure(fastrand::f64());
        self.link.dial_at = now + wait + spread.mul_f64(fastrand::f64());
    }

    /// Counts a call, and gives the connection up where it is of no use any more.
    pub(super) fn judge<T>(
        &mut self,
        call: StoreCall,
        link: u64,
        answer: Result<T, StoreCallError>,
        now: Moment,
    ) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.member.count_call(call, CallResult::Answered);
                if self.is_current(link) {
                    self.link.time_outs = 0;
                }
                Some(answer)
            }
            Err(error) => {
                self.member.count_call(call, result_of(&error));
                tracing::debug!(call = call.as_str(), %error, "a call of the store failed");
                if self.is_current(link) {
                    self.link.trouble = Some(error.to_string());
                    self.link.time_outs += u32::from(error.is_time());
                    let is_of_call = error.is_answer() && call != StoreCall::Beat;
                    let is_late = error.is_time() && self.link.time_outs < TIME_OUTS;
                    if !is_of_call && !is_late {
                        self.link.link = None;
                        self.wait_to_dial(now);
                        self.member.lost(now);
                    }
                }
                None
            }
        }
    }

    pub(super) fn is_current(&self, number: u64) -> bool {
        let link = self.link.link.as_ref();
        link.is_some_and(|link| link.number == number)
    }
}

pub(super) fn result_of(error: &StoreCallError) -> CallResult {
    if error.is_time() {
        CallResult::TimedOut
    } else {
        CallResult::Failed
    }
}

//! What would happen if: a release in a fleet with these limits, before these renderers, in virtual
//! time.
//!
//! A [`Case`] says what the fleet is; [`predict`] runs the [simulator](crate::simulator) with the
//! real admission and says what happens when the target is raised: when everything is fresh, how
//! many renders the renderers get at once, what their cores bear, and how many answers are outdated
//! meanwhile. It knows the simulator and numbers: neither where a case comes from nor how a
//! prediction is shown.

mod case;
mod doubts;
mod last;
mod prediction;
mod sample;
mod tally;

pub use self::{
    case::{Case, LONGEST, Unfit},
    doubts::{Seen, doubts},
    prediction::{Prediction, predict},
    sample::Sampled,
};

#[cfg(test)]
mod tests;

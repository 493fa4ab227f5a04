//! Where a prediction says more than what was seen can tell.

use std::time::Duration;

use super::{Case, Prediction};
use crate::moment::spoken;

/// Above this part of the cores, the time of a render is mostly what the model makes of it.
const BUSY: f64 = 0.8;
/// A load this much above the one that was seen is another load.
const MORE: f64 = 1.25;

/// What was seen of the fleet that a case is about.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// Sidecars that answered.
    pub answered: usize,
    /// Cores that rendered.
    pub busy: f64,
    /// Whether renders took longer than in the hour before.
    pub is_slow: bool,
}

/// What has to be known to trust a prediction, in sentences.
pub fn doubts(case: &Case, predicted: &Prediction, seen: Option<Seen>) -> Vec<String> {
    let mut doubts = Vec::new();
    let sampled = predicted.sampled;
    if sampled.is_part() {
        doubts.push(format!(
            "{} simulated pods stand for {}; the renderers are loaded as if all were there.",
            sampled.pods, sampled.of
        ));
    }
    if let Some(seen) = seen {
        doubts.extend(of_what_was_seen(case, predicted, seen));
    }
    match case.renderers {
        None => doubts.push(format!(
            "Without --renderers no load makes renders slower: {:.1} cores are busy at the most.",
            predicted.most_busy
        )),
        Some(cores) if predicted.most_busy > BUSY * cores => doubts.push(format!(
            "The cores are up to {:.0} % busy: render times are then the model's, which shares cores evenly and turns no call away.",
            100.0 * predicted.most_busy / cores
        )),
        Some(_) => {}
    }
    if predicted.fresh_after.is_none() {
        doubts.push(format!(
            "It was not followed beyond {}: {:.1} % of what is wanted was fresh by then.",
            spoken(predicted.followed),
            100.0 * predicted.fresh
        ));
    }
    if predicted.lookups < 0.5 {
        doubts.push(format!(
            "{:.1} % of the lookups are simulated: which projects come first is less exact.",
            100.0 * predicted.lookups
        ));
    }
    doubts
}

fn of_what_was_seen(case: &Case, predicted: &Prediction, seen: Seen) -> Vec<String> {
    let mut doubts = Vec::new();
    let pods = case.pods as usize;
    if seen.answered < pods {
        doubts.push(format!(
            "{} of {pods} pods answered: the others are taken to be like them.",
            seen.answered
        ));
    }
    if seen.is_slow {
        doubts.push(format!(
            "Renders are slower now than in the hour before: {} is taken for the time of a render that has a core for itself.",
            milliseconds(case.render_time)
        ));
    }
    if predicted.most_busy > MORE * seen.busy {
        doubts.push(format!(
            "{:.1} cores were seen rendering, and {:.1} are predicted: at that load the renderers were not observed.",
            seen.busy, predicted.most_busy
        ));
    }
    doubts
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", 1000.0 * time.as_secs_f64())
}

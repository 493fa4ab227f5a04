//! The lookups of a replay: as many in each while as were recorded, at moments that are spread over
//! it.

use std::time::Duration;

use super::calls::RecordedProject;
use crate::{moment::Moment, record::RecordedInterest};

/// A project is looked up this often in a while at the most; each lookup then stands for several.
const MOST: u32 = 4;

/// A lookup that stands for several.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ReplayedLookup {
    pub(super) at: Moment,
    pub(super) project: RecordedProject,
    /// For how many it stands.
    pub(super) weight: f64,
}

/// The lookups of a while, in no order.
pub(super) fn spread<'a>(
    interest: &'a RecordedInterest,
    rng: &'a mut fastrand::Rng,
) -> impl Iterator<Item = ReplayedLookup> + 'a {
    let lasts = interest.during.end.since(interest.during.start);
    interest.lookups.iter().flat_map(move |&(project, count)| {
        let lookups = count.min(MOST);
        let weight = f64::from(count) / f64::from(lookups.max(1));
        let phase = rng.f64();
        (0..lookups).map(move |place| ReplayedLookup {
            at: interest.during.start
                + part(lasts, (f64::from(place) + phase) / f64::from(lookups)),
            project,
            weight,
        })
    })
}

fn part(lasts: Duration, part: f64) -> Duration {
    lasts.mul_f64(part.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::tests::at;

    fn lookups(of: &[(u32, u32)], seed: u64) -> Vec<ReplayedLookup> {
        let interest = RecordedInterest {
            during: at(10.0)..at(12.0),
            lookups: of.to_vec(),
            outdated: 0,
            failed: 0,
        };
        spread(&interest, &mut fastrand::Rng::with_seed(seed)).collect()
    }

    #[test]
    fn lookups_come_in_their_while_as_evenly_as_they_can() {
        for seed in 0..100 {
            let lookups = lookups(&[(3, 2)], seed);
            let [first, second] = lookups[..] else {
                panic!("{lookups:?}")
            };
            assert!(at(10.0) <= first.at && first.at < at(11.0));
            let gap = second.at.since(first.at);
            assert!(gap.abs_diff(Duration::from_secs(1)) < Duration::from_micros(1));
            assert_eq!((first.project, first.weight), (3, 1.0));
        }
    }

    #[test]
    fn a_few_lookups_stand_for_many() {
        let lookups = lookups(&[(1, 1), (2, 4_000)], 1);
        let weights: Vec<_> = lookups.iter().map(|it| (it.project, it.weight)).collect();
        assert_eq!(weights.len(), 5);
        assert_eq!(weights[0], (1, 1.0));
        assert!(weights[1..].iter().all(|it| *it == (2, 1_000.0)));
    }
}

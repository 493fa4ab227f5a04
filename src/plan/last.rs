//! When the last of many is done, told by a sample of them.
//!
//! The last of a thousand is later than the last of two hundred, however well these stand for all:
//! how much later, the tail of what was seen tells. What lies above a high threshold follows a
//! generalised Pareto distribution, whatever the rest does (Pickands 1975); its parameters are
//! estimated by probability-weighted moments (Hosking & Wallis 1987), which are good for small
//! samples.

use std::f64::consts::LN_2;

/// The part of the sample that is its tail: with more, the middle would tell of the end; with less,
/// chance would.
const TAIL: f64 = 0.1;
/// The fewest values that make a tail.
const FEWEST: usize = 5;
/// The lowest shape: values that are as many up to their greatest, and end there.
const UNIFORM: f64 = -1.0;

/// The median of the greatest of `all` values, of which these are a sample. Never less than the
/// greatest of them; 0 of none.
pub(super) fn greatest(mut sample: Vec<f64>, all: f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    let count = sample.len();
    let tail = ((count as f64 * TAIL) as usize).max(FEWEST);
    let Some(&seen) = sample.last() else {
        return 0.0;
    };
    if all <= count as f64 || tail >= count {
        return seen;
    }
    let threshold = f64::midpoint(sample[count - tail - 1], sample[count - tail]);
    let beyond = Pareto::of(sample[count - tail..].iter().map(|value| value - threshold));
    // As many of all are expected to exceed the median of their greatest.
    let exceeded = LN_2 / (all * tail as f64 / count as f64);
    seen.max(threshold + beyond.exceeded_by(exceeded))
}

/// A generalised Pareto distribution of what is above 0.
#[derive(Clone, Copy, Debug)]
struct Pareto {
    /// From [`UNIFORM`] to 0, an exponential distribution: the time that a series of renders takes
    /// has no heavier tail.
    shape: f64,
    scale: f64,
}

impl Pareto {
    /// Estimates it by values in rising order, at least one.
    fn of(values: impl ExactSizeIterator<Item = f64>) -> Self {
        let count = values.len() as f64;
        let (mut mean, mut weighted) = (0.0, 0.0);
        for (place, value) in (1_u32..).zip(values) {
            mean += value / count;
            weighted += value / count * (1.0 - (f64::from(place) - 0.35) / count);
        }
        let shape = 2.0 - mean / (mean - 2.0 * weighted);
        if shape >= 0.0 || shape.is_nan() {
            return Self {
                shape: 0.0,
                scale: mean,
            };
        }
        let shape = shape.max(UNIFORM);
        Self {
            shape,
            scale: mean * (1.0 - shape),
        }
    }

    /// The value that this part of all values exceeds.
    fn exceeded_by(self, part: f64) -> f64 {
        if self.shape < 0.0 {
            self.scale / self.shape * (part.powf(-self.shape) - 1.0)
        } else {
            -self.scale * part.ln()
        }
    }
}

#[cfg(test)]
mod tests {
    /// The median, over many draws, of what a sample of 200 tells of the greatest of 2,000, and of
    /// the greatest.
    fn told_and_true(draw: impl Fn(&mut fastrand::Rng) -> f64) -> (f64, f64) {
        let mut rng = fastrand::Rng::with_seed(1);
        let pairs = (0..201).map(|_| {
            let all: Vec<_> = (0..2_000).map(|_| draw(&mut rng)).collect();
            let greatest = all.iter().copied().fold(0.0, f64::max);
            (super::greatest(all[..200].to_vec(), 2_000.0), greatest)
        });
        let (mut told, mut greatest): (Vec<_>, Vec<_>) = pairs.unzip();
        told.sort_by(f64::total_cmp);
        greatest.sort_by(f64::total_cmp);
        (told[100], greatest[100])
    }

    /// The last of 1,000 pods was predicted as early as that of the 200 that stood for them.
    #[test]
    fn the_last_of_all_is_told_by_the_tail_of_a_sample() {
        let exponential = |rng: &mut fastrand::Rng| 30.0 - 2.0 * (1.0 - rng.f64()).ln();
        let (told, greatest) = told_and_true(exponential);
        assert!((told / greatest - 1.0).abs() < 0.05, "{told} {greatest}");
        let sum = |rng: &mut fastrand::Rng| {
            let parts = (0..20).map(|_| -(1.0 - rng.f64()).ln());
            parts.sum::<f64>()
        };
        let (told, greatest) = told_and_true(sum);
        assert!((told / greatest - 1.0).abs() < 0.05, "{told} {greatest}");
    }

    #[test]
    fn a_tail_that_ends_is_not_prolonged() {
        let (told, greatest) = told_and_true(|rng| 10.0 + 10.0 * rng.f64());
        assert!((told / greatest - 1.0).abs() < 0.02, "{told} {greatest}");
        assert_eq!(super::greatest(vec![7.0; 100], 1e6), 7.0);
    }

    #[test]
    fn of_all_or_of_few_the_greatest_that_was_seen_is_told() {
        assert_eq!(super::greatest(vec![1.0, 9.0, 3.0], 3.0), 9.0);
        assert_eq!(super::greatest(vec![1.0, 9.0, 3.0], 100.0), 9.0);
        assert_eq!(super::greatest(Vec::new(), 100.0), 0.0);
    }
}

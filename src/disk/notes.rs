//! What is written beside projects: the targets that there were, and the drops of late. Each is a
//! short text, so that people can read it, with a stamp of when it was written in its first line.

use std::{fmt::Write as _, time::Duration};

use super::{
    record::{OpenedAt, nanos},
    stamp::ClockStamp,
};
use crate::{freshness::Raises, moment::Moment};

/// The names of notes.
pub(super) const TARGETS: &str = "targets";
pub(super) const DROPS: &str = "drops";

/// A line for each target: the rollout, and how many nanoseconds ago it was learned. The first line
/// says whether the last one was a raise.
pub(super) fn write_raises(raises: &Raises, now: Moment, written: ClockStamp) -> String {
    let mut text = head(written);
    text.push_str(if raises.raised_at.is_some() {
        " raised"
    } else {
        " lowered"
    });
    for (rollout, at) in &raises.steps {
        line(
            &mut text,
            format_args!("{rollout} {}", nanos(now.since(*at))),
        );
    }
    text
}

/// None where it is not such a note.
pub(super) fn read_raises(text: &str, opened: OpenedAt) -> Option<Raises> {
    let (head, lines) = text.split_once('\n')?;
    let mut words = head.split(' ');
    let written = read_stamp(&mut words)?;
    let is_raise = words.next()? == "raised";
    let steps = lines.lines().map(|line| {
        let (rollout, ago) = line.split_once(' ')?;
        let ago = Duration::from_nanos(ago.parse().ok()?);
        Some((rollout.parse().ok()?, opened.moment_of(written, ago)))
    });
    let steps: Vec<(u64, Moment)> = steps.collect::<Option<_>>()?;
    let raised_at = steps.last().filter(|_| is_raise).map(|&(_, at)| at);
    steps
        .is_sorted_by(|(low, _), (high, _)| low < high)
        .then_some(Raises { steps, raised_at })
}

/// A line for each drop: how many nanoseconds ago it was.
pub(super) fn write_drops(drops: &[Moment], now: Moment, written: ClockStamp) -> String {
    let mut text = head(written);
    for at in drops {
        line(&mut text, format_args!("{}", nanos(now.since(*at))));
    }
    text
}

/// None where it is not such a note.
pub(super) fn read_drops(text: &str, opened: OpenedAt) -> Option<Vec<Moment>> {
    let mut lines = text.lines();
    let written = read_stamp(&mut lines.next()?.split(' '))?;
    let drops = lines.map(|ago| {
        let ago = Duration::from_nanos(ago.parse().ok()?);
        Some(opened.moment_of(written, ago))
    });
    drops.collect()
}

fn head(written: ClockStamp) -> String {
    let ClockStamp {
        boot,
        since_boot,
        wall,
    } = written;
    let boot = boot.unwrap_or_default();
    format!("{boot:032x} {} {}", nanos(since_boot), nanos(wall))
}

fn read_stamp<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<ClockStamp> {
    let boot = u128::from_str_radix(words.next()?, 16).ok()?;
    let mut duration = || Some(Duration::from_nanos(words.next()?.parse().ok()?));
    Some(ClockStamp {
        boot: (boot > 0).then_some(boot),
        since_boot: duration()?,
        wall: duration()?,
    })
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    write!(text, "\n{words}").expect("BUG: a string takes what is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn stamp(seconds: u64) -> ClockStamp {
        ClockStamp {
            boot: Some(7),
            since_boot: Duration::from_secs(seconds),
            wall: Duration::from_secs(1_800_000_000 + seconds),
        }
    }

    #[test]
    fn targets_and_drops_are_read_as_they_were_and_as_much_older_as_it_took() {
        let opened = OpenedAt {
            moment: at(5_000),
            stamp: stamp(130),
        };
        let raises = Raises {
            steps: vec![(1, at(10)), (4, at(50)), (u64::MAX, at(90))],
            raised_at: Some(at(90)),
        };
        let text = write_raises(&raises, at(100), stamp(100));
        let later = |second| at(5_000 - 30 - (100 - second));
        let expected = Raises {
            steps: vec![(1, later(10)), (4, later(50)), (u64::MAX, later(90))],
            raised_at: Some(later(90)),
        };
        assert_eq!(read_raises(&text, opened), Some(expected));
        let lowered = Raises {
            raised_at: None,
            ..raises
        };
        let text = write_raises(&lowered, at(100), stamp(100));
        assert_eq!(read_raises(&text, opened).unwrap().raised_at, None);

        for drops in [vec![], vec![at(20), at(99)]] {
            let text = write_drops(&drops, at(100), stamp(100));
            let expected: Vec<_> = drops
                .iter()
                .map(|it| later(it.since_start().as_secs()))
                .collect();
            assert_eq!(read_drops(&text, opened), Some(expected));
        }
        for spoilt in ["", "x", "0 1", "0 1 2 raised\n2 5\n1 4", "0 1 2 raised\n2"] {
            assert_eq!(read_raises(spoilt, opened), None, "{spoilt}");
        }
        assert_eq!(read_drops("0 1 2\nx", opened), None);
    }
}

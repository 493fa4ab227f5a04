//! Durations as an operator reads them.

use std::time::Duration;

/// A duration to the precision that an operator cares for: `0.1s`, `41s`, `21m`, `3h20m`.
pub fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let minutes = (seconds / 60.0).round();
    if seconds < 9.95 {
        format!("{seconds:.1}s")
    } else if seconds < 599.5 {
        format!("{seconds:.0}s")
    } else if minutes < 120.0 {
        format!("{minutes}m")
    } else {
        format!("{}h{:02}m", (minutes / 60.0).floor(), minutes % 60.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_spoken_to_the_precision_that_an_operator_cares_for() {
        for (millis, said) in [
            (0, "0.0s"),
            (104, "0.1s"),
            (9_940, "9.9s"),
            (9_960, "10s"),
            (41_300, "41s"),
            (599_000, "599s"),
            (600_000, "10m"),
            (1_260_000, "21m"),
            (12_000_000, "3h20m"),
        ] {
            assert_eq!(spoken(Duration::from_millis(millis)), said);
        }
    }
}

//! What the fuzz targets read of the command line.

use std::time::Duration;

use super::arguments;

/// A duration as flags have it.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    arguments::duration(text).ok()
}

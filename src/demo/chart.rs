//! The picture of a demo: both storms side by side over the same axes, as a self-contained SVG.

use super::Report;

/// Draws it.
pub(super) fn draw(_report: &Report) -> String {
    String::new()
}

//! A bar of progress on stderr, for terminals.

use indicatif::{ProgressBar, ProgressStyle};

/// How finely a bar moves.
const STEPS: u64 = 1000;

/// A bar with a line of text. Dropping it removes it from the terminal.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Default for Bar {
    /// A bar that stands at nothing.
    fn default() -> Self {
        let style = ProgressStyle::with_template("{bar:24} {msg}");
        let style = style.expect("BUG: the template is right");
        Self(ProgressBar::new(STEPS).with_style(style))
    }
}

impl Bar {
    /// Moves it to `part`, from 0 to 1 (what is beyond is cut), with another text beside it.
    pub fn show(&self, part: f64, text: String) {
        self.0
            .set_position((part.clamp(0.0, 1.0) * STEPS as f64) as u64);
        self.0.set_message(text);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

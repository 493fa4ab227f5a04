//! What is logged while a test runs.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing::{Level, subscriber::DefaultGuard};

/// The lines at INFO and above that this thread logs, on which flights run as well, for as long as this lives.
pub(crate) struct Log {
    page: Page,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn start() -> Self {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::INFO)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Self {
            page,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// What was logged so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.page.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Fails unless exactly these things were said, each in a line of its own and in this order.
    pub(crate) fn assert_says(&self, said: &[&str]) {
        let lines = self.lines();
        let is_said = lines.len() == said.len()
            && lines
                .iter()
                .zip(said)
                .all(|(line, said)| line.contains(said));
        assert!(is_said, "{lines:#?}");
    }
}

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

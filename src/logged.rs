//! What is logged while a test runs.

use std::{cell::RefCell, io, sync::Once};

use tracing::Level;

thread_local! {
    /// What this thread has logged, while somebody wants to know.
    static PAGE: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// The lines at INFO and above that this thread logs, on which flights run as well, for as long as
/// this lives.
pub(crate) struct CapturedLog(());

impl CapturedLog {
    pub(crate) fn start() -> Self {
        static INSTALLED: Once = Once::new();
        // One for all threads: what a place in the code logs is looked up once, perhaps by a thread
        // that keeps no log.
        INSTALLED.call_once(|| {
            let log = tracing_subscriber::fmt()
                .with_max_level(Level::INFO)
                .with_ansi(false)
                .with_writer(|| CapturedPage)
                .finish();
            tracing::subscriber::set_global_default(log).expect("tests have no other");
        });
        PAGE.set(Some(Vec::new()));
        Self(())
    }

    /// What was logged so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        let page = PAGE.with_borrow(Clone::clone).unwrap_or_default();
        let text = String::from_utf8(page).unwrap();
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

impl Drop for CapturedLog {
    fn drop(&mut self) {
        PAGE.set(None);
    }
}

/// Writes to the page of its thread.
struct CapturedPage;

impl io::Write for CapturedPage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        PAGE.with_borrow_mut(|page| {
            if let Some(page) = page {
                page.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

use std::sync::{Arc, Mutex, mpsc};

use super::*;

/// Somewhere to write to that can be read.
#[derive(Clone, Default)]
struct WrittenLog(Arc<Mutex<Vec<u8>>>);

impl WrittenLog {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for WrittenLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe that is not emptied until the sender is dropped.
struct Stuck(mpsc::Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(format: Format, level: &str, events: impl FnOnce()) -> String {
    let page = WrittenLog::default();
    let (writer, worker) = lossy(page.clone());
    let level = level.parse().unwrap();
    tracing::subscriber::with_default(subscriber(format, level, Colours::Off, writer).0, events);
    drop(worker);
    page.text()
}

fn events() {
    tracing::info!(reason = "THROTTLED", "a line of ours");
    tracing::debug!("a detail of ours");
    tracing::info!(target: "h2::proto", "a line of a library");
    tracing::warn!(target: "h2::proto", "a warning of a library");
}

#[test]
fn a_level_is_ours_and_libraries_only_warn() {
    let text = logged(Format::Text, "info", events);
    assert!(
        text.contains("a line of ours reason=\"THROTTLED\""),
        "{text}"
    );
    assert!(text.contains("a warning of a library"), "{text}");
    assert!(!text.contains("a detail of ours"), "{text}");
    assert!(!text.contains("a line of a library"), "{text}");

    let text = logged(Format::Text, "error", events);
    assert_eq!(text, "");
}

#[test]
fn targets_have_levels_of_their_own() {
    let text = logged(Format::Text, "off,h2=info", events);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("a line of a library"), "{text}");
}

#[test]
fn the_level_changes_while_the_log_is_written() {
    let page = WrittenLog::default();
    let (writer, worker) = lossy(page.clone());
    let (subscriber, level) =
        subscriber(Format::Text, "error".parse().unwrap(), Colours::Off, writer);
    tracing::subscriber::with_default(subscriber, || {
        let line = |number: usize| tracing::debug!(number, "a detail of ours");
        line(1);
        level.set("debug".parse().unwrap());
        line(2);
        level.set("warn".parse().unwrap());
        line(3);
    });
    drop(worker);
    let text = page.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("number=2"), "{text}");
}

#[test]
fn json_is_one_object_a_line() {
    let text = logged(Format::Json, "debug", events);
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["message"], "a line of ours");
    assert_eq!(first["reason"], "THROTTLED");
    assert_eq!(first["level"], "INFO");
    assert_eq!(text.lines().count(), 3);
}

/// What a renderer may send in a status message: it forged a line of its own, and commanded the
/// terminal.
const FORGED: &str = "no\n2026-11-26T00:00:00Z  INFO evenkeel: all is well\r\u{1b}[2J\u{9b}31m\u{7f}\u{202e}lleh\u{2028}\u{e0041}";

fn forged_events() {
    tracing::warn!(cause = %FORGED, "an event of ours");
    tracing::warn!(cause = FORGED, "an event of ours");
    tracing::warn!(cause = ?Some(FORGED), "an event of ours");
    tracing::warn!(
        error = &io::Error::other(FORGED) as &dyn std::error::Error,
        "an event of ours"
    );
    tracing::warn!("an event of ours: {FORGED}");
}

#[test]
fn a_status_message_with_a_newline_and_an_escape_is_shown_as_one_harmless_line() {
    for format in [Format::Text, Format::Json] {
        let text = logged(format, "info", forged_events);
        assert_eq!(text.lines().count(), 5, "{text}");
        for line in text.lines() {
            assert!(line.contains("an event of ours"), "{line}");
            assert!(!line.chars().any(crate::printable::is_obeyed), "{line:?}");
            assert!(
                line.contains("u{202e}lleh") || line.contains(r"\u202elleh"),
                "{line}"
            );
        }
    }
}

#[test]
fn json_gives_back_what_it_escaped() {
    let text = logged(Format::Json, "info", || tracing::warn!(cause = FORGED, "m"));
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["cause"], FORGED);
}

#[test]
fn a_value_takes_three_hundred_bytes_at_most() {
    let long = "\u{1b}".repeat(1 << 16);
    for format in [Format::Text, Format::Json] {
        let text = logged(format, "info", || {
            tracing::warn!(cause = %long, "m");
            tracing::warn!(cause = long, "m");
            tracing::warn!("{long}");
        });
        let longest = text.lines().map(str::len).max().unwrap();
        let least = text.lines().map(str::len).min().unwrap();
        // JSON takes six bytes for each control character.
        assert!(
            least < 300 * 6 + 150 && longest < 4096 * 6 + 150,
            "{least} {longest}"
        );
    }
}

#[test]
fn fields_follow_the_message_of_a_text_line() {
    let text = logged(Format::Text, "info", || {
        tracing::info!(rollout = 2, after = %"41s", "an event of ours");
    });
    assert!(
        text.ends_with("evenkeel::log::tests: an event of ours rollout=2 after=41s\n"),
        "{text}"
    );
}

#[test]
fn says_what_a_level_is() {
    for text in ["", " ", "loud", "info,loud", "h2=loud", "h2"] {
        let error = text.parse::<Level>().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("off, error, warn, info, debug, trace")
        );
    }
}

/// open-policy-agent/opa#7492: a log sink that hangs stopped decisions.
#[test]
fn a_full_log_pipe_stalls_no_caller() {
    let (release, stuck) = mpsc::channel();
    let (writer, worker) = lossy(Stuck(stuck));
    let lost = DroppedLines(writer.error_counter());
    assert_eq!(lost.count(), 0);
    let level = "info".parse().unwrap();
    tracing::subscriber::with_default(
        subscriber(Format::Text, level, Colours::Off, writer).0,
        || {
            for line in 0..3 * BUFFERED_LINES {
                tracing::info!(line, "on and on");
            }
        },
    );
    assert!(lost.count() >= BUFFERED_LINES as u64);
    drop(release);
    drop(worker);
}

/// A feature that was missing made debug builds panic on a terminal, and release builds write no
/// colours.
#[test]
fn text_is_in_colours_on_a_terminal_and_json_never_is() {
    let in_colours = |format| {
        let page = WrittenLog::default();
        let (writer, worker) = lossy(page.clone());
        let level = "info".parse().unwrap();
        tracing::subscriber::with_default(subscriber(format, level, Colours::On, writer).0, events);
        drop(worker);
        page.text()
    };
    assert!(in_colours(Format::Text).contains("\x1b["));
    assert!(!in_colours(Format::Json).contains('\x1b'));
}

#[test]
fn no_color_and_a_dumb_terminal_forbid_colours() {
    for (name, value, allowed) in [
        ("NO_COLOR", "1", Colours::Off),
        ("NO_COLOR", "", Colours::On),
        ("TERM", "dumb", Colours::Off),
        ("TERM", "xterm", Colours::On),
    ] {
        let variable = |asked: &str| (asked == name).then(|| value.into());
        assert_eq!(Colours::allowed(variable), allowed, "{name}={value}");
    }
}

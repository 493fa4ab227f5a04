//! The targets of `tests/fuzz`: each takes any bytes, and panics when a property does not hold.
//!
//! They reach readers of untrusted bytes that are private to their rooms. The module exists under
//! test and with the feature `fuzz` only. On stable its tests run each target over its corpus and
//! over small changes of it.

use std::{str, time::Duration};

use crate::{
    cli, serve,
    settings::{self, Sources},
    trace::TraceContext,
    upstream,
};

/// A target takes any bytes.
pub type Target = fn(&[u8]);

/// Every target by name: that of its file in `tests/fuzz/targets` and of its folder in
/// `tests/fuzz/corpus`.
pub const TARGETS: [(&str, Target); 5] = [
    ("durations", durations),
    ("request", request),
    ("settings", settings),
    ("traceparent", traceparent),
    ("upstream_frames", upstream_frames),
];

/// Reads durations as the settings, the command line and `grpc-timeout` have them.
///
/// # Panics
/// When one that is accepted is out of its range, or is not accepted again as it is shown.
pub fn durations(bytes: &[u8]) {
    const LONGEST: Duration = Duration::from_secs(365 * 86_400);
    const LONGEST_TIMEOUT: Duration = Duration::from_secs(99_999_999 * 3_600);

    if let Some(timeout) = serve::fuzz::timeout(bytes) {
        assert!(timeout <= LONGEST_TIMEOUT && (2..=9).contains(&bytes.len()));
    }
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let flag = cli::fuzz::duration(text);
    if let Some(read) = flag {
        assert!(read <= LONGEST);
        let shown = humantime::format_duration(read).to_string();
        assert_eq!(cli::fuzz::duration(&shown), Some(read), "{shown}");
    }
    let variable = ("EVENKEEL_LOOKUP__MAX_AGE".to_owned(), text.to_owned());
    let sources = Sources {
        environment: vec![variable],
        ..Sources::default()
    };
    match settings::load(&sources) {
        Ok(loaded) => {
            // Empty and `null` stand for no age.
            if let Some(read) = loaded.settings.lookup.max_age {
                assert_eq!(flag, Some(read), "settings and command line differ");
            }
        }
        Err(invalid) => is_printable(&invalid.to_string()),
    }
}

/// Reads requests of all methods, and compares the hand-written reader of plain lookups with
/// prost's.
///
/// # Panics
/// When the two differ, or when what is accepted is out of its range.
pub fn request(bytes: &[u8]) {
    serve::fuzz::request(bytes);
}

/// Reads a settings file.
///
/// # Panics
/// When what is said about a bad one could not be printed.
pub fn settings(bytes: &[u8]) {
    if let Err(invalid) = settings::fuzz::document(bytes) {
        is_printable(&invalid.to_string());
        is_printable(&invalid.in_one_line());
    }
}

/// Reads a `traceparent`.
///
/// # Panics
/// When the trace found is none that stands there, or is not read again as it is passed on.
pub fn traceparent(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Some(trace) = TraceContext::parse(text) {
        assert_eq!(text[3..35], trace.to_string());
        assert_ne!(trace.to_string(), "0".repeat(32));
        let passed_on = TraceContext::parse(&trace.span().traceparent());
        let passed_on = passed_on.map(|it| (it.trace(), it.flags()));
        assert_eq!(passed_on, Some((trace.trace(), trace.flags())));
    }
}

/// Listens to what a renderer sends, cut into pieces whose size the first byte says.
///
/// # Panics
/// When the frames found depend on how the bytes are cut, or are not those of a plain walk over the
/// headers.
pub fn upstream_frames(bytes: &[u8]) {
    let Some((&size, stream)) = bytes.split_first() else {
        return;
    };
    upstream::fuzz::frames(stream, usize::from(size).max(1));
}

/// Fails when a text could harm a terminal or a log, or is without bound.
fn is_printable(text: &str) {
    const MOST_BYTES: usize = 64 << 10;
    let is_harmless = |c: char| c == '\n' || !c.is_control();
    assert!(text.chars().all(is_harmless), "{text:?}");
    assert!(text.len() <= MOST_BYTES, "{} bytes", text.len());
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    use super::*;

    /// How many changes of each seed are tried.
    const CHANGES: usize = 200;

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fuzz")
            .join(name)
    }

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let files = fs::read_dir(folder("corpus").join(target)).expect("a corpus");
        files
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect()
    }

    /// Changes some bytes of a seed: replaces, removes, inserts or repeats.
    fn changed(seed: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..random.usize(1..=4) {
            let at = random.usize(0..=bytes.len());
            match random.u8(0..4) {
                0 if at < bytes.len() => bytes[at] = random.u8(..),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 => bytes.insert(at, random.u8(..)),
                _ => bytes.extend_from_within(at..),
            }
        }
        bytes
    }

    #[test]
    fn each_target_holds_over_its_corpus_and_changes_of_it() {
        for (name, target) in TARGETS {
            let seeds = seeds(name);
            assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
            let mut random = fastrand::Rng::with_seed(7);
            for seed in seeds {
                target(&seed);
                for _ in 0..CHANGES {
                    target(&changed(&seed, &mut random));
                }
            }
        }
    }

    #[test]
    fn each_target_has_a_program_and_a_corpus() {
        let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        for (kind, ending) in [("targets", ".rs"), ("corpus", "")] {
            let files = fs::read_dir(folder(kind)).unwrap();
            let found = files.map(|file| {
                let name = file.unwrap().file_name().into_string().unwrap();
                name.trim_end_matches(ending).to_owned()
            });
            assert_eq!(found.collect::<BTreeSet<_>>(), names, "{kind}");
        }
    }
}

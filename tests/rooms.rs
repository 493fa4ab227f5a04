//! Reads `src/` and fails when a room names another that it must not know, so that the picture in
//! `src/ARCHITECTURE.md` stays true.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The rooms of the core, which know neither the wire nor the operator.
const CORE: [&str; 15] = [
    "admission",
    "answer",
    "cache",
    "fleet",
    "freshness",
    "lookup",
    "moment",
    "operate",
    "reason",
    "refresh",
    "render",
    "revision",
    "simulator",
    "store",
    "trace",
];
/// What only the edges may name.
const EDGE: [&str; 32] = [
    "tonic",
    "prost",
    "prost_types",
    "prometheus_client",
    "tracing_subscriber",
    "serde_saphyr",
    "std::env",
    "clap",
    "axum",
    "crate::proto",
    "crate::serve",
    "crate::upstream",
    "crate::valkey",
    "use redis",
    "crate::metrics",
    "crate::settings",
    "crate::log",
    "crate::app",
    "crate::cli",
    "crate::demo",
    "crate::page",
    "crate::drill",
    "crate::charts",
    "comfy_table",
    "indicatif",
    "crate::renderer",
    "crate::client",
    "crate::readiness",
    "crate::otlp",
    "opentelemetry",
    "crate::disk",
    "rusqlite",
];
/// Names that belong to certain rooms or files alone.
const OWNED: [(&str, &[&str]); 16] = [
    ("moka", &["cache"]),
    ("governor", &["admission/budget/bucket"]),
    ("rusqlite", &["disk/file"]),
    ("prometheus_client", &["metrics"]),
    ("minijinja", &["page/html", "renderer"]),
    ("comfy_table", &["charts"]),
    ("indicatif", &["charts"]),
    ("crate::charts", &["charts", "cli", "demo", "page"]),
    ("use redis", &["valkey"]),
    ("opentelemetry", &["otlp"]),
    ("opentelemetry_sdk", &["otlp"]),
    ("opentelemetry_otlp", &["otlp"]),
    ("rustix", &["app/process", "descriptors"]),
    (
        "prost_types",
        &["serve", "upstream", "renderer", "client", "cli/get"],
    ),
    (
        "crate::admission",
        &[
            "admission",
            "app",
            "fleet",
            "lookup",
            "metrics",
            "operate",
            "otlp",
            "plan",
            "record",
            "refresh",
            "render",
            "replay",
            "simulator",
            "valkey",
        ],
    ),
    (
        "crate::settings",
        &["app", "cli", "demo", "drill", "fuzz", "settings"],
    ),
];
/// All that admission may name of ours, and of others.
const ADMISSION: [&str; 4] = [
    "crate::admission",
    "crate::moment",
    "crate::reason",
    "crate::revision",
];
const ADMISSION_CRATES: [&str; 3] = ["std", "governor", "fastrand"];

struct Source {
    /// The path below `src/`, without its ending.
    room: String,
    /// The code, without tests and comments.
    code: String,
}

#[test]
fn the_core_names_neither_the_wire_nor_the_operator() {
    for source in sources()
        .iter()
        .filter(|source| CORE.iter().any(|room| source.is_of(room)))
    {
        for name in EDGE {
            assert!(!source.names(name), "src/{}.rs names {name}", source.room);
        }
    }
}

#[test]
fn what_belongs_to_a_room_is_named_nowhere_else() {
    for source in sources() {
        for (name, owners) in OWNED {
            let may = owners.iter().any(|owner| source.is_of(owner));
            assert!(
                may || !source.names(name),
                "src/{}.rs names {name}",
                source.room
            );
        }
    }
}

#[test]
fn admission_names_nothing_but_time_reasons_and_revisions() {
    names_only("admission", &ADMISSION, &ADMISSION_CRATES);
}

#[test]
fn the_simulator_names_nothing_but_admission_and_what_that_may_name() {
    let ours: Vec<_> = ADMISSION.into_iter().chain(["crate::simulator"]).collect();
    names_only("simulator", &ours, &["std", "fastrand"]);
}

/// Where a case comes from, and how a prediction is shown, is decided elsewhere.
#[test]
fn a_plan_knows_the_simulator_and_numbers() {
    let ours = [
        "crate::plan",
        "crate::simulator",
        "crate::admission",
        "crate::moment",
    ];
    names_only("plan", &ours, &["std", "fastrand"]);
}

/// What a record is for is decided elsewhere.
#[test]
fn a_record_knows_the_words_of_the_core() {
    let ours = [
        "crate::record",
        "crate::admission",
        "crate::answer",
        "crate::moment",
        "crate::refresh",
        "crate::revision",
    ];
    let crates = ["std", "serde", "tokio", "tokio_util"];
    names_only("record", &ours, &crates);
}

/// Where a record comes from, and how figures are shown, is decided elsewhere.
#[test]
fn a_replay_knows_admission_and_a_record() {
    let ours: Vec<_> = ADMISSION
        .into_iter()
        .chain(["crate::replay", "crate::record"])
        .collect();
    names_only("replay", &ours, &["std", "fastrand"]);
}

/// Which server there is, and who speaks to it, is decided elsewhere.
#[test]
fn the_store_knows_bytes_and_revisions() {
    names_only(
        "store",
        &["crate::store", "crate::revision"],
        &["std", "bytes"],
    );
}

/// Who looks up what is held, and where settings come from, is decided elsewhere.
#[test]
fn the_disk_knows_what_is_held_and_time() {
    let ours = [
        "crate::disk",
        "crate::cache",
        "crate::freshness",
        "crate::revision",
        "crate::moment",
        "crate::back_off",
    ];
    let crates = [
        "std",
        "bytes",
        "rusqlite",
        "tokio",
        "xxhash_rust",
        "tracing",
    ];
    names_only("disk", &ours, &crates);
}

/// A membership is decided here; who makes its calls, and who renders, is decided elsewhere.
#[test]
fn a_fleet_knows_admission_and_the_store() {
    let ours = [
        "crate::fleet",
        "crate::admission",
        "crate::moment",
        "crate::revision",
        "crate::store",
    ];
    names_only("fleet", &ours, &["std", "fastrand"]);
}

/// A struct of 32 fields, to which five files had access, was what admission had become.
#[test]
fn no_struct_of_admission_has_more_than_twelve_fields() {
    let mut structs = 0;
    for source in sources().iter().filter(|source| source.is_of("admission")) {
        let mut fields = None;
        for line in source.code.lines() {
            let is_struct = line.contains("struct ") && line.ends_with('{');
            if !line.starts_with(' ') && is_struct {
                fields = Some((line, 0));
            } else if let (Some((name, count)), "}") = (fields, line) {
                assert!(count <= 12, "src/{}.rs: {name} {count} fields", source.room);
                (fields, structs) = (None, structs + 1);
            } else if let Some((_, count)) = &mut fields {
                let indent = line.len() - line.trim_start().len();
                *count += usize::from(indent == 4 && line.contains(": "));
            }
        }
    }
    assert!(structs > 40, "{structs} structs were found");
}

#[test]
fn the_verdict_knows_numbers_alone() {
    names_only(
        "verdict",
        &["crate::verdict", "crate::moment"],
        &["std", "serde", "Code"],
    );
}

/// A status is made of numbers, which the room that counts hands in.
#[test]
fn a_status_names_no_room_that_counts() {
    for source in sources().iter().filter(|source| source.is_of("status")) {
        for name in CORE
            .iter()
            .filter(|room| **room != "moment")
            .chain(&["metrics", "serve", "settings", "app", "cli", "upstream"])
        {
            let name = format!("crate::{name}");
            assert!(!source.names(&name), "src/{}.rs names {name}", source.room);
        }
    }
}

/// rustfmt wraps code, but no comment.
#[test]
fn comments_wrap_where_code_does() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "deploy/examples"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        collect(&folder, &mut files);
    }
    for path in files {
        let text = fs::read_to_string(&path).expect("a source");
        for (number, line) in (1..).zip(text.lines()) {
            let is_comment = line.trim_start().starts_with("//");
            assert!(
                !is_comment || line.chars().count() <= 100,
                "{}:{number} is wider than 100 columns",
                path.display()
            );
        }
    }
}

/// A type name found by grep has one meaning, private types and those of tests included.
#[test]
fn a_type_name_is_defined_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let mut defined: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in files {
        let file = path.strip_prefix(&root).expect("below src");
        let text = fs::read_to_string(&path).expect("a source");
        for name in text.lines().filter_map(type_name) {
            let files = defined.entry(name.to_owned()).or_default();
            files.push(file.to_string_lossy().into_owned());
        }
    }
    assert!(defined.len() > 500, "{} types were found", defined.len());
    defined.retain(|_, files| files.len() > 1);
    assert!(defined.is_empty(), "defined more than once: {defined:#?}");
}

/// The name of the type that a line defines. Associated types are indented aliases.
fn type_name(line: &str) -> Option<&str> {
    let indent = line.len() - line.trim_start().len();
    let item = match line.trim_start().strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => line.trim_start(),
    };
    let (keyword, rest) = item.split_once(' ')?;
    let is_type = matches!(keyword, "struct" | "enum" | "trait" | "union")
        || (keyword == "type" && indent == 0);
    let name = rest
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .next()?;
    (is_type && name.starts_with(char::is_uppercase)).then_some(name)
}

/// Asserts that a room names of ours and of other crates only these.
fn names_only(room: &str, ours: &[&str], crates: &[&str]) {
    let files: Vec<_> = sources()
        .into_iter()
        .filter(|source| source.is_of(room))
        .collect();
    assert!(!files.is_empty(), "{room} has moved");
    for source in files {
        for used in source
            .code
            .lines()
            .filter_map(|line| line.trim().strip_prefix("use "))
        {
            let root = used.split("::").next().unwrap_or_default();
            let may = ["self", "super"].contains(&root)
                || crates.contains(&root)
                || ours.iter().any(|room| used.starts_with(room))
                || used.starts_with("crate::{");
            assert!(may, "src/{}.rs uses {used}", source.room);
        }
        for word in source
            .code
            .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        {
            if word.len() > "crate::".len() && word.starts_with("crate::") {
                assert!(
                    ours.iter().any(|room| word.starts_with(room)),
                    "src/{}.rs names {word}",
                    source.room
                );
            }
        }
    }
}

#[test]
fn the_edges_do_not_reach_past_the_lookup() {
    for source in sources().iter().filter(|source| source.is_of("serve")) {
        for name in [
            "crate::admission",
            "crate::cache",
            "crate::refresh",
            "crate::upstream",
            "crate::settings",
        ] {
            assert!(!source.names(name), "src/{}.rs names {name}", source.room);
        }
    }
    for source in sources().iter().filter(|source| source.is_of("upstream")) {
        for name in [
            "crate::cache",
            "crate::refresh",
            "crate::lookup",
            "crate::serve",
            "crate::settings",
        ] {
            assert!(!source.names(name), "src/{}.rs names {name}", source.room);
        }
    }
}

/// What is shown with charts is none of their business.
#[test]
fn charts_know_no_other_room() {
    for source in sources().iter().filter(|source| source.is_of("charts")) {
        for word in source
            .code
            .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        {
            let is_own = !word.starts_with("crate::") || word.starts_with("crate::charts");
            assert!(is_own, "src/{}.rs names {word}", source.room);
        }
    }
}

impl Source {
    fn is_of(&self, room: &str) -> bool {
        self.room == room
            || self
                .room
                .strip_prefix(room)
                .is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether the code names a path, as a word of its own.
    fn names(&self, name: &str) -> bool {
        self.code.match_indices(name).any(|(at, _)| {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + name.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 20, "the sources have moved");
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source");
            let room = path
                .strip_prefix(&root)
                .expect("below src")
                .with_extension("");
            Source {
                room: room.to_string_lossy().into_owned(),
                code: unfold(&without_tests_and_comments(&text)),
            }
        })
        .filter(|source| {
            !source
                .room
                .split('/')
                .any(|part| matches!(part, "tests" | "fake"))
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        if path.is_dir() {
            // What is hidden was installed.
            if !name.starts_with('.') && name != "target" {
                collect(&path, files);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// Unit tests stand last in a file.
fn without_tests_and_comments(text: &str) -> String {
    let code = text
        .split("\n#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Writes the first level of `use crate::{a, b::c}` out as paths.
fn unfold(code: &str) -> String {
    let mut unfolded = code.to_owned();
    for block in code.split("use crate::{").skip(1) {
        let mut depth = 1;
        let end = block.find(|c| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0
        });
        let mut depth = 0;
        let names = block[..end.expect("a closing brace")].split(|c| {
            depth += match c {
                '{' => 1,
                '}' => -1,
                _ => 0,
            };
            depth == 0 && c == ','
        });
        for name in names.map(str::trim).filter(|name| !name.is_empty()) {
            unfolded.push_str(&format!("crate::{name}\n"));
        }
    }
    unfolded
}

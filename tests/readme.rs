//! Keeps the READMEs true: their tables follow from the code, and what they link to and name
//! exists.
//!
//! `UPDATE_README=1 cargo test --test readme` writes the tables. `tests/python/test_readme.py` runs
//! the commands.

use std::{env, fs, path::Path, process::Command};

use evenkeel::{metrics, proto::code_name, serve::reasons, settings, verdict};

/// The pages that show what the code says, and what people type.
const PAGES: [&str; 4] = [
    "README.md",
    "deploy/README.md",
    "proto/README.md",
    "tests/bench/README.md",
];

/// The limits of the front page, and the reason of a render that each of them refuses.
const LIMITS: [(&str, &str); 4] = [
    ("admission.rate", "`THROTTLED`"),
    ("admission.burst", "`THROTTLED`"),
    ("admission.concurrency", "`CONCURRENCY_LIMITED`"),
    ("admission.queue", "`QUEUE_FULL`"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).expect(page)
}

#[test]
fn the_tables_follow_from_the_code() {
    let operating = "deploy/README.md";
    let is_update = env::var_os("UPDATE_README").is_some();
    for (page, name, expected) in [
        ("README.md", "limits", limits_table()),
        (operating, "settings", settings::markdown_table()),
        (operating, "reasons", reasons_table()),
        (operating, "verdicts", verdicts_table()),
        (operating, "metrics", metrics_table()),
        (operating, "codes", exit_codes(&["--help"])),
        (operating, "codes of get", exit_codes(&["get", "--help"])),
        (
            operating,
            "codes of status",
            exit_codes(&["status", "--help"]),
        ),
        (
            operating,
            "codes of projects",
            exit_codes(&["projects", "--help"]),
        ),
        (
            operating,
            "codes of explain",
            exit_codes(&["explain", "--help"]),
        ),
        (
            operating,
            "codes of drill",
            exit_codes(&["drill", "--help"]),
        ),
    ] {
        let text = read(page);
        let start = format!("<!-- {name}: kept true by tests/readme.rs -->\n");
        let (before, rest) = text.split_once(&start).expect(&start);
        let (block, after) = rest.split_once("<!-- end -->").expect("an end");
        if is_update {
            let updated = format!("{before}{start}{expected}<!-- end -->{after}");
            fs::write(root().join(page), updated).unwrap();
        } else {
            assert!(
                block == expected,
                "{page}: the {name} should be (UPDATE_README=1 writes them):\n\n{expected}"
            );
        }
    }
}

#[test]
fn the_readme_is_a_front_door() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 200, "README.md has {lines} lines, at most 200 may");
}

#[test]
fn the_first_command_runs_it_and_the_second_tests_it() {
    let readme = read("README.md");
    let blocks = readme.split("```sh\n").skip(1);
    let blocks: Vec<_> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(
        blocks[..2],
        ["cargo run --release -- demo\n", "tests/run\n"]
    );
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    for page in PAGES.into_iter().chain(["CHANGELOG.md"]) {
        let text = read(page);
        let links = text.split("](").skip(1);
        let links: Vec<_> = links.filter_map(|rest| rest.split(')').next()).collect();
        assert!(!links.is_empty(), "{page} links to nothing");
        for link in links.into_iter().filter(|it| !it.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root().join(page),
                file => root().join(page).parent().unwrap().join(file),
            };
            assert!(target.exists(), "{page} links to {link}");
            let is_found = anchor.is_empty()
                || anchors(&fs::read_to_string(target).unwrap()).any(|it| it == anchor);
            assert!(
                is_found,
                "{page} links to {link}, a heading that is missing"
            );
        }
    }
}

/// The anchors that a forge gives the headings of a page.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// The metrics that only builds with the cargo feature `otlp` have.
const OF_OTLP: [&str; 1] = ["evenkeel_spans_total"];

#[test]
fn the_pages_name_metrics_settings_and_reasons_that_exist() {
    let metrics: Vec<_> = metrics::table().into_iter().map(|row| row.name).collect();
    let settings = settings::markdown_table();
    let mut named = 0;
    for page in PAGES {
        let text = read(page);
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && !"_.".contains(c)) {
            let word = word.trim_end_matches('.');
            let is_metric = word.starts_with("evenkeel_") || word.starts_with("process_");
            let is_setting = [
                "admission.",
                "cache.",
                "drain.",
                "log.",
                "lookup.",
                "start.",
                "telemetry.",
                "upstream.",
            ]
            .iter()
            .any(|section| word.starts_with(section))
                && ![".py", ".cjs", ".rs", ".go", ".sock"]
                    .iter()
                    .any(|it| word.ends_with(it));
            let is_known = if is_metric {
                metrics.iter().any(|it| it == word) || OF_OTLP.contains(&word)
            } else if is_setting {
                settings.contains(&format!("| `{word}` |"))
            } else {
                continue;
            };
            named += 1;
            assert!(is_known, "{page} names {word}, which does not exist");
        }
    }
    assert!(named > 50, "only {named} names were found");
}

#[test]
fn no_text_names_a_place_of_one_machine() {
    let places = ["home", "root", "work", "Users"].map(|place| format!("/{place}/"));
    let mut texts = 0;
    visit(Path::new(env!("CARGO_MANIFEST_DIR")), &mut |path, text| {
        texts += 1;
        for (number, line) in text.lines().enumerate() {
            let named = places.iter().find(|place| line.contains(*place));
            let at = format!("{}:{}", path.display(), number + 1);
            assert!(named.is_none(), "{at} names {named:?}");
        }
    });
    assert!(texts > 100, "the texts have moved");
}

/// Visits the text files of the repository, but for `.ci`, which looks for the same.
fn visit(folder: &Path, visitor: &mut impl FnMut(&Path, &str)) {
    const OTHERS: [&str; 9] = [
        ".checkov",
        ".deny",
        "target",
        ".ci",
        ".git",
        ".venv",
        ".node",
        "__pycache__",
        ".pytest_cache",
    ];
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = entry.path();
        if OTHERS.iter().any(|other| entry.file_name() == *other) {
            continue;
        } else if path.is_dir() {
            visit(&path, visitor);
        } else if let Ok(text) = fs::read_to_string(&path) {
            visitor(&path, &text);
        }
    }
}

/// The rows of the settings that are limits, with the reason of what they refuse.
fn limits_table() -> String {
    let settings = settings::markdown_table();
    let rows = LIMITS.iter().map(|(field, reason)| {
        let row = settings
            .lines()
            .find(|line| line.contains(&format!("`{field}`")));
        let row = row.expect("a limit is a setting").replace(" | hot |", " |");
        format!("{row} {reason} |\n")
    });
    table(
        &["limit", "default", "what it limits", "reason given"],
        rows,
    )
}

fn reasons_table() -> String {
    let rows = reasons::table().into_iter().map(|row| {
        let code = code_name(row.code);
        let reasons::ReasonRow {
            name,
            meaning,
            advice,
            ..
        } = row;
        format!("| `{name}` | {code} | {meaning} | {advice} |\n")
    });
    table(&["reason", "code", "what it says", "what to do"], rows)
}

fn verdicts_table() -> String {
    let rows = verdict::TABLE
        .iter()
        .map(|rule| format!("| `{}` | {} | {} |\n", rule.code, rule.when, rule.advice));
    table(&["code", "it holds when", "what to do"], rows)
}

fn metrics_table() -> String {
    let rows = metrics::table().into_iter().map(|row| {
        let labels: Vec<_> = row.labels.iter().map(|it| format!("`{it}`")).collect();
        let (name, kind, labels) = (row.name, row.kind.as_str(), labels.join(", "));
        format!("| `{name}` | {kind} | {labels} | {} |\n", row.meaning)
    });
    table(&["metric", "type", "labels", "what it says"], rows)
}

fn table(columns: &[&str], rows: impl Iterator<Item = String>) -> String {
    let head = format!("| {} |\n", columns.join(" | "));
    let rule = format!("|{}\n", "---|".repeat(columns.len()));
    head + &rule + &rows.collect::<String>()
}

/// The exit codes as the help lists them, one a line.
fn exit_codes(arguments: &[&str]) -> String {
    let help = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(arguments)
        .output();
    let help = String::from_utf8(help.expect("the binary runs").stdout).expect("text");
    let listed = help.split("Exit codes:\n").nth(1).expect("exit codes");
    let rows = listed.lines().map_while(|line| {
        let (code, meaning) = line.trim().split_once("  ")?;
        Some(format!("| {code} | {meaning} |\n"))
    });
    table(&["code", "meaning"], rows)
}

//! Keeps the README true: its tables follow from the code, and what it shows stands in the repository.
//!
//! `UPDATE_README=1 cargo test --test readme` writes the tables anew. That its commands work is shown by
//! `tests/python/test_readme.py`.

use std::{env, fs, path::Path, process::Command};

use evenkeel::{client::code_name, metrics, serve::reasons, settings};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

#[test]
fn the_tables_follow_from_the_code() {
    let mut readme = fs::read_to_string(README).unwrap();
    let is_update = env::var_os("UPDATE_README").is_some();
    for (name, expected) in [
        ("settings", settings::markdown_table()),
        ("reasons", reasons_table()),
        ("metrics", metrics_table()),
        ("codes", exit_codes(&["--help"])),
        ("codes of get", exit_codes(&["get", "--help"])),
    ] {
        let start = format!("<!-- {name}: kept true by tests/readme.rs -->\n");
        let (before, rest) = readme.split_once(&start).expect(&start);
        let (block, after) = rest.split_once("<!-- end -->").expect("an end");
        assert!(
            is_update || block == expected,
            "README.md: the {name} should be (UPDATE_README=1 writes them):\n\n{expected}"
        );
        readme = format!("{before}{start}{expected}<!-- end -->{after}");
    }
    if is_update {
        fs::write(README, readme).unwrap();
    }
}

#[test]
fn the_first_command_runs_it_and_the_second_tests_it() {
    let readme = fs::read_to_string(README).unwrap();
    let blocks = readme.split("```sh\n").skip(1);
    let blocks: Vec<_> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(
        blocks[..2],
        ["cargo run --release -- demo\n", "tests/run\n"]
    );
}

#[test]
fn whatever_the_readme_links_to_exists() {
    let readme = fs::read_to_string(README).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let links = readme.split("](").skip(1);
    let links: Vec<_> = links.filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 5, "{links:?}");
    for link in links {
        assert!(root.join(link).exists(), "{link}");
    }
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

fn reasons_table() -> String {
    let rows = reasons::table().into_iter().map(|row| {
        let code = code_name(row.code);
        let reasons::Row {
            name,
            meaning,
            advice,
            ..
        } = row;
        format!("| `{name}` | {code} | {meaning} | {advice} |\n")
    });
    table(&["reason", "code", "what it says", "what to do"], rows)
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

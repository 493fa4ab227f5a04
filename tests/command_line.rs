//! What the commands do when the reader of their output has left.

use std::{
    fs::OpenOptions,
    io::pipe,
    process::{Command, ExitStatus, Stdio},
};

/// Commands that need no server, some of which succeed.
const COMMANDS: [&[&str]; 7] = [
    &["--help"],
    &["check", "--print-schema"],
    &["check", "deploy/settings.yaml"],
    &["check", "deploy"],
    &["get", "paperboy", "--address", "127.0.0.1:1"],
    &["renderer", "--projects", "deploy/nothing"],
    &["serve", "--rate", "many"],
];

fn evenkeel(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn ends(command: &mut Command) -> ExitStatus {
    command.status().expect("the binary starts")
}

#[test]
fn a_reader_that_has_left_changes_nothing() {
    for arguments in COMMANDS {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let left = ends(
            evenkeel(arguments)
                .stdout(writer.try_clone().unwrap())
                .stderr(writer),
        );
        let stayed = ends(&mut evenkeel(arguments));
        assert_eq!(left.code(), stayed.code(), "{arguments:?}");
    }
}

#[test]
fn what_a_full_disk_does_not_take_is_a_failure() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = ends(evenkeel(&["check", "--print-schema"]).stdout(full));
    assert_eq!(ended.code(), Some(1));
}

/// The image of the sidecar is such a build.
#[cfg(not(feature = "demo"))]
#[test]
fn a_build_without_the_demo_says_which_build_has_it() {
    for command in ["demo", "renderer"] {
        let ended = evenkeel(&[command]).stderr(Stdio::piped()).output();
        let ended = ended.expect("the binary starts");
        assert_eq!(ended.status.code(), Some(2));
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
        let names_both = said.contains(&format!("`{command}`")) && said.contains("evenkeel-demo");
        assert!(names_both, "{said}");
    }
    let help = evenkeel(&["--help"]).stdout(Stdio::piped()).output();
    let help = String::from_utf8(help.expect("the binary starts").stdout).expect("text");
    assert!(
        !help.contains("demo") && !help.contains("renderer ("),
        "{help}"
    );
}

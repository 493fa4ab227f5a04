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

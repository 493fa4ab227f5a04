use std::fs;

use tempfile::TempDir;

use crate::settings::{Flag, Invalid, Sources, load};

const SERVED: &str = "upstream: {url: 'http://renderer:7070'}\nlookup: {listen: ['127.0.0.1:1']}\n";

/// What is wrong with files of these contents; none stands for a file that is not there.
fn invalid(contents: &[Option<&str>], flags: Vec<Flag>) -> Invalid {
    let folder = TempDir::new().unwrap();
    let place = |(number, content): (usize, &Option<&str>)| {
        let path = folder.path().join(format!("{number}.yaml"));
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        path
    };
    let sources = Sources {
        files: contents.iter().enumerate().map(place).collect(),
        flags,
        ..Sources::default()
    };
    load(&sources).unwrap_err()
}

fn is_waited_for(contents: &[Option<&str>]) -> bool {
    invalid(contents, Vec::new()).repair.is_some()
}

#[test]
fn a_mistake_in_hot_fields_is_waited_for() {
    for hot in [
        "rollout: two",
        "rolout: 2",
        "rollout: 2\nspeed: 9",
        "rollout: 2\nrollout: 3",
        "admission: {rate: -1}",
        "admission: {rte: 1}",
        "admission: 5",
        "admission:\n  rate: [",
        "admision: {rate: 1}",
        "rollout: 2\nlookup: {patience: 1h}",
        "lookup: {patince: 1s}",
        "lokup: {patience: 1s}",
        "admission: {rate: 0.00001, burst: 100}",
        "\"rollout\": 2,",
        "rollout: 2 # not log: {level: debug}\n  admission: {",
    ] {
        assert!(is_waited_for(&[Some(hot)]), "{hot}");
        assert!(is_waited_for(&[Some(SERVED), Some(hot)]), "{hot}");
    }
}

#[test]
fn a_mistake_in_a_restart_only_field_is_not() {
    for bad in [
        "upstream: {url: 'https://renderer'}",
        "upstream: {ur: 'http://renderer'}",
        "upstrem: {url: 'http://renderer'}",
        "telemetry: {listen: '127.0.0.1:1'",
        "lookup: {listen: ['127.0.0.1:1'], patince: 1s",
        "lookup: {listen: ['0.0.0.0:1']}",
        "lookup:\n\tlisten: ['127.0.0.1:1']",
        "component: ''",
        "drain:",
        "speed: 9\ndrain: {grace: 1s}",
        "rollout: two\nlog: {format: loud}",
    ] {
        assert!(!is_waited_for(&[Some(bad)]), "{bad}");
        assert!(!is_waited_for(&[Some("rollout: 2"), Some(bad)]), "{bad}");
        assert!(!is_waited_for(&[Some(bad), Some("rollout: two")]), "{bad}");
    }
}

#[test]
fn a_hot_field_may_be_broken_in_a_file_of_restart_only_fields_that_can_be_read() {
    let both = format!("{SERVED}rollout: two\n");
    let invalid = invalid(&[Some(&both)], Vec::new());
    let repair = invalid.repair.unwrap();
    let url = repair.settings.upstream.url;
    assert_eq!(url.to_string(), "http://renderer:7070/");
    assert!(!is_waited_for(&[Some(&format!("{SERVED}rollout: ["))]));
}

#[test]
fn a_file_that_says_nothing_is_waited_for_when_another_has_the_restart_only_fields() {
    for silent in [None, Some(""), Some("# all commented out\n"), Some("null")] {
        assert!(is_waited_for(&[Some(SERVED), silent]), "{silent:?}");
        assert!(is_waited_for(&[silent, Some(SERVED)]), "{silent:?}");
        assert!(!is_waited_for(&[silent]), "{silent:?}");
        assert!(!is_waited_for(&[Some("rollout: 2"), silent]), "{silent:?}");
    }
}

#[test]
fn what_no_edit_of_a_file_repairs_is_not_waited_for() {
    let flag = Flag {
        name: "--rollout",
        field: "rollout",
        value: "two".to_owned(),
    };
    assert!(invalid(&[Some(SERVED)], vec![flag]).repair.is_none());
}

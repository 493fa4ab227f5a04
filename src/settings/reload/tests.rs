use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tempfile::TempDir;

use super::*;
use crate::logged::CapturedLog;
use crate::settings::{Flag, load, reading::Identity};

/// A file of settings, and what a sidecar started with it makes of its changes.
struct ReloadStage {
    folder: TempDir,
    reload: Reload,
}

impl ReloadStage {
    fn new(content: &str) -> Self {
        Self::with_flags(content, Vec::new())
    }

    fn with_flags(content: &str, flags: Vec<Flag>) -> Self {
        let folder = TempDir::new().unwrap();
        let files = vec![folder.path().join("settings.yaml")];
        fs::write(&files[0], content).unwrap();
        let sources = Sources {
            files,
            flags,
            ..Sources::default()
        };
        let loaded = load(&sources).unwrap();
        Self {
            folder,
            reload: Reload::new(sources, loaded),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("settings.yaml")
    }

    fn poll(&mut self) -> Option<ReloadResult> {
        let readings = vec![FileReading::of(&self.file())];
        self.reload.see(readings, ReadCause::Poll)
    }

    /// What comes of five polls.
    fn polls(&mut self) -> Vec<ReloadResult> {
        (0..5).filter_map(|_| self.poll()).collect()
    }

    fn rate(&self) -> f64 {
        self.reload.in_force.settings.admission.rate()
    }
}

fn rate(rate: u32) -> String {
    format!("admission: {{rate: {rate}}}\n")
}

fn names(differences: &[Difference]) -> Vec<&'static str> {
    let paths = differences.iter().map(|difference| difference.field.path);
    paths.collect()
}

fn reloaded(results: &[ReloadResult]) -> &Reloaded {
    match results {
        [ReloadResult::Reloaded(reloaded)] => reloaded,
        _ => panic!("{results:?}"),
    }
}

/// Links `settings.yaml` to `..data/settings.yaml`, and `..data` to a new folder, as the kubelet
/// does for a ConfigMap.
fn swap_data(folder: &Path, version: u32, content: &str) {
    let versioned = folder.join(format!("..{version}"));
    fs::create_dir(&versioned).unwrap();
    fs::write(versioned.join("settings.yaml"), content).unwrap();
    symlink(&versioned, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if !folder.join("settings.yaml").is_symlink() {
        fs::remove_file(folder.join("settings.yaml")).unwrap();
        symlink("..data/settings.yaml", folder.join("settings.yaml")).unwrap();
    }
}

/// Guards against ratelimit#379, istio#34890 and limitador#95.
#[test]
fn reloads_once_and_shows_the_hash_after_a_symlink_swap() {
    let mut stage = ReloadStage::new(&rate(1));
    for version in 2..6 {
        swap_data(stage.folder.path(), version, &rate(version));
        let first = stage.poll();
        assert!(first.is_some(), "taken at once");
        let hash = Hash::of(&[FileReading::of(&stage.file())]);
        assert_eq!(reloaded(&[first.unwrap()]).hash, hash);
        assert_eq!(stage.rate(), f64::from(version));
        assert_eq!(stage.polls(), []);
    }
}

#[test]
fn reloads_once_after_truncate_and_write() {
    let mut stage = ReloadStage::new(&rate(1));
    let mut file = File::create(stage.file()).unwrap();
    assert_eq!(stage.poll(), None, "truncated");
    file.write_all(b"admission: {rate: 2").unwrap();
    assert_eq!(stage.poll(), None, "half written");
    file.write_all(b"2}\n").unwrap();
    assert_eq!(stage.poll(), None, "whole, but who knows");
    assert_eq!(stage.rate(), 1.0);
    assert_eq!(names(&reloaded(&stage.polls()).changed), ["admission.rate"]);
    assert_eq!(stage.rate(), 22.0);
}

#[test]
fn reloads_once_after_delete_and_create() {
    let mut stage = ReloadStage::new(&rate(1));
    fs::remove_file(stage.file()).unwrap();
    assert_eq!(stage.poll(), None, "deleted");
    let mut file = File::create(stage.file()).unwrap();
    assert_eq!(stage.poll(), None, "created");
    file.write_all(b"{}").unwrap();
    assert_eq!(stage.poll(), None, "written, but perhaps half");
    file.write_all(b"\n# a comment\n").unwrap();
    assert_eq!(names(&reloaded(&stage.polls()).changed), ["admission.rate"]);
    assert_eq!(stage.rate(), 5.0);
}

#[test]
fn takes_a_file_renamed_into_place() {
    let mut stage = ReloadStage::new(&rate(1));
    let other = stage.folder.path().join("other");
    fs::write(&other, rate(2)).unwrap();
    fs::rename(&other, stage.file()).unwrap();
    assert_eq!(names(&reloaded(&stage.polls()).changed), ["admission.rate"]);
}

#[test]
fn an_equal_file_in_place_of_another_is_no_change() {
    let mut stage = ReloadStage::new(&rate(1));
    swap_data(stage.folder.path(), 2, &rate(1));
    assert_eq!(stage.polls(), []);
}

#[test]
fn an_invalid_file_keeps_the_old_limits_and_says_so_once() {
    for (bad, why) in [
        ("", "is empty"),
        ("admission: {rate: -1}", "admission.rate = -1"),
        ("admission: {rate: 9", "unclosed"),
    ] {
        let mut stage = ReloadStage::new(&rate(3));
        let hash = stage.reload.in_force.hash.clone();
        fs::write(stage.file(), bad).unwrap();
        match stage.polls().as_slice() {
            [ReloadResult::Rejected { invalid, .. }] => {
                assert!(invalid.to_string().contains(why), "{invalid}");
            }
            results => panic!("{results:?}"),
        }
        let in_force = &stage.reload.in_force;
        assert!(!in_force.is_valid && in_force.hash == hash);
        assert_eq!(stage.rate(), 3.0);
        fs::write(stage.file(), rate(3)).unwrap();
        assert_eq!(names(&reloaded(&stage.polls()).changed), Vec::<&str>::new());
        assert!(stage.reload.in_force.is_valid);
    }
}

#[test]
fn a_missing_file_is_a_bad_file() {
    let mut stage = ReloadStage::new(&rate(3));
    fs::remove_file(stage.file()).unwrap();
    assert!(matches!(
        stage.polls().as_slice(),
        [ReloadResult::Rejected { .. }]
    ));
    assert_eq!(stage.rate(), 3.0);
}

#[test]
fn a_hundred_swaps_are_a_hundred_reloads() {
    let mut stage = ReloadStage::new(&rate(1));
    for version in 2..102 {
        swap_data(stage.folder.path(), version, &rate(version));
        assert_eq!(
            names(&reloaded(&[stage.poll().unwrap()]).changed),
            ["admission.rate"]
        );
        assert_eq!(stage.poll(), None);
        assert_eq!(stage.rate(), f64::from(version));
    }
}

#[test]
fn on_demand_takes_what_stands_there() {
    let mut stage = ReloadStage::new(&rate(1));
    fs::write(stage.file(), rate(2)).unwrap();
    let readings = || vec![FileReading::of(&stage.file())];
    let (first, second) = (readings(), readings());
    assert!(stage.reload.see(first, ReadCause::Demand).is_some());
    assert_eq!(stage.reload.see(second, ReadCause::Demand), None);
    assert_eq!(stage.rate(), 2.0);
}

#[test]
fn changed_restart_only_fields_are_pending_and_block_no_hot_ones() {
    let mut stage = ReloadStage::new(&rate(1));
    let content = format!("{}upstream: {{deadline: 7s}}\nrollout: 2\n", rate(2));
    fs::write(stage.file(), content).unwrap();
    let results = stage.polls();
    let result = reloaded(&results);
    assert_eq!(names(&result.changed), ["rollout", "admission.rate"]);
    assert_eq!(
        result.to_string(),
        "rollout 1 → 2, admission.rate 1 → 2; pending until a restart upstream.deadline 30s → 7s"
    );
    let in_force = &stage.reload.in_force;
    assert_eq!(in_force.pending, ["upstream.deadline"]);
    assert_eq!(in_force.settings.upstream.deadline, Duration::from_secs(30));
    assert_eq!(stage.rate(), 2.0);
    fs::write(stage.file(), rate(3)).unwrap();
    assert_eq!(names(&reloaded(&stage.polls()).pending), Vec::<&str>::new());
}

#[test]
fn each_ignored_edit_of_a_pinned_field_is_named() {
    let pin = Flag {
        name: "--rate",
        field: "admission.rate",
        value: "4".to_owned(),
    };
    let mut stage = ReloadStage::with_flags(&rate(1), vec![pin]);
    let edits = [
        ("admission: {rate: 2}", 1),
        ("admission: {rate: 2, burst: 1}", 0),
        ("admission: {rate: 3}", 1),
    ];
    for (content, ignored) in edits {
        fs::write(stage.file(), content).unwrap();
        assert_eq!(reloaded(&stage.polls()).ignored.len(), ignored, "{content}");
        assert_eq!(stage.rate(), 4.0);
    }
}

fn reading(target: &str, inode: u64, is_settled: bool, content: &str) -> Vec<FileReading> {
    vec![FileReading {
        identity: Some(Identity {
            target: target.into(),
            inode: (1, inode),
        }),
        is_settled,
        is_stream: false,
        content: Ok(content.into()),
    }]
}

#[test]
fn only_what_was_moved_into_place_is_taken_at_once() {
    for (target, inode, is_settled, content, is_taken) in [
        ("/a", 1, false, "new", false),
        ("/a", 1, true, "new", false),
        ("/a", 2, false, "new", false),
        ("/a", 2, true, "new", true),
        ("/a", 2, true, "", false),
        ("/b", 2, false, "new", true),
        ("/b", 2, false, "", false),
    ] {
        let mut watch = FileWatch::new(reading("/a", 1, true, "held"));
        let read = reading(target, inode, is_settled, content);
        let taken = watch.see(read.clone(), ReadCause::Poll).is_some();
        assert_eq!(taken, is_taken, "{read:?}");
        assert_eq!(
            watch.see(read.clone(), ReadCause::Poll).is_some(),
            !is_taken
        );
        assert_eq!(watch.see(read, ReadCause::Poll), None);
    }
}

#[test]
fn what_keeps_changing_is_not_taken_until_it_rests() {
    let mut watch = FileWatch::new(reading("/a", 1, false, "0"));
    for content in ["1", "2", "3", "0", "3"] {
        let read = reading("/a", 1, false, content);
        assert_eq!(watch.see(read, ReadCause::Poll), None);
    }
    let read = reading("/a", 1, false, "3");
    assert!(watch.see(read, ReadCause::Poll).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_running_sidecar_sees_each_change_and_logs_one_line_of_it() {
    let log = CapturedLog::start();
    let stage = ReloadStage::new(&rate(1));
    let sources = stage.reload.sources.clone();
    let loaded = load(&sources).unwrap();
    let (reloader, mut in_force) = Reloader::start(sources, loaded);

    fs::write(stage.file(), rate(2)).unwrap();
    in_force.changed().await.unwrap();
    assert_eq!(in_force.borrow_and_update().settings.admission.rate(), 2.0);

    fs::write(stage.file(), "").unwrap();
    in_force.changed().await.unwrap();
    let now = Arc::clone(&in_force.borrow_and_update());
    assert!(!now.is_valid && now.settings.admission.rate() == 2.0);

    fs::write(stage.file(), rate(3)).unwrap();
    reloader.read_now();
    in_force.changed().await.unwrap();
    let now = Arc::clone(&in_force.borrow_and_update());
    assert!(now.is_valid && now.settings.admission.rate() == 3.0);

    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!in_force.has_changed().unwrap());
    let logged = log.lines();
    assert_eq!(logged.len(), 3, "{logged:#?}");
    assert!(logged[0].contains("INFO") && logged[0].contains("settings reloaded: admission.rate "));
    assert!(logged[1].contains("WARN") && logged[1].contains("settings rejected"));
    assert!(
        logged[2].contains(&format!("hash={}", now.hash)),
        "{logged:#?}"
    );
}

#[test]
fn every_field_shows_its_value_as_a_file_would_have_it() {
    let layers = "upstream: {url: 'http://renderer:1'}\ncache: {max_bytes: 64MiB}\nlookup: {max_age: 90s, listen: ['127.0.0.1:1', 'unix:/a']}\nadmission: {fleet_rate: 0.5, fleet_size: 3}\nadmin: {listen: 'unix:/b'}\nlog: {level: debug}\n";
    let mut stage = ReloadStage::new("rollout: 1\n");
    fs::write(stage.file(), format!("rollout: 1\n{layers}")).unwrap();
    let results = stage.polls();
    let said = reloaded(&results).to_string();
    for change in [
        "lookup.max_age null → 1m 30s",
        "admission.fleet_rate null → 0.5",
        "admission.fleet_size null → 3",
        "upstream.url http://127.0.0.1:7070 → http://renderer:1",
        "lookup.listen 127.0.0.1:7400,[::1]:7400 → 127.0.0.1:1,unix:/a",
        "cache.max_bytes 256MiB → 64MiB",
        "admin.listen \"\" → unix:/b",
        "log.level info → debug",
    ] {
        assert!(said.contains(change), "{change} in {said}");
    }
}

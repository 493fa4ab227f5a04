use std::{
    fs::{self, File as OpenFile, FileTimes},
    time::{Duration, UNIX_EPOCH},
};

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a project's file as if it had been modified that many milliseconds after the epoch.
    fn write(&self, project: &str, modified: u64, text: &str) {
        let path = self.0.path().join(format!("{project}.yaml"));
        fs::write(&path, text).unwrap();
        let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_millis(modified));
        OpenFile::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_times(times)
            .unwrap();
    }

    fn delete(&self, project: &str) {
        fs::remove_file(self.0.path().join(format!("{project}.yaml"))).unwrap();
    }

    fn start(&self, generate: usize) -> Projects {
        Projects::read(self.0.path(), generate).unwrap()
    }

    fn read_again(&self, projects: &mut Projects) -> bool {
        let read = read(self.0.path()).unwrap();
        projects.take(&read, &read)
    }
}

fn project(name: &str) -> Project {
    Project::new(name).unwrap()
}

fn number(projects: &Projects, name: &str) -> Option<u64> {
    projects.find(&project(name)).map(|input| input.number)
}

#[test]
fn the_number_is_the_time_of_the_last_change_and_survives_a_restart() {
    let folder = Folder::new();
    folder.write("ada", 1000, "a: 1");
    let mut projects = folder.start(0);
    assert_eq!(number(&projects, "ada"), Some(1000));

    folder.write("ada", 2000, "a: 2");
    assert!(folder.read_again(&mut projects));
    assert_eq!(number(&projects, "ada"), Some(2000));
    assert_eq!(number(&folder.start(0), "ada"), Some(2000));
}

#[test]
fn the_number_rises_even_when_the_time_is_set_back() {
    let folder = Folder::new();
    folder.write("ada", 1000, "a: 1");
    let mut projects = folder.start(0);
    for (change, modified) in [(1, 1000), (2, 500), (3, 1000)] {
        folder.write("ada", modified, &format!("a: {}", change + 1));
        assert!(folder.read_again(&mut projects));
        assert_eq!(number(&projects, "ada"), Some(1000 + change));
    }
}

#[test]
fn a_touched_file_keeps_its_number() {
    let folder = Folder::new();
    folder.write("ada", 1000, "a: 1");
    let mut projects = folder.start(0);
    folder.write("ada", 2000, "a: 1");
    assert!(!folder.read_again(&mut projects));
    assert_eq!(number(&projects, "ada"), Some(1000));
}

#[test]
fn a_deleted_project_is_gone_and_comes_back_newer() {
    let folder = Folder::new();
    folder.write("ada", 1000, "a: 1");
    let mut projects = folder.start(0);
    folder.delete("ada");
    assert!(folder.read_again(&mut projects));
    assert_eq!(number(&projects, "ada"), None);
    assert_eq!(projects.changed_since(0), [(project("ada"), 1001)]);

    folder.write("ada", 1000, "a: 1");
    assert!(folder.read_again(&mut projects));
    assert_eq!(number(&projects, "ada"), Some(1002));
}

#[test]
fn a_change_is_taken_when_two_reads_agree() {
    let folder = Folder::new();
    folder.write("ada", 1000, "a: 1");
    folder.write("bob", 1000, "b: 1");
    let mut projects = folder.start(0);

    let before = read(folder.0.path()).unwrap();
    folder.write("ada", 2000, "");
    folder.delete("bob");
    let half_written = read(folder.0.path()).unwrap();
    assert!(!projects.take(&before, &half_written));
    folder.write("ada", 2000, "a: 2");
    folder.write("bob", 1000, "b: 1");
    let written = read(folder.0.path()).unwrap();
    assert!(!projects.take(&half_written, &written));
    assert!(projects.take(&written, &written));
    assert_eq!(number(&projects, "ada"), Some(2000));
    assert_eq!(number(&projects, "bob"), Some(1000));
    assert_eq!(projects.changed_since(0), [(project("ada"), 2000)]);
}

#[test]
fn a_broken_file_breaks_its_project_alone() {
    let folder = Folder::new();
    folder.write("ada", 1000, "a: 1");
    folder.write("bob", 1000, "b: [1,\nc: }");
    folder.write("eve", 1000, "- not\n- a mapping");
    let projects = folder.start(0);
    let settings = |name| {
        let project = project(name);
        projects.find(&project).unwrap().settings(&project)
    };
    assert_eq!(settings("ada").unwrap()["a"], 1);
    let error = settings("bob").unwrap_err();
    assert!(error.contains("bob.yaml"), "{error}");
    assert!(settings("eve").is_err());
}

#[test]
fn files_other_than_projects_are_ignored() {
    let folder = Folder::new();
    folder.write("ada", 1000, "a: 1");
    for other in ["README.md", ".yaml", "a b.yaml", "old.yaml~", "..data"] {
        fs::write(folder.0.path().join(other), "x: 1").unwrap();
    }
    assert_eq!(folder.start(0).names(), [project("ada")]);
}

#[test]
fn derived_projects_have_settings_of_their_own() {
    let folder = Folder::new();
    folder.write(
        "ada",
        1000,
        "domain: ada.example\nmails: [post@ada.example]",
    );
    folder.write("bob", 2000, "domain: bob.example");
    let mut projects = folder.start(3);
    assert_eq!(
        projects.names(),
        ["ada", "ada-1", "ada-2", "bob", "bob-1"].map(project)
    );
    for name in ["ada-0", "ada-3", "ada-02", "ada-", "bob-2", "eve-1"] {
        assert_eq!(number(&projects, name), None, "{name}");
    }
    let derived = project("ada-2");
    let input = projects.find(&derived).unwrap();
    assert_eq!(input.number, 1000);
    let settings = input.settings(&derived).unwrap();
    assert_eq!(settings["domain"], "ada-2.example");
    assert_eq!(settings["mails"][0], "post@ada-2.example");

    folder.write("bob", 3000, "domain: bob.test");
    assert!(folder.read_again(&mut projects));
    assert_eq!(
        projects.changed_since(0),
        [(project("bob"), 3000), (project("bob-1"), 3000)]
    );
}

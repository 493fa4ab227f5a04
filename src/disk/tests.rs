//! What survives, over real files: a process that is killed is a copy of its files.

use std::{fs, path::Path};

use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{
    cache::{AnswerOrigin, Held, Stored},
    revision::{Order, Revision},
};

const DAY: Duration = Duration::from_secs(86_400);

/// A process: what it holds, and its disk.
struct Life {
    cache: Arc<Cache>,
    freshness: Arc<Freshness>,
    clock: Clock,
    disk: Disk,
    thread: DiskThread,
    left: LeftBehind,
}

fn options(dir: &Path) -> DiskOptions {
    DiskOptions {
        dir: dir.to_owned(),
        whose: Whose {
            component: "identity".to_owned(),
            realm: "test".to_owned(),
        },
        max_bytes: 16 << 20,
        sync: Duration::from_millis(50),
        max_age: 30 * DAY,
    }
}

fn file(dir: &Path) -> PathBuf {
    options(dir).path()
}

fn project(name: &str) -> Project {
    Project::new(name).unwrap()
}

fn revision(name: &str, rollout: u64, number: u64, payload: &str) -> Revision {
    Revision::new(
        project(name),
        Order::new(rollout, number),
        None,
        "application/json".into(),
        payload.as_bytes(),
    )
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("not so within 10 s: {what}");
}

impl Life {
    async fn begin(dir: &Path) -> Self {
        Self::with(options(dir), 1).await
    }

    async fn with(options: DiskOptions, target: u64) -> Self {
        let clock = Clock::with_past(PAST);
        let (disk, thread, left) = open(options, clock).await.unwrap();
        let raises = left.raises.clone();
        let freshness = Freshness::resumed(raises, target, None, clock.now());
        let (cache, freshness) = (Cache::new(64 << 20), Arc::new(freshness));
        let cache = Arc::new(cache.kept_by(Arc::new(disk.clone())));
        thread.serve(Arc::clone(&cache), Arc::clone(&freshness));
        disk.recalled().await;
        Self {
            cache,
            freshness,
            clock,
            disk,
            thread,
            left,
        }
    }

    fn lands(&self, revision: Revision) -> Stored {
        self.cache.store(revision, self.clock.now()).0
    }

    fn held(&self, name: &str) -> Option<Arc<Held>> {
        self.cache.get(name)
    }

    fn payload(&self, name: &str) -> Option<String> {
        let held = self.held(name)?;
        Some(String::from_utf8(held.revision.payload.to_vec()).unwrap())
    }

    async fn written(&self) {
        until("all is written", || {
            let numbers = self.disk.numbers();
            numbers.pending == 0 && numbers.written > 0
        })
        .await;
    }

    async fn durable(&self) {
        until("all is durable", || {
            let numbers = self.disk.numbers();
            numbers.pending == 0 && numbers.written > 0 && numbers.durable == numbers.written
        })
        .await;
    }
}

/// Copies what a process that is killed now leaves behind.
fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

/// All that is known of a project but its ages, and its ages in seconds.
type KeptView = (
    Order,
    String,
    Option<u64>,
    Option<Order>,
    Option<Order>,
    bool,
    Vec<u64>,
);

fn view(life: &Life, name: &str) -> Option<KeptView> {
    let held = life.held(name)?;
    let ago = |at: Moment| life.clock.now().since(at).as_secs();
    let changed = held.changed;
    let ages = [
        Some(held.validated_at),
        changed.map(|changed| changed.since),
        held.gone.map(|gone| gone.at),
        held.lower.map(|(_, origin)| origin.at),
    ];
    Some((
        held.revision.order,
        life.payload(name)?,
        changed.map(|changed| changed.number),
        held.lower.map(|(order, _)| order),
        held.fell_from,
        held.gone.is_some(),
        ages.into_iter().flatten().map(ago).collect(),
    ))
}

const NAMES: [&str; 4] = ["team/a", "team/b", "team/c", "team/d"];

#[derive(Clone, Debug)]
enum Step {
    Lands(usize, u64, u64, u8),
    Changes(usize, u64),
    Goes(usize),
    Drops(usize),
    Purges(usize),
    Raises(u64),
    /// The process is killed, and another begins some seconds later by the clock of the boot.
    IsKilled,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..NAMES.len();
    let step = prop_oneof![
        8 => (name.clone(), 1_u64..4, 1_u64..4, 0_u8..3).prop_map(|(name, rollout, number, payload)| Step::Lands(name, rollout, number, payload)),
        2 => (name.clone(), 1_u64..6).prop_map(|(name, number)| Step::Changes(name, number)),
        1 => name.clone().prop_map(Step::Goes),
        1 => name.clone().prop_map(Step::Drops),
        1 => name.prop_map(Step::Purges),
        1 => (1_u64..5).prop_map(Step::Raises),
        3 => Just(Step::IsKilled),
    ];
    prop::collection::vec(step, 1..24)
}

async fn take(life: &Life, step: &Step) {
    let now = life.clock.now();
    let origin = |connection| AnswerOrigin {
        at: now,
        connection: Some(connection),
    };
    match *step {
        Step::Lands(name, rollout, number, payload) => {
            let revision = revision(NAMES[name], rollout, number, &format!("payload {payload}"));
            let target = life.freshness.target();
            life.cache.store_from(revision, origin(1), target);
        }
        Step::Changes(name, number) => {
            life.cache.record_change(&project(NAMES[name]), number, now);
        }
        Step::Goes(name) => {
            life.cache.record_gone(&project(NAMES[name]), origin(1));
        }
        Step::Drops(name) => life.cache.remove(&project(NAMES[name])),
        Step::Purges(name) => drop(life.cache.purge(&project(NAMES[name]))),
        Step::Raises(target) => {
            life.freshness.set_target(target, now);
            life.disk.record_raise();
        }
        Step::IsKilled => {}
    }
    life.disk.record_raise();
    until("it is written", || life.disk.numbers().pending == 0).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever happened, a process that is killed once all is written leaves the next one what it
    /// held itself.
    #[test]
    fn the_next_process_holds_what_the_killed_one_held(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut folder = tempfile::tempdir().unwrap();
            let mut life = Life::begin(folder.path()).await;
            let mut steps = steps;
            steps.push(Step::IsKilled);
            for step in &steps {
                take(&life, step).await;
                if let Step::IsKilled = step {
                    let before = NAMES.map(|name| view(&life, name));
                    let target = life.freshness.target();
                    let killed = copy(folder.path());
                    let next = Life::with(options(killed.path()), target).await;
                    (life, folder) = (next, killed);
                    let after = NAMES.map(|name| view(&life, name));
                    for (before, after) in before.iter().zip(&after) {
                        let Some((before, after)) = before.as_ref().zip(after.as_ref()) else {
                            assert_eq!(before, after);
                            continue;
                        };
                        let facts = |it: &KeptView| (it.0, it.1.clone(), it.2, it.3, it.4, it.5);
                        assert_eq!(facts(before), facts(after));
                        let is_near = |(&one, &other): (&u64, &u64)| one.abs_diff(other) < 5;
                        assert!(before.6.iter().zip(&after.6).all(is_near), "{before:?} {after:?}");
                    }
                }
            }
        });
    }
}

async fn filled(dir: &Path, projects: u64) {
    let life = Life::begin(dir).await;
    for number in 0..projects {
        let payload = format!("payload {number} {}", "x".repeat(3_000));
        life.lands(revision(&format!("team/{number}"), 1, number + 1, &payload));
    }
    life.durable().await;
    life.thread.end().await;
}

/// What a life holds of what was filled in; wrong answers fail.
fn right(life: &Life, projects: u64) -> u64 {
    let mut right = 0;
    for number in 0..projects {
        let name = format!("team/{number}");
        if let Some(held) = life.held(&name) {
            let payload = format!("payload {number} {}", "x".repeat(3_000));
            assert_eq!(
                held.revision,
                revision(&name, 1, number + 1, &payload).into()
            );
            right += 1;
        }
    }
    right
}

#[tokio::test]
async fn a_flipped_bit_never_makes_a_wrong_answer_and_most_cost_one_revision_at_most() {
    let projects = 40;
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path(), projects).await;
    let mut random = fastrand::Rng::with_seed(7);
    let (flips, mut costly) = (150, 0);
    for _ in 0..flips {
        let spoilt = copy(whole.path());
        let path = file(spoilt.path());
        let mut bytes = fs::read(&path).unwrap();
        let at = random.usize(..bytes.len());
        bytes[at] ^= 1 << random.u8(..8);
        fs::write(&path, bytes).unwrap();
        let life = Life::begin(spoilt.path()).await;
        let held = right(&life, projects);
        costly += u32::from(held + 1 < projects);
        life.lands(revision("team/new", 1, 1, "new"));
        life.thread.end().await;
    }
    assert!(
        costly * 10 <= flips,
        "{costly} of {flips} cost more than one"
    );
}

#[tokio::test]
async fn whatever_lies_in_the_folder_the_start_succeeds_and_what_can_be_read_is_kept() {
    let projects = 10;
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path(), projects).await;
    type Spoil = fn(&Path);
    let spoils: [(&str, Spoil, Option<u64>); 8] = [
        ("nothing", |_| {}, Some(10)),
        (
            "no folder",
            |path| fs::remove_dir_all(path.parent().unwrap()).unwrap(),
            Some(0),
        ),
        (
            "an empty file",
            |path| fs::write(path, b"").unwrap(),
            Some(0),
        ),
        (
            "another text",
            |path| fs::write(path, [b'x'; 9_000]).unwrap(),
            Some(0),
        ),
        (
            "a folder in its place",
            |path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            },
            Some(0),
        ),
        (
            "half of it",
            |path| {
                let bytes = fs::read(path).unwrap();
                fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            },
            None,
        ),
        (
            "a log of writes that is none",
            |path| {
                fs::write(format!("{}-wal", path.display()), [b'x'; 9_000]).unwrap();
            },
            Some(10),
        ),
        (
            "a file in place of the folder",
            |path| {
                fs::remove_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path.parent().unwrap(), b"").unwrap();
            },
            Some(0),
        ),
    ];
    for (what, spoil, kept) in spoils {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("kept");
        fs::rename(copy(whole.path()).keep(), &inner).unwrap();
        spoil(&file(&inner));
        let life = Life::begin(&inner).await;
        let held = right(&life, projects);
        assert!(kept.is_none_or(|kept| kept == held), "{what}: {held}");
        life.lands(revision("team/new", 1, 1, "new"));
        assert_eq!(life.payload("team/new").as_deref(), Some("new"));
        life.thread.end().await;
    }
}

#[tokio::test]
async fn what_is_not_ours_is_neither_read_nor_touched() {
    for what in [
        "another program's",
        "a newer version's",
        "another environment's",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        match what {
            "another program's" => {
                let theirs = Connection::open(&path).unwrap();
                theirs.execute_batch("CREATE TABLE theirs (a)").unwrap();
            }
            "a newer version's" => {
                filled(folder.path(), 3).await;
                let newer = Connection::open(&path).unwrap();
                newer.execute_batch("PRAGMA user_version = 2").unwrap();
            }
            _ => {
                let mut other = options(folder.path());
                other.whose.realm = "other".to_owned();
                let life = Life::with(other.clone(), 1).await;
                life.lands(revision("team/a", 1, 1, "other"));
                life.durable().await;
                life.thread.end().await;
                fs::rename(other.path(), &path).unwrap();
            }
        }
        let before = fs::read(&path).unwrap();
        let life = Life::begin(folder.path()).await;
        life.lands(revision("team/new", 1, 1, "new"));
        assert_eq!(life.cache.len(), 1, "{what}");
        life.thread.end().await;
        assert_eq!(fs::read(&path).unwrap(), before, "{what}");
    }
}

#[tokio::test]
async fn a_second_process_reads_and_writes_only_after_the_first_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let first = Life::begin(folder.path()).await;
    first.lands(revision("team/a", 1, 1, "first"));
    first.durable().await;
    let second = Life::begin(folder.path()).await;
    assert_eq!(second.payload("team/a").as_deref(), Some("first"));
    assert!(!second.disk.numbers().is_up);
    second.lands(revision("team/b", 1, 1, "second"));
    first.thread.end().await;
    until("the second writes", || {
        let numbers = second.disk.numbers();
        numbers.is_up && numbers.pending == 0
    })
    .await;
    second.thread.end().await;
    let third = Life::begin(folder.path()).await;
    assert_eq!(third.payload("team/a").as_deref(), Some("first"));
    assert_eq!(third.payload("team/b").as_deref(), Some("second"));
}

#[tokio::test]
async fn drops_of_late_are_left_behind_and_what_was_dropped_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::begin(folder.path()).await;
    for name in NAMES {
        life.lands(revision(name, 1, 1, "{}"));
    }
    life.written().await;
    life.cache.remove(&project(NAMES[0]));
    life.cache
        .record_absent(&project(NAMES[0]), 1, life.clock.now());
    life.cache.purge(&project(NAMES[1]));
    life.durable().await;
    let killed = copy(folder.path());
    let next = Life::begin(killed.path()).await;
    assert_eq!((next.left.projects, next.left.drops.len()), (2, 1));
    assert!(NAMES[..2].iter().all(|name| next.held(name).is_none()));
}

#[tokio::test]
async fn the_file_stays_below_its_bound_and_what_memory_no_longer_holds_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::begin(folder.path()).await;
    let most = options(folder.path()).max_bytes;
    let payload = "x".repeat(200_000);
    for number in 0..200 {
        let name = format!("team/{number}");
        life.lands(revision(&name, 1, 1, &format!("{number} {payload}")));
        if number >= 20 {
            life.cache.evict(&project(&format!("team/{}", number - 20)));
        }
        if number % 10 == 9 {
            until("it is written", || life.disk.numbers().pending == 0).await;
            let bytes = life.disk.numbers().bytes;
            assert!(bytes <= most, "{bytes} of {most}");
        }
    }
    life.durable().await;
    assert_eq!(life.disk.numbers().skipped, 0);
    life.thread.end().await;
    let next = Life::begin(folder.path()).await;
    for number in 180..200 {
        assert!(next.held(&format!("team/{number}")).is_some(), "{number}");
    }
    assert!(next.held("team/0").is_none());
}

#[tokio::test]
async fn a_payload_that_is_too_large_is_held_and_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let life = Life::begin(folder.path()).await;
    life.lands(revision("team/a", 1, 1, "small"));
    life.written().await;
    life.lands(revision("team/a", 1, 2, &"x".repeat(3 << 20)));
    until("it is skipped", || life.disk.numbers().skipped == 1).await;
    life.thread.end().await;
    let next = Life::begin(folder.path()).await;
    assert!(
        next.held("team/a").is_none(),
        "the older one is no longer what was held"
    );
}

#[tokio::test]
async fn what_was_validated_long_ago_is_not_recalled() {
    let folder = tempfile::tempdir().unwrap();
    filled(folder.path(), 3).await;
    let mut short = options(folder.path());
    short.max_age = Duration::ZERO;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(Life::with(short, 1).await.cache.len(), 0);
}

#[test]
fn each_component_and_environment_has_a_file_of_its_own() {
    let name = |component: &str, realm: &str| {
        let (component, realm) = (component.to_owned(), realm.to_owned());
        Whose { component, realm }.file_name()
    };
    assert_eq!(name("identity", "default"), "identity-default-v1.sqlite3");
    let long = "a".repeat(253);
    let names = [
        name("a-b", "c"),
        name("a", "b-c"),
        name("a/b", "c"),
        name("a_b", "c"),
        name(&long, &long),
        name(&long, "c"),
    ];
    let different: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(different.len(), names.len());
    assert!(
        names
            .iter()
            .all(|name| name.len() < 240 && !name.contains('/'))
    );
}

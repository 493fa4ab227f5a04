//! What a process before this one held, while it is being read.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::*;
use crate::{
    cache::{Recall, Recalled},
    revision::Revision,
};

/// What is still to come: everything, until it is over.
#[derive(Debug, Default)]
struct SlowRecall {
    is_over: AtomicBool,
    asked: Mutex<Vec<Project>>,
}

impl Recall for SlowRecall {
    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    fn hasten(&self, project: &Project) -> bool {
        self.asked.lock().unwrap().push(project.clone());
        true
    }
}

async fn core() -> (LookupCore, Arc<SlowRecall>) {
    let mut core = LookupCore::new().await;
    let recall = Arc::new(SlowRecall::default());
    core.lookup = core
        .lookup
        .with_recall(Arc::clone(&recall) as Arc<dyn Recall>);
    core.refresh.resync(core.clock.now());
    (core, recall)
}

fn recalled(project: &Project, rollout: u64) -> Recalled {
    Recalled {
        revision: Revision::new(
            project.clone(),
            Order::new(rollout, 1),
            None,
            "application/json".into(),
            b"{}",
        ),
        validated_at: Moment::START,
        changed: None,
        gone: None,
        lower: None,
        fell_from: None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_without_patience_waits_for_what_is_being_read_and_is_told_that_it_is_unconfirmed()
{
    let (core, recall) = core().await;
    let shop = project("demo/shop");
    let reading = {
        let (cache, shop) = (Arc::clone(&core.cache), shop.clone());
        async move {
            sleep(millis(15)).await;
            cache.recall(recalled(&shop, 1));
        }
    };
    let (answer, ()) = tokio::join!(core.get_within(&shop, Duration::ZERO), reading);
    let answer = answer.unwrap();
    assert_eq!(answer.served, Served::Fresh);
    assert!(answer.is_unconfirmed);
    assert_eq!(*recall.asked.lock().unwrap(), [shop]);
    assert_eq!(core.renders(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_waits_for_a_disk_that_hangs_for_a_part_of_its_patience_and_then_renders() {
    let (core, recall) = core().await;
    for (patience, waits) in [(0, 20), (400, 100), (30_000, 250)] {
        let shop = project(&format!("demo/{patience}"));
        let began = Instant::now();
        let answer = core.get_within(&shop, millis(patience)).await;
        assert_eq!(answer.is_ok(), patience > 0, "{answer:?}");
        assert!(began.elapsed() >= millis(waits), "{:?}", began.elapsed());
        assert!(
            began.elapsed() < millis(waits + 20),
            "{:?}",
            began.elapsed()
        );
    }
    recall.is_over.store(true, Relaxed);
    let began = Instant::now();
    assert!(core.get(&project("demo/other")).await.is_ok());
    assert!(began.elapsed() < millis(20), "{:?}", began.elapsed());
}

/// A landing that is newer stays; one that is older gives way, as it would have been refused.
#[tokio::test(start_paused = true)]
async fn what_is_read_late_is_judged_by_its_order() {
    let (core, _) = core().await;
    let shop = project("demo/shop");
    core.cache.recall(recalled(&shop, 3));
    core.cache.recall(recalled(&shop, 2));
    assert_eq!(core.held_rollout(&shop), Some(3));
    core.cache.recall(recalled(&shop, 4));
    assert_eq!(core.held_rollout(&shop), Some(4));
    core.cache.purge(&shop);
    assert_eq!(core.held_rollout(&shop), None);
}

#[tokio::test(start_paused = true)]
async fn a_render_confirms_what_was_recalled() {
    let (core, _) = core().await;
    let shop = project("demo/shop");
    core.cache.recall(recalled(&shop, 1));
    assert!(core.get(&shop).await.unwrap().is_unconfirmed);
    core.refresh.set_target(2);
    let answer = core.get_within(&shop, secs(2)).await.unwrap();
    while core.held_rollout(&shop) != Some(2) {
        sleep(millis(10)).await;
    }
    assert_eq!(answer.revision.project, shop);
    assert!(!core.get(&shop).await.unwrap().is_unconfirmed);
}

//! Who is woken when a project changes: one channel per project with subscribers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::revision::Project;

type Channels = Mutex<HashMap<Project, watch::Sender<()>>>;

/// The subscriptions of all projects.
#[derive(Debug, Default)]
pub struct Subscribers {
    channels: Arc<Channels>,
}

/// Wakes when its project changes; changes during which no caller waited fold into one.
#[derive(Debug)]
pub struct Subscription {
    project: Project,
    changes: Option<watch::Receiver<()>>,
    channels: Arc<Channels>,
}

impl Subscribers {
    pub(super) fn subscribe(&self, project: &Project) -> Subscription {
        let mut channels = lock(&self.channels);
        let channel = channels
            .entry(project.clone())
            .or_insert_with(|| watch::Sender::new(()));
        Subscription {
            project: project.clone(),
            changes: Some(channel.subscribe()),
            channels: Arc::clone(&self.channels),
        }
    }

    pub(super) fn notify(&self, project: &Project) {
        if let Some(channel) = lock(&self.channels).get(project) {
            channel.send_replace(());
        }
    }
}

impl Subscription {
    /// Waits for the next change. Cancel-safe.
    pub async fn changed(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes
                .changed()
                .await
                .expect("BUG: the channel lives as long as its subscriptions");
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut channels = lock(&self.channels);
        self.changes = None;
        if channels
            .get(&self.project)
            .is_some_and(|channel| channel.receiver_count() == 0)
        {
            channels.remove(&self.project);
        }
    }
}

fn lock(channels: &Channels) -> MutexGuard<'_, HashMap<Project, watch::Sender<()>>> {
    channels.lock().unwrap_or_else(PoisonError::into_inner)
}

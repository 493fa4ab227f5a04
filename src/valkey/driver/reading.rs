//! Values of other sidecars: read, and handed to the refresh, which checks them.

use std::{future::Future, time::Duration};

use super::{FleetDriver, StoreDone, way::result_of};
use crate::{
    cache,
    fleet::{CallResult, PullResult, StoreCall, ToRead},
    moment::Moment,
    refresh::Pulled,
    render::Offer,
    revision::Project,
    store::{
        StoreTime,
        head::RawHead,
        value::{Packing, StoredValue},
    },
    valkey::link::{ReadPatience, StoreCallError, StoreLink, StoredBytes},
};

/// Values that are read at once.
const AT_ONCE: usize = 8;

impl FleetDriver {
    /// Reads some of the values that are to be read.
    pub(super) fn read_some(&mut self, link: &StoreLink) {
        while self.reading.len() < AT_ONCE
            && let Some(next) = self.to_read.pop_front()
        {
            if !self.reading.insert(next.project.clone()) {
                continue;
            }
            let get = self.get(link, &next.project, ReadPatience::Long);
            let number = link.number;
            self.calls.push(Box::pin(
                async move { StoreDone::Read(number, next, get.await) },
            ));
        }
    }

    pub(super) fn get(
        &self,
        link: &StoreLink,
        project: &Project,
        patience: ReadPatience,
    ) -> impl Future<Output = Result<StoredBytes, StoreCallError>> + Send + use<> {
        let names = &self.options.names;
        let (head, value) = (names.head(project), names.value(project));
        let link = link.clone();
        async move { link.get(head, value, patience).await }
    }

    /// Takes in what the store has of a project.
    pub(super) fn read(
        &mut self,
        read: &ToRead,
        stored: Result<StoredBytes, StoreCallError>,
        now: Moment,
    ) {
        let (head, value) = match stored {
            Ok(stored) => {
                self.member.count_call(StoreCall::Get, CallResult::Answered);
                stored
            }
            Err(error) => {
                self.member.count_call(StoreCall::Get, result_of(&error));
                self.member.count_pull(PullResult::Failed);
                return;
            }
        };
        let Some(bytes) = value else {
            self.member.note_lost(read, None);
            self.member.count_pull(PullResult::Missing);
            return;
        };
        let at = head
            .and_then(|head| RawHead(head).read())
            .map(|head| head.at);
        let pulled = match StoredValue::read(&bytes) {
            Ok(value) if value.packing == Packing::Plain => {
                let age = self.age(at, now);
                let promised = read.head.as_ref().and_then(RawHead::read);
                if promised.is_some_and(|head| head.stamp.order > value.stamp.order) {
                    self.member.note_lost(read, None);
                }
                self.refresh
                    .pulled(&read.project, offer(&read.project, value), age)
            }
            Ok(_) | Err(_) => Pulled::Rejected,
        };
        let result = match pulled {
            Pulled::Held(cache::Stored::Newer | cache::Stored::Lower) => PullResult::Stored,
            Pulled::Held(cache::Stored::Validated | cache::Stored::Conflict) => {
                PullResult::Validated
            }
            Pulled::Held(cache::Stored::Older | cache::Stored::TooLarge) => PullResult::Older,
            Pulled::Rejected => {
                self.member.note_lost(read, StoredValue::prefix(&bytes));
                PullResult::Rejected
            }
        };
        self.member.count_pull(result);
    }

    /// How long ago the renderer vouched for what landed then; for ever where that is not known.
    pub(super) fn age(&self, landed_at: Option<StoreTime>, now: Moment) -> Duration {
        let store = self.member.store_time(now).zip(landed_at);
        store.map_or(now.since_start(), |(store, at)| store.since(at))
    }
}

/// What another sidecar stored, as a renderer would offer it.
fn offer(project: &Project, value: StoredValue) -> Offer {
    Offer {
        project: project.as_str().to_owned(),
        order: value.stamp.order,
        rendered_at: value.rendered_at,
        digest: value.stamp.digest.to_string(),
        content_type: value.content_type.to_string(),
        payload: value.payload,
    }
}

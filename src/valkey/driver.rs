//! The one task of a membership: makes the calls that the member decides on, and carries answers
//! between it, the store and the refresh.

mod reading;
mod way;

use std::{
    collections::{BTreeSet, VecDeque},
    future::Future,
    pin::Pin,
    time::Duration,
};

use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;

use self::way::StoreWay;
use super::{
    FleetState, ValkeyOptions,
    link::{ReadPatience, StoreCallError, StoreLink, StoredBytes},
};
use crate::{
    admission::{AskId, Class, FleetMode, Reserved},
    fleet::{
        AskedOf, FleetBudget, FleetEvent, FleetNumbers, FleetWish, Member, Publication, PullResult,
        StoreCall, ToRead,
    },
    moment::Moment,
    refresh::Refresh,
    revision::Project,
    store::{
        Born,
        acquire::{Acquire, Acquired},
        beat::{Beat, Beaten},
        land::{Land, LandAnswer},
        put::Put,
    },
};

/// Values that are published again at once.
const AT_ONCE: usize = 8;

/// What a call came to.
enum StoreDone {
    Dialled(Result<StoreLink, StoreCallError>),
    Beaten(u64, Moment, Result<Beaten, StoreCallError>),
    /// What was read for an ask of missing projects.
    Looked(
        AskId,
        Vec<FleetWish>,
        Vec<Result<StoredBytes, StoreCallError>>,
    ),
    Acquired(u64, AskedOf, Result<Acquired, StoreCallError>),
    Read(u64, ToRead, Result<StoredBytes, StoreCallError>),
    Published(
        u64,
        PublishCause,
        Box<Publication>,
        Result<LandAnswer, StoreCallError>,
    ),
}

/// Why something is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PublishCause {
    /// It was rendered.
    Render,
    /// The store does not know it.
    Healing,
}

type OpenStoreCalls = FuturesUnordered<Pin<Box<dyn Future<Output = StoreDone> + Send>>>;

pub(super) struct FleetDriver {
    options: ValkeyOptions,
    member: Member,
    refresh: Refresh,
    state: watch::Sender<FleetState>,
    numbers: watch::Sender<FleetNumbers>,
    link: StoreWay,
    calls: OpenStoreCalls,
    /// Values that are to be read, and that are being read.
    to_read: VecDeque<ToRead>,
    reading: BTreeSet<Project>,
    healing: usize,
    said: FleetMode,
}

impl FleetDriver {
    pub(super) fn new(
        options: ValkeyOptions,
        member: Member,
        refresh: Refresh,
        state: watch::Sender<FleetState>,
        numbers: watch::Sender<FleetNumbers>,
    ) -> Self {
        let link = StoreWay::new(refresh.clock().now());
        let said = member.mode();
        Self {
            options,
            member,
            refresh,
            state,
            numbers,
            link,
            calls: FuturesUnordered::new(),
            to_read: VecDeque::new(),
            reading: BTreeSet::new(),
            healing: 0,
            said,
        }
    }

    pub(super) async fn run(
        mut self,
        mut events: mpsc::UnboundedReceiver<FleetEvent>,
        mut budgets: watch::Receiver<FleetBudget>,
        leaving: CancellationToken,
    ) {
        loop {
            let now = self.now();
            self.proceed(now);
            let wake = self.refresh.clock().instant(self.wakes_at());
            tokio::select! {
                () = leaving.cancelled() => break,
                Some(event) = events.recv() => self.take(event),
                Some(done) = self.calls.next() => self.done(done),
                Ok(()) = budgets.changed() => {
                    let budget = *budgets.borrow_and_update();
                    self.member.set_budget(budget, now);
                }
                () = sleep_until(wake) => {}
            }
        }
        self.leave(events).await;
    }

    fn now(&self) -> Moment {
        self.refresh.clock().now()
    }

    /// Makes the calls that are due, and tells what is seen.
    fn proceed(&mut self, now: Moment) {
        self.member.tick(now);
        self.member.set_voided(self.refresh.voided());
        match self.link.link.clone() {
            Some(link) => {
                if !self.link.is_beating
                    && let Some(beat) = self.member.beat(now)
                {
                    self.beat(link.clone(), &beat, now);
                }
                self.heal(&link);
                self.read_some(&link);
            }
            None if !self.link.is_dialling
                && self.link.dial_at <= now
                && !self.member.is_silent(now) =>
            {
                self.dial();
            }
            None => {}
        }
        self.tell();
    }

    fn wakes_at(&self) -> Moment {
        let member = self.member.wakes_at();
        match self.link.link {
            Some(_) if self.link.is_beating => match self.member.mode() {
                FleetMode::Lost { until } => until,
                FleetMode::Joined | FleetMode::Apart => self.now() + Duration::from_secs(1),
            },
            Some(_) => member,
            None => {
                let dial_at = if self.link.is_dialling {
                    self.now() + Duration::from_secs(1)
                } else if self.member.is_silent(self.now()) {
                    member
                } else {
                    self.link.dial_at
                };
                match self.member.mode() {
                    FleetMode::Lost { until } => until.min(dial_at),
                    FleetMode::Joined | FleetMode::Apart => dial_at,
                }
            }
        }
    }

    fn beat(&mut self, link: StoreLink, beat: &Beat, now: Moment) {
        self.link.is_beating = true;
        let call = beat.call(&self.options.names);
        self.calls.push(Box::pin(async move {
            let reply = link.call(&call).await;
            let beaten = reply.and_then(|reply| Ok(Beat::read(reply)?));
            StoreDone::Beaten(link.number, now, beaten)
        }));
    }

    /// Publishes some of what the store does not know.
    fn heal(&mut self, link: &StoreLink) {
        while self.healing < AT_ONCE
            && let Some(project) = self.member.next_unpublished()
        {
            let Some(revision) = self.refresh.of_target(&project) else {
                self.member.disown(&project);
                continue;
            };
            if let Some(publication) = self.member.publish(&revision) {
                self.healing += 1;
                self.publish(link.clone(), PublishCause::Healing, publication);
            }
        }
    }

    fn publish(&mut self, link: StoreLink, source: PublishCause, publication: Publication) {
        let names = &self.options.names;
        let put = publication.put.as_ref().map(|put| put.call(names));
        let land = publication.land.call(names);
        // The others have to know that the render ended, also where its value is not taken.
        let bare = Land {
            landed: None,
            ..publication.land.clone()
        };
        let bare = bare.call(names);
        self.calls.push(Box::pin(async move {
            let mut taken = Ok(());
            if let Some(put) = put {
                let reply = link.call(&put).await;
                taken = reply.and_then(|reply| Ok(Put::read(reply).map(drop)?));
            }
            let told = match &taken {
                Ok(()) => link.call(&land).await,
                Err(error) if error.is_answer() => link.call(&bare).await,
                Err(_) => Err(StoreCallError::Unknown),
            };
            let told = told.and_then(|reply| Ok(Land::read(reply)?));
            StoreDone::Published(link.number, source, Box::new(publication), taken.and(told))
        }));
    }

    /// Takes what the refresh tells.
    fn take(&mut self, event: FleetEvent) {
        let now = self.now();
        match event {
            FleetEvent::Ask { ask, class, wishes } => self.ask(ask, class, wishes, now),
            FleetEvent::Ended {
                project,
                lease,
                end,
            } => {
                let publication = self.member.ended(&project, lease, &end);
                self.tell_of(publication);
            }
            FleetEvent::Return { lease } => {
                let publication = self.member.gives_back(lease);
                self.tell_of(publication);
            }
        }
    }

    fn tell_of(&mut self, publication: Option<Publication>) {
        let Some(publication) = publication else {
            return;
        };
        match self.link.link.clone() {
            Some(link) => self.publish(link, PublishCause::Render, publication),
            None => self.member.published(&publication, None, self.now()),
        }
    }

    fn ask(&mut self, ask: AskId, class: Class, wishes: Vec<FleetWish>, now: Moment) {
        let Some(link) = self.link.link.clone() else {
            let answers = self.member.unasked(wishes.len(), now);
            self.refresh.reserved(ask, answers);
            return;
        };
        if class == Class::Missing {
            // What is stored costs no token.
            let get = |wish: &FleetWish| self.get(&link, &wish.project, ReadPatience::Short);
            let gets = wishes.iter().map(get);
            let gets = join_all(gets.collect::<Vec<_>>());
            self.calls.push(Box::pin(async move {
                StoreDone::Looked(ask, wishes, gets.await)
            }));
            return;
        }
        let landed: Vec<_> = wishes
            .iter()
            .map(|wish| self.member.has_landed(wish))
            .collect();
        if landed.contains(&true) {
            // The others are asked for again at once.
            let answer = |(wish, has_landed): (&FleetWish, bool)| {
                if !has_landed {
                    return Reserved::Denied { retry_at: now };
                }
                self.to_read.push_back(ToRead {
                    project: wish.project.clone(),
                    head: None,
                });
                Member::being_read(now)
            };
            let answers = wishes.iter().zip(landed).map(answer).collect();
            self.refresh.reserved(ask, answers);
            return;
        }
        self.acquire(link, ask, class, &wishes, now);
    }

    fn acquire(
        &mut self,
        link: StoreLink,
        ask: AskId,
        class: Class,
        wishes: &[FleetWish],
        now: Moment,
    ) {
        let Some(asked) = self.member.ask(ask, class, wishes, now) else {
            let answers = self.member.unasked(wishes.len(), now);
            self.refresh.reserved(ask, answers);
            return;
        };
        let call = asked.acquire.call(&self.options.names);
        self.calls.push(Box::pin(async move {
            let reply = link.call(&call).await;
            let acquired = reply.and_then(|reply| Ok(Acquire::read(reply)?));
            StoreDone::Acquired(link.number, asked, acquired)
        }));
    }

    /// Takes what a call came to.
    fn done(&mut self, done: StoreDone) {
        let now = self.now();
        match done {
            StoreDone::Dialled(dialled) => self.dialled(dialled, now),
            StoreDone::Beaten(link, made_at, beaten) => self.beaten(link, made_at, beaten, now),
            StoreDone::Looked(ask, wishes, stored) => {
                for (wish, stored) in wishes.iter().zip(stored) {
                    let read = ToRead {
                        project: wish.project.clone(),
                        head: None,
                    };
                    self.read(&read, stored, now);
                }
                match self.link.link.clone() {
                    Some(link) => self.acquire(link, ask, Class::Missing, &wishes, now),
                    None => {
                        let answers = self.member.unasked(wishes.len(), now);
                        self.refresh.reserved(ask, answers);
                    }
                }
            }
            StoreDone::Acquired(link, asked, acquired) => {
                let acquired = self.judge(StoreCall::Acquire, link, acquired, now);
                let answers = match acquired {
                    Some(acquired) => {
                        let told = self.member.acquired(&asked, acquired, now);
                        let is_wanted =
                            |read: &ToRead| self.refresh.wish_of(&read.project).is_some();
                        self.to_read
                            .extend(told.pulls.into_iter().filter(is_wanted));
                        told.answers
                    }
                    None => self.member.ask_failed(&asked, now),
                };
                self.refresh.reserved(asked.ask, answers);
            }
            StoreDone::Read(link, read, stored) => {
                self.reading.remove(&read.project);
                let stored = match stored {
                    Err(error) if !error.is_time() => {
                        self.judge::<()>(StoreCall::Get, link, Err(error), now);
                        self.member.count_pull(PullResult::Failed);
                        return;
                    }
                    stored => stored,
                };
                self.read(&read, stored, now);
            }
            StoreDone::Published(link, source, publication, told) => {
                if source == PublishCause::Healing {
                    self.healing -= 1;
                }
                let call = if publication.put.is_some() {
                    StoreCall::Put
                } else {
                    StoreCall::Land
                };
                let told = self.judge(call, link, told, now);
                self.member.published(&publication, told.as_ref(), now);
            }
        }
    }

    fn beaten(
        &mut self,
        link: u64,
        made_at: Moment,
        beaten: Result<Beaten, StoreCallError>,
        now: Moment,
    ) {
        let is_current = self.is_current(link);
        if is_current {
            self.link.is_beating = false;
        }
        match self.judge(StoreCall::Beat, link, beaten, now) {
            Some(beaten) if is_current => {
                self.link.back_off.succeeded();
                let before = self.member.born();
                let landings = self.member.beaten(beaten, made_at, now);
                self.say_joined(before);
                if landings.is_empty() {
                    return;
                }
                let (wanted, others) = self.refresh.wanted_of(&landings);
                self.member.note_landings(others);
                let read = |project| ToRead {
                    project,
                    head: None,
                };
                self.to_read.extend(wanted.into_iter().map(read));
            }
            Some(_) => {}
            None => self.member.beat_failed(now),
        }
    }

    /// Tells what is seen, where it has changed, and logs what broke.
    fn tell(&mut self) {
        let (mode, count) = (self.member.mode(), self.member.count());
        let state = FleetState { mode, count };
        self.state.send_if_modified(|before| {
            let is_modified = *before != state;
            *before = state;
            is_modified
        });
        self.numbers.send_replace(self.member.numbers());
        if mode == FleetMode::Apart && self.said != mode {
            let trouble = self.link.trouble.as_deref().unwrap_or("no answer");
            tracing::warn!(
                trouble,
                sidecars = count,
                "the fleet's store is unreachable: rendering alone with a part of the rate"
            );
            self.said = mode;
        }
    }

    fn say_joined(&mut self, before: Option<Born>) {
        let now = self.member.numbers();
        if self.said != FleetMode::Joined {
            let FleetNumbers {
                present,
                absent,
                in_force,
                ..
            } = now;
            tracing::info!(present, absent, rate = in_force, "joined the fleet");
            self.said = FleetMode::Joined;
        }
        let unpublished = self.member.unpublished();
        if before.is_some() && before != self.member.born() {
            tracing::warn!(
                unpublished,
                "the fleet's store lost its state: publishing again what was rendered here"
            );
        }
    }

    /// Tells the store what is still to be told, and says goodbye.
    async fn leave(mut self, mut events: mpsc::UnboundedReceiver<FleetEvent>) {
        while let Ok(event) = events.try_recv() {
            if !matches!(event, FleetEvent::Ask { .. }) {
                self.take(event);
            }
        }
        while let Some(done) = self.calls.next().await {
            if let StoreDone::Published(link, _, publication, told) = done {
                let now = self.now();
                let told = self.judge(StoreCall::Land, link, told, now);
                self.member.published(&publication, told.as_ref(), now);
            }
        }
        if let Some(link) = &self.link.link
            && let Err(error) = link
                .leave(&self.options.names, &self.options.member.id)
                .await
        {
            tracing::debug!(%error, "the store heard no farewell");
        }
    }
}

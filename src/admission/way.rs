//! The way to the renderer: whether there is a connection, how many calls it takes, and whether
//! anything is launched over it still.

use std::num::NonZeroU32;

use super::{Admission, replica::Replica, tuning::FaultTuning, words::Link};
use crate::moment::Moment;

/// The way to the renderer.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) link: Link,
    /// Until when a connection that a call could not use is not used again, unless there is a new
    /// one.
    pub(super) unusable_until: Moment,
    /// How many calls it takes at once; none when it sets no limit.
    pub(super) room: Option<NonZeroU32>,
    /// Whether it leads to a replica that is behind.
    pub(super) replica: Replica,
    pub(super) is_draining: bool,
}

impl Way {
    pub(super) fn new(tuning: FaultTuning) -> Self {
        Self {
            link: Link::Dialling,
            unusable_until: Moment::START,
            room: None,
            replica: Replica::new(tuning),
            is_draining: false,
        }
    }
}

impl Admission {
    /// Notes what became of the connection.
    pub fn set_link(&mut self, link: Link, now: Moment) {
        self.way.link = link;
        self.way.unusable_until = now;
        if link == Link::Up && self.fetches.may_be_offered() {
            self.register.sweep_all();
        }
        self.register.queues.review_all();
        self.tick(now);
    }

    /// Says how many calls the connection takes at once, renders and fetches together; none when it
    /// sets no limit. What is beyond waits here, where it holds neither a permit nor a token, and
    /// not in the connection.
    pub fn set_room(&mut self, room: Option<NonZeroU32>, now: Moment) {
        self.way.room = room;
        self.register.queues.review_all();
        self.tick(now);
    }

    /// Launches nothing more.
    pub fn drain(&mut self, now: Moment) {
        self.way.is_draining = true;
        self.give_grants_back(now);
        self.register.queues.review_all();
        self.tick(now);
    }
}

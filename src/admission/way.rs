//! The way to the renderer: whether there is a connection, how many calls it takes, and whether
//! anything is still launched over it.

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
    /// How many calls it takes at once; `None` if it sets no limit.
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
    /// Records what became of the connection.
    pub fn set_link(&mut self, link: Link, now: Moment) {
        self.way.link = link;
        self.way.unusable_until = now;
        if link == Link::Up && self.fetches.may_be_offered() {
            self.register.sweep_all();
        }
        self.register.queues.review_all();
        self.tick(now);
    }

    /// Sets how many calls the connection takes at once, renders and fetches together; `None` if it
    /// sets no limit. Calls beyond that wait here, where they hold neither a permit nor a token,
    /// and not inside the connection.
    pub fn set_room(&mut self, room: Option<NonZeroU32>, now: Moment) {
        self.way.room = room;
        self.register.queues.review_all();
        self.tick(now);
    }

    /// Stops launching.
    pub fn drain(&mut self, now: Moment) {
        self.way.is_draining = true;
        self.give_grants_back(now);
        self.register.queues.review_all();
        self.tick(now);
    }
}

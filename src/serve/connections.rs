//! Who is connected: each connection takes a seat for as long as it is open, and where all seats
//! are taken, the connection that has been of no use for longest gives its up. A new one is never
//! turned away: it may be a probe.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

/// Counts open connections, and bounds them. Clones count together.
#[derive(Clone, Debug)]
pub struct Connections {
    shared: Arc<ConnectionsShared>,
}

#[derive(Debug)]
struct ConnectionsShared {
    open: watch::Sender<usize>,
    most: NonZeroUsize,
    /// Every place, those given up for a while too; the next that has to go stands in front.
    places: Mutex<VecDeque<Weak<SeatState>>>,
}

/// The seat of an open connection; free again when dropped.
#[derive(Debug)]
pub(super) struct ConnectionSeat {
    place: Arc<SeatState>,
    shared: Arc<ConnectionsShared>,
}

/// Has a connection leave that is of no use to its own caller.
#[derive(Clone, Debug)]
pub(super) struct TurnOut(Arc<SeatState>);

/// How a connection has to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HowToLeave {
    /// When its calls are answered: all close.
    WithAll,
    /// Its seat is needed; it may say goodbye.
    Soon,
    /// Its seat is needed, and nothing was ever asked over it, or many are leaving; or its caller
    /// reads nothing.
    Now,
}

#[derive(Debug)]
struct SeatState {
    /// Whether the connection was of use since it was last looked at.
    used: AtomicBool,
    /// Whether it ever was.
    was_used: AtomicBool,
    /// Whether the seat is needed for another, and at once.
    is_needed: AtomicBool,
    /// Whether its caller reads nothing, and others need what is kept for it.
    is_stuck: AtomicBool,
    leave: CancellationToken,
}

impl Connections {
    /// Starts with no connection, and allows at most `most` to stay open.
    pub fn at_most(most: NonZeroUsize) -> Self {
        Self {
            shared: Arc::new(ConnectionsShared {
                open: watch::Sender::new(0),
                most,
                places: Mutex::default(),
            }),
        }
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        *self.shared.open.borrow()
    }

    /// Whether as many are open as may stay.
    pub(super) fn are_full(&self) -> bool {
        self.open() >= self.shared.most.get()
    }

    /// Waits until no connection has been open for `quiet`, counted from this call at the earliest.
    pub async fn idle(&self, quiet: Duration) {
        let gone = "BUG: the connections outlive those who wait for them";
        let mut open = self.shared.open.subscribe();
        loop {
            open.wait_for(|open| *open == 0).await.expect(gone);
            match timeout(quiet, open.changed()).await {
                Ok(changed) => changed.expect(gone),
                Err(_) => return,
            }
        }
    }

    /// Seats a connection. Where there is no seat left, another is told to leave.
    pub(super) fn enter(&self, closing: &CancellationToken) -> ConnectionSeat {
        let place = Arc::new(SeatState {
            used: AtomicBool::new(false),
            was_used: AtomicBool::new(false),
            is_needed: AtomicBool::new(false),
            is_stuck: AtomicBool::new(false),
            leave: closing.child_token(),
        });
        {
            let mut places = self.shared.places();
            if self.are_full() {
                make_room(&mut places);
            } else if places.len() > 2 * self.open() + 16 {
                places.retain(|place| place.strong_count() > 0);
            }
            places.push_back(Arc::downgrade(&place));
        }
        self.shared.open.send_modify(|open| *open += 1);
        ConnectionSeat {
            place,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl ConnectionsShared {
    fn places(&self) -> MutexGuard<'_, VecDeque<Weak<SeatState>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the connection to leave that has been of no use for longest, as far as a bit tells: one
/// that was of use since it was last looked at gets a second chance (the clock algorithm; F. J.
/// Corbató, "A Paging Experiment with the Multics System", 1968).
fn make_room(places: &mut VecDeque<Weak<SeatState>>) {
    for _ in 0..2 * places.len() {
        let Some(first) = places.pop_front() else {
            return;
        };
        match first.upgrade() {
            Some(place) if place.used.swap(false, Relaxed) => places.push_back(first),
            Some(place) if !place.leave.is_cancelled() => {
                place.is_needed.store(true, Relaxed);
                return place.leave.cancel();
            }
            // It left, or is about to.
            Some(_) | None => {}
        }
    }
}

impl ConnectionSeat {
    /// Tells that the connection is of use: something is asked.
    pub(super) fn mark_used(&self) {
        self.place.used.store(true, Relaxed);
        self.place.was_used.store(true, Relaxed);
    }

    /// How it has to leave, once it has to.
    pub(super) fn leaves(&self) -> HowToLeave {
        let place = &self.place;
        let most = self.shared.most.get();
        if place.is_stuck.load(Relaxed) {
            HowToLeave::Now
        } else if !place.is_needed.load(Relaxed) {
            HowToLeave::WithAll
        } else if place.was_used.load(Relaxed) && *self.shared.open.borrow() <= most + most / 8 {
            HowToLeave::Soon
        } else {
            HowToLeave::Now
        }
    }

    /// What has the connection leave when its caller reads nothing.
    pub(super) fn turn_out(&self) -> TurnOut {
        TurnOut(Arc::clone(&self.place))
    }

    /// Is cancelled when the connection has to leave: its seat is needed, or all close.
    pub(super) fn leave(&self) -> &CancellationToken {
        &self.place.leave
    }
}

impl TurnOut {
    /// Has it leave at once, without a word.
    pub(super) fn now(&self) {
        self.0.is_stuck.store(true, Relaxed);
        self.0.leave.cancel();
    }
}

impl Drop for ConnectionSeat {
    fn drop(&mut self) {
        self.shared.open.send_modify(|open| *open -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    const QUIET: Duration = Duration::from_secs(1);

    fn at_most(most: usize) -> (Connections, CancellationToken) {
        let most = NonZeroUsize::new(most).unwrap();
        (Connections::at_most(most), CancellationToken::new())
    }

    fn stays(seat: &ConnectionSeat) -> bool {
        !seat.leave().is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn is_idle_when_no_client_was_connected_for_a_while() {
        let (connections, _) = at_most(10);
        let began = Instant::now();
        connections.idle(QUIET).await;
        assert_eq!(began.elapsed(), QUIET);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_visit_starts_the_wait_anew() {
        let (connections, closing) = at_most(10);
        let staying = connections.enter(&closing);
        let began = Instant::now();
        let idle = tokio::spawn({
            let connections = connections.clone();
            async move { connections.idle(QUIET).await }
        });
        sleep(Duration::from_secs(5)).await;
        assert_eq!(connections.open(), 1);
        drop(staying);
        sleep(Duration::from_millis(900)).await;
        drop(connections.enter(&closing));
        sleep(Duration::from_millis(900)).await;
        assert!(!idle.is_finished());
        idle.await.unwrap();
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(6900), "{waited:?}");
        assert!(waited < Duration::from_millis(6910), "{waited:?}");
    }

    #[test]
    fn where_all_seats_are_taken_the_one_unused_for_longest_leaves() {
        let (connections, closing) = at_most(3);
        let seats: Vec<_> = (0..3).map(|_| connections.enter(&closing)).collect();
        seats[0].mark_used();
        let newest = connections.enter(&closing);
        assert!(stays(&seats[0]) && !stays(&seats[1]) && stays(&seats[2]));
        assert!(stays(&newest), "a new one is never turned away");
        drop(connections.enter(&closing));
        assert!(stays(&seats[0]) && !stays(&seats[2]) && stays(&newest));
    }

    #[test]
    fn one_that_goes_on_being_used_outlives_any_number_of_idle_ones() {
        let (connections, closing) = at_most(4);
        let used = connections.enter(&closing);
        let mut idle = VecDeque::new();
        for _ in 0..1000 {
            used.mark_used();
            idle.push_back(connections.enter(&closing));
            while idle.front().is_some_and(|seat| !stays(seat)) {
                idle.pop_front();
            }
            assert!(stays(&used) && connections.open() <= 4);
        }
        assert!(connections.shared.places().len() <= 5);
    }

    #[test]
    fn even_if_all_are_used_the_new_one_is_let_in() {
        let (connections, closing) = at_most(2);
        let seats = [connections.enter(&closing), connections.enter(&closing)];
        seats.iter().for_each(ConnectionSeat::mark_used);
        let newest = connections.enter(&closing);
        assert!(!stays(&seats[0]) && stays(&seats[1]) && stays(&newest));
    }

    #[test]
    fn one_that_was_used_may_say_goodbye_unless_many_leave() {
        let (connections, closing) = at_most(8);
        let mut seats: Vec<_> = (0..8).map(|_| connections.enter(&closing)).collect();
        seats[1].mark_used();
        seats.extend((0..10).map(|_| connections.enter(&closing)));
        assert!(!stays(&seats[1]));
        assert_eq!([seats[0].leaves(), seats[1].leaves()], [HowToLeave::Now; 2]);
        seats.truncate(9);
        assert_eq!(
            [seats[0].leaves(), seats[1].leaves()],
            [HowToLeave::Now, HowToLeave::Soon]
        );
    }

    #[test]
    fn those_who_left_are_forgotten() {
        let (connections, closing) = at_most(1000);
        for _ in 0..10_000 {
            drop(connections.enter(&closing));
        }
        assert!(connections.shared.places().len() <= 20);
    }

    #[test]
    fn all_leave_when_the_listener_closes() {
        let (connections, closing) = at_most(2);
        let seat = connections.enter(&closing);
        closing.cancel();
        assert!(!stays(&seat));
        assert_eq!(seat.leaves(), HowToLeave::WithAll);
    }
}

//! A time-out that takes what has arrived before it obeys its timer.
//!
//! A process that was frozen (SIGSTOP, a paused node) or starved wakes up to timers that are all
//! due and sockets that are full. Several tasks lie between the answers in them and the waiting
//! code, so a timer that fires late is no sign that nothing came.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, timeout_at};

/// A timer that fires this much late was not obeyed in time: the process did not run. Far above
/// what a timer is late by in a process that runs.
const LATE: Duration = Duration::from_millis(100);
/// The most that is then waited for what has arrived meanwhile. As long as the timer was late,
/// within this.
const GRACE: Duration = Duration::from_secs(1);

/// Waits for a future until `deadline`; none when it is not done by then. A timer that fires late
/// gives the future as long again as it was late, at most a second.
pub async fn by<F: Future>(deadline: Instant, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut due = deadline;
    loop {
        if let Ok(output) = timeout_at(due, &mut future).await {
            return Some(output);
        }
        let late = due.elapsed();
        if late < LATE {
            return None;
        }
        due = Instant::now() + late.min(GRACE);
    }
}

/// As [`by`], for a deadline that lies `duration` ahead.
pub async fn within<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
    by(Instant::now() + duration.min(FAR), future).await
}

#[cfg(test)]
mod tests {
    use tokio::{
        sync::oneshot,
        time::{advance, sleep},
    };

    use super::*;

    /// Answers after each of this many tasks has handed it on.
    async fn hand_on(arrived: impl Future<Output = u32> + Send + 'static, tasks: u32) -> u32 {
        let (send, mut receive) = oneshot::channel();
        tokio::spawn(async move { send.send(arrived.await) });
        for _ in 1..tasks {
            let (send, next) = oneshot::channel();
            let before = std::mem::replace(&mut receive, next);
            tokio::spawn(async move { send.send(before.await.unwrap()) });
        }
        receive.await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn obeys_a_timer_that_fires_in_time() {
        let began = Instant::now();
        let never = std::future::pending::<()>();
        assert_eq!(within(Duration::from_secs(2), never).await, None);
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        let soon = sleep(Duration::from_secs(1));
        assert_eq!(within(Duration::from_secs(2), soon).await, Some(()));
    }

    /// All calls of a process that was suspended fail together, though they were answered.
    #[tokio::test(start_paused = true)]
    async fn takes_what_arrived_while_the_process_was_frozen() {
        let answered = async {
            sleep(Duration::from_secs(12)).await;
            7
        };
        let call = tokio::spawn(within(Duration::from_secs(10), hand_on(answered, 8)));
        tokio::task::yield_now().await;
        advance(Duration::from_secs(15)).await;
        assert_eq!(call.await.unwrap(), Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_no_longer_than_the_grace_after_a_freeze() {
        let began = Instant::now();
        let call = tokio::spawn(within(
            Duration::from_secs(10),
            std::future::pending::<()>(),
        ));
        tokio::task::yield_now().await;
        advance(Duration::from_secs(15)).await;
        assert_eq!(call.await.unwrap(), None);
        assert_eq!(began.elapsed(), Duration::from_secs(16));
    }
}

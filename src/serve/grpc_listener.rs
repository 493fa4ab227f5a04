//! Serves gRPC on a listener until told to close, and then for no longer than its bound.

use std::{
    future::{Future, pending, poll_fn},
    io,
    num::NonZeroU32,
    pin::pin,
    task::Poll,
    time::Duration,
};

use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncReadExt as _,
    time::{sleep, timeout},
};

use super::{
    accept::{self, ConnectionSocket, Host, RoleState},
    connections::{ConnectionSeat, HowToLeave},
    gathered::{Gathered, GatheringRoom},
    get_config::Service,
    listener::Listener,
    reading::ConnectionCalls,
};

/// How many calls may be cancelled before they were accepted, and how many streams may end in an
/// error of ours, before a connection is told to go away. The defaults, 20 and 1024, guard a public
/// server; here they would hit applications whose deadlines are short. A call that waits so costs
/// some hundred bytes.
const MAX_RESETS: usize = 8192;

/// The most bytes of a request's headers, as HTTP/2 counts them; gRPC's other servers accept as
/// many.
const MAX_HEADERS: u32 = 8 * 1024;

/// The bytes of a request that may come before they are read.
const STREAM_WINDOW: u32 = 64 * 1024;

/// How long a connection whose seat is needed may go on with its calls after it was told to go
/// away.
const LEAVE_WITHIN: Duration = Duration::from_millis(100);

/// How long a connection stays open that we ended, unless its caller closes it: the caller was told
/// by a GOAWAY. One that sends nonsense, and connects anew as soon as its connection is closed,
/// would otherwise take all the time that there is.
const LINGER: Duration = Duration::from_millis(500);

/// Serves on a listener until its role is closing.
///
/// # Errors
/// When the listener cannot be used.
pub(super) async fn serve(
    listener: Listener,
    service: impl Service,
    role_state: RoleState,
) -> io::Result<()> {
    let max_streams = role_state.max_streams;
    let host = ConnectionHost {
        service,
        room: GatheringRoom::default(),
        max_streams,
    };
    accept::serve(listener, host, role_state).await
}

/// Hosts connections of gRPC.
#[derive(Debug)]
struct ConnectionHost<S> {
    service: S,
    room: GatheringRoom,
    max_streams: NonZeroU32,
}

impl<S: Service> Host for ConnectionHost<S> {
    fn host<T: ConnectionSocket>(
        &self,
        socket: T,
        seat: ConnectionSeat,
    ) -> impl Future<Output = ()> + Send + 'static {
        let gathered = Gathered::new(socket, self.room.clone());
        serve_connection(gathered, self.service.clone(), seat, self.max_streams)
    }
}

/// Serves one connection until it ends. Told to leave, it is told to go away and ends with its last
/// call; one whose seat is needed ends within [`LEAVE_WITHIN`].
pub(super) async fn serve_connection<S: ConnectionSocket>(
    gathered: Gathered<S>,
    service: impl Service,
    seat: ConnectionSeat,
    max_streams: NonZeroU32,
) {
    let seat = &seat;
    let caller = ConnectionCalls::new(gathered.reading(), seat.turn_out());
    let tasks = caller.tasks();
    let asking = gathered.clone();
    let answering = hyper::service::service_fn(move |request| {
        seat.mark_used();
        asking.call_begins();
        service.clone().answer(request, &caller)
    });
    let mut connection = pin!(
        http2::Builder::new(tasks)
            .max_concurrent_streams(max_streams.get())
            .max_header_list_size(MAX_HEADERS)
            .initial_stream_window_size(STREAM_WINDOW)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_RESETS)
            // gRPC has no use for it.
            .auto_date_header(false)
            .serve_connection(TokioIo::new(gathered.clone()), answering)
    );
    let mut leave = pin!(seat.leave().cancelled());
    let mut is_leaving = false;
    let mut late = pin!(async {
        match seat.leaves() {
            HowToLeave::WithAll => pending().await,
            HowToLeave::Soon => sleep(LEAVE_WITHIN).await,
            HowToLeave::Now => {}
        }
    });
    let ended = poll_fn(|context| {
        if !is_leaving && leave.as_mut().poll(context).is_ready() {
            is_leaving = true;
            connection.as_mut().graceful_shutdown();
        }
        if is_leaving && late.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let ended = connection.as_mut().poll(context);
        if ended.is_pending() && gathered.puts_writing_off() {
            return Poll::Pending;
        }
        match gathered.poll_drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.to_string())),
            Poll::Ready(Ok(())) | Poll::Pending => ended.map_err(|error| error.to_string()),
        }
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(error, "a connection broke");
    }
    if !is_leaving && !gathered.is_read_to_its_end() {
        tokio::select! {
            () = linger(gathered.clone()) => {}
            () = seat.leave().cancelled() => {}
        }
    }
}

/// Waits until the caller closes the connection as well. What it still sends is read, slowly, and
/// dropped.
async fn linger<S: ConnectionSocket>(mut gathered: Gathered<S>) {
    let until_it_closes = async {
        let mut dropped = [0; 1024];
        while gathered.read(&mut dropped).await? > 0 {
            poll_fn(|context| gathered.poll_drain(context)).await?;
        }
        io::Result::Ok(())
    };
    // Whichever way it ends, the socket is closed.
    let _ = timeout(LINGER, until_it_closes).await;
}

#[cfg(test)]
mod tests;

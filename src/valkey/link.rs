//! One pair of connections to the store: for the scripts, whose answers are small and urgent, and
//! for values, which may be large.

use std::{fs, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, Script as Text,
    ServerErrorKind, Value, aio::MultiplexedConnection,
};
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, error::Elapsed, timeout, timeout_at},
};

use super::ValkeyOptions;
use crate::store::{KeyNames, Script, ScriptCall, ScriptReply, SidecarId, Unreadable};

/// How long a dial may take, with the log-in.
const DIAL: Duration = Duration::from_secs(1);
/// After which time without an acknowledgement the kernel gives a connection up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
/// How many times longer than a script a value may take, which may be large.
const VALUE: u32 = 10;

/// A time limit that is noticed so late says that the process was frozen.
const FROZEN: Duration = Duration::from_millis(50);

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreCallError {
    /// There was no answer in time.
    #[error("no answer in time")]
    TimedOut(#[from] Elapsed),
    /// The server could not be dialled.
    #[error("{0}")]
    Dial(#[from] io::Error),
    /// The connection broke, or the server answered with an error.
    #[error("{0}")]
    Server(#[from] RedisError),
    /// The answer is not that of a script of ours.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The answer is none that a script of ours has.
    #[error("the store's answer has an unknown type")]
    Unknown,
}

/// What the store has of a project, if anything: head and value.
pub(super) type StoredBytes = (Option<Vec<u8>>, Option<Bytes>);

/// How long a value may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReadPatience {
    /// As long as a script: a lookup waits.
    Short,
    /// Longer.
    Long,
}

/// A pair of connections. Cheap to clone; they are closed with the last clone.
#[derive(Clone)]
pub(super) struct StoreLink {
    scripts: MultiplexedConnection,
    values: MultiplexedConnection,
    timeout: Duration,
    /// Differs between the links of a process.
    pub(super) number: u64,
    _tasks: Arc<[ConnectionTask; 2]>,
}

/// Ends the task of a connection.
struct ConnectionTask(JoinHandle<()>);

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl StoreCallError {
    /// Whether there was no answer in time.
    pub(super) fn is_time(&self) -> bool {
        matches!(self, Self::TimedOut(_))
    }

    /// Whether the server answered, so that only the call is concerned.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            Self::Server(error) => !error.is_io_error() && !error.is_connection_dropped(),
            Self::Unreadable(_) | Self::Unknown => true,
            Self::TimedOut(_) | Self::Dial(_) => false,
        }
    }
}

impl StoreLink {
    /// Dials the store, and logs in.
    pub(super) async fn dial(options: ValkeyOptions, number: u64) -> Result<Self, StoreCallError> {
        let (scripts, of_scripts) = timeout(DIAL, connect(&options)).await??;
        let (values, of_values) = timeout(DIAL, connect(&options)).await??;
        Ok(Self {
            scripts,
            values,
            timeout: options.timeout,
            number,
            _tasks: Arc::new([of_scripts, of_values]),
        })
    }

    /// Calls a script; by its text where the server has lost it, which it says before it does
    /// anything.
    pub(super) async fn call(&self, call: &ScriptCall) -> Result<ScriptReply, StoreCallError> {
        let (connection, limit) = match call.script {
            Script::Beat | Script::Acquire | Script::Land => (&self.scripts, self.timeout),
            Script::Put => (&self.values, self.timeout * VALUE),
        };
        let text = Text::new(call.script.text());
        let reply = within(limit, async {
            let by_hash = ask(connection, &command("EVALSHA", text.get_hash(), call)).await;
            match by_hash {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    ask(connection, &command("EVAL", call.script.text(), call)).await
                }
                by_hash => by_hash,
            }
        });
        reply_of(reply.await??).ok_or(StoreCallError::Unknown)
    }

    /// Reads what the store has of a project: the value first, so that the head is not older.
    pub(super) async fn get(
        &self,
        head: String,
        value: String,
        patience: ReadPatience,
    ) -> Result<StoredBytes, StoreCallError> {
        let limit = match patience {
            ReadPatience::Short => self.timeout,
            ReadPatience::Long => self.timeout * VALUE,
        };
        let read = within(limit, async {
            let value = ask(&self.values, redis::cmd("GET").arg(value)).await?;
            let head = ask(&self.values, redis::cmd("GET").arg(head)).await?;
            Ok::<_, RedisError>((head, value))
        });
        let (head, value) = read.await??;
        let (head, value) = (bytes_of(head)?, bytes_of(value)?);
        Ok((head, value.map(Bytes::from)))
    }

    /// Takes the sidecar out of the fleet.
    pub(super) async fn leave(
        &self,
        names: &KeyNames,
        id: &SidecarId,
    ) -> Result<(), StoreCallError> {
        for key in [names.present(), names.claims()] {
            let gone = redis::cmd("ZREM").arg(key).arg(id.as_str()).to_owned();
            within(self.timeout, ask(&self.scripts, &gone)).await??;
        }
        Ok(())
    }
}

/// Waits for a call. A process that was frozen takes what has arrived before it obeys a time limit.
async fn within<T>(limit: Duration, call: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut call = pin!(call);
    let end = Instant::now() + limit;
    match timeout_at(end, &mut call).await {
        Err(_) if end.elapsed() >= FROZEN => timeout(limit, call).await,
        answer => answer,
    }
}

async fn connect(
    options: &ValkeyOptions,
) -> Result<(MultiplexedConnection, ConnectionTask), StoreCallError> {
    let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(username) = &options.username {
        login = login.set_username(username);
    }
    if let Some(path) = &options.password_file {
        login = login.set_password(fs::read_to_string(path)?.trim_end());
    }
    let stream = TcpStream::connect((&*options.host, options.port)).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None);
    let (connection, task) = MultiplexedConnection::new_with_config(&login, stream, config).await?;
    Ok((connection, ConnectionTask(tokio::spawn(task))))
}

async fn ask(connection: &MultiplexedConnection, command: &Cmd) -> Result<Value, RedisError> {
    command.query_async(&mut connection.clone()).await
}

fn command(name: &str, script: &str, call: &ScriptCall) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(call.keys.len()).arg(&call.keys);
    for argument in &call.arguments {
        command.arg(argument);
    }
    command
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "no script of ours answers with another"
)]
fn reply_of(value: Value) -> Option<ScriptReply> {
    match value {
        Value::Int(number) => Some(ScriptReply::Integer(number)),
        Value::BulkString(bytes) => Some(ScriptReply::Bytes(bytes)),
        Value::SimpleString(text) => Some(ScriptReply::Bytes(text.into_bytes())),
        Value::Array(items) => {
            let items: Option<Vec<_>> = items.into_iter().map(reply_of).collect();
            items.map(ScriptReply::List)
        }
        _ => None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "no script of ours answers with another"
)]
fn bytes_of(value: Value) -> Result<Option<Vec<u8>>, StoreCallError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        _ => Err(StoreCallError::Unknown),
    }
}

//! The upstream as the core sees it: the traits [`Render`] and [`Fetch`], and the check that a
//! render passes before it is held.
//!
//! A render consumes a [`Permit`], which only admission makes: rendering without admission does not
//! compile. How the call travels is known to `upstream` alone; when it is made, to `admission`.

#[cfg(test)]
pub(crate) mod fake;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration, time::SystemTime};

use bytes::Bytes;

pub use crate::admission::{Pushback, PushbackScope};
use crate::{
    admission::{FetchPermit, Permit},
    revision::{Digest, Order, Project, Revision},
    trace::TraceSpan,
};

/// A future of an upstream call.
pub type Call<T> = Pin<Box<dyn Future<Output = Answered<T>> + Send>>;

/// What a call came to, and over which connection.
#[derive(Clone, Debug)]
pub struct Answered<T> {
    /// The number of the connection, which grows with each one; none when there was no connection,
    /// or when nothing came over it in time. Replicas of a renderer differ only between
    /// connections.
    pub connection: Option<u64>,
    /// What it brought.
    pub result: Result<T, RenderError>,
}

impl<T> Answered<T> {
    /// A failure that came over no connection.
    pub fn failed(error: RenderError) -> Self {
        Self {
            connection: None,
            result: Err(error),
        }
    }

    /// Replaces what it brought by what `check` makes of it.
    pub fn and_then<U>(self, check: impl FnOnce(T) -> Result<U, RenderError>) -> Answered<U> {
        Answered {
            connection: self.connection,
            result: self.result.and_then(check),
        }
    }
}

/// Has a renderer render. Dropping the future of a call resets it.
pub trait Render: Send + Sync + 'static {
    /// Renders a project. The caller enforces `deadline` by dropping the future; it is passed on so
    /// that the renderer knows.
    fn render(&self, permit: Permit, ask: Ask, deadline: Duration) -> Call<Rendered>;

    /// Replaces a connection, if it is still the one in use; calls go on over it until the new one
    /// stands.
    fn redial(&self, connection: u64);
}

/// Asks for what is stored, which costs no render. Dropping the future of a call resets it.
pub trait Fetch: Send + Sync + 'static {
    /// Fetches the newest stored revision of a project, without rendering. The caller enforces
    /// `deadline`.
    fn fetch(
        &self,
        permit: FetchPermit,
        project: Project,
        span: TraceSpan,
        deadline: Duration,
    ) -> Call<Offer>;

    /// Asks by a fetch whether what is held of a project is still right, since a change may have
    /// been missed. The caller enforces `deadline`.
    fn confirm(
        &self,
        permit: FetchPermit,
        project: Project,
        held: (Order, Digest),
        deadline: Duration,
    ) -> Call<Confirmation>;
}

/// What is asked of a renderer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whose configuration.
    pub project: Project,
    /// The generation to render with.
    pub rollout: u64,
    /// What is held already.
    pub held: Option<(Order, Digest)>,
    /// Why it is asked for.
    pub reason: RenderReason,
    /// The call as a part of a trace.
    pub span: TraceSpan,
}

/// Why a render is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderReason {
    /// Nothing is held of the project.
    Missing,
    /// What is held is outdated.
    Outdated,
    /// A caller asked for more than is held.
    Demanded,
}

/// What a renderer answered, unchecked.
#[derive(Clone, Debug)]
pub enum Rendered {
    /// A revision with its payload.
    Revision(Offer),
    /// The payload held is right for this project and order.
    NotModified {
        /// The project that was answered for.
        project: String,
        /// The order to stamp the payload with.
        order: Order,
    },
}

/// What a renderer says of a revision that is held, unchecked.
#[derive(Clone, Debug)]
pub enum Confirmation {
    /// This is stored, with its payload.
    Stored(Offer),
    /// The payload held is right for this project and order.
    NotModified {
        /// The project that was answered for.
        project: String,
        /// The order to stamp the payload with.
        order: Order,
    },
    /// The input has changed, and nothing is stored that has the change.
    Changed {
        /// The project that was answered for.
        project: String,
        /// The order of the first revision that will have the change.
        order: Order,
    },
}

/// What a renderer says of a revision that is held, checked.
#[derive(Debug)]
pub enum Confirmed {
    /// This is right, be it held already or not.
    Revision(Revision),
    /// The input has changed: the order of the first revision that will have the change.
    Changed(Order),
}

/// A revision as a renderer offers it, unchecked. An empty digest is to be computed.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields of Revision")]
pub struct Offer {
    pub project: String,
    pub order: Order,
    pub rendered_at: Option<SystemTime>,
    pub digest: String,
    pub content_type: String,
    pub payload: Bytes,
}

/// Why a call brought no revision.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RenderError {
    /// There was no connection to send it on.
    #[error("the renderer is unreachable")]
    Unreachable,
    /// The renderer answered UNAVAILABLE, or the connection broke during the call.
    #[error("the renderer is unavailable: {0}")]
    Unavailable(Message),
    /// The renderer answered ABORTED.
    #[error("the render was aborted: {0}")]
    Aborted(Message),
    /// The call took longer than its deadline.
    #[error("the render took longer than its deadline")]
    DeadlineExceeded,
    /// The renderer said when to call again, whatever status it answered with; or it answered
    /// RESOURCE_EXHAUSTED and that the call is not to be repeated.
    #[error("the renderer pushes back: {message}")]
    Exhausted {
        /// When it wants to be called again.
        pushback: Pushback,
        /// What it says.
        message: Message,
    },
    /// The renderer refused the call without a word on when to come back: RESOURCE_EXHAUSTED
    /// without a pushback. It works, and wants fewer calls at once.
    #[error("the renderer refuses the call: {0}")]
    Refused(Message),
    /// The renderer answered UNAUTHENTICATED: it does not accept the identity of this sidecar.
    #[error("the renderer refuses the identity of this sidecar: {0}")]
    Unauthenticated(Message),
    /// The renderer answered NOT_FOUND.
    #[error("the renderer knows no such project")]
    NotFound,
    /// The renderer does not offer the method.
    #[error("the renderer does not implement the method")]
    Unimplemented,
    /// The renderer answered with any other status.
    #[error("the render failed with {code}: {message}")]
    Failed {
        /// The name of the status code.
        code: &'static str,
        /// What it says.
        message: Message,
    },
    /// Its answer cannot be held.
    #[error("the render was rejected: {0}")]
    Rejected(#[from] Rejected),
    /// The render panicked.
    #[error("the render panicked")]
    Panicked,
}

/// What a renderer says in an error: for logs only, cut to 200 characters; nothing is parsed out of
/// it.
#[derive(Clone, Debug)]
pub struct Message(Arc<str>);

impl Message {
    /// Takes the first 200 characters.
    pub fn new(text: &str) -> Self {
        Self(text.chars().take(200).collect::<String>().into())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest content type, in bytes: twice the 127 of a registered media type's two names (RFC
/// 6838, section 4.2), and a slash.
const MAX_CONTENT_TYPE: usize = 255;

/// Why a render cannot be held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Rejected {
    #[error("the revision is of rollout 0")]
    NoRollout,
    #[error("the revision names no project")]
    NoProject,
    #[error("the revision is of another project")]
    OtherProject,
    #[error("the payload is empty")]
    EmptyPayload,
    #[error("the payload has {bytes} bytes, more than the {limit} accepted")]
    OversizedPayload { bytes: usize, limit: usize },
    #[error("the digest is not that of the payload")]
    WrongDigest,
    #[error(
        "the content type has {bytes} bytes, or is no media type: at most {MAX_CONTENT_TYPE} bytes such as application/json are accepted"
    )]
    NoMediaType { bytes: usize },
    #[error("not modified, but nothing is held that it could mean")]
    NothingHeld,
    #[error("the answer carries no revision, or one that cannot be read")]
    Unreadable,
}

impl Offer {
    /// Checks that this can be held for `project`, and copies it out of the buffer that it was
    /// received in.
    ///
    /// # Errors
    /// When it is of no rollout, of no or another project, empty, larger than `max_payload` bytes
    /// or not what its digest says; also when its content type is neither empty nor a media type of
    /// at most 255 bytes.
    pub fn check(self, project: &Project, max_payload: usize) -> Result<Revision, Rejected> {
        check_stamp(&self.project, self.order, project)?;
        if self.payload.is_empty() {
            return Err(Rejected::EmptyPayload);
        }
        if self.payload.len() > max_payload {
            return Err(Rejected::OversizedPayload {
                bytes: self.payload.len(),
                limit: max_payload,
            });
        }
        if !is_media_type(&self.content_type) {
            return Err(Rejected::NoMediaType {
                bytes: self.content_type.len(),
            });
        }
        let revision = Revision::new(
            project.clone(),
            self.order,
            self.rendered_at,
            self.content_type.into(),
            &self.payload,
        );
        if !self.digest.is_empty() && self.digest != revision.digest.to_string() {
            return Err(Rejected::WrongDigest);
        }
        Ok(revision)
    }
}

impl Rendered {
    /// Checks what a renderer answered for `project`; `held` is what it was told is held.
    ///
    /// # Errors
    /// As [`Offer::check`]; also when it vouches for a payload that is not held.
    pub fn check(
        self,
        project: &Project,
        held: Option<&Revision>,
        max_payload: usize,
    ) -> Result<Revision, Rejected> {
        match self {
            Self::Revision(offer) => offer.check(project, max_payload),
            Self::NotModified {
                project: answered,
                order,
            } => {
                check_stamp(&answered, order, project)?;
                let held = held.ok_or(Rejected::NothingHeld)?;
                Ok(held.with_order(order))
            }
        }
    }
}

impl Confirmation {
    /// Checks what a renderer said for `project`; `held` is what it was asked about.
    ///
    /// # Errors
    /// As [`Offer::check`].
    pub fn check(
        self,
        project: &Project,
        held: &Revision,
        max_payload: usize,
    ) -> Result<Confirmed, Rejected> {
        match self {
            Self::Stored(offer) => offer.check(project, max_payload).map(Confirmed::Revision),
            Self::NotModified {
                project: answered,
                order,
            } => {
                check_stamp(&answered, order, project)?;
                Ok(Confirmed::Revision(held.with_order(order)))
            }
            Self::Changed {
                project: answered,
                order,
            } => {
                check_stamp(&answered, order, project)?;
                Ok(Confirmed::Changed(order))
            }
        }
    }
}

fn check_stamp(answered: &str, order: Order, project: &Project) -> Result<(), Rejected> {
    if answered.is_empty() {
        return Err(Rejected::NoProject);
    }
    if answered != project.as_str() {
        return Err(Rejected::OtherProject);
    }
    if order.rollout == 0 {
        return Err(Rejected::NoRollout);
    }
    Ok(())
}

/// Whether a content type is empty, or `type/subtype` with parameters or without, in visible ASCII
/// and spaces (RFC 9110, section 8.3.1). Parameters are not read further.
fn is_media_type(content_type: &str) -> bool {
    if content_type.is_empty() {
        return true;
    }
    let is_token = |name: &str| {
        let accepted =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !name.is_empty() && name.bytes().all(accepted)
    };
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    content_type.len() <= MAX_CONTENT_TYPE
        && essence
            .trim_end_matches(' ')
            .split_once('/')
            .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
        && parameters
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

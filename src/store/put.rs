//! `put`: a value is stored, unless a newer one stands there.

use std::time::Duration;

use super::{
    KeyNames, Script, ScriptCall, ScriptReply, Unreadable,
    reply::unreadable,
    time::millis,
    value::{PREFIX_BYTES, StoredValue},
};
use crate::revision::Project;

/// What a sidecar stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// Of which project.
    pub project: Project,
    /// What.
    pub value: StoredValue,
    /// How long it stays unless it is renewed.
    pub ttl: Duration,
    /// The first bytes of a value that does not verify, and that gives way to any.
    pub disowned: Option<[u8; PREFIX_BYTES]>,
}

/// What comes of a value, or of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreVerdict {
    /// It is the newest, and stands there now.
    Newer,
    /// The same stood there, and is renewed.
    Validated,
    /// What stands there has a higher order, and stays.
    Older,
    /// What stands there has the same order and another payload, and stays.
    Conflict,
}

impl Put {
    /// The call of the script.
    pub fn call(&self, names: &KeyNames) -> ScriptCall {
        ScriptCall::new(Script::Put, vec![names.value(&self.project)])
            .with_bytes(&self.value.bytes())
            .with(&millis(self.ttl))
            .with_bytes(self.disowned.as_ref().map_or(b"", |prefix| prefix))
    }

    /// Reads the reply.
    ///
    /// # Errors
    /// When the script does not reply like that.
    pub fn read(reply: ScriptReply) -> Result<StoreVerdict, Unreadable> {
        let wrong = unreadable(Script::Put, "the verdict");
        match reply {
            ScriptReply::Bytes(word) => StoreVerdict::of(&word).ok_or(wrong),
            ScriptReply::Integer(_) | ScriptReply::List(_) => Err(wrong),
        }
    }
}

impl StoreVerdict {
    pub(super) fn of(word: &[u8]) -> Option<Self> {
        match word {
            b"newer" => Some(Self::Newer),
            b"validated" => Some(Self::Validated),
            b"older" => Some(Self::Older),
            b"conflict" => Some(Self::Conflict),
            _ => None,
        }
    }
}

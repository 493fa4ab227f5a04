//! What is sent to the store and what comes back, as a client of it has it, and how replies are
//! read.

use std::str::{self, FromStr};

use super::Script;

/// One call of a script. It must reach the store at most once: a call that is sent again may take a
/// second token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptCall {
    /// Which script.
    pub script: Script,
    /// Its keys.
    pub keys: Vec<String>,
    /// Its arguments.
    pub arguments: Vec<Vec<u8>>,
}

impl ScriptCall {
    pub(super) const fn new(script: Script, keys: Vec<String>) -> Self {
        Self {
            script,
            keys,
            arguments: Vec::new(),
        }
    }

    pub(super) fn with(mut self, argument: &impl ToString) -> Self {
        self.arguments.push(argument.to_string().into_bytes());
        self
    }

    pub(super) fn with_bytes(mut self, argument: &[u8]) -> Self {
        self.arguments.push(argument.to_vec());
        self
    }
}

/// What a script answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptReply {
    /// A number.
    Integer(i64),
    /// A string.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Self>),
}

/// A reply that no script of ours gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store's reply to {script} is not understood: {field} is missing or wrong")]
pub struct Unreadable {
    script: &'static str,
    field: &'static str,
}

/// Reads the items of a reply one after the other.
#[derive(Debug)]
pub(super) struct Items {
    script: Script,
    items: std::vec::IntoIter<ScriptReply>,
}

impl Items {
    pub(super) fn of(script: Script, reply: ScriptReply) -> Result<Self, Unreadable> {
        match reply {
            ScriptReply::List(items) => Ok(Self {
                script,
                items: items.into_iter(),
            }),
            ScriptReply::Integer(_) | ScriptReply::Bytes(_) => Err(unreadable(script, "the list")),
        }
    }

    pub(super) fn bytes(&mut self, field: &'static str) -> Result<Vec<u8>, Unreadable> {
        match self.items.next() {
            Some(ScriptReply::Bytes(bytes)) => Ok(bytes),
            Some(ScriptReply::Integer(_) | ScriptReply::List(_)) | None => {
                Err(unreadable(self.script, field))
            }
        }
    }

    pub(super) fn whole(&mut self, field: &'static str) -> Result<u64, Unreadable> {
        match self.items.next() {
            Some(ScriptReply::Integer(number)) => {
                u64::try_from(number).map_err(|_| unreadable(self.script, field))
            }
            Some(ScriptReply::Bytes(_) | ScriptReply::List(_)) | None => {
                Err(unreadable(self.script, field))
            }
        }
    }

    /// A number that is written in a string.
    pub(super) fn written<T: FromStr>(&mut self, field: &'static str) -> Result<T, Unreadable> {
        let bytes = self.bytes(field)?;
        number(&bytes).ok_or_else(|| unreadable(self.script, field))
    }

    pub(super) fn rest(self) -> impl Iterator<Item = ScriptReply> {
        self.items
    }
}

pub(super) const fn unreadable(script: Script, field: &'static str) -> Unreadable {
    Unreadable {
        script: script.name(),
        field,
    }
}

/// Reads a number that is written in decimal digits.
pub(super) fn number<T: FromStr>(bytes: &[u8]) -> Option<T> {
    str::from_utf8(bytes).ok()?.parse().ok()
}

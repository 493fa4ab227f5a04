//! What many sidecars share through a Valkey or Redis: one budget, the leases of renders, and
//! rendered values.
//!
//! Four scripts decide, each in one step on the server, by the server's clock: `beat`, `acquire`,
//! `land` and `put`. This room has their texts ([`Script`]), what each is called with and answers
//! ([`beat`], [`acquire`], [`land`], [`put`]), how keys are named ([`KeyNames`]) and how bytes are
//! laid out ([`head`], [`lease`], [`value`]). [`model`] says in Rust what the scripts do.
//!
//! The room knows no socket, no clock, and no client of the server: bytes go in and out as
//! [`ScriptCall`] and [`ScriptReply`].

pub mod acquire;
pub mod beat;
pub mod head;
mod id;
pub mod land;
pub mod lease;
pub mod model;
mod names;
pub mod put;
mod reply;
mod script;
mod time;
pub mod value;

pub use self::{
    id::{InvalidSidecarId, SidecarId},
    names::{InvalidName, KeyNames},
    reply::{ScriptCall, ScriptReply, Unreadable},
    script::Script,
    time::{Born, StoreTime},
};

#[cfg(test)]
mod tests;

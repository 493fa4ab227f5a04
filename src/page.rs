//! The page of `evenkeel page`: what holds a sidecar or a fleet up, to be looked at.
//!
//! A client of `/status`: the sidecars are asked only while someone looks, and once for all who do.
//! What was seen becomes a [`View`](view), a pure function of numbers, and that becomes HTML, in
//! which nothing from outside stands unescaped. It works without JavaScript; with it, sections are
//! exchanged as they change. It does not know where the numbers of a sidecar come from.

mod buttons;
mod cells;
mod clip;
mod curves;
mod flow;
mod history;
mod hosts;
mod html;
mod server;
mod view;
mod watch;

pub use self::{
    buttons::{Button, Buttons},
    server::{Page, serve},
};

use std::time::Duration;

/// How often the sidecars are asked while someone looks.
const PERIOD: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;

//! What a page may be told to do, beside being looked at: only the demo's can be told anything.

use std::fmt::Debug;

use futures_util::future::BoxFuture;
use serde::Serialize;

/// Buttons of a page, and what they do.
pub trait Buttons: Debug + Send + Sync {
    /// What they are about.
    fn heading(&self) -> &'static str;

    /// What is said of them now.
    fn says(&self) -> String;

    /// The buttons as they are now.
    fn buttons(&self) -> Vec<Button>;

    /// Does what a button says. `name` is that of one of them.
    fn press(&self, name: &'static str) -> BoxFuture<'static, Result<(), String>>;
}

/// A button.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Button {
    /// Differs from that of the others.
    pub name: &'static str,
    /// What stands on it.
    pub label: &'static str,
    /// What it does.
    pub says: &'static str,
    /// Whether what it does is the case.
    pub is_pressed: bool,
}

/// Buttons as a page shows them.
#[derive(Debug, Serialize)]
pub(super) struct Pressed {
    heading: &'static str,
    says: String,
    buttons: Vec<Button>,
}

impl Pressed {
    pub(super) fn now(buttons: &dyn Buttons) -> Self {
        Self {
            heading: buttons.heading(),
            says: buttons.says(),
            buttons: buttons.buttons(),
        }
    }
}

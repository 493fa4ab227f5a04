//! The fields that hold one of a few words.

use super::setting::{JsonType, Setting, Written};

macro_rules! choice {
    ($type:ident: $accepted:literal { $($text:literal => $variant:ident,)+ }) => {
        impl $type {
            /// Its name in the settings.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text, )+ }
            }
        }

        impl Setting for $type {
            const ACCEPTED: &'static str = $accepted;
            const CHOICES: &'static [&'static str] = &[$($text),+];
            const JSON: JsonType = JsonType::Text;

            fn read(written: &Written) -> Option<Self> {
                match written.text()? {
                    $( $text => Some(Self::$variant), )+
                    _ => None,
                }
            }

            fn show(&self) -> String {
                self.as_str().to_owned()
            }
        }
    };
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

choice! {
    LogFormat: "text or json" {
        "text" => Text,
        "json" => Json,
    }
}

/// What a start waits for that finds something on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPolicy {
    /// Nothing: what was held can be answered.
    Recalled,
    /// The first contact with the renderer, as without a disk.
    Contact,
    /// That memory has all that it has room for.
    Warm,
}

choice! {
    StartPolicy: "recalled, contact or warm" {
        "recalled" => Recalled,
        "contact" => Contact,
        "warm" => Warm,
    }
}

/// The least severe events that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What broke and does not heal by itself.
    Error,
    /// What broke.
    Warn,
    /// What changed.
    Info,
    /// Every lookup and render.
    Debug,
    /// Everything.
    Trace,
}

choice! {
    LogLevel: "error, warn, info, debug or trace" {
        "error" => Error,
        "warn" => Warn,
        "info" => Info,
        "debug" => Debug,
        "trace" => Trace,
    }
}

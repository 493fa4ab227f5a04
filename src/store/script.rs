//! The texts of the scripts.

/// A script that the store runs in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Script {
    /// [`beat`](super::beat).
    Beat,
    /// [`acquire`](super::acquire).
    Acquire,
    /// [`land`](super::land).
    Land,
    /// [`put`](super::put).
    Put,
}

impl Script {
    /// Every script.
    pub const ALL: [Self; 4] = [Self::Beat, Self::Acquire, Self::Land, Self::Put];

    /// What it is called in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Beat => "beat",
            Self::Acquire => "acquire",
            Self::Land => "land",
            Self::Put => "put",
        }
    }

    /// The text, in Lua.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Beat => include_str!("scripts/beat.lua"),
            Self::Acquire => include_str!("scripts/acquire.lua"),
            Self::Land => include_str!("scripts/land.lua"),
            Self::Put => include_str!("scripts/put.lua"),
        }
    }
}

//! What people are shown figures with: tables and bars for a terminal, diagrams as self-contained
//! SVG.
//!
//! It is given names and numbers, draws them, and hands text back. It knows neither what the
//! numbers mean nor where the text goes.

mod bar;
mod diagram;
mod ladder;
mod picture;
mod table;

pub use self::{
    bar::Bar,
    diagram::{Axes, Diagram, Steps, Value},
    ladder::{AskedPart, Direction, GatePart, LadderPicture},
    picture::{Anchor, Picture},
    table::{columns, table},
};

pub mod admission;
pub mod answer;
pub mod cli;
pub mod moment;
pub mod proto;
pub mod reason;
pub mod render;
pub mod revision;

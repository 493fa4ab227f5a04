pub mod admission;
pub mod answer;
pub mod moment;
pub mod proto;
pub mod reason;
pub mod render;
pub mod revision;

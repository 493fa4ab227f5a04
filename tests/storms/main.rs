//! The sidecar as a whole, in storms: real sockets on loopback, the embedded renderer behind it,
//! and plain time.
//!
//! What a sidecar costs is counted where it hurts, in the journal of the renderer; what it says of
//! itself is read from its metrics. `support` has the words; every other module is one kind of
//! weather.

mod callers;
mod faults;
mod fleets;
mod limits;
mod releases;
mod starts;
mod support;
mod watches;

//! The contract's generated code: messages, clients and servers of `evenkeel.v1`, and its descriptors.

/// Package `evenkeel.v1`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated from proto/, where the documentation stands"
)]
pub mod v1 {
    tonic::include_proto!("evenkeel.v1");
}

/// The encoded descriptors of the contract, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/evenkeel_descriptor.bin"));

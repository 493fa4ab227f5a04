//! The contract's generated code: messages, clients and servers of `evenkeel.v1`, and its
//! descriptors. Also the names of gRPC's codes, which tonic does not spell as the specification
//! does.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Code,
    codec::{self, BufferSettings},
};
use tonic_prost::ProstCodec;

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

/// How many bytes an open stream keeps to encode its next message in, and how many it sends at the
/// most before it lets others go on. tonic keeps 8 KiB, of each of a thousand watchers; the latter
/// is its own.
const BUFFER: (usize, usize) = (1024, 32 * 1024);

/// The name of a code, as the gRPC specification spells it.
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The codec of the generated code: prost's, with small buffers.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as codec::Codec>::Encoder;
    type Decoder = <ProstCodec<T, U> as codec::Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        let (kept, sent) = BUFFER;
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(kept, sent))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::default())
    }
}

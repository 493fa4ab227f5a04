//! gRPC reflection: the contract, as a listener serves it, for people with a command line.

use tonic::{codec::CompressionEncoding, service::RoutesBuilder};
use tonic_reflection::server::Builder;

use super::config_service::MAX_REQUEST_BYTES;
use crate::proto;

/// Adds reflection of `services`, in both versions that clients speak.
pub(super) fn add(routes: &mut RoutesBuilder, services: &[&str]) {
    let builder = || {
        let builder = Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        services
            .iter()
            .copied()
            .fold(builder, Builder::with_service_name)
    };
    let v1 = builder().build_v1();
    let v1alpha = builder().build_v1alpha();
    routes
        .add_service(
            v1.expect("BUG: the descriptors decode")
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(MAX_REQUEST_BYTES),
        )
        .add_service(
            v1alpha
                .expect("BUG: the descriptors decode")
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(MAX_REQUEST_BYTES),
        );
}

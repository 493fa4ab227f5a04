//! The messages and services of `evenkeel.v1`, generated.

tonic::include_proto!("evenkeel.v1");

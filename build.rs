//! Compiles `proto/` with protox, so that no system `protoc` is needed, and keeps the descriptors
//! for reflection.

use std::{env, fs, path::PathBuf};

const ROOT: &str = "proto";
const FILES: [&str; 4] = [
    "evenkeel/v1/admin.proto",
    "evenkeel/v1/types.proto",
    "evenkeel/v1/config.proto",
    "evenkeel/v1/render.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("evenkeel_descriptor.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .bytes(".evenkeel.v1")
        .codec_path("crate::proto::Codec")
        .compile_fds(compiler.file_descriptor_set())?;

    for file in FILES {
        println!("cargo::rerun-if-changed={ROOT}/{file}");
    }
    Ok(())
}

//! Compiles the product's contract, as the product's own build script does.

const ROOT: &str = "../../../proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["evenkeel/v1/config.proto"], [ROOT])?;
    tonic_prost_build::configure()
        .bytes(".evenkeel.v1")
        .generate_default_stubs(true)
        .compile_fds(descriptors)?;
    println!("cargo::rerun-if-changed={ROOT}");
    Ok(())
}

//! What the fuzz targets read of the settings.

use super::{Invalid, Loaded, Sources, load::resolve, reading::FileReading};

/// One file of settings, with nothing else beside it.
pub(crate) fn document(bytes: &[u8]) -> Result<Loaded, Invalid> {
    let sources = Sources {
        files: vec!["settings.yaml".into()],
        ..Sources::default()
    };
    let reading = FileReading {
        identity: None,
        is_settled: true,
        is_stream: false,
        content: Ok(bytes.to_vec()),
    };
    resolve(&sources, vec![reading])
}

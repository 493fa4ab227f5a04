//! Whether what admission is told is recorded: only if the process has a file for it.

use std::sync::Arc;

use super::{SidecarError, values};
use crate::{
    moment::Clock,
    record::{RecordFile, Recorder, Recording},
    refresh::Observe,
    settings::Settings,
};

/// Starts a record, if there is a file for one; returns who is to observe, and the record.
///
/// # Errors
/// When no thread can be started that records.
pub(super) fn start(
    file: Option<RecordFile>,
    settings: &Settings,
    clock: Clock,
    observe: Arc<dyn Observe>,
) -> Result<(Arc<dyn Observe>, Option<Recording>), SidecarError> {
    let Some(file) = file else {
        return Ok((observe, None));
    };
    let start = values::record_start(settings);
    let started = Recorder::start(file, start, clock, observe);
    let (recorder, recording) = started.map_err(SidecarError::Record)?;
    Ok((Arc::new(recorder), Some(recording)))
}

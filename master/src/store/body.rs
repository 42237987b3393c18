//! What was submitted, as it is kept: bodies that earlier releases wrote stay readable.

use common::{
    ByteSize, Duration, ProgramSpec, ResourceLimits, Work,
    escape::RawText,
    frame::{FrameError, decode_record},
    program::SourceText,
};
use serde::Deserialize;

/// The form that this release writes.
pub(super) const FORM: i64 = 1;

/// Reads a body of any form that there ever was.
///
/// # Errors
/// When these are not the bytes of one.
pub(super) fn decode(form: i64, bytes: &[u8]) -> Result<ProgramSpec, FrameError> {
    if form == 0 { decode_record::<First>(bytes).map(Into::into) } else { decode_record(bytes) }
}

/// The first form: without live input, files, network and the limits on disk and open files.
#[derive(Deserialize)]
struct First {
    name: String,
    work: Work,
    arguments: Vec<RawText>,
    stdin: Option<SourceText>,
    environment: Vec<(RawText, RawText)>,
    limits: FirstLimits,
    priority: u8,
    retry: u32,
    slave: Option<String>,
}

#[derive(Deserialize)]
struct FirstLimits {
    wall_time: Duration,
    cpu_time: Option<Duration>,
    memory: ByteSize,
    processes: u32,
    output: ByteSize,
    file_size: ByteSize,
}

impl From<First> for ProgramSpec {
    fn from(first: First) -> Self {
        let First { name, work, arguments, stdin, environment, limits, priority, retry, slave } = first;
        let FirstLimits { wall_time, cpu_time, memory, processes, output, file_size } = limits;
        Self {
            arguments,
            stdin,
            environment,
            limits: ResourceLimits {
                wall_time,
                cpu_time,
                memory,
                processes,
                output,
                file_size,
                // A file that was allowed before is allowed still.
                disk: ResourceLimits::default().disk.max(file_size),
                ..ResourceLimits::default()
            },
            priority,
            retry,
            slave,
            ..Self::new(name, work)
        }
    }
}

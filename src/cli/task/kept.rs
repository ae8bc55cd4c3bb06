//! What of a task's output is not there to be shown. Whoever passes output on must say so: what is cut
//! off looks like what is whole.

use ledger_core::event::StreamDigest;
use projections::tasks::TaskView;

use crate::api::wire::Stream;
use crate::cli::output::escape::escape;
use crate::units::format_size;

/// What the latest attempt has written to a stream and nobody has, if there is such.
pub(crate) fn lacks(view: &TaskView, stream: Stream) -> Option<String> {
    let outputs = view.outputs.as_ref()?;
    let (name, digest) = match stream {
        Stream::Stdout => ("standard output", &outputs.stdout),
        Stream::Stderr => ("standard error", &outputs.stderr),
    };
    let id = &view.task_id;
    let kept = format_size(digest.bytes);
    match digest {
        StreamDigest {
            error: Some(error), ..
        } => Some(format!(
            "the {name} of task {id} could not all be kept, only {kept}: {}",
            escape(error)
        )),
        StreamDigest {
            dropped_bytes: 0, ..
        } => None,
        StreamDigest { dropped_bytes, .. } => Some(format!(
            "the {name} of task {id} was cut off at {kept} (tasks.output_limit): {} more were not kept",
            format_size(*dropped_bytes)
        )),
    }
}

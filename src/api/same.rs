//! Whether a request under an idempotency key that is known is the one that the key was first used
//! for. One that is sent again is; another one under the same key is a mistake, and to answer it with the
//! first one's receipt would hide that it was never done.

use ledger_core::event::{Payload, TaskSubmitted, Terms};
use ledger_core::ids::{Id, Seq};
use ledger_core::store::LogReader;

use super::events::event_at;
use super::wire::{ApiError, ErrorCode, SubmitRequest};
use crate::node::command::AppEvent;

/// Checks that a submit asks for the task that the key was first used for. What a request leaves to the
/// node is not compared, nor is the id, which may be drawn for each try, nor are times: `10m from now`
/// is another one whenever it is said.
///
/// # Errors
/// [`ErrorCode::Conflict`], with what differs.
pub(super) fn check_submit(
    request: &SubmitRequest,
    task: &Id,
    first: &TaskSubmitted,
) -> Result<(), ApiError> {
    let timeless = |terms: Option<&Terms>| Terms {
        not_before: None,
        expires_at: None,
        ..terms.cloned().unwrap_or_default()
    };
    let [kind, argv, cwd, env, stdin] = match (&request.payload, &first.payload) {
        (Payload::Exec(asked), Payload::Exec(first)) => [
            false,
            asked.argv != first.argv,
            asked.cwd != first.cwd,
            asked.env != first.env,
            asked.stdin != first.stdin,
        ],
        (asked, first) => [asked != first, false, false, false, false],
    };
    let other = |asked: Option<_>, first| asked.is_some_and(|asked| asked != first);
    let mut asked = timeless(request.terms.as_ref());
    // As it was recorded: each task once.
    let mut named = std::collections::BTreeSet::new();
    asked.depends_on.retain(|on| named.insert(on.clone()));
    let parts = [
        (kind, "what it runs"),
        (argv, "its command"),
        (cwd, "its directory"),
        (env, "its environment"),
        (stdin, "its input"),
        (request.priority != first.priority, "its queue"),
        (
            other(request.max_runtime_ms, first.max_runtime_ms),
            "how long it may run",
        ),
        (
            other(request.grace_ms, first.grace_ms),
            "how long it may take to end",
        ),
        (asked != timeless(first.terms.as_deref()), "its terms"),
    ];
    let differ: Vec<_> = parts
        .iter()
        .filter(|(differs, _)| *differs)
        .map(|(_, part)| *part)
        .collect();
    if differ.is_empty() {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::Conflict,
        format!("the idempotency key was used for another task, {task}"),
    )
    .because(format!("it differs in {}", differ.join(", ")))
    .hint(format!(
        "see `ledger task show {task}`; other work needs a key of its own"
    )))
}

/// Checks that an append has the events that the key was first used for, the last of which is at `seq`.
///
/// # Errors
/// [`ErrorCode::Conflict`] if it has not.
pub(super) fn check_append(
    reader: &dyn LogReader,
    events: &[AppEvent],
    seq: Seq,
) -> Result<(), ApiError> {
    let first = (seq.0 + 1).saturating_sub(events.len() as u64);
    for (asked, at) in events.iter().zip(first..) {
        let found = event_at(reader, Seq(at))?;
        let event = found.event()?;
        let header = &event.header;
        let is_same = header.kind == &*asked.kind
            && header.subject == &*asked.subject
            && event.data == asked.data;
        if !is_same {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                format!("the idempotency key was used for another append, up to seq {seq}"),
            )
            .because(format!("seq {at} is not the {} that was sent", asked.kind))
            .hint(look_at(seq)));
        }
    }
    Ok(())
}

/// What to do about a key that was used for something else, recorded there.
pub(super) fn look_at(seq: Seq) -> String {
    format!("see `ledger show {seq}`; another request needs a key of its own")
}

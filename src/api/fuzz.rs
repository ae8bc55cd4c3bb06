//! What must hold of every request body; see `ledger_core::fuzz` for the rest.

use axum::body::Bytes;
use ledger_core::codec::{self, minify_object};
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::{APP_PREFIX, Event, TaskEvent};
use ledger_core::ids::{Entity, EventId, Kind, Seq, Term, Uuid};
use ledger_core::time::{Millis, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::events::wanted;
use super::server::{Defaults, json};
use super::tasks::submit_command;
use super::wire::{
    ApiError, AppendRequest, CancelRequest, MAX_BATCH, NoteRequest, PriorityRequest, QueueRequest,
    ResumeRequest, SubmitRequest, TaskReport,
};
use crate::node::command::Command;
use crate::redact;

const DEFAULTS: Defaults = Defaults {
    max_runtime: Millis(30_000),
    grace: Millis(5_000),
};

/// The first byte says which request it is, the others are its body.
///
/// # Panics
/// If what must hold does not.
pub fn request(data: &[u8]) {
    let Some((which, body)) = data.split_first() else {
        return;
    };
    let body = Bytes::copy_from_slice(body);
    match which % 8 {
        0 => append(&body),
        1 => submit(&body),
        2 => drop(reads_back::<CancelRequest>(&body)),
        3 => drop(reads_back::<ResumeRequest>(&body)),
        5 => drop(reads_back::<PriorityRequest>(&body)),
        6 => drop(reads_back::<TaskReport>(&body)),
        7 => drop(reads_back::<QueueRequest>(&body)),
        _ => drop(reads_back::<NoteRequest>(&body)),
    }
}

/// What a body says, written and read again, is the same; a refusal says what is wrong. Returns it
/// as it was written.
fn reads_back<T: DeserializeOwned + Serialize>(body: &Bytes) -> Option<Bytes> {
    let write = |request: &T| serde_json::to_vec(request).expect("it came as JSON");
    let first = match json::<T>(body) {
        Ok(request) => write(&request),
        Err(error) => {
            refused(&error);
            return None;
        }
    };
    let first = Bytes::from(first);
    let again = json::<T>(&first).unwrap_or_else(|e| panic!("it does not read back: {e:?}"));
    assert_eq!(write(&again), first);
    Some(first)
}

fn refused(error: &ApiError) {
    assert!((400..500).contains(&error.code.http_status()), "{error:?}");
    assert!(!error.message.is_empty());
}

fn origin() -> Origin {
    Origin::of(Entity::of("uid", "0").expect("a number is an id"))
}

fn append(body: &Bytes) {
    let again = reads_back::<AppendRequest>(body);
    let (origin, asked) = match wanted(body, origin()) {
        Ok(taken) => taken,
        Err(error) => return refused(&error),
    };
    let again = again.expect("it was taken");
    let again = wanted(&again, self::origin()).map_err(|e| e.message);
    assert_eq!(again, Ok((origin.clone(), asked.clone())));
    assert!((1..=MAX_BATCH).contains(&asked.events.len()));
    for event in asked.events {
        assert!(event.kind.starts_with(APP_PREFIX));
        let kept = minify_object(&event.data);
        assert!(kept.is_ok_and(|kept| *kept == *event.data), "minified");
        assert_eq!(redact::json(&event.data), event.data, "redacted");
        encode(event.kind, event.subject, origin.clone(), event.data);
    }
}

fn submit(body: &Bytes) {
    let again = reads_back::<SubmitRequest>(body);
    let (origin, command) = match submit_command(body, origin(), DEFAULTS) {
        Ok(taken) => taken,
        Err(error) => return refused(&error),
    };
    let again = again.expect("it was taken");
    let again = submit_command(&again, self::origin(), DEFAULTS).map_err(|e| e.message);
    assert_eq!(again, Ok((origin.clone(), command.clone())));
    let Command::Submit { task, .. } = command else {
        panic!("it is no submit");
    };
    let event = Event::from(TaskEvent::Submitted(task));
    let (kind, data) = event.kind_and_data().expect("it is one of ours");
    let kind = Kind::new(kind).expect("it is one of ours");
    let subject = Entity::of("task", "x").expect("constants that follow the rule");
    encode(kind, subject, origin, data);
}

/// What was taken becomes an event of which everything holds, unless it is too large.
fn encode(kind: Kind, subject: Entity, origin: Origin, data: String) {
    let draft = Draft {
        event_id: EventId(Uuid::nil()),
        kind,
        version: 1,
        subject,
        origin,
        idempotency_key: None,
        data,
    };
    let mut out = Vec::new();
    if codec::encode(&draft, Seq(2), Term(1), Timestamp(1), &mut out).is_ok() {
        assert!(codec::decode(&out).is_ok(), "what is written is read");
        // The tests of this crate link the other without its checks, which has tests of its own.
        #[cfg(feature = "fuzzing")]
        ledger_core::fuzz::run("event", &out);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_input_that_is_kept_holds() {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/fuzz");
        let mut tried = 0;
        for kept in ["seeds", "regressions"] {
            let Ok(inputs) = fs::read_dir(tools.join(kept).join("request")) else {
                continue;
            };
            for input in inputs {
                super::request(&fs::read(input.unwrap().path()).unwrap());
                tried += 1;
            }
        }
        assert!(tried > 3);
    }
}

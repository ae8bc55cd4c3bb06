//! Every task as bytes, for checkpoints: a million tasks are restored faster than their events are
//! folded, and take a fraction of the room of their rows.
//!
//! Tasks stand in the order of their submission, each told by what differs from the one before: its
//! position and time, and what it runs from the first byte that differs on. An id that is a UUID takes
//! 16 bytes. What is rare (open attempts, terms, why something is dead) is JSON as in a row.

use std::sync::Arc;

use ledger_core::event::{Attempt, Priority};
use ledger_core::ids::{Id, Seq, Uuid};
use ledger_core::time::{Micros, Millis, Timestamp};
use serde::de::DeserializeOwned;

use super::packed::Packed;
use super::state::{AttemptRecord, Closing, Task, TaskState, Tasks};
use crate::framework::{Packer, RestoreError, Unpackable, Unpacker};

/// What a task's first byte says.
const SAME_SUBMITTER: u8 = 1;
const CORRELATED: u8 = 2;
const SAME_LIMITS: u8 = 4;
const TERMS: u8 = 8;
const TROUBLED: u8 = 16;
const UUID: u8 = 32;

/// What stands for a state.
const QUEUED: u8 = 0;
const COMPLETED: u8 = 1;
const WRITTEN: u8 = 2;

/// What stands for a way to end.
const WELL: u8 = 0;
const OTHERWISE: u8 = 1;

const PLAIN: &str = "they hold only texts, numbers and string-keyed maps";

/// What the next task is told by.
struct Before<'a> {
    submitted: u64,
    at: u64,
    by: Arc<str>,
    limits: (Millis, Millis),
    payload: &'a str,
}

impl Default for Before<'_> {
    fn default() -> Self {
        Self {
            submitted: 0,
            at: 0,
            by: "".into(),
            limits: (Millis(0), Millis(0)),
            payload: "",
        }
    }
}

impl Tasks {
    /// All of it as bytes; [`Tasks::unpack`] is the inverse.
    pub fn pack(&self) -> Vec<u8> {
        let mut packer = Packer::new();
        packer.number(self.tasks.len() as u64);
        let mut before = Before::default();
        for task in self.tasks.values() {
            pack(task, &mut before, &mut packer);
        }
        let mut rest = Vec::new();
        self.queue_and_rate_rows(&mut |key, value| rest.push((key.to_owned(), value.to_owned())));
        packer.number(rest.len() as u64);
        for (key, value) in rest {
            packer.text(&key);
            packer.text(&value);
        }
        packer.into_bytes()
    }

    /// The tasks that [`Tasks::pack`] wrote. The bytes must be known to be those: see
    /// [`crate::framework::Packer`].
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn unpack(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut unpacker = Unpacker::new(bytes);
        let mut tasks = Self::default();
        let count = unpacker.count()?;
        let mut all = Vec::with_capacity(count);
        let mut before = Before::default();
        // The payload before is kept apart: its task has gone into the list.
        let mut payload = String::new();
        for _ in 0..count {
            let task = unpack(&mut unpacker, &mut before, &mut payload)?;
            all.push((task.submitted, Box::new(task)));
        }
        tasks.fill(all)?;
        for _ in 0..unpacker.count()? {
            let (key, value) = (unpacker.text()?, unpacker.text()?);
            if !key.contains('/') {
                return Err(Unpackable.into());
            }
            tasks
                .restore(key, value)
                .map_err(|reason| RestoreError::row(key, reason))?;
        }
        unpacker.end()?;
        Ok(tasks)
    }

    /// Takes tasks in the order of their submission.
    fn fill(&mut self, all: Vec<(Seq, Box<Task>)>) -> Result<(), RestoreError> {
        if !all.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            return Err(Unpackable.into());
        }
        let seqs: Vec<Seq> = all.iter().map(|(seq, _)| *seq).collect();
        // Sorted, so that the tree is built in one go.
        self.tasks = all.into_iter().collect();
        self.by_id.reserve(seqs.len());
        for seq in seqs {
            let tasks = &self.tasks;
            let id_at = |seq| tasks.get(&seq).map_or("", |task| &*task.id);
            if !self.by_id.insert_new(id_at(seq), seq, id_at) {
                return Err(RestoreError::row(id_at(seq), "it is there twice"));
            }
            self.index(seq);
        }
        Ok(())
    }
}

fn pack<'a>(task: &'a Task, before: &mut Before<'a>, packer: &mut Packer) {
    let uuid = Uuid::try_parse(&task.id).ok();
    let uuid = uuid.filter(|uuid| *uuid.hyphenated().to_string() == *task.id);
    let limits = (task.max_runtime_ms, task.grace_ms);
    let troubled = task.lost > 0 || task.failed > 0;
    let flags = [
        (*task.submitted_by == *before.by, SAME_SUBMITTER),
        (task.correlation.is_some(), CORRELATED),
        (limits == before.limits, SAME_LIMITS),
        (task.terms.is_some(), TERMS),
        (troubled, TROUBLED),
        (uuid.is_some(), UUID),
    ];
    let flags = flags
        .into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, flag)| flag);
    packer.byte(flags.fold(0, |all, flag| all | flag));
    packer.from_base(task.submitted.0, before.submitted);
    packer.from_base(task.submitted_at.0, before.at);
    match uuid {
        Some(uuid) => packer.bytes(uuid.as_bytes()),
        None => packer.text(&task.id),
    }
    if *task.submitted_by != *before.by {
        packer.text(&task.submitted_by);
    }
    if let Some(correlation) = &task.correlation {
        packer.text(correlation);
    }
    packer.byte(task.priority.level() << 2 | task.original_priority.level());
    let payload = task.payload.as_str();
    let same = common(before.payload, payload);
    packer.number(same as u64);
    packer.text(&payload[same..]);
    if limits != before.limits {
        packer.number(limits.0.0);
        packer.number(limits.1.0);
    }
    if let Some(terms) = &task.terms {
        packer.text(&serde_json::to_string(terms).expect(PLAIN));
    }
    if troubled {
        packer.number(task.lost.into());
        packer.number(task.failed.into());
    }
    pack_state(task, packer);
    packer.number(task.attempts.len() as u64);
    for attempt in &task.attempts {
        pack_attempt(task, attempt, packer);
    }
    *before = Before {
        submitted: task.submitted.0,
        at: task.submitted_at.0,
        by: Arc::clone(&task.submitted_by),
        limits,
        payload,
    };
}

/// How many bytes two texts begin with alike, up to the end of a character of the second.
fn common(a: &str, b: &str) -> usize {
    let alike = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b);
    b.floor_char_boundary(alike.count())
}

fn pack_state(task: &Task, packer: &mut Packer) {
    match &task.state {
        TaskState::Queued {
            since,
            since_at,
            next,
            backoff_until,
        } => {
            packer.byte(QUEUED);
            packer.from_base(since.0, task.submitted.0);
            packer.from_base(since_at.0, task.submitted_at.0);
            packer.number(next.0.into());
            packer.byte(u8::from(backoff_until.is_some()));
            if let Some(until) = backoff_until {
                packer.from_base(until.0, since_at.0);
            }
        }
        TaskState::Completed { at } => {
            packer.byte(COMPLETED);
            packer.from_base(at.0, task.submitted_at.0);
        }
        TaskState::Running(_)
        | TaskState::Cancelling { .. }
        | TaskState::Undecided
        | TaskState::Cancelled { .. }
        | TaskState::Dead { .. } => {
            packer.byte(WRITTEN);
            packer.text(&serde_json::to_string(&task.state).expect(PLAIN));
        }
    }
}

fn pack_attempt(task: &Task, attempt: &AttemptRecord, packer: &mut Packer) {
    packer.number(attempt.attempt.0.into());
    packer.from_base(attempt.ordered.0, task.submitted.0);
    packer.from_base(attempt.closed.0, attempt.ordered.0);
    packer.from_base(attempt.closed_at.0, task.submitted_at.0);
    match attempt.closing {
        Closing::Completed => packer.byte(WELL),
        other => {
            packer.byte(OTHERWISE);
            packer.text(&serde_json::to_string(&other).expect(PLAIN));
        }
    }
    packer.number(attempt.runtime_us.0);
    packer.byte(attempt.queue.level());
    packer.byte(attempt.boost);
    packer.byte(attempt.demoted_to.map_or(0, |queue| queue.level() + 1));
}

fn unpack(
    unpacker: &mut Unpacker<'_>,
    before: &mut Before<'_>,
    payload: &mut String,
) -> Result<Task, RestoreError> {
    let flags = unpacker.byte()?;
    let has = |flag| flags & flag != 0;
    let submitted = unpacker.from_base(before.submitted)?;
    let at = unpacker.from_base(before.at)?;
    let id = if has(UUID) {
        let uuid = Uuid::from_slice(unpacker.bytes(16)?).map_err(|_| Unpackable)?;
        let mut buffer = Uuid::encode_buffer();
        id(uuid.hyphenated().encode_lower(&mut buffer))?
    } else {
        id(unpacker.text()?)?
    };
    if !has(SAME_SUBMITTER) {
        before.by = unpacker.text()?.into();
    }
    let correlation = if has(CORRELATED) {
        Some(self::id(unpacker.text()?)?)
    } else {
        None
    };
    let queues = unpacker.byte()?;
    let same = usize::try_from(unpacker.number()?).map_err(|_| Unpackable)?;
    if !payload.is_char_boundary(same) {
        return Err(Unpackable.into());
    }
    payload.truncate(same);
    payload.push_str(unpacker.text()?);
    if !has(SAME_LIMITS) {
        before.limits = (Millis(unpacker.number()?), Millis(unpacker.number()?));
    }
    let terms = if has(TERMS) {
        Some(json(unpacker.text()?)?)
    } else {
        None
    };
    let (lost, failed) = if has(TROUBLED) {
        (unpacker.small()?, unpacker.small()?)
    } else {
        (0, 0)
    };
    (before.submitted, before.at) = (submitted, at);
    let mut task = Task {
        id,
        submitted: Seq(submitted),
        submitted_at: Timestamp(at),
        submitted_by: Arc::clone(&before.by),
        correlation,
        priority: queue(queues >> 2)?,
        original_priority: queue(queues & 3)?,
        payload: Packed::known(payload),
        max_runtime_ms: before.limits.0,
        grace_ms: before.limits.1,
        terms,
        state: unpack_state(unpacker, submitted, at)?,
        lost,
        failed,
        attempts: Vec::new(),
    };
    let attempts = unpacker.count()?;
    task.attempts.reserve_exact(attempts);
    for _ in 0..attempts {
        let attempt = unpack_attempt(unpacker, &task)?;
        task.attempts.push(attempt);
    }
    Ok(task)
}

fn unpack_state(
    unpacker: &mut Unpacker<'_>,
    submitted: u64,
    submitted_at: u64,
) -> Result<TaskState, RestoreError> {
    Ok(match unpacker.byte()? {
        QUEUED => {
            let since = Seq(unpacker.from_base(submitted)?);
            let since_at = unpacker.from_base(submitted_at)?;
            let next = Attempt(unpacker.small()?);
            let backoff_until = match unpacker.byte()? {
                0 => None,
                _ => Some(Timestamp(unpacker.from_base(since_at)?)),
            };
            TaskState::Queued {
                since,
                since_at: Timestamp(since_at),
                next,
                backoff_until,
            }
        }
        COMPLETED => TaskState::Completed {
            at: Timestamp(unpacker.from_base(submitted_at)?),
        },
        WRITTEN => json(unpacker.text()?)?,
        _ => return Err(Unpackable.into()),
    })
}

fn unpack_attempt(unpacker: &mut Unpacker<'_>, task: &Task) -> Result<AttemptRecord, RestoreError> {
    let attempt = Attempt(unpacker.small()?);
    let ordered = unpacker.from_base(task.submitted.0)?;
    let closed = Seq(unpacker.from_base(ordered)?);
    let closed_at = Timestamp(unpacker.from_base(task.submitted_at.0)?);
    let closing = match unpacker.byte()? {
        WELL => Closing::Completed,
        OTHERWISE => json(unpacker.text()?)?,
        _ => return Err(Unpackable.into()),
    };
    Ok(AttemptRecord {
        attempt,
        ordered: Seq(ordered),
        closed,
        closed_at,
        closing,
        runtime_us: Micros(unpacker.number()?),
        queue: queue(unpacker.byte()?)?,
        boost: unpacker.byte()?,
        demoted_to: match unpacker.byte()? {
            0 => None,
            queue => Some(self::queue(queue - 1)?),
        },
    })
}

fn id(text: &str) -> Result<Id, RestoreError> {
    Id::new(text).map_err(|e| RestoreError::row(text, e.to_string()))
}

fn queue(level: u8) -> Result<Priority, Unpackable> {
    Priority::ALL
        .get(usize::from(level))
        .copied()
        .ok_or(Unpackable)
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, RestoreError> {
    serde_json::from_str(text).map_err(|e| RestoreError::row("", e.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::framework::{Projection, rebuild, unwatched};
    use crate::testkit::History;

    fn rows(tasks: &Tasks) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        tasks.rows(&mut |k, v| rows.push((k.to_owned(), v.to_owned())));
        rows
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_packed_is_unpacked_to_the_byte_and_goes_on_alike(
            choices in prop::collection::vec(any::<u32>(), 0..200),
            more in prop::collection::vec(any::<u32>(), 0..60),
        ) {
            let mut history = History::drawn(&choices);
            let mut fold = rebuild::<Tasks>(history.store(), None, &mut unwatched).unwrap();
            let packed = fold.state().pack();
            let unpacked = Tasks::unpack(&packed).unwrap();
            prop_assert_eq!(rows(&unpacked), rows(fold.state()));
            prop_assert_eq!(unpacked.pack(), packed);
            // The indexes are right too: what follows leads to the same, and is picked alike.
            let mut other = crate::framework::Fold::resume(unpacked, fold.position());
            more.iter().for_each(|choice| history.step(*choice));
            for fold in [&mut fold, &mut other] {
                crate::framework::catch_up(fold, history.store(), None, &mut unwatched).unwrap();
            }
            prop_assert_eq!(other.health(), fold.health());
            prop_assert_eq!(rows(other.state()), rows(fold.state()));
            for queue in Priority::ALL {
                prop_assert_eq!(other.state().queued_count(queue), fold.state().queued_count(queue));
                prop_assert_eq!(other.state().open_in(queue), fold.state().open_in(queue));
            }
        }

        #[test]
        fn whatever_bytes_are_unpacked_end_without_a_panic(
            choices in prop::collection::vec(any::<u32>(), 0..60),
            at in any::<prop::sample::Index>(), mask in 1_u8..,
        ) {
            let history = History::drawn(&choices);
            let fold = rebuild::<Tasks>(history.store(), None, &mut unwatched).unwrap();
            let mut packed = fold.state().pack();
            let at = at.index(packed.len());
            packed[at] ^= mask;
            let _ = Tasks::unpack(&packed);
            packed.truncate(at);
            prop_assert!(Tasks::unpack(&packed).is_err());
        }
    }
}

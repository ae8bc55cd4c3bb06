//! Virtual time: a clock that jumps to whatever happens next.
//!
//! At one instant attempts end first, then what people do happens (tasks are handed over and taken
//! back), then is decided what follows, as in a node that works off its inputs before it decides. An
//! attempt begins the moment it is ordered and nothing is spent on starting or ending processes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use ledger_core::envelope::Header;
use ledger_core::event::{
    Event, LadderCause, Outputs, ProcessEnd, StreamDigest, TaskEvent, TaskStarted, Usage,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{EventId, Id, Seq, Term, Uuid};
use ledger_core::time::{Micros, Timestamp};
use projections::framework::{ApplyError, Projection};
use projections::tasks::{TaskState, Tasks};

use super::bound::{Rules, Stay, Until};
use super::chance::Chance;
use super::outcome::{Ending, Fate, HeldBy, Outcome, Spell, Wait};
use super::work::{Course, Discipline, Manner, Reaper, Settings, Work};
use crate::decided::Decided;
use crate::scheduler::decide::{self, EndResult, Ended, Refusal};
use crate::scheduler::dispatch;
use crate::scheduler::policy::Policy;

/// Most starts in one simulation: a workload whose tasks are lost and retried a thousand times each
/// must not run for hours.
pub const MAX_STARTS: usize = 20_000_000;

/// Why a simulation can't be carried through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Two tasks have the same id.
    #[error("there are two tasks {0}")]
    Twice(Id),
    /// What was decided does not fit what was folded: a fault of this program.
    #[error("a decision did not fit the state it was made for: {0}")]
    Misfit(ApplyError),
    /// See [`MAX_STARTS`].
    #[error("more than {MAX_STARTS} attempts were started")]
    TooLong,
}

/// What a simulation found, and what is needed to check its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What came of the workload.
    pub outcome: Outcome,
    /// Every stay of a task in a queue.
    pub stays: Vec<Stay>,
    /// The rules by which their order can be checked, if nothing but queues decided it.
    pub rules: Option<Rules>,
}

/// Runs a workload.
///
/// # Errors
/// [`EngineError`].
pub fn run(work: &[Work], settings: &Settings) -> Result<Run, EngineError> {
    let mut order: Vec<usize> = (0..work.len()).collect();
    order.sort_by_key(|n| (work[*n].arrival, *n));
    let mut engine = Engine::new(work, settings);
    engine.run(&order)?;
    Ok(engine.finish(&order))
}

/// What will happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The attempt of this number ends.
    End(usize),
    /// Somebody takes the task of this number back.
    Withdraw(usize),
}

/// An attempt that was started.
#[derive(Debug, Clone, Copy)]
struct Attempted {
    task: usize,
    stay: usize,
    spell: Spell,
    by: Option<Close>,
}

/// By what an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    Itself(Manner),
    Limit,
    Standstill,
}

struct Engine<'w> {
    work: &'w [Work],
    discipline: Discipline,
    policy: Policy,
    reaper: Reaper,
    horizon: Option<Timestamp>,
    chance: Chance,
    node: Id,
    tasks: Tasks,
    seq: u64,
    now: Timestamp,
    ahead: BinaryHeap<Reverse<(Timestamp, What)>>,
    attempts: Vec<Attempted>,
    stays: Vec<Stay>,
    /// Of each task: its open attempt, its first wait, and whether it was refused.
    open: Vec<Option<usize>>,
    first: Vec<Option<(Timestamp, Micros)>>,
    refused: Vec<bool>,
    /// By the event that brought it: which of the tasks it is.
    numbers: BTreeMap<Seq, usize>,
}

impl<'w> Engine<'w> {
    fn new(work: &'w [Work], settings: &Settings) -> Self {
        Self {
            work,
            discipline: settings.discipline,
            policy: settings.discipline.policy(settings.policy.clone()),
            reaper: settings.reaper,
            horizon: settings.horizon,
            chance: Chance::new(settings.seed),
            node: Id::new("simulated").expect("a literal id that follows the rule"),
            tasks: Tasks::default(),
            seq: 0,
            now: Timestamp(0),
            ahead: BinaryHeap::new(),
            attempts: Vec::new(),
            stays: Vec::new(),
            open: vec![None; work.len()],
            first: vec![None; work.len()],
            refused: vec![false; work.len()],
            numbers: BTreeMap::new(),
        }
    }

    fn run(&mut self, order: &[usize]) -> Result<(), EngineError> {
        let mut arriving = order.iter().copied().peekable();
        let mut due = None;
        loop {
            let arrival = arriving.peek().map(|n| self.work[*n].arrival);
            let planned = self.ahead.peek().map(|Reverse((at, _))| *at);
            let Some(next) = [arrival, planned, due].into_iter().flatten().min() else {
                return Ok(());
            };
            if self.horizon.is_some_and(|horizon| next > horizon) {
                return Ok(());
            }
            self.now = next;
            self.happen(|what| matches!(what, What::End(_)))?;
            while let Some(n) = arriving.next_if(|n| self.work[*n].arrival <= next) {
                self.submit(n)?;
            }
            self.happen(|_| true)?;
            self.decide()?;
            let then = dispatch::next_due(&self.tasks, &self.policy, self.now);
            // What could be decided at once has been; what is left of that waits for something else.
            due = then.filter(|at| *at > self.now);
        }
    }

    /// Works off what was planned for now, as far as it is wanted.
    fn happen(&mut self, wanted: impl Fn(&What) -> bool) -> Result<(), EngineError> {
        while let Some(Reverse((at, what))) = self.ahead.peek().copied() {
            if at > self.now || !wanted(&what) {
                return Ok(());
            }
            self.ahead.pop();
            match what {
                What::End(attempt) => self.end(attempt)?,
                What::Withdraw(n) => self.withdraw(n)?,
            }
        }
        Ok(())
    }

    fn submit(&mut self, n: usize) -> Result<(), EngineError> {
        let work = &self.work[n];
        let submission = work.submission(self.discipline.queue(work.queue));
        match decide::submit(&self.tasks, &work.id, submission, self.now) {
            Ok(decided) => {
                self.apply(&decided)?;
                self.numbers.insert(Seq(self.seq), n);
            }
            Err(Refusal::Exists(id)) => return Err(EngineError::Twice(id)),
            // What it depends on failed here and had not when it was really handed over.
            Err(_) => {
                self.refused[n] = true;
                return Ok(());
            }
        }
        if let Some(at) = work.withdrawn {
            self.ahead
                .push(Reverse((at.max(self.now), What::Withdraw(n))));
        }
        Ok(())
    }

    /// Everything that follows by itself.
    fn decide(&mut self) -> Result<(), EngineError> {
        while let Some(decided) = dispatch::perish(&self.tasks, self.now) {
            self.leave(decided.subject.id());
            self.apply(&decided)?;
        }
        while let Some(decided) =
            dispatch::dispatch(&self.tasks, &self.policy, &self.node, self.now)
        {
            if self.attempts.len() == MAX_STARTS {
                return Err(EngineError::TooLong);
            }
            self.start(&decided);
            self.apply(&decided)?;
        }
        Ok(())
    }

    /// Which of the tasks this is.
    fn number(&self, id: &str) -> Option<usize> {
        let submitted = self.tasks.get(id)?.submitted;
        self.numbers.get(&submitted).copied()
    }

    fn start(&mut self, decided: &Decided) {
        let (Event::Task(TaskEvent::Started(started)), Some(n)) =
            (&decided.event, self.number(decided.subject.id()))
        else {
            return;
        };
        let stay = self.stays.len();
        self.stays.push(Stay {
            queue: started.queue,
            ready_at: Timestamp(self.now.0.saturating_sub(started.waited_us.0)),
            since: self.since(n),
            until: Until::Started {
                at: self.now,
                order: self.attempts.len(),
                ended: None,
            },
        });
        self.first[n].get_or_insert((self.now, started.waited_us));
        let (end, held_by) = self.course(n, started);
        let number = self.attempts.len();
        if let Some((after, _)) = end {
            let at = Timestamp(self.now.0.saturating_add(after.0));
            self.ahead.push(Reverse((at, What::End(number))));
        }
        self.attempts.push(Attempted {
            task: n,
            stay,
            spell: Spell {
                task: n,
                started: self.now,
                ended: None,
                held_by,
            },
            by: end.map(|(_, by)| by),
        });
        self.open[n] = Some(number);
    }

    /// After how long an attempt will end and by what, if it will, and what its slot is held by.
    fn course(&self, n: usize, started: &TaskStarted) -> (Option<(Micros, Close)>, HeldBy) {
        let work = &self.work[n];
        let limit = Micros(work.max_runtime.0.saturating_mul(1000));
        match (work.course(started.attempt.0), self.reaper) {
            (Course::Hangs | Course::Stalls(_), Reaper::Off) => (None, HeldBy::Hung),
            (Course::Stalls(after), Reaper::On) if after < limit => {
                (Some((after, Close::Standstill)), HeldBy::Overdue)
            }
            (Course::Hangs | Course::Stalls(_), Reaper::On) => {
                (Some((limit, Close::Limit)), HeldBy::Overdue)
            }
            (Course::Ends(after, _), Reaper::On) if after > limit => {
                (Some((limit, Close::Limit)), HeldBy::Overdue)
            }
            (Course::Ends(after, manner), _) => {
                let held_by = match manner {
                    Manner::Well | Manner::Badly => HeldBy::Work,
                    Manner::Cancelled => HeldBy::Unwanted,
                    Manner::Lost => HeldBy::Dead,
                };
                (Some((after, Close::Itself(manner))), held_by)
            }
        }
    }

    /// An attempt ends as was planned when it was started.
    fn end(&mut self, number: usize) -> Result<(), EngineError> {
        let Attempted {
            task: n, spell, by, ..
        } = self.attempts[number];
        match by {
            // It was taken back before.
            _ if spell.ended.is_some() => Ok(()),
            None => Ok(()),
            Some(Close::Limit) => self.close(n, Some(LadderCause::MaxRuntime), 0),
            Some(Close::Standstill) => self.close(n, Some(LadderCause::Stalled), 0),
            Some(Close::Itself(Manner::Well)) => self.close(n, None, 0),
            Some(Close::Itself(Manner::Badly)) => self.close(n, None, 1),
            Some(Close::Itself(Manner::Cancelled)) => self.withdraw(n),
            Some(Close::Itself(Manner::Lost)) => {
                let task = self.tasks.get(&self.work[n].id);
                let decided = task.and_then(|task| {
                    Some(decide::lost(task, task.run()?, "lost in the simulation", 0))
                });
                self.closed(n, &decided.unwrap_or_default())
            }
        }
    }

    /// Somebody takes a task back, wherever it stands.
    fn withdraw(&mut self, n: usize) -> Result<(), EngineError> {
        let id = &self.work[n].id;
        let Ok(Some(decided)) = decide::cancel(&self.tasks, id, None) else {
            // It has ended.
            return Ok(());
        };
        if self.open[n].is_none() {
            self.leave(id);
            return self.apply(&decided);
        }
        self.apply(&decided)?;
        if let Some(number) = self.open[n]
            && self.attempts[number].spell.held_by == HeldBy::Work
        {
            self.attempts[number].spell.held_by = HeldBy::Unwanted;
        }
        self.close(n, Some(LadderCause::Cancel), 0)
    }

    /// The open attempt of a task is over.
    fn close(
        &mut self,
        n: usize,
        cause: Option<LadderCause>,
        code: i32,
    ) -> Result<(), EngineError> {
        let draw = self.chance.bits();
        let decided = self.tasks.get(&self.work[n].id).and_then(|task| {
            let run = task.run()?;
            let outcome = Ended {
                process: None,
                result: EndResult::Ran(ProcessEnd::Exited { code }),
                ladder: cause.map(|cause| (cause, Vec::new())),
                runtime_us: self.now.since(run.ordered_at),
                usage: Usage::default(),
                outputs: nothing(),
            };
            let policy = &self.policy;
            Some(decide::ended(task, run, &outcome, policy, self.now, draw))
        });
        self.closed(n, &decided.unwrap_or_default())
    }

    fn closed(&mut self, n: usize, decided: &[Decided]) -> Result<(), EngineError> {
        if let Some(number) = self.open[n].take() {
            let attempt = &mut self.attempts[number];
            attempt.spell.ended = Some(self.now);
            if let Until::Started { ended, .. } = &mut self.stays[attempt.stay].until {
                *ended = Some(self.now);
            }
        }
        decided.iter().try_for_each(|decided| self.apply(decided))
    }

    /// A task leaves its queue for good.
    fn leave(&mut self, id: &str) {
        let stay = self.waiting(id, Until::Left(self.now));
        self.stays.extend(stay);
    }

    /// Where a task stands that waits and could be started.
    fn waiting(&self, id: &str, until: Until) -> Option<Stay> {
        let task = self.tasks.get(id)?;
        let TaskState::Queued { since, .. } = task.state else {
            return None;
        };
        let ready_at = self.tasks.ready_at(task).filter(|at| *at <= self.now)?;
        Some(Stay {
            queue: task.priority,
            ready_at,
            since,
            until,
        })
    }

    fn since(&self, n: usize) -> Seq {
        match self.tasks.get(&self.work[n].id).map(|task| &task.state) {
            Some(TaskState::Queued { since, .. }) => *since,
            _ => Seq::ZERO,
        }
    }

    /// Folds an event as if it had been read from a log.
    fn apply(&mut self, decided: &Decided) -> Result<(), EngineError> {
        // Only what a task is told of has a kind: there are no processes here.
        let Some(kind) = decided.event.kind_and_data().map(|(kind, _)| kind) else {
            return Ok(());
        };
        self.seq += 1;
        let header = Header {
            seq: Seq(self.seq),
            term: Term(1),
            recorded_at: self.now,
            event_id: EventId(Uuid::nil()),
            kind,
            version: 1,
            subject: decided.subject.as_str(),
            actor: "node/simulated",
            claimed_actor: None,
            cause: None,
            correlation: None,
            traceparent: None,
            idempotency_key: None,
        };
        let applied = self.tasks.apply(&header, &decided.event);
        applied.map_err(EngineError::Misfit)
    }

    fn finish(mut self, order: &[usize]) -> Run {
        let begin = order.first().map_or(self.now, |n| self.work[*n].arrival);
        let end = self.horizon.unwrap_or(self.now).max(begin);
        self.now = end;
        let arrived = order.iter().take_while(|n| self.work[**n].arrival <= end);
        let mut tasks = Vec::new();
        for &n in arrived {
            let still = self.waiting(&self.work[n].id, Until::Waits);
            self.stays.extend(still);
            tasks.push(self.fate(n, still));
        }
        let keyed = |work: &Work| {
            let terms = work.terms.as_deref();
            terms.is_some_and(|t| t.rate_key.is_some() || t.concurrency_key.is_some())
        };
        let limited = self.policy.queues.iter().any(|q| q.max_running.is_some());
        let rules = (!limited && !self.work.iter().any(keyed)).then(|| Rules {
            slots: self.policy.max_running,
            boost_after: self.policy.queues.map(|queue| queue.boost_after),
            end,
        });
        Run {
            outcome: Outcome {
                begin,
                end,
                tasks,
                spells: self.attempts.iter().map(|a| a.spell).collect(),
            },
            stays: self.stays,
            rules,
        }
    }

    fn fate(&self, n: usize, still: Option<Stay>) -> Fate {
        let work = &self.work[n];
        let ended = match self.tasks.get(&work.id).map(|task| &task.state) {
            Some(TaskState::Completed { at }) => Some((*at, Ending::Completed)),
            Some(TaskState::Cancelled { at, .. }) => Some((*at, Ending::Cancelled)),
            Some(TaskState::Dead { at, .. }) => Some((*at, Ending::Dead)),
            None if self.refused[n] => Some((work.arrival, Ending::Refused)),
            _ => None,
        };
        let was = self.first[n].map(|(_, wait)| Wait::Was(wait));
        let still = still.map(|stay| Wait::Still(self.now.since(stay.ready_at)));
        Fate {
            task: n,
            queue: work.queue,
            arrival: work.arrival,
            wait: was.or(still).unwrap_or(Wait::None),
            started: self.first[n].map(|(at, _)| at),
            ended,
        }
    }
}

/// What an attempt writes here.
fn nothing() -> Outputs {
    let stream = StreamDigest {
        bytes: 0,
        blake3: Hash::ZERO,
        tail: String::new(),
        dropped_bytes: 0,
        error: None,
    };
    Outputs {
        stdout: stream.clone(),
        stderr: stream,
    }
}

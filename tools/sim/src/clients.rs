//! Clients and operators: what is asked of the nodes. Answers are what the invariants rest on; who gets
//! none asks something else.

use std::collections::BTreeMap;

use ledger_core::envelope::Origin;
use ledger_core::event::{
    Attempt, Builtin, BuiltinJob, Exec, JobSpec, Missed, Overlap, Payload, Priority, Schedule,
    TaskSubmitted, Terms,
};
use ledger_core::ids::{Id, Seq};
use ledger_core::time::{Millis, Timestamp};
use opsledger::node::command::{AppEvent, Command, Input, Rejected, Reply};

use crate::plan::SECOND;
use crate::world::{Happening, World, entity, id};

/// How many jobs there may be.
const JOBS: u64 = 3;

/// What is known of clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    next: u64,
    /// How many checkpoints were begun.
    pub(crate) checkpoints: u64,
}

impl World {
    /// A client asks something, and another one later.
    pub(crate) fn ask_something(&mut self) {
        if self.healing.is_some() {
            return;
        }
        let again = self.streams.work.between(1, 2 * self.plan.ask_every);
        self.later(again, Happening::Ask);
        let command = self.some_command();
        let Some(slot) = self.leader() else { return };
        self.ask(slot, command);
    }

    /// Whoever a client would take for the leader: it may stand still, or have stopped by now.
    pub(crate) fn leader(&mut self) -> Option<usize> {
        (0..self.nodes.len()).find(|slot| self.nodes[*slot].leading().is_some())
    }

    pub(crate) fn ask(&mut self, slot: usize, command: Command) {
        self.ask_as(slot, Origin::of(entity("uid/7")), command);
    }

    pub(crate) fn ask_as(&mut self, slot: usize, origin: Origin, command: Command) {
        let Some(leading) = self.nodes[slot].leading() else {
            return;
        };
        let request = leading.request();
        leading.asked.ask(request, command.clone());
        let input = Input::Request {
            id: request,
            origin,
            command,
        };
        self.tell(slot, input);
    }

    fn some_command(&mut self) -> Command {
        match self.streams.work.below(24) {
            0..=9 => self.submit(),
            10 | 11 => self.about_a_task(|task_id| Command::Cancel {
                task_id,
                reason: None,
            }),
            12 => self.about_a_task(|task_id| Command::Retry { task_id }),
            13 => self.about_a_task(|task_id| Command::AwaitEnd { task_id }),
            14 => {
                let priority = *self.streams.work.pick(&Priority::ALL);
                self.about_a_task(|task_id| Command::SetPriority { task_id, priority })
            }
            15 => self.about_a_task(|task_id| Command::RetryAfter {
                task_id,
                attempt: Attempt(1),
                retry_after: Millis(50),
            }),
            16 => {
                let queue = *self.streams.work.pick(&Priority::ALL);
                let reason = None;
                match self.streams.work.one_in(3) {
                    true => Command::PauseQueue { queue, reason },
                    false => Command::ResumeQueue { queue, reason },
                }
            }
            17 => {
                let drawn = self.streams.work.below(1 << (JOBS + 1));
                let jobs = jobs_of(drawn, 1 + (drawn >> JOBS));
                Command::DefineJobs { jobs }
            }
            18 => {
                let job = id(&format!("j{}", self.streams.work.below(JOBS)));
                let reason = None;
                match self.streams.work.below(3) {
                    0 => Command::TriggerJob { job },
                    1 => Command::PauseJob { job, reason },
                    _ => Command::ResumeJob { job },
                }
            }
            _ => self.append_something(),
        }
    }

    fn submit(&mut self) -> Command {
        self.clients.next += 1;
        let draws = &mut self.streams.work;
        let n = draws.below(60);
        let key = n.is_multiple_of(5).then(|| id(&format!("k{}", n % 3)));
        let payload = match n % 7 {
            3 => builtin(),
            _ => Payload::Exec(Exec {
                argv: vec!["x".into()],
                env: BTreeMap::new(),
                cwd: None,
                stdin: None,
            }),
        };
        let max_runtime_ms = Millis(draws.between(100, 8_000));
        let named = draws.one_in(2).then_some(self.clients.next);
        let task = TaskSubmitted {
            priority: Priority::ALL[(n % 3) as usize],
            payload,
            max_runtime_ms,
            grace_ms: Millis(10),
            terms: self.terms(n),
        };
        // Some names come again, as those of clients do that try again.
        let task_id = named.map(|next| id(&format!("t{}", next - next % 2)));
        Command::Submit { task_id, task, key }
    }

    /// For one in three: whatever they are, the task can keep them in the end.
    fn terms(&mut self, n: u64) -> Option<Box<Terms>> {
        if !n.is_multiple_of(3) {
            return None;
        }
        let now = Timestamp(self.clocks.wall().0);
        let ahead = |ms| Some(now.plus(Millis(ms)));
        Some(Box::new(Terms {
            max_attempts: 3,
            not_before: if n.is_multiple_of(2) {
                ahead(200)
            } else {
                None
            },
            expires_at: if n.is_multiple_of(9) {
                ahead(6_000)
            } else {
                None
            },
            depends_on: match n.is_multiple_of(6) {
                true => vec![id(&format!("t{}", self.clients.next / 2 * 2))],
                false => Vec::new(),
            },
            rate_key: Some(id("r")),
            concurrency_key: n.is_multiple_of(5).then(|| id("c")),
            stall_after_ms: None,
        }))
    }

    /// About a task that is durable.
    fn about_a_task(&mut self, ask: impl FnOnce(Id) -> Command) -> Command {
        let len = self.mirror.tasks.len();
        if len == 0 {
            return self.submit();
        }
        // Those that came last are those that something may still become of.
        let back = self.streams.work.index(len.min(20));
        let task = self.mirror.tasks.iter().rev().nth(back);
        match task.map(|task| task.id.clone()) {
            Some(task) => ask(task),
            None => self.submit(),
        }
    }

    fn append_something(&mut self) -> Command {
        let draws = &mut self.streams.work;
        let size = match draws.below(40) {
            0 => draws.below(70_000),
            1..5 => draws.below(5_000),
            _ => draws.below(300),
        };
        let count = draws.between(1, 3);
        let (checks, heads) = (draws.one_in(3), draws.one_in(4));
        let ahead = draws.below(2);
        let subject = format!("app/s{}", draws.below(3));
        // As of what is on disk, which may be behind what the core has folded.
        let version = self.mirror.subjects.version(&subject).ok();
        let event = AppEvent {
            kind: "app.x".parse().expect("made of letters here"),
            subject: entity(&subject),
            data: format!("{{\"a\":\"{}\"}}", "x".repeat(size as usize)),
            expected: version.filter(|_| checks && count == 1),
        };
        let durable = self.must.acknowledged.last().0;
        let key = self.streams.work.one_in(9).then(|| id("ka"));
        Command::Append {
            events: vec![event; count as usize],
            key,
            expected_head: heads.then_some(Seq(durable + ahead)),
        }
    }

    /// A client is answered.
    pub(crate) fn answered(&mut self, command: &Command, result: &Result<Reply, Rejected>) {
        self.tally.answers += 1;
        match (command, result) {
            (_, Ok(Reply::Submitted { task_id, head, .. })) => {
                self.must.accepted.accept(task_id.clone(), head.seq);
            }
            (Command::Append { events, .. }, Ok(Reply::Recorded(head))) => {
                self.must.versions.recorded(head.seq, events.clone());
            }
            (Command::NoteCheckpoint { .. }, _) => self.checkpoint_noted(command, result),
            _ => {}
        }
    }
}

fn builtin() -> Payload {
    Payload::Builtin(Builtin {
        job: BuiltinJob::HealthCheck,
    })
}

/// Those of the jobs whose bit is set, due every so many seconds.
pub(crate) fn jobs_of(bits: u64, seconds: u64) -> BTreeMap<Id, JobSpec> {
    let job = |n: u64| {
        let spec = JobSpec {
            schedule: Schedule::Every {
                every_ms: Millis(seconds * SECOND / 1000),
            },
            overlap: [Overlap::Skip, Overlap::CancelRunning, Overlap::Queue][n as usize % 3],
            missed: [Missed::RunOnce, Missed::Skip, Missed::RunAll { at_most: 3 }][n as usize % 3],
            task: TaskSubmitted {
                priority: Priority::Standard,
                payload: builtin(),
                max_runtime_ms: Millis(1000),
                grace_ms: Millis(10),
                terms: None,
            },
            source: "ledger.toml".into(),
        };
        (id(&format!("j{n}")), spec)
    };
    (0..JOBS)
        .filter(|n| bits & (1 << n) != 0)
        .map(job)
        .collect()
}

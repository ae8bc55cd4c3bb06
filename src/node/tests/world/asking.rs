//! What clients, operators and files of jobs ask of the core.

use std::collections::BTreeMap;

use ledger_core::event::*;
use ledger_core::ids::{Entity, Id, Seq};
use ledger_core::time::Millis;

use super::super::super::command::*;
use super::{World, builtin, pick};

impl World {
    pub(in super::super) fn submit(&mut self) {
        let n = pick(&mut self.random, 40);
        let key = n
            .is_multiple_of(5)
            .then(|| Id::new(format!("k{}", n % 3)).unwrap());
        let argv = if n.is_multiple_of(11) {
            Vec::new()
        } else {
            vec!["x".into()]
        };
        let task = TaskSubmitted {
            priority: Priority::ALL[usize::try_from(n % 3).unwrap()],
            payload: if n % 7 == 3 {
                builtin()
            } else {
                Payload::Exec(Exec {
                    argv,
                    env: BTreeMap::new(),
                    cwd: None,
                    stdin: None,
                })
            },
            max_runtime_ms: Millis(1000),
            grace_ms: Millis(10),
            terms: self.terms(n),
        };
        let task_id = (!n.is_multiple_of(4)).then(|| Id::new(format!("t{n}")).unwrap());
        self.ask(Command::Submit { task_id, task, key });
    }

    /// For one in three: whatever they are, the task can keep them in the end.
    fn terms(&mut self, n: u64) -> Option<Box<Terms>> {
        if !n.is_multiple_of(3) {
            return None;
        }
        let ahead = |ms| Some(self.time().wall.plus(Millis(ms)));
        let key = |name: &str| Some(Id::new(name).unwrap());
        let depends_on = vec![Id::new(format!("t{}", n / 2)).unwrap()];
        Some(Box::new(Terms {
            max_attempts: 3,
            not_before: n.is_multiple_of(2).then(|| ahead(20)).flatten(),
            expires_at: n.is_multiple_of(9).then(|| ahead(60)).flatten(),
            depends_on: if n.is_multiple_of(6) {
                depends_on
            } else {
                Vec::new()
            },
            rate_key: key("r"),
            concurrency_key: if n.is_multiple_of(5) { key("c") } else { None },
            stall_after_ms: None,
        }))
    }

    /// Somebody asks for something else of a task or a queue.
    pub(super) fn steer_something(&mut self) {
        let Some(task_id) = self.some_task() else {
            return;
        };
        let n = pick(&mut self.random, 12);
        let queue = Priority::ALL[usize::try_from(n % 3).unwrap()];
        self.ask(match n {
            0..6 => Command::SetPriority {
                task_id,
                priority: queue,
            },
            6..8 => Command::RetryAfter {
                task_id,
                attempt: Attempt(1),
                retry_after: Millis(n),
            },
            8 => Command::PauseQueue {
                queue,
                reason: None,
            },
            _ => Command::ResumeQueue {
                queue,
                reason: None,
            },
        });
    }

    /// Jobs come, change and go; one of them may be run by hand.
    pub(super) fn define_jobs(&mut self) {
        let drawn = pick(&mut self.random, 16);
        let jobs = Self::jobs_of(drawn, 1 + drawn / 8);
        self.ask(Command::DefineJobs { jobs });
        self.ask(Command::TriggerJob {
            job: Id::new("j0").unwrap(),
        });
    }

    /// Those of three jobs whose bit is set, due every so many seconds: the last by the calendar.
    pub(in super::super) fn jobs_of(bits: u64, seconds: u64) -> BTreeMap<Id, JobSpec> {
        let schedule = |n| match n {
            2 => Schedule::Cron {
                expression: format!("*/{seconds} * * * * *"),
                time_zone: "UTC".into(),
            },
            _ => Schedule::Every {
                every_ms: Millis(1000 * seconds),
            },
        };
        let job = |n: u64| {
            let spec = JobSpec {
                schedule: schedule(n),
                overlap: [Overlap::Skip, Overlap::CancelRunning][usize::from(n == 1)],
                missed: Missed::RunOnce,
                task: TaskSubmitted {
                    priority: Priority::Standard,
                    payload: builtin(),
                    max_runtime_ms: Millis(1000),
                    grace_ms: Millis(10),
                    terms: (n == 2).then(|| {
                        Box::new(Terms {
                            max_attempts: 2,
                            concurrency_key: Id::new("c").ok(),
                            ..Terms::default()
                        })
                    }),
                },
                source: "ledger.toml".into(),
            };
            (Id::new(format!("j{n}")).unwrap(), spec)
        };
        (0..3).filter(|n| bits & (1 << n) != 0).map(job).collect()
    }

    pub(super) fn some_task(&mut self) -> Option<Id> {
        let ids: Vec<Id> = self
            .core
            .state()
            .tasks
            .iter()
            .map(|t| t.id.clone())
            .collect();
        let len = u64::try_from(ids.len()).unwrap();
        (len > 0).then(|| ids[usize::try_from(pick(&mut self.random, len)).unwrap()].clone())
    }

    pub(super) fn cancel_something(&mut self) {
        if let Some(task_id) = self.some_task() {
            self.ask(Command::AwaitEnd {
                task_id: task_id.clone(),
            });
            self.ask(Command::Cancel {
                task_id,
                reason: Some("enough".into()),
            });
        }
    }

    pub(super) fn retry_something(&mut self) {
        if let Some(task_id) = self.some_task() {
            self.ask(Command::Retry { task_id });
        }
    }

    pub(super) fn append_something(&mut self) {
        let size = usize::try_from(pick(&mut self.random, 70_000)).unwrap();
        let subject = format!("app/s{}", pick(&mut self.random, 3));
        // As of what is on disk, which may be behind what the core has folded.
        let version = self.mirror.subjects.version(&subject).unwrap();
        let event = AppEvent {
            kind: "app.x".parse().unwrap(),
            subject: Entity::new(subject).unwrap(),
            data: format!("{{\"a\":\"{}\"}}", "x".repeat(size)),
            expected: size.is_multiple_of(3).then_some(version),
        };
        let expected_head = size
            .is_multiple_of(2)
            .then(|| Seq(self.durable().0 + pick(&mut self.random, 2)));
        self.ask(Command::Append {
            events: vec![event.clone(), event],
            key: None,
            expected_head,
        });
    }
}

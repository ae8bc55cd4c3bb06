//! The process port for real: starts attempts through the spawner, watches their shims, collects
//! outcomes, and finds out what became of attempts that an earlier life of the node ordered.
//!
//! What counts is in the attempt's directory; reports only say when to look, or what would be seen.
//! So the same look ([`Port::look`]) serves a report, a shim that died, a spawner that died and
//! recovery.
//!
//! A shim is released when the end of its attempt is durable, which the core says with the next order:
//! until then the shim answers for its outcome.

mod sweep;
mod watching;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::Sender;
use ledger_core::event::Attempt;
use ledger_core::ids::Id;
use ledger_core::time::Millis;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::command::{AttemptId, BootOfOrder, Input, StartOrder};
use super::outcome;
use super::ports::{Stopwatch, uptime};
use super::spawning::{Launching, Relaunched, Spawning};
use super::threads::Mail;
use crate::lease::holding::Authority;
use crate::scheduler::decide::Ended;
use crate::shim::{
    AttemptDir, AttemptError, Attempts, CgroupPlaces, ClaimAttempt, Claimant, Outcome,
    PROTOCOL_VERSION, ProcessIdentity, Report, SpawnRequest, TaskId, Unkillable, Workplace,
};
use sweep::PortSweep;
use watching::{OrphansLook, Watch, Watched};

/// How long an attempt may stay unheard of after it was asked for before it is looked into.
const SILENCE: Duration = Duration::from_secs(10);
/// How often attempts are looked at of which nothing was heard, while there are such. A shim that died
/// between its claim and its first word is found out by then.
const PEEK: Duration = Duration::from_secs(1);
/// How long a process runs before the log says so: short commands are told of once, when they have
/// ended. Far below what a person who looks would notice.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(20);
/// Variables of the node that every task inherits.
const BASE_ENV: [&str; 7] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ"];
/// What a task finds programs by if the node has no `PATH` itself.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What the core wants done in the world.
#[derive(Debug)]
pub(super) enum Effect {
    /// Start this; the outcomes of those attempts are durable.
    Start(StartOrder, Vec<AttemptId>),
    Recover(StartOrder, BootOfOrder),
    Cancel(AttemptId),
    /// Look after what should have ended, and say what was found.
    Sweep(Sender<PortSweep>),
}

/// What the port tells itself.
#[derive(Debug)]
pub(super) enum Event {
    /// The spawner of this generation has ended or takes no requests.
    SpawnerGone(u64),
    ShimGone(AttemptId),
    /// What came of ending what a shim has left behind.
    OrphansEnded {
        attempt: AttemptId,
        ended: OrphansLook,
    },
    /// It is time to look for them once more.
    LookForOrphans(AttemptId),
    /// A shim that was woken has had time to end its tree.
    Woken(AttemptId),
}

/// An attempt in the port's care. Its table is looked up by id and never walked for an order.
struct Tracked {
    order: StartOrder,
    shim: Option<ProcessIdentity>,
    watch: Option<Watch>,
    cancel: bool,
    /// When it was last asked for, or looked into.
    asked: Stopwatch,
    /// Orphans of its shim that were ended so far, or that were sent what would end them.
    orphans: BTreeSet<ProcessIdentity>,
    /// Why its shim was ended by us, if it was.
    given_up: Option<&'static str>,
}

impl Tracked {
    fn new(order: StartOrder) -> Self {
        Self {
            order,
            shim: None,
            watch: None,
            cancel: false,
            asked: Stopwatch::start(),
            orphans: BTreeSet::new(),
            given_up: None,
        }
    }
}

pub(super) struct PortConfig {
    pub(super) exe: PathBuf,
    pub(super) data_dir: PathBuf,
    pub(super) output_limit: u64,
    /// Where cgroups can be made.
    pub(super) cgroups: CgroupPlaces,
    /// How many processes an attempt may have at once.
    pub(super) max_processes: Option<u32>,
    /// How much longer than it may an attempt runs before something is done about its shim.
    pub(super) overdue_after: Millis,
    /// Until when this node leads.
    pub(super) authority: Authority,
    pub(super) inbox: Sender<Mail>,
}

pub(super) struct Port {
    config: PortConfig,
    spawning: Spawning,
    env: BTreeMap<String, String>,
    tracked: HashMap<AttemptId, Tracked>,
    /// Whether there may be attempts that nobody watches. Asked for often, so it is not counted each time.
    unheard: bool,
    events: mpsc::UnboundedSender<Event>,
}

impl Port {
    /// Launches the spawner. Must be called in a tokio runtime.
    pub(super) fn new(config: PortConfig) -> std::io::Result<(Self, PortLoop)> {
        let (events, receiver) = mpsc::unbounded_channel();
        let spawning = Spawning::begin(Launching {
            exe: config.exe.clone(),
            data_dir: config.data_dir.clone(),
            cgroups: config.cgroups.clone(),
            events: events.clone(),
        })?;
        let mut env: BTreeMap<String, String> = BASE_ENV
            .iter()
            .filter_map(|name| std::env::var(name).ok().map(|v| ((*name).to_owned(), v)))
            .collect();
        env.entry("PATH".into())
            .or_insert_with(|| DEFAULT_PATH.into());
        let tracked = HashMap::new();
        Ok((
            Self {
                config,
                spawning,
                env,
                tracked,
                unheard: false,
                events,
            },
            PortLoop(receiver),
        ))
    }

    /// Serves until the core's side of `effects` is gone. Shims live on.
    pub(super) async fn run(
        mut self,
        mut own: PortLoop,
        mut effects: mpsc::UnboundedReceiver<Effect>,
    ) {
        let mut sweep = tokio::time::interval(PEEK);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                effect = effects.recv() => match effect {
                    // Whoever leads next finds what was ordered in the log.
                    Some(Effect::Start(..) | Effect::Recover(..) | Effect::Cancel(_))
                        if !self.config.authority.holds(uptime()) =>
                    {
                        tracing::warn!("an order came too late: this node leads no more");
                    }
                    Some(Effect::Start(order, settled)) => {
                        self.spawning.settled(&settled);
                        self.start(order);
                    }
                    Some(Effect::Recover(order, boot)) => self.recover(order, boot),
                    Some(Effect::Cancel(attempt)) => self.cancel(&attempt),
                    Some(Effect::Sweep(reply)) => drop(reply.send(self.sweep_all())),
                    None => break,
                },
                Some(event) = own.0.recv() => self.event(event),
                () = self.spawning.reported() => self.take_reports(),
                // Nobody is woken where there is nothing to wait for.
                _ = sweep.tick(), if self.unheard => self.sweep(),
            }
        }
    }

    fn tell(&self, input: Input) {
        // The core's thread may have stopped; the next life finds everything in the files.
        let _ = self.config.inbox.send(Mail::Tell(input));
    }

    fn dir(&self, id: &AttemptId) -> Result<AttemptDir, AttemptError> {
        AttemptDir::new(&self.config.data_dir, &id.task, id.attempt.0)
    }

    fn start(&mut self, order: StartOrder) {
        let id = order.attempt.clone();
        self.track(order);
        self.request(&id);
    }

    fn track(&mut self, order: StartOrder) {
        self.unheard = true;
        self.tracked
            .insert(order.attempt.clone(), Tracked::new(order));
    }

    /// Asks the spawner for an attempt in our care.
    fn request(&mut self, id: &AttemptId) {
        if let Some(tracked) = self.tracked.get_mut(id) {
            tracked.asked = Stopwatch::start();
        }
        let Some(tracked) = self.tracked.get(id) else {
            return;
        };
        let work = match tracked.order.exec.cwd {
            Some(_) => Workplace::None,
            None => Workplace::Own,
        };
        let made = self.dir(id).and_then(|dir| {
            // Opened anew each time: whoever moves it away must not have his copy written to.
            Attempts::open(&self.config.data_dir)?.make(&dir, work)?;
            Ok(dir)
        });
        let request = match made {
            Ok(dir) => self.spawn_request(&tracked.order, &dir),
            Err(error) => {
                self.fail(id, "directory", &std::io::Error::other(error.to_string()));
                return;
            }
        };
        let sent = request.and_then(|request| self.spawning.send(&request));
        if let Err(error) = sent {
            self.fail(id, "spawner", &error);
        }
    }

    /// The attempt can't be begun: nobody has its claim, so that is its outcome.
    fn fail(&mut self, id: &AttemptId, step: &str, error: &std::io::Error) {
        self.tracked.remove(id);
        let outcome = Box::new(outcome::never_started(step, error));
        self.tell(Input::Ended {
            attempt: id.clone(),
            outcome,
        });
    }

    fn spawn_request(&self, order: &StartOrder, dir: &AttemptDir) -> std::io::Result<SpawnRequest> {
        let mut env = self.env.clone();
        env.insert("LEDGER_TASK_ID".into(), order.attempt.task.to_string());
        env.insert("LEDGER_ATTEMPT".into(), order.attempt.attempt.to_string());
        // So that a task can report to the node that runs it.
        if let Some(dir) = self.config.data_dir.to_str() {
            env.insert("LEDGER_DATA_DIR".into(), dir.to_owned());
        }
        env.extend(order.exec.env.clone());
        let cwd = match &order.exec.cwd {
            Some(cwd) => PathBuf::from(cwd),
            None => dir.work(),
        };
        let invalid = |e: AttemptError| std::io::Error::other(e.to_string());
        Ok(SpawnRequest {
            protocol: PROTOCOL_VERSION,
            task_id: TaskId::new(&order.attempt.task).map_err(invalid)?,
            attempt: dir.attempt(),
            argv: order.exec.argv.clone(),
            env,
            cwd,
            stdin: order.exec.stdin.clone(),
            run_as: None,
            max_runtime_ms: order.max_runtime.0,
            grace_ms: order.grace.0,
            output_limit: self.config.output_limit,
            stall_after_ms: order.stall_after.map(|after| after.0),
            max_processes: self.config.max_processes,
            announce_after_ms: ANNOUNCE_AFTER.as_millis() as u64,
        })
    }

    /// Takes all reports that are there, then watches the shims that are still at work: one that
    /// began and ended within the same look needs no watching.
    fn take_reports(&mut self) {
        let mut begun = Vec::new();
        while let Some(report) = self.spawning.next() {
            begun.extend(self.report(report));
        }
        for id in begun {
            self.watch(&id);
        }
    }

    fn report(&mut self, report: Report) -> Option<AttemptId> {
        match report {
            Report::Started(started) => {
                let id = attempt_id(&started.task_id, started.attempt)?;
                let process = outcome::process_ref(&started.child, Some(&started.shim));
                self.tracked.get_mut(&id)?.shim = Some(started.shim);
                self.tell(Input::Started {
                    attempt: id.clone(),
                    process,
                });
                return Some(id);
            }
            Report::Ended {
                task_id,
                attempt,
                shim,
                outcome,
            } => {
                let id = attempt_id(&task_id, attempt)?;
                if let Some(tracked) = self.tracked.get_mut(&id) {
                    tracked.shim.get_or_insert_with(|| shim.clone());
                    match outcome {
                        Some(outcome) if outcome.is_of(&task_id, attempt) => {
                            self.close(&id, *outcome);
                        }
                        Some(_) | None => self.ended(&id),
                    }
                    if !self.tracked.contains_key(&id) {
                        self.spawning.ended(id, &shim);
                    }
                }
            }
            Report::ClaimedElsewhere {
                task_id, attempt, ..
            } => {
                let id = attempt_id(&task_id, attempt)?;
                if self.tracked.contains_key(&id) {
                    self.look(&id);
                }
            }
            Report::Refused {
                task_id,
                attempt,
                message,
                ..
            } => {
                let id = attempt_id(&task_id?, attempt?)?;
                if self.tracked.contains_key(&id) {
                    self.fail(&id, "spawner", &std::io::Error::other(message));
                }
            }
            Report::Unkillable(found) => {
                let id = attempt_id(&found.task_id, found.attempt)?;
                if self.tracked.contains_key(&id) {
                    self.unkillable(&id, found);
                }
            }
        }
        None
    }

    /// A shim says that it has written the outcome.
    fn ended(&mut self, id: &AttemptId) {
        match self.dir(id).and_then(|dir| dir.read_outcome()) {
            Ok(Some(outcome)) => self.close(id, outcome),
            Ok(None) | Err(_) => self.look(id),
        }
    }

    /// Attempts of which nothing was heard since they were asked for are looked into: a request
    /// dies with a shim that is killed before it has the claim, and a report can be lost. Harmless
    /// for those that are merely slow to start, since the claim is taken once.
    fn sweep(&mut self) {
        let unheard = self.tracked.iter_mut().filter(|(_, t)| t.watch.is_none());
        let (mut silent, mut young) = (Vec::new(), Vec::new());
        self.unheard = false;
        for (id, tracked) in unheard {
            self.unheard = true;
            let waited = u128::from(tracked.asked.elapsed().0);
            if waited >= SILENCE.as_micros() {
                // What can't be helped now is looked into as seldom again.
                tracked.asked = Stopwatch::start();
                silent.push(id.clone());
            } else if tracked.shim.is_none() && waited >= PEEK.as_micros() {
                young.push(id.clone());
            }
        }
        for id in silent {
            tracing::warn!(task = %id.task, attempt = %id.attempt,
                "nothing was heard of an attempt since it was asked for; looking into it");
            self.look(&id);
        }
        for id in young {
            self.peek(&id);
        }
    }

    /// Watches the shim that has the claim of an attempt, though it has said nothing yet.
    fn peek(&mut self, id: &AttemptId) {
        let claim = self.dir(id).and_then(|dir| dir.read_claim());
        // What can't be read yet is looked into later.
        if let (Ok(Some(claim)), Some(tracked)) = (claim, self.tracked.get_mut(id))
            && claim.kind == Claimant::Shim
        {
            tracked.shim = Some(claim.by);
            self.watch(id);
        }
    }

    /// Another spawner; attempts that the old one may not have begun are looked into.
    fn spawner_gone(&mut self, generation: u64) {
        // What it had still reported stands in its socket.
        self.take_reports();
        let relaunched = self.spawning.relaunch(generation);
        if matches!(relaunched, Relaunched::Already) {
            return;
        }
        let unwatched: Vec<_> = self
            .tracked
            .iter()
            .filter(|(_, tracked)| tracked.watch.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in unwatched {
            match &relaunched {
                Relaunched::Serving | Relaunched::Already => self.look(&id),
                Relaunched::Futile(error) => self.give_up(&id, error),
            }
        }
    }

    /// An attempt that no spawner would begin. A late shim may hold its claim all the same; only
    /// whoever has the claim knows that nobody runs it.
    fn give_up(&mut self, id: &AttemptId, error: &std::io::Error) {
        match self.dir(id).and_then(|dir| dir.take_claim_as_node()) {
            Ok(ClaimAttempt::Taken(_)) => self.fail(id, "spawner", error),
            Ok(ClaimAttempt::HeldBy(_)) => self.look(id),
            Err(error) => {
                tracing::error!(task = %id.task, attempt = %id.attempt, %error,
                    "an attempt's claim can't be taken");
            }
        }
    }

    fn recover(&mut self, order: StartOrder, boot: BootOfOrder) {
        let id = order.attempt.clone();
        self.track(order);
        if boot == BootOfOrder::Current {
            self.look(&id);
            return;
        }
        // Outcomes are synced or were made events of, and one that was cut off shows. Claims are not.
        match self.dir(&id).and_then(|dir| dir.read_outcome()) {
            Ok(Some(outcome)) => self.close(&id, outcome),
            Ok(None) => self.lose(&id, "the host was rebooted while it ran", 0),
            Err(error) => self.lose(&id, &format!("the host was rebooted; {error}"), 0),
        }
    }

    /// Finds out from its directory how an attempt in our care stands, and acts on it: closes it,
    /// watches its shim, begins it if nobody has, or gives it up.
    fn look(&mut self, id: &AttemptId) {
        let read = self
            .dir(id)
            .and_then(|dir| Ok((dir.read_outcome()?, dir.read_claim()?, dir.read_started()?)));
        match read {
            Ok((Some(outcome), _, _)) => self.close(id, outcome),
            Ok((None, None, _)) => {
                self.tell(Input::Unstarted(id.clone()));
                self.request(id);
            }
            Ok((None, Some(claim), _)) if claim.kind == Claimant::Node => {
                self.lose(id, "its claim was taken by a node", 0);
            }
            Ok((None, Some(claim), started)) => {
                if let Some(tracked) = self.tracked.get_mut(id) {
                    tracked.shim = Some(claim.by);
                }
                // If the shim has gone, its outcome or its loss is what there is to tell.
                if self.watch(id) == Watched::Gone {
                    return;
                }
                self.tell(match started {
                    Some(s) => Input::Started {
                        attempt: id.clone(),
                        process: outcome::process_ref(&s.child, Some(&s.shim)),
                    },
                    None => Input::Attached(id.clone()),
                });
                // Its report may have gone to nobody.
                if let Ok(Some(found)) = self.dir(id).and_then(|dir| dir.read_unkillable()) {
                    self.unkillable(id, found);
                }
            }
            // It can't be known whether something runs, so nothing is started or given up: the
            // attempt stays open, and the operator is told.
            Err(error) => {
                tracing::error!(task = %id.task, attempt = %id.attempt, %error,
                    "an attempt's directory can't be read");
                self.tell(Input::Attached(id.clone()));
            }
        }
    }

    /// Something of the attempt outlives SIGKILL; its shim stays with it.
    fn unkillable(&mut self, id: &AttemptId, found: Unkillable) {
        let started = self.dir(id).and_then(|dir| dir.read_started());
        let started = started.ok().flatten();
        let process = started.map(|s| outcome::process_ref(&s.child, Some(&s.shim)));
        tracing::error!(task = %id.task, attempt = %id.attempt, processes = found.processes,
            "processes outlive SIGKILL");
        self.tell(Input::Unkillable {
            attempt: id.clone(),
            found: Box::new(outcome::unkillable(found, process)),
        });
    }

    fn close(&mut self, id: &AttemptId, outcome: Outcome) {
        let Some(tracked) = self.tracked.remove(id) else {
            return;
        };
        let outcome: Box<Ended> = Box::new(outcome::ended(outcome, tracked.shim.as_ref()));
        self.tell(Input::Ended {
            attempt: id.clone(),
            outcome,
        });
    }

    fn lose(&mut self, id: &AttemptId, reason: &str, orphans_ended: u32) {
        if self.tracked.remove(id).is_some() {
            let reason = reason.to_owned();
            self.tell(Input::Lost {
                attempt: id.clone(),
                reason,
                orphans_ended,
            });
        }
    }
}

/// The receiving end of what the port tells itself.
pub(super) struct PortLoop(mpsc::UnboundedReceiver<Event>);

fn attempt_id(task: &TaskId, attempt: NonZeroU32) -> Option<AttemptId> {
    let task = Id::new(task.as_str()).ok()?;
    Some(AttemptId {
        task,
        attempt: Attempt(attempt.get()),
    })
}

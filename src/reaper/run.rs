//! The reaper at work: a descriptor for each watched process, a deadline, a sweep now and then, and
//! ladders. It decides nothing: what it sees it reports, and signals follow orders.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use ledger_core::clock;
use ledger_core::event::{EndSeen, ReapCause, UnwatchReason};
use ledger_core::time::{Micros, Millis, Timestamp};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::candidate::own_chain;
use super::decide::{Act, Report, act, micros};
use super::ladder::{LadderRun, Outcome};
use super::sample::{Sample, of_ticks, since_boot};
use super::sys::readable;
use super::tree::{Snapshot, Spared, Tree};
use super::verdict::{Rules, Sight, Verdict};
use crate::shim::watch::{Attach, attach};
use crate::shim::{ProcessIdentity, ProcessStat};

/// How often everything is looked at though nothing was seen.
pub const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// A process to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOrder {
    /// `BOOT.PID.START`.
    pub id: Box<str>,
    /// Who it is.
    pub identity: ProcessIdentity,
    /// How long it may run, counted from its start.
    pub max_runtime: Millis,
    /// How long it may stand still.
    pub stall_after: Option<Millis>,
    /// How long SIGTERM may take.
    pub grace: Millis,
}

/// A process to end, as is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReapOrder {
    /// `BOOT.PID.START`.
    pub id: Box<str>,
    /// Why.
    pub cause: ReapCause,
    /// How long it had run when that was decided, if a life of the node before this one has begun with it.
    pub begun: Option<Micros>,
    /// Pid and start time of shims and of what they look after: never signaled.
    pub attended: BTreeSet<(i32, u64)>,
}

/// Whether a sweep does what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Act,
    /// It only says so.
    DryRun,
}

/// What the reaper is told to do.
#[derive(Debug)]
pub enum Effect {
    /// Watch.
    Watch(WatchOrder),
    /// Watch no more.
    Unwatch(Box<str>),
    /// End.
    Reap(ReapOrder),
    /// Look at everything now, and say what was found.
    Sweep(Mode, Sender<Vec<Found>>),
}

/// What a sweep found of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// `BOOT.PID.START`.
    pub id: Box<str>,
    /// How it stands.
    pub verdict: Verdict,
    /// What is done about it.
    pub act: Act,
    /// How long it has run.
    pub runtime: Micros,
    /// How long it has not used the CPU, if that matters and is known.
    pub idle: Option<Micros>,
}

/// What a reaper has done, as counted since it was started. No event tells of it.
#[derive(Debug, Default)]
pub struct Metrics {
    sweeps: AtomicU64,
    checks: AtomicU64,
    last_sweep: AtomicU64,
}

impl Metrics {
    /// Sweeps so far.
    pub fn sweeps(&self) -> u64 {
        self.sweeps.load(Ordering::Relaxed)
    }

    /// Processes that sweeps have looked at.
    pub fn checks(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }

    /// When the last sweep was; nothing if there was none yet.
    pub fn last_sweep(&self) -> Option<Timestamp> {
        let at = self.last_sweep.load(Ordering::Relaxed);
        (at > 0).then_some(Timestamp(at))
    }

    fn swept(&self, checked: usize) {
        self.sweeps.fetch_add(1, Ordering::Relaxed);
        self.checks.fetch_add(checked as u64, Ordering::Relaxed);
        self.last_sweep.store(clock::now().0, Ordering::Relaxed);
    }
}

/// CPU time as it was last seen to grow.
#[derive(Debug, Clone, Copy)]
struct Progress {
    ticks: u64,
    since: Duration,
}

/// A process in the reaper's care. The table is looked up by id; nothing depends on its order.
struct Held {
    order: WatchOrder,
    rules: Rules,
    /// Readable once the process has ended; missing if the system had no descriptor left.
    pidfd: Option<Arc<OwnedFd>>,
    task: Option<AbortHandle>,
    progress: Option<Progress>,
    /// Whether it was reported to be past a limit.
    due_told: bool,
    ladder: Option<LadderRun>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Held {
    /// When something is to be done about it if nothing is seen before.
    fn next(&self) -> Option<Duration> {
        match &self.ladder {
            Some(ladder) => Some(ladder.next()),
            None if self.due_told => None,
            None => Some(self.rules.deadline()),
        }
    }

    fn idle(&self, now: Duration) -> Option<Duration> {
        self.progress
            .map(|progress| now.saturating_sub(progress.since))
    }
}

/// Takes what is seen of a process, by its id.
pub type Tell = Box<dyn Fn(&str, Report) + Send>;

/// Whether signals may be sent now. Once not, never again: whoever may instead has the same orders in
/// the log.
pub type May = Box<dyn Fn() -> bool + Send>;

/// The reaper of one node.
pub struct Reaper {
    held: HashMap<Box<str>, Held>,
    own: Vec<i32>,
    metrics: Arc<Metrics>,
    tell: Tell,
    may: May,
    ended: mpsc::UnboundedSender<Box<str>>,
    ends: mpsc::UnboundedReceiver<Box<str>>,
}

impl Reaper {
    /// A reaper that watches nothing yet. `tell` takes what it sees of a process, `may` is asked before
    /// each look at what is to be signaled.
    ///
    /// # Errors
    /// If it can't be found out what must never be signaled.
    pub fn new(metrics: Arc<Metrics>, tell: Tell, may: May) -> std::io::Result<Self> {
        let (ended, ends) = mpsc::unbounded_channel();
        Ok(Self {
            held: HashMap::new(),
            own: own_chain()?,
            metrics,
            tell,
            may,
            ended,
            ends,
        })
    }

    /// Works until nobody can order anything any more. Processes are left as they are then.
    pub async fn run(mut self, mut effects: mpsc::UnboundedReceiver<Effect>) {
        let mut next_sweep = since_boot() + SWEEP_EVERY;
        loop {
            let next = self.held.values().filter_map(Held::next).min();
            let next = next.map_or(next_sweep, |next| next.min(next_sweep));
            let pause = next.saturating_sub(since_boot());
            tokio::select! {
                effect = effects.recv() => match effect {
                    Some(effect) => {
                        self.take(effect);
                        // Many come at once when a node comes up.
                        while let Ok(effect) = effects.try_recv() {
                            self.take(effect);
                        }
                    }
                    None => break,
                },
                Some(id) = self.ends.recv() => self.has_ended(&id),
                () = tokio::time::sleep(pause) => {}
            }
            let now = since_boot();
            if now >= next_sweep {
                next_sweep = now + SWEEP_EVERY;
                self.sweep(Mode::Act, now);
            }
            self.deadlines(now);
            self.ladders(now);
        }
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Watch(order) => self.watch(order),
            Effect::Unwatch(id) => drop(self.held.remove(&id)),
            Effect::Reap(order) => self.reap(order),
            // Who asked may have gone.
            Effect::Sweep(mode, reply) => drop(reply.send(self.sweep(mode, since_boot()))),
        }
    }

    fn watch(&mut self, order: WatchOrder) {
        let id = order.id.clone();
        let rules = Rules {
            started: of_ticks(order.identity.start_time),
            max_runtime: Duration::from_millis(order.max_runtime.0),
            stall_after: order
                .stall_after
                .map(|limit| Duration::from_millis(limit.0)),
            reaping: None,
            survived: false,
        };
        let held = Held {
            order,
            rules,
            pidfd: None,
            task: None,
            progress: None,
            due_told: false,
            ladder: None,
        };
        self.held.insert(id.clone(), held);
        self.hold(&id);
    }

    /// Takes a descriptor of a process in our care, or finds out why there is none.
    fn hold(&mut self, id: &str) {
        let Some(held) = self.held.get_mut(id) else {
            return;
        };
        // Who is above this process now: whoever started it may have gone, and its number be another's.
        let own = own_chain().unwrap_or_else(|_| self.own.clone());
        if own.contains(&held.order.identity.pid) {
            return self.let_go(id, UnwatchReason::Protected);
        }
        match attach(&held.order.identity) {
            Ok(Attach::Alive(pidfd)) => {
                let pidfd = Arc::new(pidfd);
                held.task = await_end(&pidfd, id, &self.ended);
                if held.rules.stall_after.is_some() {
                    // What it has used so far is not counted as work.
                    held.see(since_boot());
                }
                held.pidfd = Some(pidfd);
            }
            Ok(Attach::Gone) => {
                let report = gone(&held.order.identity);
                self.done(id, report);
            }
            Err(error) => {
                tracing::warn!(%error, id, "a watched process can't be held; sweeps look at it");
            }
        }
    }

    /// It is not in our care any more.
    fn done(&mut self, id: &str, report: Report) {
        self.held.remove(id);
        (self.tell)(id, report);
    }

    fn let_go(&mut self, id: &str, reason: UnwatchReason) {
        self.done(id, Report::LetGo(reason));
    }

    fn reap(&mut self, order: ReapOrder) {
        let Some(held) = self.held.get_mut(&order.id) else {
            return;
        };
        if held.ladder.is_some() {
            return;
        }
        // What the node runs below may have changed hands: it is asked anew before every ladder.
        let own = own_chain().unwrap_or_else(|_| self.own.clone());
        if own.contains(&held.order.identity.pid) {
            return self.let_go(&order.id, UnwatchReason::Protected);
        }
        let spared = Spared {
            own,
            attended: order.attended,
        };
        held.rules.reaping = Some(order.cause);
        let tree = Tree::new(held.order.identity.clone(), spared);
        let grace = Duration::from_millis(held.order.grace.0);
        let started = held.rules.started;
        let mut ladder = LadderRun::new(tree, started, grace, since_boot());
        if let Some(ran) = order.begun {
            ladder.goes_on_from(started.saturating_add(Duration::from_micros(ran.0)));
        }
        held.ladder = Some(ladder);
    }

    /// A descriptor says that its process has ended.
    fn has_ended(&mut self, id: &str) {
        let now = since_boot();
        let Some(held) = self.held.get_mut(id) else {
            return;
        };
        held.task = None;
        match &mut held.ladder {
            // What it has left behind is ended as well.
            Some(ladder) if !ladder.steps().is_empty() => ladder.hasten(now),
            Some(_) | None => {
                let report = match held.pidfd {
                    Some(_) => Report::Ended {
                        seen: EndSeen::AtOnce,
                        runtime: Some(micros(now.saturating_sub(held.rules.started))),
                    },
                    None => gone(&held.order.identity),
                };
                self.done(id, report);
            }
        }
    }

    /// Reports what is past its time.
    fn deadlines(&mut self, now: Duration) {
        for (id, held) in &mut self.held {
            if held.ladder.is_none() && !held.due_told && now >= held.rules.deadline() {
                held.due_told = true;
                let report = Report::Due {
                    cause: ReapCause::MaxRuntime,
                    runtime: micros(now.saturating_sub(held.rules.started)),
                    idle: None,
                };
                (self.tell)(id, report);
            }
        }
    }

    /// Goes on with the ladders that are due, all by the same look at the system.
    fn ladders(&mut self, now: Duration) {
        let due = |held: &Held| held.ladder.as_ref().is_some_and(|l| l.next() <= now);
        let due: Vec<Box<str>> = self
            .held
            .iter()
            .filter(|(_, held)| due(held))
            .map(|(id, _)| id.clone())
            .collect();
        if due.is_empty() {
            return;
        }
        if !(self.may)() {
            tracing::warn!("signals come too late: this node leads no more");
            return self.held.clear();
        }
        let snapshot = Snapshot::take();
        for id in due {
            let Some(held) = self.held.get_mut(&id) else {
                continue;
            };
            let Some(ladder) = &mut held.ladder else {
                continue;
            };
            match ladder.advance(&snapshot, now) {
                Outcome::GoesOn => {}
                Outcome::Survived(survivors) => {
                    held.rules.survived = true;
                    let steps = ladder.steps().to_vec();
                    (self.tell)(&id, Report::Survived { steps, survivors });
                }
                Outcome::Refused => self.let_go(&id, UnwatchReason::Forbidden),
                Outcome::Gone => {
                    let identity = held.order.identity.clone();
                    let runtime = micros(since_boot().saturating_sub(held.rules.started));
                    let ladder = held.ladder.take();
                    let steps = ladder.map(LadderRun::into_steps).unwrap_or_default();
                    // It went before a signal reached it: that was not us.
                    let report = match steps.is_empty() {
                        true => gone(&identity),
                        false => Report::Terminated { steps, runtime },
                    };
                    self.done(&id, report);
                }
            }
        }
    }

    /// Looks at everything, and does what is to be done unless it is only asked what that would be.
    fn sweep(&mut self, mode: Mode, now: Duration) -> Vec<Found> {
        let ended = self.ended_by_descriptor();
        let ids: Vec<Box<str>> = self.held.keys().cloned().collect();
        let mut found: Vec<Found> = ids
            .iter()
            .filter_map(|id| self.look(id, ended.contains(id), now))
            .collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        if mode == Mode::Act {
            self.metrics.swept(found.len());
            for one in &found {
                self.follow_up(one);
            }
        }
        found
    }

    /// Who has ended, as all descriptors say in one call.
    fn ended_by_descriptor(&self) -> BTreeSet<Box<str>> {
        let held = self.held.iter();
        let (ids, fds): (Vec<_>, Vec<_>) = held
            .filter_map(|(id, held)| Some((id, held.pidfd.as_ref()?)))
            .unzip();
        let mut fds: Vec<PollFd<'_>> = fds
            .iter()
            .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
            .collect();
        if fds.is_empty() || poll(&mut fds, PollTimeout::ZERO).is_err() {
            return BTreeSet::new();
        }
        let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        let ready = ids.into_iter().zip(&fds).filter(|(_, fd)| is_ready(fd));
        ready.map(|(id, _)| id.clone()).collect()
    }

    fn look(&mut self, id: &str, has_ended: bool, now: Duration) -> Option<Found> {
        let held = self.held.get_mut(id)?;
        let sight = match (&held.pidfd, has_ended) {
            (Some(_), true) => Sight::Gone,
            // What a descriptor holds can't be another, so only the CPU time needs a look.
            (Some(_), false) if held.rules.stall_after.is_none() => Sight::Here {
                idle: Duration::ZERO,
            },
            (Some(_) | None, _) => held.see(now),
        };
        let verdict = held.rules.verdict(sight, now);
        Some(Found {
            id: id.into(),
            verdict,
            act: act(verdict, held.rules.reaping),
            runtime: micros(now.saturating_sub(held.rules.started)),
            idle: held.idle(now).map(micros),
        })
    }

    fn follow_up(&mut self, found: &Found) {
        let id = &*found.id;
        let Some(held) = self.held.get_mut(id) else {
            return;
        };
        match found.act {
            Act::Nothing | Act::GoOn => {
                if held.pidfd.is_none() && held.ladder.is_none() {
                    self.hold(id);
                }
            }
            Act::Reap(cause) if !held.due_told => {
                held.due_told = true;
                let report = Report::Due {
                    cause,
                    runtime: found.runtime,
                    idle: found.idle.filter(|_| cause == ReapCause::Stalled),
                };
                (self.tell)(id, report);
            }
            // The last is never said of what is in our care.
            Act::Reap(_) | Act::Attended => {}
            Act::RecordEnd => self.has_ended(id),
            Act::LetGo(reason) => self.let_go(id, reason),
        }
    }
}

impl Held {
    /// Reads `/proc` for what can't be known by the descriptor.
    fn see(&mut self, now: Duration) -> Sight {
        let sample = match Sample::of(self.order.identity.pid) {
            Ok(Some(sample)) => sample,
            Ok(None) => return Sight::Gone,
            Err(_) => return Sight::Unseen,
        };
        if sample.stat.start_time != self.order.identity.start_time {
            return Sight::Another;
        }
        if !sample.stat.is_alive() {
            return Sight::Zombie;
        }
        let ticks = sample.stat.cpu_ticks;
        let progress = self.progress.filter(|progress| progress.ticks == ticks);
        let since = progress.map_or(now, |progress| progress.since);
        self.progress = Some(Progress { ticks, since });
        Sight::Here {
            idle: now.saturating_sub(since),
        }
    }
}

/// Tells `ended` once a process has ended, as long as the handle lives.
fn await_end(
    pidfd: &Arc<OwnedFd>,
    id: &str,
    ended: &mpsc::UnboundedSender<Box<str>>,
) -> Option<AbortHandle> {
    let (id, ended) = (Box::<str>::from(id), ended.clone());
    let watched = readable(Arc::clone(pidfd))
        .inspect_err(|error| tracing::warn!(%error, %id, "sweeps look at a watched process"))
        .ok()?;
    let task = tokio::spawn(async move {
        if watched.readable().await.is_ok() {
            // The reaper may have ended.
            let _ = ended.send(id);
        }
    });
    Some(task.abort_handle())
}

/// What became of a process that is not there.
fn gone(identity: &ProcessIdentity) -> Report {
    let is_other_boot = |me: ProcessIdentity| me.boot_id != identity.boot_id;
    if ProcessIdentity::current().is_ok_and(is_other_boot) {
        return Report::LetGo(UnwatchReason::Rebooted);
    }
    match ProcessStat::of(identity.pid) {
        Ok(Some(stat)) if stat.start_time != identity.start_time => {
            Report::LetGo(UnwatchReason::Recycled)
        }
        Ok(_) | Err(_) => Report::Ended {
            seen: EndSeen::FoundGone,
            runtime: None,
        },
    }
}

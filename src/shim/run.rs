//! The life of a shim, from the fork to its last outcome.
//!
//! The order is what makes it safe: directory, claim, child, `started`, loop, outcome. Up to the
//! claim every failure is a refusal and leaves no trace; from the claim on there's always an
//! outcome, unless the shim itself is killed.
//!
//! A shim that has come to a whole end may serve another attempt: nothing of the one before is
//! left, neither a process nor an open file. It is told to by whoever has understood that the one
//! before has ended, so that no signal meant for that one can still come.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use nix::sys::prctl;
use nix::unistd::{Pid, getppid, setsid};

use super::announce::Announcement;
use super::capture::Capture;
use super::cgroup::{Cgroup, CgroupPlaces, Slot};
use super::child::{self, Entry, SpawnFailure};
use super::error::AttemptError;
use super::files::{self, AttemptFiles, ClaimResult};
use super::identity::ProcessIdentity;
use super::protocol::{Refusal, Report, RequestProbe, SpawnRequest};
use super::records::{
    Claim, Claimant, ExitResult, Outcome, PROTOCOL_VERSION, Started, StreamRecord, Usage,
};
use super::report::{Parted, Reporter};
use super::supervise::{Alarms, Scene, Watched, supervise};
use super::sys::{self, ChildSignal};
use super::unsaved::Unsaved;

/// What the spawner hands to each fork.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// `<data>/attempts`, open.
    pub(super) attempts: BorrowedFd<'a>,
    /// Its path, for messages.
    pub(super) attempts_path: &'a Path,
    /// The report socket.
    pub(super) reports: BorrowedFd<'a>,
    /// Where cgroups can be made.
    pub(super) cgroups: &'a CgroupPlaces,
}

/// How serving a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// Everybody knows all about it, and nothing is left of it: another one may come.
    Whole,
    /// The shim must end, with this exit code: only its end tells that there's something to look
    /// at.
    Spent(i32),
}

/// A process that serves attempts, one at a time.
///
/// All its signals must be blocked, descriptor 0 must be `/dev/null`, and there must be no other
/// thread.
pub(super) struct Shim<'a> {
    context: Context<'a>,
    /// Once it has become one.
    identity: Option<ProcessIdentity>,
    /// Of the attempts before, to be used again.
    alarms: Option<Alarms>,
    /// Made for the first attempt.
    slot: Option<Slot>,
    /// Of the last attempt, as long as nobody may have made it durable.
    unsaved: Option<Unsaved>,
    spawner: Pid,
}

impl<'a> Shim<'a> {
    /// A process that was just forked.
    pub(super) fn new(context: Context<'a>) -> Self {
        Self {
            context,
            identity: None,
            alarms: None,
            slot: None,
            unsaved: None,
            spawner: getppid(),
        }
    }

    /// Runs the attempt that `request` (JSON) asks for.
    pub(super) fn serve(&mut self, request: &[u8]) -> Served {
        let mut reporter = Reporter::new(self.context.reports);
        // Before anyone can know this shim as the one of the attempt to come: what signals there
        // are were meant for the one before.
        if let Some(alarms) = &self.alarms {
            alarms.reset();
        }
        // Whoever asks for another one knows that the last has ended, durably.
        self.unsaved = None;
        let code = match self.prepare(request) {
            Ok(attempt) => {
                match attempt.perform(&mut self.alarms, self.slot.as_ref(), &mut reporter) {
                    Ok(unsaved) => {
                        self.unsaved = Some(unsaved);
                        0
                    }
                    Err(_) => 74,
                }
            }
            Err(report) => {
                reporter.send(&report);
                0
            }
        };
        match reporter.part() {
            Parted::Heard if code == 0 => Served::Whole,
            Parted::Heard | Parted::Unheard => Served::Spent(code),
        }
    }

    /// Makes the last outcome durable, unless that was done. Returns the exit code of a shim that
    /// ends now.
    pub(super) fn save(&mut self) -> i32 {
        let Some(unsaved) = self.unsaved.take() else {
            return 0;
        };
        match unsaved.save(&mut Reporter::new(self.context.reports)) {
            Ok(()) => 0,
            Err(_) => 74,
        }
    }

    fn prepare(&mut self, request: &[u8]) -> Result<Attempt, Box<Report>> {
        let request = read_request(request)?;
        let refuse = |refusal: Refusal, error: &dyn std::error::Error| {
            let (task_id, attempt) = (Some(request.task_id.clone()), Some(request.attempt));
            Box::new(Report::Refused {
                task_id,
                attempt,
                refusal,
                message: error.to_string(),
            })
        };
        let shim = self
            .identity()
            .map_err(|error| refuse(Refusal::Resources, error.as_ref()))?;
        let slot = self
            .slot
            .get_or_insert_with(|| Slot::make(self.context.cgroups, &shim));
        slot.prepare(self.context.cgroups, &shim, request.max_processes);
        let cgroup = slot.tree().map(Cgroup::record);
        let relative = format!("{}/{}", request.task_id, request.attempt);
        let path = self.context.attempts_path.join(&relative);
        let dir = files::open_beneath(self.context.attempts, &relative, &path)
            .map_err(|error| refuse(Refusal::Directory, &error))?;
        let files = AttemptFiles::new(dir, path);
        let claim = Claim {
            protocol: PROTOCOL_VERSION,
            kind: Claimant::Shim,
            by: shim.clone(),
            cgroup,
        };
        match files.take_claim(&claim) {
            Ok(ClaimResult::Taken) => Ok(Attempt {
                request,
                files,
                shim,
            }),
            Ok(ClaimResult::Held) => Err(Box::new(Report::ClaimedElsewhere {
                task_id: request.task_id,
                attempt: request.attempt,
                claim: files.read_record(files::CLAIM).ok().flatten(),
            })),
            Err(error) => Err(refuse(Refusal::Directory, &error)),
        }
    }

    /// The shim ends: what it has made for itself goes.
    pub(super) fn retire(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.retire();
        }
        // The last that is left of a node takes the ledger's own directories away.
        if getppid() != self.spawner {
            self.context.cgroups.remove_unused();
        }
    }

    /// Who this is, after becoming a shim if it isn't one yet.
    fn identity(&mut self) -> Result<ProcessIdentity, Box<dyn std::error::Error>> {
        if let Some(identity) = &self.identity {
            return Ok(identity.clone());
        }
        setsid()?;
        prctl::set_child_subreaper(true)?;
        prctl::set_name(c"ledger-shim")?;
        // The spawner lets the kernel reap its shims; a shim reaps by itself.
        sys::set_child_signal(ChildSignal::Wait);
        let identity = ProcessIdentity::current()?;
        Ok(self.identity.insert(identity).clone())
    }
}

/// A claimed attempt.
struct Attempt {
    request: SpawnRequest,
    files: AttemptFiles,
    shim: ProcessIdentity,
}

/// Reads and checks a request, or says why it can't be served.
pub(super) fn read_request(bytes: &[u8]) -> Result<SpawnRequest, Box<Report>> {
    let (refusal, message) = match serde_json::from_slice::<SpawnRequest>(bytes) {
        Ok(request) => match request.defect() {
            None => return Ok(request),
            Some(defect) => (Refusal::Malformed, defect.to_owned()),
        },
        // Position and kind only: the text around it may be a secret.
        Err(error) => (Refusal::Malformed, describe(&error)),
    };
    let probe = serde_json::from_slice::<RequestProbe>(bytes).ok();
    let version = probe.as_ref().and_then(|probe| probe.protocol);
    let (refusal, message) = match version {
        Some(version) if version != PROTOCOL_VERSION => (
            Refusal::UnknownVersion,
            format!("unknown protocol version {version}"),
        ),
        _ => (refusal, message),
    };
    let (task_id, attempt) = probe.map_or((None, None), |probe| (probe.task_id, probe.attempt));
    Err(Box::new(Report::Refused {
        task_id,
        attempt,
        refusal,
        message,
    }))
}

fn describe(error: &serde_json::Error) -> String {
    let what = if error.is_data() {
        "wrong shape"
    } else {
        "not JSON"
    };
    format!(
        "request: {what} at line {}, column {}",
        error.line(),
        error.column()
    )
}

impl Attempt {
    fn perform(
        self,
        alarms: &mut Option<Alarms>,
        slot: Option<&Slot>,
        reporter: &mut Reporter<'_>,
    ) -> Result<Unsaved, AttemptError> {
        let started_at_us = sys::wall_clock_us();
        let start = sys::since_boot();
        let birthplace = slot.and_then(Slot::birthplace);
        let birthplace = birthplace.map(|cgroup| (cgroup, Entry::BEST));
        let alarms = match alarms {
            Some(alarms) => Ok(alarms),
            none => Alarms::new().map(|made| none.insert(made)),
        };
        let spawned = alarms
            .map_err(SpawnFailure::prepare)
            .and_then(|alarms| Ok((child::start(&self.request, birthplace)?, alarms)));
        let (identity, watched) = match spawned {
            Err(failure) => (None, Ended::not_started(failure)),
            Ok((child, alarms)) => {
                // It's unreaped, so the number is still its own, ended or not.
                let identity = ProcessIdentity::of(child.pid).ok().flatten();
                let started = identity
                    .clone()
                    .map(|child| self.started(child, started_at_us));
                let Self {
                    request,
                    files,
                    shim,
                } = &self;
                let after = Duration::from_millis(request.announce_after_ms);
                let announcement = Announcement::new(started, start, after);
                let scene = Scene {
                    request,
                    files,
                    shim,
                    cgroup: slot.and_then(Slot::tree),
                    start,
                };
                (
                    identity,
                    Ended::from(supervise(&scene, child, announcement, alarms, reporter)),
                )
            }
        };
        let runtime = sys::since_boot().saturating_sub(start);
        let outcome = Outcome {
            protocol: PROTOCOL_VERSION,
            task_id: self.request.task_id.clone(),
            attempt: self.request.attempt,
            child: identity,
            result: watched.result,
            ladder: watched.ladder,
            started_at_us,
            ended_at_us: sys::wall_clock_us(),
            runtime_us: u64::try_from(runtime.as_micros()).unwrap_or(u64::MAX),
            usage: watched.usage,
            stdout: watched.stdout,
            stderr: watched.stderr,
        };
        self.record(outcome, reporter)
    }

    /// What there is to say of a child that runs.
    fn started(&self, child: ProcessIdentity, started_at_us: u64) -> Started {
        Started {
            protocol: PROTOCOL_VERSION,
            task_id: self.request.task_id.clone(),
            attempt: self.request.attempt,
            shim: self.shim.clone(),
            pgid: child.pid,
            child,
            started_at_us,
        }
    }

    /// Writes the outcome and tells the node.
    fn record(
        self,
        outcome: Outcome,
        reporter: &mut Reporter<'_>,
    ) -> Result<Unsaved, AttemptError> {
        let unsaved = Unsaved::write(self.files, outcome, reporter)?;
        reporter.send_end(unsaved.outcome(), &self.shim);
        Ok(unsaved)
    }
}

/// The parts of an outcome that depend on whether there was a child.
struct Ended {
    result: ExitResult,
    usage: Usage,
    ladder: Option<super::records::Ladder>,
    stdout: StreamRecord,
    stderr: StreamRecord,
}

impl Ended {
    fn not_started(failure: SpawnFailure) -> Self {
        let SpawnFailure { step, error } = failure;
        let result = ExitResult::SpawnFailed {
            step,
            errno: error.raw_os_error().unwrap_or(0),
            message: error.to_string(),
        };
        let empty = |name| Capture::new(name, 0, None).finish();
        Self {
            result,
            usage: Usage::default(),
            ladder: None,
            stdout: empty(files::STDOUT),
            stderr: empty(files::STDERR),
        }
    }
}

impl From<Watched> for Ended {
    fn from(watched: Watched) -> Self {
        let (result, usage) = match watched.leader {
            Some(reaped) => (reaped.result, reaped.usage),
            // Somebody else took its status, which only a bug or a debugger can do.
            None => {
                let message = io::Error::from_raw_os_error(libc::ECHILD).to_string();
                let step = super::records::SpawnStep::Fork;
                let result = ExitResult::SpawnFailed {
                    step,
                    errno: libc::ECHILD,
                    message,
                };
                (result, Usage::default())
            }
        };
        Self {
            result,
            usage,
            ladder: watched.ladder,
            stdout: watched.stdout.finish(),
            stderr: watched.stderr.finish(),
        }
    }
}

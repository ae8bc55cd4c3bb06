//! Standing by: waiting for the lock on the data directory, warm, with an eye on who has it.
//!
//! ```text
//!  lock thread ── flock, blocking ──┐
//!  record file ── every 100 ms ─────┼──> the turn: lock, folded state, who was ended and why
//!  operator ───── acquire --force ──┘
//!  leader's socket ── blocks ──> fold
//! ```
//!
//! | must hold | why |
//! |---|---|
//! | nothing of the store is opened before the lock is held | it has one writer, and redb one process |
//! | what was followed is only a head start | the files are folded on from it, with the chain checked |
//! | whoever can't be ended keeps the lock | two leaders are worse than none; the status says so |
//!
//! A standby that follows by the log and takes over warm is what replicated databases call a hot
//! standby.

mod follow;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, unbounded};
use ledger_core::clock;
use ledger_core::event::FenceCause;
use ledger_core::ids::{Entity, Id, Seq, Term};
use ledger_core::time::{Micros, Millis};
use tokio::sync::{oneshot, watch};

use super::boot::{BootError, Turn};
use super::life::{NodeError, NodeOptions, Said, Signals};
use super::ports::{Stopwatch, uptime};
use super::serving::limits;
use crate::api::{self, Socket};
use crate::lease;
use crate::lease::ending;
use crate::lease::fence::{FenceError, Fenced, Mercy, fence};
use crate::lease::lock::{DirLock, LockError};
use crate::lease::observing::{Observer, Verdict};
use crate::lease::record::Record;
use crate::shim::ProcessIdentity;

/// How often the record is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long requests under way may take to end when the turn has come: it comes out of the takeover.
const ANSWERING: Duration = Duration::from_millis(50);
/// How often whoever gives way looks for another leader.
const GIVE_WAY: Duration = Duration::from_millis(10);
/// How long the lock is left to the node that was chosen, which waits for it too.
const ANOTHER: Micros = Micros(1_000_000);

/// What a standby is told.
pub(crate) enum Control {
    /// Stop.
    Stop,
    /// The lock is free and taken, or can't be.
    Locked(Result<DirLock, LockError>),
    /// End the holder now.
    Force {
        /// Who wants it.
        by: Entity,
        /// Why.
        reason: Option<String>,
        /// What came of it.
        reply: oneshot::Sender<Result<Option<Term>, FenceError>>,
    },
}

/// What a standby shows of itself.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    seq: AtomicU64,
    term: AtomicU64,
    leader: Mutex<Option<Id>>,
    trouble: Mutex<Option<String>>,
}

impl Seen {
    /// The last event that it has folded.
    pub(crate) fn seq(&self) -> Seq {
        Seq(self.seq.load(Ordering::Acquire))
    }

    /// The term of that.
    pub(crate) fn term(&self) -> Term {
        Term(self.term.load(Ordering::Acquire))
    }

    /// Whom it follows.
    pub(crate) fn leader(&self) -> Option<Id> {
        lock(&self.leader).clone()
    }

    /// Why it can't take over, or does not follow.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    fn folded(&self, seq: Seq, term: Term) {
        self.term.store(term.0, Ordering::Release);
        self.seq.store(seq.0, Ordering::Release);
    }

    fn follows(&self, leader: Option<Id>) {
        *lock(&self.leader) = leader;
    }

    /// Notes what is wrong, and says so when it is news.
    fn troubled(&self, trouble: Option<String>) {
        let mut known = lock(&self.trouble);
        if *known != trouble {
            if let Some(trouble) = &trouble {
                tracing::warn!(trouble, "this standby can't take over");
            }
            *known = trouble;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for this node's turn to lead. `None` if it was told to stop.
///
/// # Errors
/// [`NodeError`].
pub(super) fn stand_by(
    options: &NodeOptions,
    socket: &Socket,
    signals: &Signals,
    said: &mut dyn FnMut(&Said),
) -> Result<Option<Turn>, NodeError> {
    let io = |what| move |error| NodeError::Io { what, error };
    let me = ProcessIdentity::current().map_err(|e| BootError::Identity(e.to_string()))?;
    let (control, told) = unbounded();
    let seen = Arc::new(Seen::default());
    let server = serve(options, socket, signals.clone(), &seen, &control)?;
    let (to, data_dir) = (Arc::clone(&seen), options.data_dir.clone());
    let own = options.node.clone();
    let following = Stoppable::start("follower", |stopped| {
        follow::follow(data_dir, own, to, stopped)
    })
    .map_err(io("following the leader"))?;
    wait_for_lock(options, control).map_err(io("waiting for the lock"))?;
    let mut watch = Watch {
        options,
        seen: &seen,
        observer: Observer::new(me.boot_id.clone(), uptime()),
        me,
        ended: None,
        retry: None,
    };
    // Whoever is seen now can be named later, whatever becomes of the record.
    watch.look();
    said(&Said::StandsBy {
        socket: options.socket(),
    });
    let lock = loop {
        match told.recv_timeout(LOOK) {
            Ok(Control::Locked(lock)) => break lock.map_err(BootError::from)?,
            // Whoever waits for the lock ends with this process.
            Ok(Control::Stop) | Err(RecvTimeoutError::Disconnected) => {
                server.stop();
                return Ok(None);
            }
            Ok(Control::Force { by, reason, reply }) => {
                // A client that has gone needs no answer.
                let _ = reply.send(watch.force(by, reason));
            }
            Err(RecvTimeoutError::Timeout) => watch.look(),
        }
    };
    // The last word on it is in the note, whoever wrote that.
    let noted = ending::read(&options.data_dir).map(|noted| noted.ended);
    let ended = noted.or(watch.ended);
    let warm = following.stop().flatten();
    server.stop();
    Ok(Some(Turn { lock, warm, ended }))
}

/// Answers on the node's socket, and listens to signals, until it is told to stop.
fn serve(
    options: &NodeOptions,
    socket: &Socket,
    mut signals: Signals,
    seen: &Arc<Seen>,
    control: &Sender<Control>,
) -> Result<Stoppable<()>, NodeError> {
    let io = |what| move |error| NodeError::Io { what, error };
    let socket = socket.share();
    let standby = Arc::new(api::Standby {
        node: options.node.clone(),
        started_at: clock::now(),
        data_dir: options.data_dir.clone(),
        limits: limits(&options.config.api),
        seen: Arc::clone(seen),
        control: control.clone(),
    });
    let control = control.clone();
    let served = Stoppable::start("standby", |stopped| async move {
        let mut since = stopped.clone();
        let mut stop = stopped;
        let stop = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        // Whoever is in the middle of a request is answered, above all who asked for this very takeover;
        // whoever is slow about it asks again and finds a leader.
        let hurry = async {
            let _ = since.wait_for(|stop| *stop).await;
            tokio::time::sleep(ANSWERING).await;
        };
        let told = async {
            signals.told_to_stop().await;
            let _ = control.send(Control::Stop);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = hurry => {}
            () = told => {}
            served = api::serve_standby(&socket, standby, stop) => {
                if let Err(error) = served {
                    tracing::error!(%error, "the standby can't serve");
                }
            }
        }
    });
    served.map_err(io("starting a thread"))
}

/// Sends the lock once it is free. After this node gave way, others come first, for a TTL.
fn wait_for_lock(options: &NodeOptions, control: Sender<Control>) -> std::io::Result<()> {
    let (dir, own) = (options.data_dir.clone(), options.node.clone());
    let way = options
        .gives_way
        .then(|| Duration::from_millis(options.config.lease.ttl.0));
    let waiter = std::thread::Builder::new().name("lock".into());
    waiter.spawn(move || {
        let begun = Stopwatch::start();
        while let Some(way) = way
            && u128::from(begun.elapsed().0) < way.as_micros()
            && matches!(DirLock::is_held(&dir), Ok(false))
        {
            std::thread::sleep(GIVE_WAY);
        }
        let _ = control.send(Control::Locked(wait_for_turn(&dir, &own)));
    })?;
    Ok(())
}

/// Waits for the lock. Who gets it by chance gives way for a while to the one that an operator wants.
fn wait_for_turn(dir: &Path, own: &Id) -> Result<DirLock, LockError> {
    let mut given = None;
    loop {
        let lock = DirLock::wait(dir)?;
        let given = given.get_or_insert_with(Stopwatch::start);
        if given.elapsed() >= ANOTHER || !is_for_another(dir, own) {
            return Ok(lock);
        }
        drop(lock);
        std::thread::sleep(GIVE_WAY);
    }
}

/// Whether the last holder was ended so that another node leads, and nobody has led since.
fn is_for_another(dir: &Path, own: &Id) -> bool {
    let noted = ending::read(dir).filter(|noted| noted.next.as_ref().is_some_and(|n| n != own));
    let last = lease::file::read(dir).ok().map(|(record, _)| record);
    noted
        .zip(last)
        .is_some_and(|(noted, last)| noted.ended.incarnation == last.incarnation)
}

/// The eye on the holder.
struct Watch<'a> {
    options: &'a NodeOptions,
    seen: &'a Seen,
    me: ProcessIdentity,
    observer: Observer,
    ended: Option<lease::decide::Ended>,
    /// When a holder that could not be ended was last tried.
    retry: Option<Stopwatch>,
}

impl Watch<'_> {
    fn look(&mut self) {
        let sight = lease::file::read(&self.options.data_dir);
        let ttl = self.options.config.lease.ttl;
        match self.observer.look(uptime(), sight) {
            Verdict::Lives { .. } => {
                self.retry = None;
                self.seen.troubled(None);
            }
            // Whoever has just taken the lock has not written yet.
            Verdict::Unknown { silent, .. } if silent.0 < ttl.0 * 1000 => {}
            Verdict::Unknown { fault, .. } => self.seen.troubled(Some(format!(
                "somebody holds the lock on the data directory, and nothing says who: {fault}"
            ))),
            // What this very process has left behind when it led: it gives way now, and nobody leads.
            Verdict::Expired { record, .. } if record.process == self.me => {
                self.seen.troubled(None);
            }
            Verdict::Expired { record, silent } => {
                let second = Millis(1000);
                let soon = self.retry.as_ref().map(|tried| tried.elapsed().0);
                if soon.is_none_or(|us| us >= second.0 * 1000) {
                    let cause = FenceCause::Silent {
                        silent_ms: Millis(silent.0 / 1000),
                    };
                    if self.retry.replace(Stopwatch::start()).is_none() {
                        tracing::warn!(
                            holder = %record.holder, pid = record.process.pid,
                            silent_ms = silent.0 / 1000, "the holder of the lease is silent"
                        );
                    }
                    let mercy = Mercy::OnBeat(self.observer.beat().cloned());
                    let done = self.end(&record, cause, mercy);
                    if let Err(error) = done {
                        self.seen.troubled(Some(error.to_string()));
                    }
                }
            }
        }
    }

    /// Ends the holder on behalf of an operator. `None` if it has gone by itself.
    fn force(&mut self, by: Entity, reason: Option<String>) -> Result<Option<Term>, FenceError> {
        let record = match lease::file::read(&self.options.data_dir) {
            Ok((record, _)) => record,
            Err(_) => match self.observer.holder() {
                Some(known) => known.clone(),
                None => return Err(FenceError::Nobody),
            },
        };
        let term = record.term;
        let cause = FenceCause::Forced { by, reason };
        match self.end(&record, cause, Mercy::None)? {
            Fenced::Ended => Ok(term),
            Fenced::Gone | Fenced::Revived => Ok(None),
        }
    }

    fn end(
        &mut self,
        record: &Record,
        cause: FenceCause,
        mercy: Mercy,
    ) -> Result<Fenced, FenceError> {
        let data_dir = &self.options.data_dir;
        let ended = lease::decide::Ended {
            incarnation: record.incarnation.clone(),
            pid: record.process.pid,
            start_time: record.process.start_time,
            cause,
        };
        // Whoever takes the lock then may be another one.
        let next = matches!(ended.cause, FenceCause::Forced { .. });
        let ending = ending::Ending {
            ended: ended.clone(),
            next: next.then(|| self.options.node.clone()),
        };
        let note = ending::Note::leave(data_dir, ending)
            .inspect_err(|error| {
                tracing::warn!(%error, "what is done to the holder can't be noted for other nodes");
            })
            .ok();
        let fenced = fence(data_dir, record, mercy);
        // One that does not go at once goes when the kernel lets it, and has this to thank for it.
        if matches!(
            fenced,
            Ok(Fenced::Ended) | Err(FenceError::Unkillable { .. })
        ) {
            self.ended = Some(ended);
        } else if let Some(note) = note {
            note.take_back();
        }
        let fenced = fenced?;
        match fenced {
            Fenced::Ended => {
                tracing::warn!(
                    holder = %record.holder, pid = record.process.pid,
                    "ended the holder of the lease, which frees the lock"
                );
                self.observer.forget(uptime());
            }
            Fenced::Gone => self.seen.troubled(Some(format!(
                "somebody holds the lock on the data directory; it is not process {} of node {}, which is gone",
                record.process.pid, record.holder
            ))),
            Fenced::Revived => {}
        }
        Ok(fenced)
    }
}

/// A thread with a runtime of its own that ends when told to, and what it leaves.
struct Stoppable<T> {
    stop: watch::Sender<bool>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Stoppable<T> {
    fn start<F: Future<Output = T>>(
        name: &str,
        work: impl FnOnce(watch::Receiver<bool>) -> F + Send + 'static,
    ) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || runtime.block_on(work(stopped)))?;
        Ok(Self { stop, thread })
    }

    /// What it leaves; nothing if it panicked.
    fn stop(self) -> Option<T> {
        self.stop.send_replace(true);
        self.thread.join().ok()
    }
}

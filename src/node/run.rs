//! A node from its start to its end: boot, threads, sockets, signals, shutdown.

use std::io::PipeWriter;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use ledger_core::chain::{Batch, Head};
use ledger_core::clock;
use ledger_core::ids::Seq;
use ledger_core::store::durable::{DurableReader, DurableStore, check_vacant};
use ledger_core::store::{LogReader, OpenError};
use projections::framework::{ViewDir, ViewWorker};
use projections::views;
use tokio::sync::{mpsc, oneshot, watch};

use super::backups::Schedule;
use super::blobs::{self, Blobs};
use super::boot::{Aftermath, BootError, Turn, boot};
use super::builtins::{Builtins, World};
use super::checkpoints::{Checkpointer, Duties};
use super::command::{AppendFailure, Input, Output, StopReason};
use super::core::Core;
use super::disk::Disk;
use super::farewell;
use super::holder;
use super::jobs::{Definitions, Faults, Keeper};
use super::life::{NodeError, NodeOptions, Said, Signals};
use super::processes::{Port, PortConfig};
use super::pulse::Tenure;
use super::reaper;
use super::serving::{Shared, look_around};
use super::snapshots;
use super::standby;
use super::threads::{Mail, Outlets, turn};
use crate::api::{self, Api, Socket};
use crate::lease::ending;
use crate::lease::lock::{DirLock, LockError};
use crate::shim::CgroupPlaces;

/// How long requests under way may take to end when the node stops.
const FAREWELL: Duration = Duration::from_secs(2);

fn io(what: &'static str) -> impl Fn(std::io::Error) -> NodeError {
    move |error| NodeError::Io { what, error }
}

/// Runs a node until it is told to stop (SIGINT, SIGTERM) or can't lead any more: stands by while
/// another one leads, and leads when its turn comes. `said` is told of both.
///
/// # Errors
/// [`NodeError`]; [`NodeError::SteppedDown`] if it led and had to stop, or was asked to let another
/// node lead.
pub fn run(options: &NodeOptions, mut said: impl FnMut(&Said)) -> Result<(), NodeError> {
    let dir = &options.data_dir;
    if !dir.is_dir() {
        return Err(BootError::from(OpenError::Missing(dir.to_owned())).into());
    }
    // Nothing is made in a directory that holds no ledger.
    match check_vacant(dir) {
        Err(OpenError::Exists(_)) => {}
        Err(other) => return Err(BootError::from(other).into()),
        Ok(()) => return Err(BootError::from(OpenError::Missing(dir.to_owned())).into()),
    }
    // A leader whose socket was removed a moment ago has its name all the same.
    if holder::is_led_by_another(dir, &options.node) {
        return Err(NodeError::NameTaken(options.node.clone()));
    }
    let socket = Socket::bind(dir, &options.node).map_err(NodeError::of_bind)?;
    let free = match options.gives_way {
        true => None,
        false => match DirLock::take(dir) {
            Ok(lock) => Some(Turn::cold(lock, ending::read(dir).map(|noted| noted.ended))),
            Err(LockError::Held(_)) => None,
            Err(error) => return Err(BootError::from(error).into()),
        },
    };
    if let Some(turn) = free {
        return lead(options, turn, &socket, None, said);
    }
    // Caught once, so that one that comes while it takes over is not missed.
    let signals = Signals::catch().map_err(io("catching signals"))?;
    match standby::stand_by(options, &socket, &signals, &mut said)? {
        Some(turn) => lead(options, turn, &socket, Some(signals), said),
        None => Ok(()),
    }
}

/// Leads until told to stop or unable to go on.
fn lead(
    options: &NodeOptions,
    turn: Turn,
    socket: &Socket,
    signals: Option<Signals>,
    said: impl FnMut(&Said),
) -> Result<(), NodeError> {
    let started_at = clock::now();
    let booted = boot(&options.data_dir, &options.node, &options.config, turn)?;
    let durable = booted.store.reader();
    let base = head_of(&durable)?;
    let reader: Arc<dyn LogReader> = Arc::new(durable.clone());
    let (cgroups, way, warnings) = look_around(options, reader.as_ref());
    let views = Arc::new(start_views(options, &reader)?);
    let blobs = Blobs::open(&options.data_dir, &options.config.blobs).map_err(io("the blobs"))?;
    let (inbox, mail) = unbounded();
    let checkpointer = checkpointer(options, &reader, &views, &inbox);
    // The first that is asked of the core, so that jobs are there before anyone looks for them.
    let (faults, stop_jobs, awaited) = start_jobs(options, &booted.core, &inbox, base)?;
    let (head, heads) = watch::channel(base);
    let heads_end = heads.clone();
    let (stopped, on_stop) = watch::channel(None);
    let (reaper, reach) = reaper::line();
    let tenure = booted
        .pulse
        .hand_over(booted.core.term())
        .map_err(io("renewing the lease"))?;
    let authority = tenure.authority();
    let (threads, disk) = start_threads(
        options,
        Parts {
            store: booted.store,
            core: booted.core,
            first: booted.first,
            head,
            stopped,
            durable,
            faults: Arc::clone(&faults),
            checkpointer: Arc::clone(&checkpointer),
            cgroups,
            reaper,
            tenure,
        },
        &views,
        (inbox.clone(), mail),
    )?;

    let (stop, stopping) = watch::channel(false);
    let shared = Shared {
        started_at,
        inbox: inbox.clone(),
        reader,
        views: Arc::clone(&views),
        heads,
        stopping,
        warnings,
        way,
        faults,
        checkpointer: Arc::clone(&checkpointer),
        reach,
        authority,
        base,
        blobs,
    };
    let api = shared.api(options);
    let stop_copies = start_copies(options, &api, &views)?;
    let stop_checkpoints = start_checkpoints(options, &checkpointer, base.seq, booted.aftermath)?;
    let running = Running {
        inbox,
        stops: (stop_copies, stop_checkpoints, stop_jobs),
        threads,
        disk,
        views,
        on_stop,
        heads: heads_end,
        base,
        lock: booted.lock,
    };
    let serving = Serving {
        api,
        socket,
        signals,
        awaited,
        stop,
    };
    see_through(options, serving, running, said)
}

/// Serves until that ends, and ends the rest.
fn see_through(
    options: &NodeOptions,
    serving: Serving<'_>,
    running: Running,
    said: impl FnMut(&Said),
) -> Result<(), NodeError> {
    let runtime = runtime()?;
    let served = runtime.block_on(serving.serve(options, &running, said));
    drop(runtime);
    let reason = running.end(options);
    served.and_then(|()| stopped_well(reason))
}

/// A node at work, less what serves its clients.
struct Running {
    inbox: Sender<Mail>,
    stops: (Sender<()>, Sender<()>, PipeWriter),
    threads: [JoinHandle<()>; 4],
    disk: Arc<Disk>,
    views: Arc<ViewWorker>,
    on_stop: watch::Receiver<Option<StopReason>>,
    heads: watch::Receiver<Head>,
    /// Where the ledger ended before this term.
    base: Head,
    lock: DirLock,
}

impl Running {
    /// Nobody is served any more. The core has stopped, or does so now; then the disk's thread and
    /// the port follow.
    fn end(self, options: &NodeOptions) -> Option<StopReason> {
        let _ = self.inbox.send(Mail::Tell(Input::Shutdown));
        drop(self.stops);
        join(self.threads);
        // The store was open for as long as anyone read: followers were sent the very end.
        drop(self.disk);
        // Whoever held it besides has ended.
        if let Some(views) = Arc::into_inner(self.views) {
            views.stop();
        }
        let reason = self.on_stop.borrow().clone();
        let has_led = self.heads.borrow().seq > self.base.seq;
        say_why(options, reason.as_ref().filter(|_| has_led));
        drop(self.lock);
        reason
    }
}

fn head_of(durable: &DurableReader) -> Result<Head, NodeError> {
    let head = durable.head();
    Ok(head.map_err(|e| BootError::Replay(e.to_string()))?)
}

fn stopped_well(reason: Option<StopReason>) -> Result<(), NodeError> {
    match reason {
        None | Some(StopReason::Shutdown) => Ok(()),
        Some(reason) => Err(NodeError::SteppedDown(reason)),
    }
}

/// Records why the node stops, where the core could not: when there was no room.
fn say_why(options: &NodeOptions, reason: Option<&StopReason>) {
    let Some(StopReason::AppendFailed(AppendFailure::Full(_))) = reason else {
        return;
    };
    match farewell::disk_is_full(&options.data_dir, &options.node) {
        Ok(head) => tracing::warn!(seq = %head.seq, "recorded that the disk is full"),
        Err(why) => tracing::error!(why, "that the disk is full could not be recorded"),
    }
}

fn start_views(
    options: &NodeOptions,
    reader: &Arc<dyn LogReader>,
) -> Result<ViewWorker, NodeError> {
    let dir = ViewDir::open(options.data_dir.join("views"))
        .map_err(|e| NodeError::Views(e.to_string()))?;
    Ok(ViewWorker::start(views::all(), dir, Arc::clone(reader)))
}

/// Has the jobs of the files recorded, and follows the files for as long as the pipe is open.
fn start_jobs(
    options: &NodeOptions,
    core: &Core,
    inbox: &Sender<Mail>,
    base: Head,
) -> Result<(Arc<Faults>, PipeWriter, Awaited), NodeError> {
    let path = options.config_path.as_deref();
    let known = &core.state().jobs;
    let faults = Arc::new(Faults::default());
    let keeper = Keeper {
        node: options.node.clone(),
        definitions: Definitions::new(&options.data_dir, path, &options.config, known),
        faults: Arc::clone(&faults),
        inbox: inbox.clone(),
    };
    let (stop, open) = std::io::pipe().map_err(io("making a pipe"))?;
    let jobs = keeper.start(stop);
    let jobs = jobs.map_err(io("following what defines jobs"))?;
    Ok((faults, open, Awaited { base, jobs }))
}

/// Makes backups and snapshots by the clock, as far as that is configured, until what is returned is
/// dropped.
fn start_copies(
    options: &NodeOptions,
    api: &Api,
    views: &Arc<ViewWorker>,
) -> Result<Sender<()>, NodeError> {
    let (stop, stopped) = bounded(0);
    start_backups(options, api, views, stopped.clone())?;
    let sets = options.config.snapshots.clone();
    if sets.is_empty() {
        return Ok(stop);
    }
    let schedule = snapshots::Schedule {
        node: options.node.clone(),
        data_dir: options.data_dir.clone(),
        sets,
        reader: Arc::clone(&api.reader),
        views: Arc::downgrade(views),
        inbox: api.inbox.clone(),
    };
    schedule
        .start(stopped)
        .map_err(io("starting the thread of snapshots"))?;
    Ok(stop)
}

fn start_backups(
    options: &NodeOptions,
    api: &Api,
    views: &Arc<ViewWorker>,
    stopped: Receiver<()>,
) -> Result<(), NodeError> {
    let config = &options.config.backup;
    let Some(every) = config.every else {
        return Ok(());
    };
    let schedule = Schedule {
        node: options.node.clone(),
        data_dir: options.data_dir.clone(),
        dir: options.data_dir.join(&config.dir),
        every,
        keep: config.keep(),
        reader: Arc::clone(&api.reader),
        blobs: Arc::clone(&api.blobs),
        views: Arc::downgrade(views),
        inbox: api.inbox.clone(),
    };
    schedule
        .start(stopped)
        .map_err(io("starting the thread of backups"))
}

fn checkpointer(
    options: &NodeOptions,
    reader: &Arc<dyn LogReader>,
    views: &Arc<ViewWorker>,
    inbox: &Sender<Mail>,
) -> Arc<Checkpointer> {
    Arc::new(Checkpointer::new(
        options.node.clone(),
        &options.data_dir,
        options.config.checkpoint.keep(),
        Arc::clone(reader),
        views,
        inbox.clone(),
    ))
}

/// Has recorded which checkpoints were passed over, holds the state that this node began with against other
/// folds, and makes checkpoints by the number of events, until what is returned is dropped.
fn start_checkpoints(
    options: &NodeOptions,
    checkpointer: &Arc<Checkpointer>,
    began: Seq,
    aftermath: Aftermath,
) -> Result<Sender<()>, NodeError> {
    let (stop, stopped) = bounded(0);
    let config = &options.config.checkpoint;
    let duties = Duties {
        passed_over: aftermath.passed_over,
        began,
        own: aftermath.digests,
        compare_after: Duration::from_millis(config.compare_after.0),
        every: config.every_events(),
    };
    checkpointer
        .start(duties, stopped)
        .map_err(io("starting the thread of checkpoints"))?;
    Ok(stop)
}

fn runtime() -> Result<tokio::runtime::Runtime, NodeError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io("starting a runtime"))
}

fn join(threads: [JoinHandle<()>; 4]) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of the node panicked");
        }
    }
}

/// What the node's threads are made of.
struct Parts {
    store: DurableStore,
    core: Core,
    first: Vec<Output>,
    head: watch::Sender<Head>,
    stopped: watch::Sender<Option<StopReason>>,
    durable: DurableReader,
    faults: Arc<Faults>,
    checkpointer: Arc<Checkpointer>,
    cgroups: CgroupPlaces,
    reaper: reaper::Line,
    tenure: Tenure,
}

/// Starts what writes, what looks after processes and, once both are there, what decides: a node
/// that can't start anything does not take the lease.
/// The store is closed once the last holder of its `Disk` is gone.
fn start_threads(
    options: &NodeOptions,
    parts: Parts,
    views: &Arc<ViewWorker>,
    (inbox, mail): (Sender<Mail>, Receiver<Mail>),
) -> Result<([JoinHandle<()>; 4], Arc<Disk>), NodeError> {
    let Parts {
        store,
        core,
        first,
        head,
        stopped,
        durable,
        faults,
        checkpointer,
        cgroups,
        reaper,
        tenure,
    } = parts;
    let (effects, effects_in) = mpsc::unbounded_channel();
    let structure = durable.clone();
    let world = World {
        data_dir: options.data_dir.clone(),
        reader: durable,
        views: Arc::downgrade(views),
        effects: effects.downgrade(),
        faults,
        checkpointer,
        warn_below: options.config.disk.warn_below,
        reserve: options.config.disk.reserve,
    };
    let builtins = Builtins::new(world, inbox.clone());
    let views = Arc::clone(views);
    let durable = move |batch| views.durable(batch);
    let place = options.data_dir.clone();
    let disk = Arc::new(Disk::new(Box::new(store), Box::new(durable), head, place));
    watch_structure(structure, inbox.clone()).map_err(io("having the store watched"))?;
    let (large, batches) = bounded(1);
    let writer = spawn_writer(Arc::clone(&disk), batches, inbox.clone())?;
    let reaper = reaper::spawn(reaper, inbox.clone(), tenure.authority());
    let (reaping, reaper) = reaper.map_err(io("starting the reaper"))?;
    let outlets = Outlets {
        disk: Arc::clone(&disk),
        large,
        effects,
        reaper,
        builtins,
        stopped,
    };

    let port = PortConfig {
        exe: options.exe.clone(),
        data_dir: options.data_dir.clone(),
        output_limit: options.config.tasks.output_limit,
        cgroups,
        max_processes: options.config.reaper.max_processes,
        overdue_after: options.config.reaper.overdue_after,
        authority: tenure.authority(),
        inbox,
    };
    let processes = spawn_port(port, effects_in)?;
    let turner = std::thread::Builder::new()
        .name("core".into())
        .spawn(move || turn(core, first, &mail, &outlets, tenure))
        .map_err(io("starting the core's thread"))?;
    Ok(([turner, writer, processes, reaping], disk))
}

/// Has the core stop as soon as the store, which is checked beside its work, is found damaged: the next
/// append would say so too, but may be long in coming.
fn watch_structure(store: DurableReader, inbox: Sender<Mail>) -> std::io::Result<()> {
    let watch = move || {
        if let Err(error) = store.wait_until_checked() {
            let failure = AppendFailure::Damaged(error.to_string());
            // One that has stopped needs to know no more.
            drop(inbox.send(Mail::Tell(Input::AppendFailed(failure))));
        }
    };
    let thread = std::thread::Builder::new().name("structure".into());
    thread.spawn(watch).map(drop)
}

fn spawn_writer(
    disk: Arc<Disk>,
    batches: Receiver<Batch>,
    inbox: Sender<Mail>,
) -> Result<JoinHandle<()>, NodeError> {
    std::thread::Builder::new()
        .name("disk".into())
        .spawn(move || disk.serve(&batches, &inbox))
        .map_err(io("starting the disk's thread"))
}

/// The port has a runtime of its own: a spawner that is slow to take a request holds up no reader.
fn spawn_port(
    config: PortConfig,
    effects: mpsc::UnboundedReceiver<super::processes::Effect>,
) -> Result<JoinHandle<()>, NodeError> {
    let runtime = runtime()?;
    let (port, own) = {
        let _in_runtime = runtime.enter();
        Port::new(config).map_err(io("starting the spawner"))?
    };
    std::thread::Builder::new()
        .name("processes".into())
        .spawn(move || runtime.block_on(port.run(own, effects)))
        .map_err(io("starting the process port"))
}

/// What there is to wait for before anyone is served.
struct Awaited {
    /// The lease is durable once the ledger ends behind this.
    base: Head,
    /// Tells that the jobs of the files are recorded.
    jobs: oneshot::Receiver<()>,
}

/// What serves a leader's clients.
struct Serving<'a> {
    api: Arc<Api>,
    socket: &'a Socket,
    /// Caught already by a standby.
    signals: Option<Signals>,
    awaited: Awaited,
    /// Ends streams that would go on for ever.
    stop: watch::Sender<bool>,
}

impl Serving<'_> {
    /// Serves until told to stop or unable to lead, then sees the core to its end.
    async fn serve(
        self,
        options: &NodeOptions,
        running: &Running,
        mut said: impl FnMut(&Said),
    ) -> Result<(), NodeError> {
        let Self {
            api,
            socket,
            signals,
            awaited,
            stop,
        } = self;
        let mut signals = match signals {
            Some(signals) => signals,
            None => Signals::catch().map_err(io("catching signals"))?,
        };
        let mut head = api.head.clone();
        let (mut early, mut on_stop) = (running.on_stop.clone(), running.on_stop.clone());
        let base = awaited.base;
        tokio::select! {
            // The lease is durable.
            moved = head.wait_for(|head| head.seq > base.seq) => {
                let at = moved.map(|head| *head).unwrap_or(base);
                // Whoever asks finds the jobs there; nothing comes of it if the core has stopped.
                let _ = awaited.jobs.await;
                let mut server = start_server(api, socket)?;
                said(&Said::Leads { socket: options.socket(), head: at });
                tokio::select! {
                    () = signals.told_to_stop() => {}
                    _ = on_stop.wait_for(Option::is_some) => {}
                }
                let _ = running.inbox.send(Mail::Tell(Input::Shutdown));
                let _ = on_stop.wait_for(Option::is_some).await;
                let _ = stop.send(true);
                if tokio::time::timeout(FAREWELL, &mut server).await.is_err() {
                    server.abort();
                }
            }
            _ = early.wait_for(Option::is_some) => {}
        }
        Ok(())
    }
}

/// Serves the API until its node stops. Must be called in a runtime.
fn start_server(api: Arc<Api>, socket: &Socket) -> Result<tokio::task::JoinHandle<()>, NodeError> {
    let listener = socket.listener().map_err(io("serving the socket"))?;
    let mut stopping = api.stopping.clone();
    let (blobs, reader) = (Arc::clone(&api.blobs), Arc::clone(&api.reader));
    tokio::spawn(blobs::sweep(blobs, reader, stopping.clone()));
    Ok(tokio::spawn(api::serve(listener, api, async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    })))
}

//! A node from its start to its end: boot, threads, sockets, signals, shutdown.

use std::io::PipeWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use ledger_core::chain::{Batch, Head};
use ledger_core::clock;
use ledger_core::ids::Id;
use ledger_core::store::LogReader;
use ledger_core::store::durable::{DurableReader, DurableStore};
use projections::framework::{ViewDir, ViewWorker};
use projections::views;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use super::backups::Schedule;
use super::blobs::{self, Blobs};
use super::boot::{BootError, Booted, boot};
use super::builtins::{Builtins, World};
use super::command::{AppendFailure, Input, Output, StopReason};
use super::core::Core;
use super::disk::Disk;
use super::farewell;
use super::jobs::{Definitions, Faults, Keeper};
use super::processes::{Port, PortConfig};
use super::reaper;
use super::threads::{Mail, Outlets, turn};
use crate::api::{self, Api, Defaults, Limits};
use crate::config::{ApiConfig, CgroupUse, Config, TasksConfig};
use crate::keys::{self, NoKey};
use crate::shim::CgroupPlaces;

/// How a node is to run.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The data directory, absolute.
    pub data_dir: PathBuf,
    /// The node's name.
    pub node: Id,
    /// Everything else.
    pub config: Config,
    /// The file that it was read from, if not `ledger.toml` in the data directory.
    pub config_path: Option<PathBuf>,
    /// This program, started again as the spawner.
    pub exe: PathBuf,
}

/// Why a node did not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// It did not come up.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Something it needs failed.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        error: std::io::Error,
    },
    /// Its views could not be folded.
    #[error("the views can't be folded: {0}")]
    Views(String),
    /// It stopped leading.
    #[error("the node stepped down: {0}")]
    SteppedDown(StopReason),
}

/// How long requests under way may take to end when the node stops.
const FAREWELL: Duration = Duration::from_secs(2);

fn io(what: &'static str) -> impl Fn(std::io::Error) -> NodeError {
    move |error| NodeError::Io { what, error }
}

/// What a node says once it serves.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Its socket.
    pub socket: PathBuf,
    /// Its term's first durable head.
    pub head: Head,
}

/// Runs a node until it is told to stop (SIGINT, SIGTERM) or can't lead any more. `ready` is
/// called once it leads and serves.
///
/// # Errors
/// [`NodeError`]; [`NodeError::SteppedDown`] if it led and had to stop.
pub fn run(options: &NodeOptions, ready: impl FnOnce(&Ready)) -> Result<(), NodeError> {
    let started_at = clock::now();
    let Booted {
        lock,
        store,
        core,
        first,
    } = boot(&options.data_dir, &options.node, &options.config)?;
    let durable = store.reader();
    let base = head_of(&durable)?;
    let reader: Arc<dyn LogReader> = Arc::new(durable.clone());
    let (cgroups, way, warnings) = look_around(options, reader.as_ref());
    let views = Arc::new(start_views(options, &reader)?);
    let blobs = Blobs::open(&options.data_dir, &options.config.blobs).map_err(io("the blobs"))?;

    let (inbox, mail) = unbounded();
    // The first that is asked of the core, so that jobs are there before anyone looks for them.
    let (faults, stop_jobs, awaited) = start_jobs(options, &core, &inbox, base)?;
    let (head, heads) = watch::channel(base);
    let heads_end = heads.clone();
    let (stopped, on_stop) = watch::channel(None);
    let (reaper, reach) = reaper::line();
    let (threads, disk) = start_threads(
        options,
        Parts {
            store,
            core,
            first,
            head,
            stopped,
            durable,
            faults: Arc::clone(&faults),
            cgroups,
            reaper,
        },
        &views,
        (inbox.clone(), mail),
    )?;

    let (stop, stopping) = watch::channel(false);
    let api = Arc::new(Api {
        node: options.node.clone(),
        started_at,
        data_dir: options.data_dir.clone(),
        defaults: defaults(&options.config.tasks),
        policy: Arc::new(options.config.policy()),
        limits: limits(&options.config.api),
        inbox: inbox.clone(),
        reader,
        views: Arc::clone(&views),
        head: heads,
        stopping,
        warnings,
        cgroups: way,
        blobs: Arc::new(blobs),
        job_faults: faults,
        reaper: reach,
        warn_below: options.config.disk.warn_below,
    });
    let stop_backups = start_backups(options, &api, &views)?;
    let runtime = runtime()?;
    let served = runtime.block_on(lead(options, api, awaited, &inbox, stop, &on_stop, ready));

    // From here on nobody is served. The core has stopped, or does so now; then the disk's thread
    // and the port follow.
    let _ = inbox.send(Mail::Tell(Input::Shutdown));
    drop((stop_backups, stop_jobs));
    drop(runtime);
    join(threads);
    // The store was open for as long as anyone read: followers were sent the very end.
    drop(disk);
    // Whoever held it besides has ended.
    if let Some(views) = Arc::into_inner(views) {
        views.stop();
    }
    let _ = std::fs::remove_file(socket_of(options));
    let reason = on_stop.borrow().clone();
    let has_led = heads_end.borrow().seq > base.seq;
    say_why(options, reason.as_ref().filter(|_| has_led));
    drop(lock);
    served.and_then(|()| stopped_well(reason))
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

/// What a task gets where its submitter said nothing.
fn defaults(config: &TasksConfig) -> Defaults {
    Defaults {
        max_runtime: config.max_runtime,
        grace: config.grace,
    }
}

/// What a client may take of the node.
fn limits(config: &ApiConfig) -> Limits {
    Limits {
        head_timeout: config.head_timeout,
        body_timeout: config.body_timeout,
        connections: usize::try_from(config.max_connections).unwrap_or(usize::MAX),
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

/// Makes backups by the clock, if that is configured, until what is returned is dropped.
fn start_backups(
    options: &NodeOptions,
    api: &Api,
    views: &Arc<ViewWorker>,
) -> Result<Sender<()>, NodeError> {
    let (stop, stopped) = bounded(0);
    let config = &options.config.backup;
    let Some(every) = config.every else {
        return Ok(stop);
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
        .map_err(io("starting the thread of backups"))?;
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
    cgroups: CgroupPlaces,
    reaper: reaper::Line,
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
        cgroups,
        reaper,
    } = parts;
    let (effects, effects_in) = mpsc::unbounded_channel();
    let world = World {
        data_dir: options.data_dir.clone(),
        reader: durable,
        views: Arc::downgrade(views),
        effects: effects.downgrade(),
        faults,
        warn_below: options.config.disk.warn_below,
        reserve: options.config.disk.reserve,
    };
    let builtins = Builtins::new(world, inbox.clone());
    let views = Arc::clone(views);
    let durable = move |batch| views.durable(batch);
    let place = options.data_dir.clone();
    let disk = Arc::new(Disk::new(Box::new(store), Box::new(durable), head, place));
    let (large, batches) = bounded(1);
    let writer = spawn_writer(Arc::clone(&disk), batches, inbox.clone())?;
    let reaper = reaper::spawn(reaper, inbox.clone());
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
        inbox,
    };
    let processes = spawn_port(port, effects_in)?;
    let turner = std::thread::Builder::new()
        .name("core".into())
        .spawn(move || turn(core, first, &mail, &outlets))
        .map_err(io("starting the core's thread"))?;
    Ok(([turner, writer, processes, reaping], disk))
}

fn socket_of(options: &NodeOptions) -> PathBuf {
    options
        .data_dir
        .join("run")
        .join(format!("{}.sock", options.node))
}

/// Where process trees are held, in a word too, and what an operator should know.
fn look_around(
    options: &NodeOptions,
    reader: &dyn LogReader,
) -> (CgroupPlaces, &'static str, Vec<String>) {
    let cgroups = find_cgroups(options);
    let warnings = warnings(options, reader, &cgroups);
    let way = cgroups.way();
    (cgroups, way, warnings)
}

/// What an operator should know about how this node runs.
fn warnings(options: &NodeOptions, reader: &dyn LogReader, cgroups: &CgroupPlaces) -> Vec<String> {
    let mut warnings = Vec::new();
    match keys::load(&options.data_dir, reader) {
        // A ledger that was made without a key can't be helped.
        Ok(_) | Err(NoKey::Unsigned) => {}
        Err(error) => warnings.push(format!("heads can't be signed: {error}")),
    }
    if nix::unistd::geteuid().is_root() {
        warnings.push(
            "the node runs as root and so do its tasks: they are trusted with the ledger's integrity"
                .to_owned(),
        );
    }
    if options.config.reaper.max_processes.is_some() && cgroups.limits.is_none() {
        warnings.push(
            "reaper.max_processes can't be kept: no pids controller is left to this node"
                .to_owned(),
        );
    }
    warnings
}

/// Where attempts get their cgroups.
fn find_cgroups(options: &NodeOptions) -> CgroupPlaces {
    let places = match options.config.reaper.cgroups {
        CgroupUse::Auto => CgroupPlaces::find(&options.data_dir),
        CgroupUse::Off => CgroupPlaces::default(),
    };
    let swept = places.remove_empty();
    tracing::debug!(
        trees = places.way(),
        ?places,
        removed = swept.removed,
        "cgroups"
    );
    places
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

/// Serves until told to stop or unable to lead, then sees the core to its end.
async fn lead(
    options: &NodeOptions,
    api: Arc<Api>,
    Awaited { base, jobs }: Awaited,
    inbox: &Sender<Mail>,
    stop: watch::Sender<bool>,
    on_stop: &watch::Receiver<Option<StopReason>>,
    ready: impl FnOnce(&Ready),
) -> Result<(), NodeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(io("catching SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io("catching SIGINT"))?;
    let mut head = api.head.clone();
    let (mut early, mut on_stop) = (on_stop.clone(), on_stop.clone());
    tokio::select! {
        // The lease is durable.
        moved = head.wait_for(|head| head.seq > base.seq) => {
            let at = moved.map(|head| *head).unwrap_or(base);
            // Whoever asks finds the jobs there; nothing comes of it if the core has stopped.
            let _ = jobs.await;
            let listener =
                api::bind(&options.data_dir, &options.node).map_err(io("binding the socket"))?;
            let mut stopping = api.stopping.clone();
            let (blobs, reader) = (Arc::clone(&api.blobs), Arc::clone(&api.reader));
            tokio::spawn(blobs::sweep(blobs, reader, stopping.clone()));
            let server = tokio::spawn(api::serve(listener, api, async move {
                let _ = stopping.wait_for(|stop| *stop).await;
            }));
            ready(&Ready { socket: socket_of(options), head: at });
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = on_stop.wait_for(Option::is_some) => {}
            }
            let _ = inbox.send(Mail::Tell(Input::Shutdown));
            let _ = on_stop.wait_for(Option::is_some).await;
            let _ = stop.send(true);
            let mut server = server;
            if tokio::time::timeout(FAREWELL, &mut server).await.is_err() {
                server.abort();
            }
        }
        _ = early.wait_for(Option::is_some) => {}
    }
    Ok(())
}

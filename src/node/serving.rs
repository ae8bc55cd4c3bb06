//! What a leader's clients get at, and what they should know of where it runs.

use std::sync::Arc;

use crossbeam_channel::Sender;
use ledger_core::chain::Head;
use ledger_core::store::LogReader;
use ledger_core::time::Timestamp;
use projections::framework::ViewWorker;
use tokio::sync::watch;

use super::blobs::Blobs;
use super::checkpoints::Checkpointer;
use super::jobs::Faults;
use super::life::NodeOptions;
use super::reaper;
use super::restart::Restart;
use super::threads::Mail;
use crate::api::{Api, Defaults, Leading, Limits};
use crate::config::{ApiConfig, CgroupUse, TasksConfig};
use crate::keys::{self, NoKey};
use crate::lease::holding::Authority;
use crate::shim::CgroupPlaces;

/// What clients get at.
pub(super) struct Shared {
    pub(super) started_at: Timestamp,
    pub(super) inbox: Sender<Mail>,
    pub(super) reader: Arc<dyn LogReader>,
    pub(super) views: Arc<ViewWorker>,
    pub(super) heads: watch::Receiver<Head>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) warnings: Vec<String>,
    pub(super) way: &'static str,
    pub(super) faults: Arc<Faults>,
    pub(super) checkpointer: Arc<Checkpointer>,
    pub(super) reach: reaper::Reach,
    pub(super) authority: Authority,
    pub(super) base: Head,
    pub(super) blobs: Blobs,
}

impl Shared {
    pub(super) fn api(self, options: &NodeOptions) -> Arc<Api> {
        let config = &options.config;
        Arc::new(Api {
            node: options.node.clone(),
            started_at: self.started_at,
            data_dir: options.data_dir.clone(),
            defaults: defaults(&config.tasks),
            policy: Arc::new(config.policy()),
            limits: limits(&config.api),
            inbox: self.inbox,
            reader: self.reader,
            views: self.views,
            head: self.heads,
            stopping: self.stopping,
            warnings: self.warnings,
            cgroups: self.way,
            blobs: Arc::new(self.blobs),
            job_faults: self.faults,
            checkpointer: self.checkpointer,
            reaper: self.reach,
            warn_below: config.disk.warn_below,
            lease: Leading {
                authority: self.authority,
                timing: config.lease.timing().unwrap_or_default(),
                begun: self.base,
            },
            restart: Restart::of(options),
        })
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
pub(super) fn limits(config: &ApiConfig) -> Limits {
    Limits {
        head_timeout: config.head_timeout,
        body_timeout: config.body_timeout,
        connections: usize::try_from(config.max_connections).unwrap_or(usize::MAX),
    }
}

/// Where process trees are held, in a word too, and what an operator should know.
pub(super) fn look_around(
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

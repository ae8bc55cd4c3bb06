//! What a node is told when it begins, what it says of itself as it goes, and why it ends.

use std::path::PathBuf;

use ledger_core::chain::Head;
use ledger_core::ids::Id;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::boot::BootError;
use super::command::StopReason;
use crate::api::BindError;
use crate::config::Config;
use crate::run_dir;

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
    /// Whether it has just given up the lease, and lets others have it first.
    pub gives_way: bool,
}

impl NodeOptions {
    /// Where the node listens.
    pub fn socket(&self) -> PathBuf {
        run_dir::path(&self.data_dir).join(format!("{}.sock", self.node))
    }
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
    /// Another node has its name.
    #[error("a node named {0} runs on this ledger already")]
    NameTaken(Id),
    /// It can't have its name.
    #[error("{0}")]
    Name(String),
    /// Its views could not be folded.
    #[error("the views can't be folded: {0}")]
    Views(String),
    /// It stopped leading.
    #[error("the node stepped down: {0}")]
    SteppedDown(StopReason),
}

impl NodeError {
    /// Why a socket was not bound.
    pub(super) fn of_bind(error: BindError) -> Self {
        match error {
            BindError::Taken(node) => Self::NameTaken(node),
            BindError::TooLong(_) => Self::Name(error.to_string()),
            BindError::Busy => Self::Io {
                what: "binding the socket",
                error: std::io::Error::other(error.to_string()),
            },
            BindError::Io(error) => Self::Io {
                what: "binding the socket",
                error,
            },
        }
    }
}

/// What a node says of itself as it goes.
#[derive(Debug, Clone)]
pub enum Said {
    /// Another node has the lease; this one follows it and takes over when it is gone.
    StandsBy {
        /// Its socket.
        socket: PathBuf,
    },
    /// It leads and serves.
    Leads {
        /// Its socket.
        socket: PathBuf,
        /// Its term's first durable head.
        head: Head,
    },
}

/// The signals that tell a node to stop. Who asks late is told of those that came before.
#[derive(Debug, Clone)]
pub(super) struct Signals(watch::Receiver<bool>);

impl Signals {
    /// Catches them from now on, for as long as this process lives.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn catch() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut terminate, mut interrupt) = {
            let _in_runtime = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            )
        };
        let (tell, told) = watch::channel(false);
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                });
                tell.send_replace(true);
            })?;
        Ok(Self(told))
    }

    /// Waits for one.
    pub(super) async fn told_to_stop(&mut self) {
        // The thread that tells ends only after it has told.
        let _ = self.0.wait_for(|told| *told).await;
    }
}

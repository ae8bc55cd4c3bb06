//! The nodes of a data directory: who listens, and what each says of itself.

use std::io;
use std::path::Path;
use std::time::Duration;

use ledger_core::ids::Id;
use ledger_core::time::Micros;
use tokio::task::JoinSet;

use super::Client;
use super::address::{self, Address};
use super::connection::{Patience, Pool};
use crate::api::wire::{
    AcquireRequest, Acquired, ApiError, ErrorCode, LeaseInfo, NodeStanding, Receipt, Role,
    StepDownRequest,
};
use crate::node::holder::{self, Process};
use crate::node::ports::Stopwatch;
use crate::run_dir;
use crate::units::format_limit;

/// How long a node may take to say what it is.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a ledger may be without a leader while nodes are there: above the TTL of a lease and what
/// a takeover takes.
pub const LEADERLESS: Micros = Micros(10_000_000);
/// How soon to look again then.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// What was found of the nodes of a data directory.
enum Found {
    /// The one that leads.
    Leader(Client),
    /// None that leads, and why.
    None(ApiError),
    /// Nothing but nodes that do not answer.
    Silent,
    /// Nobody at all.
    Nobody,
}

/// A node that listens.
#[derive(Debug)]
pub struct Surveyed {
    /// Its name, after its socket.
    pub name: Id,
    /// How to talk to it, and what it says of itself.
    pub answer: Result<(Client, NodeStanding), ApiError>,
}

/// Asks every node of a data directory what it is, but for the one that asks, all at once. Sockets where
/// nobody listens are left out.
///
/// # Errors
/// If the `run` directory can't be read.
pub async fn survey(data_dir: &Path, asks: Option<&Id>) -> io::Result<Vec<Surveyed>> {
    let mut asked = JoinSet::new();
    for address in address::sockets(&run_dir::path(data_dir))? {
        let Some(name) = name_of(&address) else {
            continue;
        };
        if asks == Some(&name) {
            continue;
        }
        asked.spawn(async move {
            let asking = tokio::time::timeout(PATIENCE, ask(address));
            let answer = asking
                .await
                .unwrap_or_else(|_| Some(Err(silent_one(&name))))?;
            Some(Surveyed { name, answer })
        });
    }
    let mut nodes = Vec::new();
    while let Some(node) = asked.join_next().await {
        nodes.extend(node.ok().flatten());
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

/// Nothing if nobody listens.
async fn ask(address: Address) -> Option<Result<(Client, NodeStanding), ApiError>> {
    let pool = match Pool::open(address).await {
        Ok(pool) => pool,
        // Somebody listens, and more wait to be let in than the system takes.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(Err(busy(&error))),
        Err(_) => return None,
    };
    let client = Client { pool };
    Some(client.node().await.map(|standing| (client, standing)))
}

fn silent() -> ApiError {
    ApiError::new(ErrorCode::Timeout, "the node does not answer")
        .hint("see whether its process still runs and its disk still works")
}

/// Why none of the nodes answers, as far as the lease's record tells.
fn unanswered(data_dir: &Path) -> (Process, ApiError) {
    const SHOWS: &str = "`ledger lease status` shows what is known of it";
    let Ok(named) = holder::look(data_dir) else {
        return (Process::Unknown, silent().hint(SHOWS));
    };
    let error = ApiError::new(ErrorCode::Timeout, format!("{named} does not answer"));
    let error = match named.process {
        Process::Stopped => error
            .because("it was stopped by a signal, and no other node stands by")
            .hint(format!(
                "`kill -CONT {}` wakes it; another `ledger up --node NAME` ends it and leads after {}",
                named.pid,
                format_limit(named.ttl)
            )),
        Process::Lives => error
            .because("it runs, but its disk may hang, or it has far too much to do")
            .hint(SHOWS),
        Process::Gone | Process::Unknown => silent().hint(SHOWS),
    };
    (named.process, error)
}

/// Why one of several does not answer, of which only the name is known.
fn silent_one(name: &Id) -> ApiError {
    ApiError::new(ErrorCode::Timeout, format!("node {name} does not answer"))
        .hint("see whether its process still runs, was stopped (`kill -CONT` wakes it), or waits for a disk")
}

fn busy(error: &io::Error) -> ApiError {
    ApiError::new(ErrorCode::Refused, "the node is busy")
        .because(format!("too many clients wait to be let in ({error})"))
        .hint("try again in a moment; api.max_connections says how many it lets in at once")
}

fn name_of(address: &Address) -> Option<Id> {
    Id::new(address.name()?.strip_suffix(".sock")?).ok()
}

impl Client {
    /// Connects to the node that leads the ledger in a data directory: `None` if no socket in its
    /// `run` directory has a listener. While there are nodes and none leads, a takeover is under
    /// way, so that is waited for.
    ///
    /// # Errors
    /// [`ErrorCode::NotLeader`] if none leads for [`LEADERLESS`], [`ErrorCode::Timeout`] if one that
    /// might does not answer; [`ApiError`] if the `run` directory can't be read.
    pub async fn discover(data_dir: &Path) -> Result<Option<Self>, ApiError> {
        let begun = Stopwatch::start();
        loop {
            let failed = match Self::find(data_dir).await? {
                Found::Leader(client) => return Ok(Some(client)),
                Found::Nobody => return Ok(None),
                Found::None(why) => why,
                Found::Silent => match unanswered(data_dir) {
                    // Whoever was stopped says nothing however long it is asked, and nobody takes over.
                    (Process::Stopped, why) => return Err(why),
                    (_, why) => why,
                },
            };
            if begun.elapsed() >= LEADERLESS {
                return Err(failed);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn find(data_dir: &Path) -> Result<Found, ApiError> {
        let unread = |e: io::Error| {
            ApiError::new(ErrorCode::Failed, "the node's socket can't be looked for").because(e)
        };
        let nodes = survey(data_dir, None).await.map_err(unread)?;
        let mut why = None;
        let silent = |node: &Surveyed| {
            let error = node.answer.as_ref().err();
            error.is_some_and(|error| error.code == ErrorCode::Timeout)
        };
        if !nodes.is_empty() && nodes.iter().all(silent) {
            return Ok(Found::Silent);
        }
        for node in nodes {
            match node.answer {
                Ok((client, standing)) if standing.role == Role::Leader => {
                    return Ok(Found::Leader(client));
                }
                Ok((_, standing)) => {
                    let stands_by = || format!("node {} stands by", standing.node);
                    let cause = standing.trouble.unwrap_or_else(stands_by);
                    why.get_or_insert(
                        ApiError::new(ErrorCode::NotLeader, "no node leads")
                            .because(cause)
                            .hint("`ledger lease status` shows the nodes and what they wait for"),
                    );
                }
                Err(error) => why = Some(error),
            }
        }
        Ok(why.map_or(Found::Nobody, Found::None))
    }

    /// What a node says of itself, whether it leads or not.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`] if its version does not say.
    pub async fn node(&self) -> Result<NodeStanding, ApiError> {
        self.get("/v1/node", &[]).await
    }

    /// The lease, from the node that holds it.
    ///
    /// # Errors
    /// [`ErrorCode::NotLeader`] from any other.
    pub async fn lease(&self) -> Result<LeaseInfo, ApiError> {
        self.get("/v1/lease", &[]).await
    }

    /// Has a leader give the lease back, so that a standby takes it.
    ///
    /// # Errors
    /// [`ErrorCode::Refused`] if none stands by.
    pub async fn step_down(&self, request: &StepDownRequest) -> Result<Receipt, ApiError> {
        self.post("/v1/lease/step-down", request, Patience::Short)
            .await
    }

    /// Has this node take the lease.
    ///
    /// # Errors
    /// [`ErrorCode::Refused`] if another one holds it and that is not to be ended, or can't be.
    pub async fn acquire(&self, request: &AcquireRequest) -> Result<Acquired, ApiError> {
        self.post("/v1/lease/acquire", request, Patience::Short)
            .await
    }
}

//! Work on a ledger over as many leaders as it takes: whoever leads is asked, and when it is killed,
//! stops or gives up the lease in the middle, the next one is asked again.
//!
//! | must hold | why |
//! |---|---|
//! | a submit has an idempotency key, if need be one drawn here | sent again it must be the same task |
//! | what was written of a stream is counted | after a lost connection it goes on where it stopped |
//! | it is held against the length that the ledger records | the end of a connection is not the end of the output |
//! | what a living leader refuses stays refused | only a change of the leader is ridden over |

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ledger_core::clock;
use ledger_core::event::Attempt;
use ledger_core::ids::Id;
use projections::tasks::TaskView;
use tokio::sync::Mutex;

use crate::api::wire::{
    ApiError, ErrorCode, OutputQuery, Role, Stream, SubmitReceipt, SubmitRequest,
};
use crate::cli::error::Failure;
use crate::cli::exec::retried;
use crate::cli::output::note;
use crate::client::Client;
use crate::units::format_duration;

/// How often a node is looked for while none answers.
const RETRY: Duration = Duration::from_millis(100);
/// How often in a row the same thing may fail while a leader answers.
const TRIES: u32 = 5;
/// How long a node that failed may take to say that it leads nonetheless, and nobody to be there until
/// that is said.
const PROOF: Duration = Duration::from_secs(1);

/// The leader of the moment, and how to find the next.
pub(crate) struct Session {
    data_dir: PathBuf,
    client: RefCell<Rc<Client>>,
    /// Held by whoever looks for the next leader, so that one does it for all.
    finding: Mutex<()>,
}

/// What becomes of a task's bytes.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> Result<(), Failure>;

impl Session {
    /// A session with the node that leads.
    ///
    /// # Errors
    /// If none does.
    pub(crate) async fn new(data_dir: &Path) -> Result<Self, ApiError> {
        let client = Client::discover(data_dir).await?.ok_or_else(|| {
            ApiError::new(ErrorCode::Refused, "the node has just stopped")
                .hint("start one with `ledger up`")
        })?;
        Ok(Self {
            data_dir: data_dir.to_owned(),
            client: RefCell::new(Rc::new(client)),
            finding: Mutex::new(()),
        })
    }

    /// The API of the node that led last.
    pub(crate) fn client(&self) -> Rc<Client> {
        Rc::clone(&self.client.borrow())
    }

    /// Submits a task once, however often that has to be sent.
    ///
    /// # Errors
    /// [`Failure`]: what a leader refuses.
    pub(crate) async fn submit(&self, request: &SubmitRequest) -> Result<SubmitReceipt, Failure> {
        let mut request = request.clone();
        request
            .idempotency_key
            .get_or_insert_with(clock::new_idempotency_key);
        self.ride(async |client| client.submit(&request).await)
            .await
    }

    /// The task as it is now.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) async fn view(&self, id: &Id) -> Result<TaskView, Failure> {
        self.ride(async |client| client.task(id, None).await).await
    }

    /// Asks whoever leads, again if the answer is lost: only for what may be done twice.
    async fn ride<T>(
        &self,
        what: impl AsyncFn(&Client) -> Result<T, ApiError>,
    ) -> Result<T, Failure> {
        let mut patience = TRIES;
        loop {
            let client = self.client();
            match what(&client).await {
                Ok(done) => return Ok(done),
                Err(error) => self.after(&client, error, &mut patience).await?,
            }
        }
    }

    /// Passes on what a task writes to one stream, attempt by attempt, until it has ended. The task as it
    /// is then.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) async fn stream(
        &self,
        id: &Id,
        stream: Stream,
        sink: Sink<'_>,
    ) -> Result<TaskView, Failure> {
        let mut attempt = 1;
        loop {
            let view = self.attempt(id, stream, attempt, sink).await?;
            let is_latest = view.attempt.is_none_or(|latest| latest.0 <= attempt);
            if is_latest && view.ended_at.is_some() {
                return Ok(view);
            }
            if stream == Stream::Stderr
                && let Some(said) = retried::said(&view, Attempt(attempt), clock::now())
            {
                note(said);
            }
            attempt += 1;
        }
    }

    /// Passes on what one attempt writes to one stream, until it can write no more. The task as it is
    /// then.
    ///
    /// # Errors
    /// [`Failure`].
    pub(crate) async fn attempt(
        &self,
        id: &Id,
        stream: Stream,
        attempt: u32,
        sink: Sink<'_>,
    ) -> Result<TaskView, Failure> {
        let (mut written, mut patience) = (0, TRIES);
        loop {
            let (before, client) = (written, self.client());
            let query = OutputQuery {
                stream,
                attempt: Some(attempt),
                follow: true,
            };
            if let Err(error) = pass(&client, id, &query, &mut written, sink).await? {
                if written > before {
                    patience = TRIES;
                }
                // It has ended without this attempt.
                if error.code == ErrorCode::NotFound {
                    let view = self.view(id).await?;
                    let latest = view.attempt.map_or(0, |latest| latest.0);
                    if view.ended_at.is_some() && latest < attempt {
                        return Ok(view);
                    }
                }
                self.after(&client, error, &mut patience).await?;
                continue;
            }
            let view = self.view(id).await?;
            let over = view.ended_at.is_some()
                || view
                    .attempts
                    .iter()
                    .any(|record| record.attempt.0 >= attempt);
            let latest = view.attempt.is_none_or(|latest| latest.0 <= attempt);
            let outputs = view.outputs.as_ref().filter(|_| latest);
            let expected = outputs.map_or(0, |outputs| match stream {
                Stream::Stdout => outputs.stdout.bytes,
                Stream::Stderr => outputs.stderr.bytes,
            });
            if !over {
                // The node stops, and will come back with the same attempt.
                tokio::time::sleep(RETRY).await;
            } else if written < expected && patience > 0 {
                patience -= 1;
            } else {
                return Ok(view);
            }
        }
    }

    /// After a failure: waits for the next leader if the failure may be the last one's going.
    ///
    /// # Errors
    /// The failure, if that has nothing to do with who leads.
    async fn after(
        &self,
        failed: &Rc<Client>,
        error: ApiError,
        patience: &mut u32,
    ) -> Result<(), Failure> {
        let _finding = self.finding.lock().await;
        if !Rc::ptr_eq(failed, &self.client()) {
            // Somebody else has found the next one meanwhile.
            return Ok(());
        }
        let may_pass = match error.code {
            ErrorCode::Lost | ErrorCode::NotLeader | ErrorCode::Failed | ErrorCode::Timeout => true,
            ErrorCode::Refused
            | ErrorCode::Usage
            | ErrorCode::NotFound
            | ErrorCode::Conflict
            | ErrorCode::Tampered
            | ErrorCode::Unanchored => false,
        };
        if !may_pass {
            return Err(error.into());
        }
        if leads(failed).await {
            if *patience == 0 {
                return Err(error.into());
            }
            *patience -= 1;
            tokio::time::sleep(RETRY).await;
            return Ok(());
        }
        let next = self.next_leader().await?;
        self.client.replace(Rc::new(next));
        Ok(())
    }

    /// Waits until a node leads, and says so.
    async fn next_leader(&self) -> Result<Client, ApiError> {
        let begun = Instant::now();
        note("the connection to the node that led is lost; the task goes on");
        let mut said = false;
        loop {
            if let Ok(Some(client)) = Client::discover(&self.data_dir).await
                && let Ok(standing) = client.node().await
            {
                let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                note(format_args!(
                    "node {} leads in term {}, after {}",
                    standing.node,
                    standing.term,
                    format_duration(ledger_core::time::Micros(took))
                ));
                return Ok(client);
            }
            // While a node starts itself anew nobody listens for a moment.
            if begun.elapsed() > PROOF && !std::mem::replace(&mut said, true) {
                note("no node leads; waiting for one, which `ledger up` starts");
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Whether a node leads, though something failed.
async fn leads(client: &Client) -> bool {
    let standing = tokio::time::timeout(PROOF, client.node()).await;
    matches!(standing, Ok(Ok(standing)) if standing.role == Role::Leader)
}

/// Follows one attempt's stream behind what was written of it. The outer error ends all, the inner one
/// only the connection.
async fn pass(
    client: &Client,
    id: &Id,
    query: &OutputQuery,
    written: &mut u64,
    sink: Sink<'_>,
) -> Result<Result<(), ApiError>, Failure> {
    let mut bytes = match client.output(id, query).await {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(error)),
    };
    let mut skip = *written;
    loop {
        match bytes.next().await {
            Ok(Some(chunk)) => {
                let len = chunk.len() as u64;
                let seen = skip.min(len);
                skip -= seen;
                // What was seen is at most the chunk's length.
                let fresh = &chunk[usize::try_from(seen).unwrap_or(chunk.len())..];
                sink(fresh)?;
                *written += len - seen;
            }
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
    }
}

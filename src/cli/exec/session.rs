//! One task followed to its end over as many nodes as it takes.
//!
//! What was written of a stream is counted, so that after a lost connection the rest is taken up
//! where it stopped; and held against the length that the ledger records, so that an end of the
//! connection is never taken for the end of the output.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ledger_core::ids::Id;
use projections::tasks::TaskView;

use crate::api::wire::{ApiError, ErrorCode, OutputQuery, Stream, SubmitReceipt, SubmitRequest};
use crate::cli::error::Failure;
use crate::cli::output::note;
use crate::client::Client;

/// How often a node is looked for while none answers.
const RETRY: Duration = Duration::from_millis(100);
/// How often in a row the same thing may fail while a node answers.
const TRIES: u32 = 5;

/// The node of the moment, and how to find the next.
pub(crate) struct Session {
    data_dir: PathBuf,
    client: RefCell<Rc<Client>>,
    waiting: Cell<bool>,
}

impl Session {
    pub(crate) async fn new(data_dir: &Path) -> Result<Self, ApiError> {
        let client = Client::discover(data_dir).await?.ok_or_else(|| {
            ApiError::new(ErrorCode::Refused, "the node has just stopped")
                .hint("start one with `ledger up`")
        })?;
        Ok(Self {
            data_dir: data_dir.to_owned(),
            client: RefCell::new(Rc::new(client)),
            waiting: Cell::new(false),
        })
    }

    pub(crate) fn client(&self) -> Rc<Client> {
        Rc::clone(&self.client.borrow())
    }

    pub(crate) async fn submit(&self, request: &SubmitRequest) -> Result<SubmitReceipt, ApiError> {
        self.client().submit(request).await
    }

    /// The task once it has ended.
    pub(crate) async fn ended(&self, id: &Id) -> Result<TaskView, Failure> {
        let mut patience = TRIES;
        loop {
            match self.client().wait(id).await {
                Ok(view) => return Ok(view),
                Err(error) => self.after(error, &mut patience).await?,
            }
        }
    }

    /// The task as it is now.
    pub(crate) async fn view(&self, id: &Id) -> Result<TaskView, Failure> {
        let mut patience = TRIES;
        loop {
            match self.client().task(id, None).await {
                Ok(view) => return Ok(view),
                Err(error) => self.after(error, &mut patience).await?,
            }
        }
    }

    /// Passes on what a task writes to one stream, attempt by attempt, until it has ended.
    pub(crate) async fn stream(&self, id: &Id, stream: Stream) -> Result<(), Failure> {
        let (mut attempt, mut written, mut patience) = (1, 0, TRIES);
        loop {
            let before = written;
            if let Err(error) = self.pass(id, stream, attempt, &mut written).await? {
                if written > before {
                    patience = TRIES;
                }
                self.after(error, &mut patience).await?;
                continue;
            }
            let view = self.view(id).await?;
            let over = view.ended_at.is_some()
                || view
                    .attempts
                    .iter()
                    .any(|record| record.attempt.0 >= attempt);
            let latest = view.attempt.is_none_or(|latest| latest.0 <= attempt);
            let expected =
                view.outputs
                    .as_ref()
                    .filter(|_| latest)
                    .map_or(0, |outputs| match stream {
                        Stream::Stdout => outputs.stdout.bytes,
                        Stream::Stderr => outputs.stderr.bytes,
                    });
            if !over {
                // The node stops, and will come back with the same attempt.
                tokio::time::sleep(RETRY).await;
            } else if written < expected && patience > 0 {
                patience -= 1;
            } else if latest && view.ended_at.is_some() {
                return Ok(());
            } else {
                if stream == Stream::Stderr {
                    note(format_args!(
                        "attempt {attempt} of task {id} was lost; the next follows"
                    ));
                }
                (attempt, written, patience) = (attempt + 1, 0, TRIES);
            }
        }
    }

    /// Follows one attempt's stream behind what was written of it. The outer error ends all, the
    /// inner one only the connection.
    async fn pass(
        &self,
        id: &Id,
        stream: Stream,
        attempt: u32,
        written: &mut u64,
    ) -> Result<Result<(), ApiError>, Failure> {
        let query = OutputQuery {
            stream,
            attempt: Some(attempt),
            follow: true,
        };
        let mut bytes = match self.client().output(id, &query).await {
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
                    put(stream, fresh)?;
                    *written += len - seen;
                }
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// After a failure: waits for a node if the failure may be one's going.
    async fn after(&self, error: ApiError, patience: &mut u32) -> Result<(), Failure> {
        let gone = matches!(
            error.code,
            ErrorCode::Failed | ErrorCode::NotLeader | ErrorCode::Refused
        );
        if !gone || *patience == 0 {
            return Err(error.into());
        }
        *patience -= 1;
        loop {
            tokio::time::sleep(RETRY).await;
            if let Ok(Some(client)) = Client::discover(&self.data_dir).await {
                self.client.replace(Rc::new(client));
                self.waiting.set(false);
                return Ok(());
            }
            if !self.waiting.replace(true) {
                note("no node answers; the task goes on, waiting for one");
            }
        }
    }
}

/// Writes to the same stream here. What a command writes is its own business, so nothing of it is
/// changed.
fn put(stream: Stream, bytes: &[u8]) -> Result<(), Failure> {
    let written = match stream {
        Stream::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Stderr => std::io::stderr().lock().write_all(bytes),
    };
    written.map_err(|e| Failure::of_output(&e))
}

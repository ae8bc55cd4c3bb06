//! A node as something to read from and to ask: the async client behind calls that wait.

use std::future::Future;
use std::io;
use std::path::Path;

use ledger_core::chain::Head;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::store::{Block, Blocks, LogReader, ReadError};
use tokio::runtime::Runtime;

use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::error::Failure;
use crate::client::{BlockStream, Client, Follow};

/// How many leaders may go between being found and being asked.
const TRIES: u32 = 5;

/// A node that answers.
#[derive(Debug)]
pub(crate) struct Node {
    runtime: Runtime,
    client: Client,
    ledger_id: LedgerId,
}

/// A runtime on this thread alone: the command line does one thing at a time.
pub(crate) fn runtime() -> Result<Runtime, ApiError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| ApiError::new(ErrorCode::Failed, "the system has no room").because(e))
}

impl Node {
    /// The node of a data directory, if one answers.
    pub(crate) fn find(data_dir: &Path) -> Result<Option<Self>, Failure> {
        let runtime = runtime()?;
        let mut tries = TRIES;
        loop {
            let Some(client) = runtime.block_on(Client::discover(data_dir))? else {
                return Ok(None);
            };
            match runtime.block_on(client.head()) {
                Ok(head) => {
                    return Ok(Some(Self {
                        runtime,
                        client,
                        ledger_id: head.ledger_id,
                    }));
                }
                // It led a moment ago; another one does next.
                Err(error) if error.code.is_of_leadership() && tries > 0 => tries -= 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Its API.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for work on its API to be done.
    ///
    /// # Errors
    /// Those of the work.
    pub(crate) fn wait<T, E: Into<Failure>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        self.runtime.block_on(work).map_err(Into::into)
    }
}

fn unread(error: ApiError) -> ReadError {
    ReadError::Io(io::Error::other(error))
}

impl LogReader for Node {
    fn ledger_id(&self) -> LedgerId {
        self.ledger_id
    }

    fn head(&self) -> Result<Head, ReadError> {
        let head = self.runtime.block_on(self.client.head()).map_err(unread)?;
        if head.ledger_id != self.ledger_id {
            let what = format!("the node serves ledger {} now", head.ledger_id);
            return Err(ReadError::Damaged(what));
        }
        Ok(Head {
            seq: head.seq,
            hash: head.hash,
            term: head.term,
            recorded_at: head.recorded_at,
        })
    }

    fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError> {
        let stream = self
            .runtime
            .block_on(self.client.blocks(from, Follow::No))
            .map_err(unread)?;
        Ok(Box::new(NodeBlocks {
            runtime: &self.runtime,
            stream,
        }))
    }
}

struct NodeBlocks<'a> {
    runtime: &'a Runtime,
    stream: BlockStream,
}

impl Iterator for NodeBlocks<'_> {
    type Item = Result<Block, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = match self.runtime.block_on(self.stream.next()) {
            Ok(bytes) => bytes?,
            Err(error) => return Some(Err(unread(error))),
        };
        Some(Block::parse(bytes).map_err(|fault| ReadError::Damaged(fault.to_string())))
    }
}

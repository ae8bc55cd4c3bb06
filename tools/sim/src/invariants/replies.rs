//! Nothing leaves a core before it is durable, and everybody is answered once.
//!
//! Why: who is told that something is recorded acts on it, wherever the ledger then ends.

use std::collections::BTreeMap;

use ledger_core::ids::Seq;
use opsledger::node::command::{Command, Rejected, Reply, RequestId};

use super::{Broken, Checked, holds};

const NAME: &str = "replies wait for the disk, and come once";

/// What a core was asked and has not answered.
#[derive(Debug, Default)]
pub(crate) struct Asked(BTreeMap<RequestId, Command>);

impl Asked {
    pub(crate) fn ask(&mut self, id: RequestId, command: Command) {
        self.0.insert(id, command);
    }

    /// An answer, while the ledger is durable up to `durable`; returns what was asked.
    pub(crate) fn answered(
        &mut self,
        id: RequestId,
        result: &Result<Reply, Rejected>,
        durable: Seq,
    ) -> Result<Command, Broken> {
        let command = self.0.remove(&id).ok_or_else(|| Broken {
            invariant: NAME,
            what: format!("{id:?} is answered twice, or was never asked"),
        })?;
        let upto = match result {
            Ok(Reply::Submitted { head, .. } | Reply::Recorded(head) | Reply::Unchanged(head)) => {
                head.seq
            }
            Ok(Reply::Replayed(seq)) => *seq,
            Ok(Reply::TaskEnded(view)) => view
                .attempts
                .last()
                .map_or(view.submitted, |last| last.closed),
            Err(_) => Seq::ZERO,
        };
        holds(NAME, upto <= durable, || {
            format!("{id:?} is answered with seq {upto}; durable is seq {durable}")
        })?;
        Ok(command)
    }

    /// The core has stopped.
    pub(crate) fn stopped(&self, unread: usize) -> Checked {
        // What it was asked and did not read is answered by nobody: its process ends.
        holds(NAME, self.0.len() <= unread, || {
            format!("a core stopped and left {} without an answer", self.0.len())
        })
    }
}

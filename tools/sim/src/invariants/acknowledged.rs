//! No acknowledged event is lost, and none changes.
//!
//! Why: a reply, an effect, a standby's fold and every export rest on events that the disk has said to
//! hold. What an open store has shown counts as acknowledged too, whoever wrote it: it may not be
//! gone after the next crash.

use ledger_core::hash::Hash;
use ledger_core::ids::Seq;

use super::{Broken, Checked, holds};

const NAME: &str = "no acknowledged event is lost";

/// The hash of every event that anybody was shown.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    hashes: Vec<Hash>,
}

impl Acknowledged {
    /// The last event that anybody was shown.
    pub(crate) fn last(&self) -> Seq {
        Seq(self.hashes.len() as u64)
    }

    /// An event is shown. Says whether it is a new one.
    pub(crate) fn shown(&mut self, seq: Seq, hash: Hash) -> Result<bool, Broken> {
        let index = usize::try_from(seq.0.saturating_sub(1)).unwrap_or(usize::MAX);
        match self.hashes.get(index) {
            Some(known) => {
                let changed = || format!("the event at seq {seq} is another than before");
                holds(NAME, *known == hash, changed).map(|()| false)
            }
            None => {
                let gap = || format!("seq {seq} follows seq {}", self.last());
                holds(NAME, index == self.hashes.len(), gap)?;
                self.hashes.push(hash);
                Ok(true)
            }
        }
    }

    /// A store was read to its end.
    pub(crate) fn ends(&self, seq: Seq, who: &str) -> Checked {
        holds(NAME, seq >= self.last(), || {
            format!(
                "{who} finds the ledger to end at seq {seq}; seq {} was acknowledged",
                self.last()
            )
        })
    }

    /// Somebody stands at this event of the history.
    pub(crate) fn stands(&self, seq: Seq, hash: Hash, who: &str) -> Checked {
        let index = usize::try_from(seq.0).unwrap_or(usize::MAX);
        let is_known = index == 0 || self.hashes.get(index - 1) == Some(&hash);
        holds(NAME, is_known, || {
            format!("{who} was shown an event at seq {seq} that is not in the history")
        })
    }

    /// A store could not be opened though no call of the disk failed.
    pub(crate) fn unopened(what: &str) -> Broken {
        Broken {
            invariant: NAME,
            what: format!("the ledger can't be opened: {what}"),
        }
    }
}

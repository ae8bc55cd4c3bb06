//! A projection with its position: folds events in order, refuses gaps and other histories, and
//! stops at an event that it cannot fold.
//!
//! | must hold | why |
//! |---|---|
//! | state = fold of exactly the events up to `position` | else digests at a position mean nothing |
//! | the hash of the event before is known before one is folded | a rewritten history is found, not mixed in |
//! | a poisoned fold never moves again | an event is never skipped silently |

use ledger_core::chain::Head;
use ledger_core::envelope::Header;
use ledger_core::event::Event;
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;
use serde::{Deserialize, Serialize};

use super::decoded::{DecodedBlock, Payload};
use super::digest::digest;
use super::projection::{ApplyError, Projection};

/// A place in one history: an event and the hash of everything up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The last event folded; 0 if none was.
    pub seq: Seq,
    /// Its chain hash; zero if none was.
    pub hash: Hash,
}

impl Position {
    /// Before the first event.
    pub const START: Self = Self {
        seq: Seq::ZERO,
        hash: Hash::ZERO,
    };
}

impl From<Head> for Position {
    fn from(head: Head) -> Self {
        Self {
            seq: head.seq,
            hash: head.hash,
        }
    }
}

/// Whether a fold still follows the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "health", rename_all = "snake_case")]
pub enum Health {
    /// It does.
    Following,
    /// It stands before an event that it cannot fold, and stays there.
    Poisoned {
        /// The event.
        seq: Seq,
        /// Why it cannot be folded.
        reason: String,
    },
}

/// Why an event or block was not folded. Only [`FoldError::Poison`] changes the fold's health.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Events are missing in between.
    #[error("seq {expected} comes next, got seq {found}")]
    Gap {
        /// The event that comes next.
        expected: Seq,
        /// The first one given.
        found: Seq,
    },
    /// The events given belong to another history than those folded.
    #[error("the event at seq {seq} has hash {found}, folded was {folded}")]
    Diverged {
        /// Where the two histories are known to differ.
        seq: Seq,
        /// The hash of what was folded.
        folded: Hash,
        /// The hash that the new events follow.
        found: Hash,
    },
    /// An event cannot be folded; nothing more will be.
    #[error("poisoned at {0}")]
    Poison(ApplyError),
}

/// A projection and the position it stands at.
#[derive(Debug, Clone)]
pub struct Fold<P> {
    state: P,
    position: Position,
    health: Health,
}

impl<P: Projection> Default for Fold<P> {
    fn default() -> Self {
        Self::resume(P::default(), Position::START)
    }
}

impl<P: Projection> Fold<P> {
    /// A fold that has come to `position` before, in this state.
    pub fn resume(state: P, position: Position) -> Self {
        Self {
            state,
            position,
            health: Health::Following,
        }
    }

    /// The state as of [`Fold::position`].
    pub fn state(&self) -> &P {
        &self.state
    }

    /// The state itself, without its position.
    pub fn into_state(self) -> P {
        self.state
    }

    /// The last event folded.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether it still follows.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The digest of its content at [`Fold::position`].
    pub fn digest(&self) -> Hash {
        digest(P::NAME, P::VERSION, |emit| self.state.rows(emit))
    }

    /// Folds the next event, whose chain hash is `hash`.
    ///
    /// # Errors
    /// [`FoldError::Gap`] if it is not the next, [`FoldError::Poison`] if it cannot be folded now or
    /// an earlier one could not.
    pub fn apply(
        &mut self,
        header: &Header<'_>,
        event: &Event,
        hash: Hash,
    ) -> Result<(), FoldError> {
        self.follows()?;
        let expected = self.position.seq.next();
        if header.seq != expected {
            return Err(FoldError::Gap {
                expected,
                found: header.seq,
            });
        }
        if P::wants(header.kind) {
            let event = if P::NEEDS_PAYLOAD {
                event
            } else {
                &Event::Unknown
            };
            if let Err(error) = self.state.apply(header, event) {
                return Err(self.poison(ApplyError::at(header, error.reason)));
            }
        }
        self.position = Position {
            seq: header.seq,
            hash,
        };
        Ok(())
    }

    /// Folds what is new in a block: nothing if all of it was folded before.
    ///
    /// # Errors
    /// [`FoldError`]; what stood before the fault has been folded.
    pub fn apply_block(&mut self, block: &DecodedBlock) -> Result<(), FoldError> {
        self.follows()?;
        if block.last() <= self.position.seq {
            return Ok(());
        }
        let expected = self.position.seq.next();
        let gap = FoldError::Gap {
            expected,
            found: block.first(),
        };
        if block.first() > expected {
            return Err(gap);
        }
        let found = block.hash_at(self.position.seq).ok_or(gap)?;
        if found != self.position.hash {
            return Err(FoldError::Diverged {
                seq: self.position.seq,
                folded: self.position.hash,
                found,
            });
        }
        let result = self.fold_events(block);
        let seq = match &result {
            Ok(()) => block.last(),
            Err(error) => Seq(error.seq.0 - 1),
        };
        let hash = block
            .hash_at(seq)
            .expect("seq lies in the block or before it");
        self.position = Position { seq, hash };
        result.map_err(|error| self.poison(error))
    }

    fn fold_events(&mut self, block: &DecodedBlock) -> Result<(), ApplyError> {
        for (header, payload) in block.events_after(self.position.seq) {
            let fault = |reason: &str| ApplyError::at(&header, reason);
            if !P::wants(header.kind) {
                continue;
            }
            let event = match payload {
                _ if !P::NEEDS_PAYLOAD => &Event::Unknown,
                Payload::Decoded(event) => event,
                Payload::Fault(reason) => return Err(fault(reason)),
                Payload::Skipped => return Err(fault("its payload was not decoded for this fold")),
            };
            // The position is the framework's to know, whatever the projection says.
            self.state
                .apply(&header, event)
                .map_err(|e| ApplyError::at(&header, e.reason))?;
        }
        Ok(())
    }

    fn follows(&self) -> Result<(), FoldError> {
        match &self.health {
            Health::Following => Ok(()),
            Health::Poisoned { seq, reason } => Err(FoldError::Poison(ApplyError {
                seq: *seq,
                reason: reason.clone(),
            })),
        }
    }

    fn poison(&mut self, error: ApplyError) -> FoldError {
        self.health = Health::Poisoned {
            seq: error.seq,
            reason: error.reason.clone(),
        };
        FoldError::Poison(error)
    }
}

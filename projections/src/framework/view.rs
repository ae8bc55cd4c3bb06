//! A projection behind a name: what the worker, the node and the command line handle without
//! knowing which it is.

use std::any::Any;
use std::ops::ControlFlow;

use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::store::LogReader;

use super::decoded::DecodedBlock;
use super::fold::{Fold, FoldError, Health, Position};
use super::projection::Projection;
use super::replay::{ReplayError, replay};
use super::snapshot::{SnapshotError, SnapshotHeader, ViewDir};

/// A fold of any projection.
pub trait View: Any + Send + Sync {
    /// The projection's name.
    fn name(&self) -> &'static str;
    /// The projection's version.
    fn version(&self) -> u32;
    /// Whether it folds the payloads of this kind.
    fn wants_payload(&self, kind: &str) -> bool;
    /// The last event folded.
    fn position(&self) -> Position;
    /// Whether it still follows the log.
    fn health(&self) -> &Health;
    /// Folds what is new in a block. Payloads of the kinds it wants must be decoded in it.
    ///
    /// # Errors
    /// [`FoldError`]; what stood before the fault has been folded.
    fn apply_block(&mut self, block: &DecodedBlock) -> Result<(), FoldError>;
    /// The digest of its content.
    fn digest(&self) -> Hash;
    /// Its content, in strictly ascending key order.
    fn rows(&self, emit: &mut dyn FnMut(&str, &str));
    /// Writes its snapshot, replacing the one before as one.
    ///
    /// # Errors
    /// [`SnapshotError::Io`].
    fn save(&self, dir: &ViewDir, ledger: LedgerId) -> Result<SnapshotHeader, SnapshotError>;
    /// Becomes what its snapshot says. On an error it is as it was.
    ///
    /// # Errors
    /// [`SnapshotError`].
    fn load(&mut self, dir: &ViewDir, ledger: LedgerId) -> Result<(), SnapshotError>;
    /// The same view before the first event.
    fn fresh(&self) -> Box<dyn View>;
    /// The same view as it is now.
    fn boxed(&self) -> Box<dyn View>;
}

impl<P: Projection> View for Fold<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }
    fn version(&self) -> u32 {
        P::VERSION
    }
    fn wants_payload(&self, kind: &str) -> bool {
        P::NEEDS_PAYLOAD && P::wants(kind)
    }
    fn position(&self) -> Position {
        self.position()
    }
    fn health(&self) -> &Health {
        self.health()
    }
    fn apply_block(&mut self, block: &DecodedBlock) -> Result<(), FoldError> {
        self.apply_block(block)
    }
    fn digest(&self) -> Hash {
        self.digest()
    }
    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        self.state().rows(emit);
    }
    fn save(&self, dir: &ViewDir, ledger: LedgerId) -> Result<SnapshotHeader, SnapshotError> {
        dir.save(self, ledger)
    }
    fn load(&mut self, dir: &ViewDir, ledger: LedgerId) -> Result<(), SnapshotError> {
        *self = dir.load(ledger)?;
        Ok(())
    }
    fn fresh(&self) -> Box<dyn View> {
        Box::new(Self::default())
    }
    fn boxed(&self) -> Box<dyn View> {
        Box::new(self.clone())
    }
}

/// Told the position after each block; [`ControlFlow::Break`] ends the work.
pub type Progress<'a> = &'a mut dyn FnMut(Seq) -> ControlFlow<()>;

/// A progress that watches nothing and never breaks off.
pub fn unwatched(_: Seq) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Folds a projection from the first event to `upto` (or the head as of now). The one function
/// behind recovery, "as of" and `rebuild --check`. A poisoned history is not an error: the fold
/// returned stands before the poison and says so ([`Fold::health`]).
///
/// # Errors
/// [`ReplayError`].
pub fn rebuild<P: Projection>(
    reader: &dyn LogReader,
    upto: Option<Seq>,
    progress: Progress<'_>,
) -> Result<Fold<P>, ReplayError> {
    let mut fold = Fold::<P>::default();
    catch_up(&mut fold, reader, upto, progress)?;
    Ok(fold)
}

/// Rebuilds a projection and writes it as a snapshot, which replaces the one before as one: a
/// reader sees the old view or the new one.
///
/// # Errors
/// [`RebuildError`].
pub fn rebuild_into<P: Projection>(
    dir: &ViewDir,
    reader: &dyn LogReader,
    upto: Option<Seq>,
    progress: Progress<'_>,
) -> Result<Fold<P>, RebuildError> {
    let fold = rebuild::<P>(reader, upto, progress)?;
    dir.save(&fold, reader.ledger_id())?;
    Ok(fold)
}

/// Why a view was not rebuilt. The one before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log could not be folded.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The snapshot could not be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Folds the log into a view from where it stands to `upto` (or the head as of now). Stops without
/// an error where the view is poisoned.
///
/// # Errors
/// [`ReplayError`]; [`ReplayError::Diverged`] if the view's position is not in this history.
pub fn catch_up(
    view: &mut dyn View,
    reader: &dyn LogReader,
    upto: Option<Seq>,
    progress: Progress<'_>,
) -> Result<(), ReplayError> {
    if view.health() != &Health::Following {
        return Ok(());
    }
    let from = view.position();
    // A view of the same projection that is not borrowed while the blocks are decoded.
    let decoder = view.fresh();
    let wanted = |kind: &str| decoder.wants_payload(kind);
    let mut fault = None;
    let result = replay(reader, from, upto, &wanted, &mut |block| {
        if let Err(error) = view.apply_block(block) {
            fault = Some(error);
            return ControlFlow::Break(());
        }
        progress(view.position().seq)
    });
    match fault {
        Some(FoldError::Poison(_)) => Ok(()),
        Some(FoldError::Diverged { seq, folded, found }) => Err(ReplayError::Diverged {
            seq,
            expected: folded,
            found,
        }),
        // `replay` hands out blocks that join; a gap would be its fault and ends like a stop.
        Some(FoldError::Gap { .. }) => Err(ReplayError::Stopped),
        None => result.map(|_| ()),
    }
}

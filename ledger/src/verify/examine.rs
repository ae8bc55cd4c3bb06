//! What else is made of the events while they are verified: whoever reads all of a ledger anyway
//! need not read it twice.
//!
//! ```text
//! worker: check a block, examine it ──> notes ──> in the ledger's order ──> fold
//! ```
//! Examining takes the time and needs no order, so it is done by the workers, block by block;
//! folding gets the notes of sound blocks alone, in order and without gaps. After the first finding
//! nothing more is folded: what is not intact can't be judged any further.

use crate::envelope::EventRef;
use crate::store::Block;

/// Looks at blocks while they are checked.
pub trait Examine: Send + Sync + 'static {
    /// What it keeps of a block. Some tens of blocks' notes are in memory at once.
    type Notes: Default + Send + 'static;

    /// Looks at the next event of a block. The block may still turn out to be damaged; its notes
    /// are then thrown away.
    fn event(&self, event: &EventRef<'_>, notes: &mut Self::Notes);

    /// Looks at a block that is sound, after its events.
    fn block(&self, block: &Block, notes: &mut Self::Notes);
}

/// Looks at nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Examine for Nothing {
    type Notes = ();

    fn event(&self, _: &EventRef<'_>, (): &mut ()) {}

    fn block(&self, _: &Block, (): &mut ()) {}
}

impl<A: Examine, B: Examine> Examine for (A, B) {
    type Notes = (A::Notes, B::Notes);

    fn event(&self, event: &EventRef<'_>, notes: &mut Self::Notes) {
        self.0.event(event, &mut notes.0);
        self.1.event(event, &mut notes.1);
    }

    fn block(&self, block: &Block, notes: &mut Self::Notes) {
        self.0.block(block, &mut notes.0);
        self.1.block(block, &mut notes.1);
    }
}

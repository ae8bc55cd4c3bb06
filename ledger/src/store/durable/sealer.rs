//! The sealer: moves full blocks from the tail into redb, and frees the journal's segments behind
//! it, in a thread of its own.
//!
//! It hashes events for the Merkle tree soon after they came, while they are in the processor's
//! cache, and not all at once when they are sealed: a proof that is asked for meanwhile finds most
//! leaves there, and whoever waits for an append is held up by little at a time.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::tail::{Snapshot, Tail, Work};
use crate::chain::Batch;
use crate::codec;
use crate::store::AppendError;
use crate::store::block::{BlockPlan, plan_after};
use crate::store::journal::Pool;
use crate::store::redb::{NewLeaves, RedbStore, StoreHead};

/// What has redb and moves blocks into it.
#[derive(Debug)]
pub(super) struct Sealing {
    redb: RedbStore,
    tail: Arc<Tail>,
    pool: Arc<Pool>,
}

impl Sealing {
    pub(super) fn new(redb: RedbStore, tail: Arc<Tail>, pool: Arc<Pool>) -> Self {
        Self { redb, tail, pool }
    }

    /// Frees what the journal holds in vain.
    fn begin(&self) {
        self.pool.release(self.redb.sealed().head.seq);
    }

    /// Seals the full blocks of a snapshot, if there are any.
    ///
    /// # Errors
    /// What redb says; nothing more can be sealed then.
    fn seal(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let cap = self.tail.settings().block_cap;
        let last = snapshot
            .batches
            .last()
            .map_or(snapshot.head.head, Batch::head);
        if let Some((blocks, head)) = full_blocks(snapshot, cap) {
            let hashes = snapshot.leaves_upto(head.head.seq);
            let leaves = NewLeaves {
                hashes: &hashes,
                tiles: snapshot.known.tiles(),
            };
            self.move_over(&blocks, leaves, head)?;
        } else if last.seq < snapshot.head.head.seq {
            // A portion of events so large that none is known to fill a block.
            return self.seal(&self.tail.all());
        }
        self.tail.settled(last.seq);
        Ok(())
    }

    fn move_over(
        &mut self,
        blocks: &[BlockPlan<'_>],
        leaves: NewLeaves<'_>,
        head: StoreHead,
    ) -> io::Result<()> {
        let sealed = self.redb.seal(blocks, leaves, head);
        sealed.map_err(|error| match error {
            AppendError::Full(error) | AppendError::Io(error) => error,
            other => io::Error::other(other),
        })?;
        self.tail.sealed(head);
        self.pool.release(head.head.seq);
        self.pool.make_ready();
        Ok(())
    }

    fn run(&mut self) -> io::Result<()> {
        if !self.tail.wait_until_checked() {
            self.redb.abandon();
            return Ok(());
        }
        self.begin();
        while let Some(work) = self.tail.wait_for_work() {
            match work {
                Work::Hash(piece) => {
                    self.tail.hashed(piece.hash());
                    // Whoever waits for an append goes first.
                    std::thread::yield_now();
                }
                Work::Seal(snapshot) => self.seal(&snapshot)?,
            }
        }
        Ok(())
    }
}

/// Where sealing happens.
#[derive(Debug)]
pub(super) enum Sealer {
    /// In a thread of its own. It hands redb back at its end, so that readers can go on if that comes
    /// early.
    Thread(Arc<Tail>, JoinHandle<RedbStore>),
    /// In the thread that appends, whenever there is enough to seal: for tests and simulation, so
    /// that the same calls give the same operations of the disk.
    Inline(Box<Sealing>),
}

impl Sealer {
    /// Starts a thread, which has the redb store from now on.
    pub(super) fn start(mut sealing: Sealing) -> io::Result<Self> {
        let tail = Arc::clone(&sealing.tail);
        let thread = std::thread::Builder::new()
            .name("sealer".into())
            .spawn(move || {
                let _watch = Watch(Arc::clone(&sealing.tail));
                step_back();
                if let Err(error) = sealing.run() {
                    sealing.tail.fail(&error);
                }
                sealing.redb
            })?;
        Ok(Self::Thread(tail, thread))
    }

    /// Seals in the caller's thread.
    pub(super) fn inline(sealing: Sealing) -> Self {
        sealing.begin();
        let mut sealer = Self::Inline(Box::new(sealing));
        sealer.appended();
        sealer
    }

    /// To be called after each append: seals all that can be, since an append waits for what is left.
    pub(super) fn appended(&mut self) {
        let Self::Inline(sealing) = self else { return };
        while let Some(snapshot) = sealing.tail.work() {
            if let Err(error) = sealing.seal(&snapshot) {
                return sealing.tail.fail(&error);
            }
        }
    }

    /// Ends sealing after what is being done, and closes redb.
    ///
    /// # Errors
    /// What sealing failed with.
    pub(super) fn stop(self) -> io::Result<()> {
        match self {
            Self::Thread(tail, thread) => {
                tail.stop();
                let closed = thread.join().map_or(Ok(()), RedbStore::close);
                tail.failure().and(closed)
            }
            Self::Inline(sealing) => sealing.tail.failure().and(sealing.redb.close()),
        }
    }
}

/// How much less of the processor the sealer gets than those who wait for an append, as `nice` counts.
/// It falls behind only until appends wait for it.
const NICE: i32 = 10;

/// Lets others go first.
#[allow(
    unsafe_code,
    reason = "a call without pointers; it changes the priority of this thread alone, or nothing"
)]
fn step_back() {
    // SAFETY: takes three numbers and touches no memory. On Linux 0 is the calling thread.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// Tells whoever waits for the sealer if it, or what it waits for, panics.
pub(super) struct Watch(pub(super) Arc<Tail>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&io::Error::other("the sealer panicked"));
        }
    }
}

/// The full blocks behind the sealed events, and the head that they lead to. The last block is not
/// full, or can't be known to be.
fn full_blocks(snapshot: &Snapshot, cap: usize) -> Option<(Vec<BlockPlan<'_>>, StoreHead)> {
    let mut blocks = plan_after(&snapshot.batches, snapshot.sealed.head.seq, cap);
    blocks.pop();
    let last = blocks.last()?;
    let header = codec::decode(last.events().next_back()?).ok()?.header;
    let mut head = snapshot.sealed;
    head.event_bytes += blocks.iter().map(BlockPlan::event_bytes).sum::<u64>();
    (head.head.seq, head.head.hash) = last.last();
    head.head.term = header.term;
    head.head.recorded_at = header.recorded_at;
    Some((blocks, head))
}

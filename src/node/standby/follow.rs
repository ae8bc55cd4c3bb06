//! Following the leader: blocks from its socket, checked and folded as they come.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ledger_core::chain::ChainKey;
use ledger_core::event::OtherFold;
use ledger_core::ids::{Id, LedgerId, Seq};
use ledger_core::store::Block;
use projections::framework::{DecodedBlock, Fold, FoldError, Projection};
use tokio::sync::watch;

use super::Seen;
use crate::api::wire::{ApiError, Role};
use crate::client::nodes::survey;
use crate::client::{Client, Follow};
use crate::node::boot::Warm;
use crate::node::checkpoints::Reference;
use crate::node::decision::Decision;
use crate::node::ports::Stopwatch;

/// How often a leader is looked for while none answers.
const RETRY: Duration = Duration::from_millis(50);
/// How often digests are made of what was folded.
const DIGEST_EVERY: Duration = Duration::from_secs(300);
/// Nothing is followed while they are made, so that takes at most one part in so many of the time.
const DIGEST_REST: u64 = 200;

/// Follows whoever leads until told to stop; returns what it has folded, unless that can't be
/// trusted to be this history.
pub(super) async fn follow(
    data_dir: PathBuf,
    own: Id,
    seen: Arc<Seen>,
    mut stopped: watch::Receiver<bool>,
) -> Option<Warm> {
    let told = stopped.clone();
    let mut follower = Follower {
        fold: Fold::default(),
        digests: None,
        told,
        ledger: None,
        seen,
    };
    let mut ended = None;
    tokio::select! {
        () = async {
            while ended.is_none() {
                if let Some((name, client)) = leader(&data_dir, &own).await {
                    follower.seen.follows(Some(name));
                    ended = follower.pass(&client).await.err();
                    follower.seen.follows(None);
                }
                tokio::time::sleep(RETRY).await;
            }
            // Nothing is followed any more; the files will tell.
            std::future::pending::<()>().await;
        } => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    if let Some(reason) = ended {
        tracing::warn!(%reason, "what was followed is dropped");
        return None;
    }
    Some(Warm {
        fold: follower.fold,
        digests: follower.digests.map(|(digests, _)| digests),
    })
}

/// Who leads, if somebody does.
async fn leader(data_dir: &std::path::Path, own: &Id) -> Option<(Id, Client)> {
    let nodes = survey(data_dir, Some(own)).await.ok()?;
    nodes.into_iter().find_map(|node| {
        let (client, standing) = node.answer.ok()?;
        let leads = standing.role == Role::Leader;
        leads.then_some((standing.node, client))
    })
}

struct Follower {
    fold: Fold<Decision>,
    /// What the fold was lately, and for how long no others are made.
    digests: Option<(Reference, Rest)>,
    /// Whether it was told to stop.
    told: watch::Receiver<bool>,
    ledger: Option<LedgerId>,
    seen: Arc<Seen>,
}

struct Rest {
    since: Stopwatch,
    us: u64,
}

impl Follower {
    /// Follows one leader until it is gone. An error is one that no other leader can mend.
    async fn pass(&mut self, client: &Client) -> Result<(), String> {
        let Ok(head) = client.head().await else {
            return Ok(());
        };
        let ledger = *self.ledger.get_or_insert(head.ledger_id);
        if ledger != head.ledger_id {
            return Err(format!("the leader serves ledger {} now", head.ledger_id));
        }
        let from = self.fold.position().seq.max(Seq::FIRST);
        let Ok(mut blocks) = client.blocks(from, Follow::Yes).await else {
            return Ok(());
        };
        let key = ChainKey::new(ledger);
        loop {
            let bytes: Result<Option<Vec<u8>>, ApiError> = blocks.next().await;
            let Ok(Some(bytes)) = bytes else {
                return Ok(());
            };
            self.fold(bytes, key)?;
            if self.fold.position().seq >= head.seq {
                self.digest();
            }
            // Whoever wants this to stop is heard between blocks.
            tokio::task::yield_now().await;
        }
    }

    /// Has digests of what is folded, of lately: they are held against another fold when this one leads.
    fn digest(&mut self) {
        let rests = |(_, rest): &(Reference, Rest)| rest.since.elapsed().0 < rest.us;
        if self.digests.as_ref().is_some_and(rests) {
            return;
        }
        let begun = Stopwatch::start();
        // A takeover does not wait for them.
        let go_on = || !*self.told.borrow();
        let Some(parts) = self.fold.state().part_digests_while(&go_on) else {
            return;
        };
        let digests = Reference {
            seq: self.fold.position().seq,
            with: OtherFold::Standby,
            parts,
        };
        let took = begun.elapsed().0;
        let every = u64::try_from(DIGEST_EVERY.as_micros()).unwrap_or(u64::MAX);
        let rest = Rest {
            since: Stopwatch::start(),
            us: every.max(took.saturating_mul(DIGEST_REST)),
        };
        self.digests = Some((digests, rest));
    }

    fn fold(&mut self, bytes: Vec<u8>, key: ChainKey) -> Result<(), String> {
        let block = Block::parse(bytes).map_err(|e| e.to_string())?;
        let from = self.fold.position().seq.next();
        let decoded = DecodedBlock::new(block, key, from..=Seq(u64::MAX), &Decision::wants)
            .map_err(|e| e.to_string())?;
        match self.fold.apply_block(&decoded) {
            Ok(()) => {}
            Err(error @ (FoldError::Gap { .. } | FoldError::Diverged { .. })) => {
                return Err(error.to_string());
            }
            // The one who takes over meets the same event and says so.
            Err(FoldError::Poison(error)) => {
                return Err(format!("seq {}: {}", error.seq, error.reason));
            }
        }
        let term = self.fold.state().leases.latest().map(|tenure| tenure.term);
        let at = self.fold.position().seq;
        self.seen.folded(at, term.unwrap_or_default());
        Ok(())
    }
}

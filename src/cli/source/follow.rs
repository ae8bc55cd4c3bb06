//! Following the ledger as it grows, over node restarts and changes of the leader, without a gap
//! and without showing an event twice.
//!
//! What is remembered is the last event seen, as (seq, hash). Whoever answers next must have that
//! very event: if not, history was rewritten, and following ends with that instead of going on.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use ledger_core::chain::Head;
use ledger_core::envelope::ChainedEvent;
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::store::{Block, BlockFault, ChainWalk, ReadError};

use super::node::runtime;
use crate::api::wire::{ApiError, ErrorCode, HeadInfo};
use crate::cli::error::Failure;
use crate::cli::output::note;
use crate::cli::source::scan::Visit;
use crate::client::{Client, Follow};

/// How often a node is looked for while none answers.
const RETRY: Duration = Duration::from_millis(200);

/// How following ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// `visit` said so.
    Satisfied,
    /// The time was up.
    TimedOut,
}

/// Shows every event behind `head` as it is recorded, until `visit` breaks off or `limit` is over.
///
/// # Errors
/// [`ErrorCode::Tampered`] if what comes does not continue what was seen; those of `visit`.
pub(crate) fn follow(
    data_dir: &Path,
    ledger_id: LedgerId,
    head: Head,
    limit: Option<Duration>,
    visit: Visit<'_>,
) -> Result<Ended, Failure> {
    let joint = Joint::new(ledger_id, head.seq, head.hash);
    let following = run(data_dir, joint, visit);
    runtime()?.block_on(async {
        match limit {
            None => following.await.map(|()| Ended::Satisfied),
            Some(limit) => match tokio::time::timeout(limit, following).await {
                Ok(ended) => ended.map(|()| Ended::Satisfied),
                Err(_) => Ok(Ended::TimedOut),
            },
        }
    })
}

async fn run(data_dir: &Path, mut joint: Joint, visit: Visit<'_>) -> Result<(), Failure> {
    let mut said = None;
    loop {
        // A node that is just stopping or starting may fail in any of these ways; the next
        // attempt tells. What is wrong with the history itself is never tried again.
        if let Ok(Some(client)) = Client::discover(data_dir).await
            && let Ok(head) = client.head().await
        {
            joint.reaches(&head)?;
            if said.take().is_some()
                && let Ok(standing) = client.node().await
            {
                note(format_args!(
                    "node {} leads in term {}; going on",
                    standing.node, standing.term
                ));
            }
            if let Ok(ControlFlow::Break(())) = pass(&client, &mut joint, visit).await? {
                return Ok(());
            }
        }
        said.get_or_insert_with(|| note("no node leads; waiting for one (Ctrl-C ends)"));
        tokio::time::sleep(RETRY).await;
    }
}

/// Follows one node until it stops. The outer error ends all, the inner one only this node.
async fn pass(
    client: &Client,
    joint: &mut Joint,
    visit: Visit<'_>,
) -> Result<Result<ControlFlow<()>, ApiError>, Failure> {
    let from = joint.seq.max(Seq::FIRST);
    let mut blocks = match client.blocks(from, Follow::Yes).await {
        Ok(blocks) => blocks,
        Err(error) => return Ok(Err(error)),
    };
    joint.anew();
    loop {
        let bytes = match blocks.next().await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(Ok(ControlFlow::Continue(()))),
            Err(error) => return Ok(Err(error)),
        };
        let block = Block::parse(bytes)?;
        for event in joint.take(&block)? {
            if visit(&event)?.is_break() {
                return Ok(Ok(ControlFlow::Break(())));
            }
        }
    }
}

/// Joins what comes to what was seen.
#[derive(Debug)]
struct Joint {
    ledger_id: LedgerId,
    seq: Seq,
    hash: Hash,
    walk: ChainWalk,
}

impl Joint {
    fn new(ledger_id: LedgerId, seq: Seq, hash: Hash) -> Self {
        Self {
            ledger_id,
            seq,
            hash,
            walk: ChainWalk::new(ledger_id),
        }
    }

    /// The next block comes from somebody else.
    fn anew(&mut self) {
        self.walk = ChainWalk::new(self.ledger_id);
    }

    /// Whether a node's ledger can hold what was seen.
    fn reaches(&self, head: &HeadInfo) -> Result<(), Failure> {
        if head.ledger_id != self.ledger_id {
            let cause = format!(
                "ledger {} was followed, it is {} now",
                self.ledger_id, head.ledger_id
            );
            return Err(rewritten(cause));
        }
        if head.seq < self.seq {
            let cause = format!(
                "seq {} was seen, and the ledger ends at seq {}",
                self.seq, head.seq
            );
            return Err(rewritten(cause));
        }
        Ok(())
    }

    /// Checks a block and returns those of its events that were not seen yet. A block may begin
    /// with events that were.
    fn take<'b>(&mut self, block: &'b Block) -> Result<Vec<ChainedEvent<'b>>, Failure> {
        let follows = self
            .walk
            .last()
            .is_some_and(|(last, _)| block.first() == last.next());
        if follows {
            let events = self.walk.check(block, self.seq.next())?;
            (self.seq, self.hash) = (block.last(), block.last_hash());
            return Ok(events);
        }
        if block.last() < self.seq {
            return Ok(Vec::new());
        }
        if block.first() > self.seq.next() {
            let fault = BlockFault::Place {
                expected: self.seq.next(),
                found: block.first(),
            };
            return Err(ReadError::Block {
                seq: block.first(),
                fault,
            }
            .into());
        }
        let mut walk = ChainWalk::new(self.ledger_id);
        let mut events = walk.check(block, self.seq)?;
        let found = match events.first() {
            Some(event) if event.event.header.seq == self.seq => event.hash,
            _ => block.prev_hash(),
        };
        if found != self.hash {
            let cause = format!(
                "seq {} had hash {}, now it has {}",
                self.seq,
                self.hash.short(),
                found.short()
            );
            return Err(rewritten(cause));
        }
        events.retain(|event| event.event.header.seq > self.seq);
        self.walk = walk;
        (self.seq, self.hash) = (block.last(), block.last_hash());
        Ok(events)
    }
}

fn rewritten(cause: String) -> Failure {
    ApiError::new(
        ErrorCode::Tampered,
        "the history was rewritten while it was followed",
    )
    .because(cause)
    .hint("`ledger verify` says whether what is there now is intact")
    .into()
}

#[cfg(test)]
mod tests {
    use ledger_core::chain::{Batch, BatchBuilder, ChainKey};
    use ledger_core::envelope::{Draft, Origin};
    use ledger_core::ids::{Entity, EventId, Kind, Term};
    use ledger_core::store::pack;
    use ledger_core::time::Timestamp;

    use super::*;

    const NIL: &str = "00000000-0000-7000-8000-000000000000";

    fn batch(builder: &mut BatchBuilder, count: usize, data: &str) -> Batch {
        let draft = Draft {
            event_id: NIL.parse::<EventId>().unwrap(),
            kind: Kind::new("app.x").unwrap(),
            version: 1,
            subject: Entity::new("app/x").unwrap(),
            origin: Origin::of(Entity::new("uid/1").unwrap()),
            idempotency_key: None,
            data: data.into(),
        };
        builder.push(&vec![draft; count], Timestamp(1)).unwrap();
        builder.take()
    }

    fn builder() -> BatchBuilder {
        BatchBuilder::new(ChainKey::new(NIL.parse().unwrap()), Head::EMPTY, Term(1))
    }

    fn only(mut blocks: Vec<Block>) -> Block {
        assert_eq!(blocks.len(), 1);
        blocks.pop().unwrap()
    }

    fn seqs(joint: &mut Joint, block: &Block) -> Result<Vec<u64>, String> {
        match joint.take(block) {
            Ok(events) => Ok(events.iter().map(|e| e.event.header.seq.0).collect()),
            Err(Failure::Error(e)) => Err(e.to_string()),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn blocks_join_without_gap_or_repeat() {
        let mut builder = builder();
        let first = batch(&mut builder, 3, "{}");
        let head = first.head();
        let one = only(pack(&first, None));
        let second = batch(&mut builder, 2, "{}");
        let grown = only(pack(&second, Some(&one)));
        let third = only(pack(&batch(&mut builder, 1, "{}"), None));
        let fourth = only(pack(&batch(&mut builder, 1, "{}"), None));
        let mut joint = Joint::new(NIL.parse().unwrap(), head.seq, head.hash);
        assert_eq!(seqs(&mut joint, &one), Ok(vec![]));
        assert_eq!(seqs(&mut joint, &grown), Ok(vec![4, 5]));
        assert_eq!(seqs(&mut joint, &third), Ok(vec![6]));
        joint.anew();
        assert_eq!(seqs(&mut joint, &third), Ok(vec![]));
        assert_eq!(seqs(&mut joint, &fourth), Ok(vec![7]));
        let mut behind = Joint::new(NIL.parse().unwrap(), head.seq, head.hash);
        assert!(
            seqs(&mut behind, &third)
                .unwrap_err()
                .contains("seq 6 where seq 4 belongs")
        );
        let mut at_the_edge = Joint::new(NIL.parse().unwrap(), head.seq, head.hash);
        let next = only(pack(&second, None));
        assert_eq!(seqs(&mut at_the_edge, &next), Ok(vec![4, 5]));
    }

    #[test]
    fn another_history_is_found_out() {
        let (mut a, mut b) = (builder(), builder());
        let seen = batch(&mut a, 3, "{}").head();
        let mut other = pack(&batch(&mut b, 3, "{\"x\":1}"), None);
        other.extend(pack(&batch(&mut b, 2, "{}"), None));
        for block in &other {
            let mut joint = Joint::new(NIL.parse().unwrap(), seen.seq, seen.hash);
            assert!(seqs(&mut joint, block).unwrap_err().contains("rewritten"));
        }
        let joint = Joint::new(NIL.parse().unwrap(), seen.seq, seen.hash);
        let head = |seq, id: &str| HeadInfo {
            ledger_id: id.parse().unwrap(),
            seq: Seq(seq),
            hash: seen.hash,
            term: Term(1),
            recorded_at: Timestamp(1),
        };
        assert!(joint.reaches(&head(3, NIL)).is_ok());
        assert!(joint.reaches(&head(2, NIL)).is_err());
        assert!(
            joint
                .reaches(&head(3, "00000000-0000-7000-8000-000000000001"))
                .is_err()
        );
    }
}

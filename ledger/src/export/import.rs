//! A ledger from exported lines: the same id, the same bytes, the same hashes, or none.

use std::io::BufRead;
use std::path::Path;

use super::jsonl::{ExportHead, JsonlReader, Line, LineError};
use crate::chain::{ChainKey, Head, Links};
use crate::codec;
use crate::copy::{BuildError, Rebatch, StoreBuilder};
use crate::event::{Event, LedgerEvent};
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq};
use crate::merkle::{Frontier, TreeHash};
use crate::store::BlockFault;
use crate::store::durable::DurableStore;
use crate::tree_head::{Checkpoint, SignedNote, TreeHead};

/// Why an export was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A line is not one of an export.
    #[error(transparent)]
    Line(#[from] LineError),
    /// A line does not belong where it stands.
    #[error("line {line}: {reason}")]
    Chain {
        /// From 1.
        line: u64,
        /// Why.
        reason: String,
    },
    /// It is an export of a part of a ledger.
    #[error("the export holds {events} of {seq} events: only a complete one can be imported")]
    Partial {
        /// How many it has.
        events: u64,
        /// Of how many.
        seq: Seq,
    },
    /// The store could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// What was imported.
#[derive(Debug)]
pub struct Imported {
    /// The store, open for writing.
    pub store: DurableStore,
    /// What the export's last line says.
    pub export: ExportHead,
}

/// Builds a store in `dir`, which exists and has none, from exported lines; `progress` is told how
/// many events were read. After an error the directory is of no use.
///
/// # Errors
/// [`ImportError`] at the first line that is not exactly what was exported.
pub fn import_jsonl(
    lines: impl BufRead,
    dir: &Path,
    progress: &dyn Fn(u64),
) -> Result<Imported, ImportError> {
    let mut lines = JsonlReader::new(lines);
    let mut taken: Option<Taken> = None;
    let export = loop {
        let line = lines.read()?;
        let here = |reason: String| ImportError::Chain {
            line: lines.line(),
            reason,
        };
        match line {
            Some(Line::Event {
                bytes,
                prev_hash,
                hash,
            }) => {
                if taken.is_none() {
                    taken = Some(Taken::first(&bytes, dir).map_err(here)?);
                }
                if let Some(taken) = &mut taken {
                    taken.check(&bytes, prev_hash, hash).map_err(here)?;
                    taken.push(&bytes, lines.line())?;
                    progress(taken.events);
                }
            }
            Some(Line::End(export)) => break export,
            // The reader ends with an error where the last line is missing.
            None => return Err(BuildError::Empty.into()),
        }
    };
    let line = lines.line();
    if lines.read()?.is_some() {
        return Err(ImportError::Chain {
            line: line + 1,
            reason: "it stands behind the end".into(),
        });
    }
    if !export.complete {
        return Err(ImportError::Partial {
            events: export.events,
            seq: export.seq,
        });
    }
    let Some(taken) = taken else {
        return Err(BuildError::Empty.into());
    };
    taken.finish(export, line)
}

/// What has been taken in so far.
struct Taken {
    ledger: LedgerId,
    links: Links,
    tree: Frontier,
    rebatch: Rebatch,
    builder: StoreBuilder,
    events: u64,
}

impl Taken {
    /// The first event names the ledger.
    fn first(bytes: &[u8], dir: &Path) -> Result<Self, String> {
        let event = codec::decode(bytes).map_err(|e| e.to_string())?;
        let created = match Event::decode(&event) {
            Ok(Event::Ledger(LedgerEvent::Created(created))) => created,
            Ok(_) => {
                return Err(format!(
                    "a ledger does not begin with {}",
                    event.header.kind
                ));
            }
            Err(e) => return Err(e.to_string()),
        };
        let ledger = created.ledger_id;
        Ok(Self {
            ledger,
            links: Links::new(ChainKey::new(ledger), Hash::ZERO),
            tree: Frontier::new(),
            rebatch: Rebatch::new(ledger, Head::EMPTY),
            builder: StoreBuilder::new(dir, ledger),
            events: 0,
        })
    }

    fn check(&mut self, bytes: &[u8], prev_hash: Hash, hash: Hash) -> Result<(), String> {
        let seq = Seq(self.events + 1);
        let found = codec::peek_seq(bytes).unwrap_or_default();
        if found != seq {
            return Err(format!("seq {found} stands where seq {seq} belongs"));
        }
        if prev_hash != self.links.last() {
            return Err(format!(
                "seq {seq} follows hash {}, the event before it has {}",
                prev_hash.short(),
                self.links.last().short()
            ));
        }
        let computed = self.links.next(bytes);
        if computed != hash {
            return Err(format!(
                "seq {seq} is not what was exported: its hash is {}, the line says {}",
                computed.short(),
                hash.short()
            ));
        }
        self.tree.extend(&[TreeHash::leaf(bytes)], &mut |_| {});
        self.events += 1;
        Ok(())
    }

    fn push(&mut self, bytes: &[u8], line: u64) -> Result<(), ImportError> {
        let batch = self
            .rebatch
            .push(bytes)
            .map_err(|fault| malformed(line, &fault))?;
        if let Some(batch) = batch {
            self.builder.push(&batch)?;
        }
        Ok(())
    }

    fn finish(mut self, export: ExportHead, line: u64) -> Result<Imported, ImportError> {
        let end = (
            self.ledger,
            self.events,
            Seq(self.events),
            self.links.last(),
        );
        let said = (export.ledger_id, export.events, export.seq, export.hash);
        if end != said {
            let reason = format!(
                "the export should have {} events up to seq {} of ledger {} that end with hash {}; it \
                 has {} up to seq {} of ledger {}, and they end with hash {}",
                export.events,
                export.seq,
                export.ledger_id,
                export.hash.short(),
                self.events,
                self.events,
                self.ledger,
                self.links.last().short()
            );
            return Err(ImportError::Chain { line, reason });
        }
        if let Some(checkpoint) = &export.checkpoint {
            let head = TreeHead {
                ledger: self.ledger,
                tree: self.tree.root(),
                chain: export.hash,
            };
            check_checkpoint(checkpoint, head)
                .map_err(|reason| ImportError::Chain { line, reason })?;
        }
        let batch = self
            .rebatch
            .flush()
            .map_err(|fault| malformed(line, &fault))?;
        if let Some(batch) = batch {
            self.builder.push(&batch)?;
        }
        Ok(Imported {
            store: self.builder.finish()?,
            export,
        })
    }
}

/// Batches are checked as a whole; the fault names the event.
fn malformed(line: u64, fault: &BlockFault) -> ImportError {
    ImportError::Chain {
        line,
        reason: fault.to_string(),
    }
}

/// Whether the head that an export carries is of these events. Who signed it is not looked at: that
/// takes a key from elsewhere.
fn check_checkpoint(text: &str, expected: TreeHead) -> Result<(), String> {
    let note = SignedNote::parse(text.as_bytes()).map_err(|e| format!("its checkpoint: {e}"))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|e| format!("its checkpoint: {e}"))?;
    let found = TreeHead::of_checkpoint(&checkpoint).map_err(|e| format!("its checkpoint: {e}"))?;
    if found == expected {
        Ok(())
    } else {
        Err("its checkpoint is not of these events".into())
    }
}

//! The blobs that proven events name: those that are whole are carried along, the others are listed.
//! Nothing needs to be proven about them: a blob is what it is named after, or it is not.

use std::collections::BTreeMap;
use std::path::Path;

use super::search::{Graph, Step, events};
use super::{Salvage, SalvageError, unsound};
use crate::blobs::{BlobDir, BlobError, BlobFault, BlobFinding, Carrier, check, in_payload};
use crate::codec;
use crate::hash::Hash;
use crate::ids::Seq;

/// The blobs that the events of a way name.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Those that are whole.
    pub(super) whole: Vec<Hash>,
    /// What is wrong with the others, in the order of the events.
    pub(super) faults: Vec<BlobFinding>,
}

/// Reads the blobs in `dir` that the events of a way name.
pub(super) fn look(dir: &Path, graph: &Graph, way: &[Step]) -> Result<Named, SalvageError> {
    let mut first: BTreeMap<Hash, Seq> = BTreeMap::new();
    let mut last = Seq::ZERO;
    for step in way {
        let run = &graph.runs()[step.run];
        let bytes = graph.bytes(run, 0);
        for (event, seq) in events(&bytes).zip(run.first.0..) {
            if seq <= last.0 || seq > step.to.seq.0 {
                continue;
            }
            let event = codec::decode(event).map_err(unsound)?;
            if let Ok(Some(named)) = in_payload(event.data) {
                first.entry(named.blake3).or_insert(Seq(seq));
            }
        }
        last = step.to.seq;
    }
    let mut named = Named::default();
    if first.is_empty() {
        return Ok(named);
    }
    let blobs = BlobDir::open(dir).map_err(of_blob)?;
    for (digest, seq) in first {
        match check(&blobs, digest, &mut |_| {}) {
            Ok(_) => named.whole.push(digest),
            Err(fault) => named.faults.push(BlobFinding { seq, digest, fault }),
        }
    }
    named.faults.sort_by_key(|fault| fault.seq);
    Ok(named)
}

impl Salvage {
    /// Puts the whole ones into the new directory, durably.
    pub(super) fn carry_blobs(&self, work: &Path) -> Result<(), SalvageError> {
        if self.whole_blobs.is_empty() {
            return Ok(());
        }
        let from = BlobDir::open(&self.source).map_err(of_blob)?;
        let mut carrier = Carrier::into_dir(work).map_err(of_blob)?;
        for &digest in &self.whole_blobs {
            let changed = |fault: BlobFault| unsound(format!("blob {digest}: {fault}"));
            carrier
                .copy(&from, digest)
                .map_err(of_blob)?
                .map_err(changed)?;
        }
        carrier.finish().map_err(of_blob)
    }
}

fn of_blob(error: BlobError) -> SalvageError {
    match error {
        BlobError::Full(error) => SalvageError::Io {
            what: "writing blobs".into(),
            error,
        },
        BlobError::Io { what, error } => SalvageError::Io {
            what: what.into(),
            error,
        },
        other => unsound(other),
    }
}

//! The blobs that exported events name: copied into a directory of their own, or said to be missing
//! from the export, which has none.

use std::collections::BTreeMap;
use std::path::Path;

use ledger_core::blobs::{BlobDir, BlobError, BlobFinding, Carrier, in_payload};
use ledger_core::hash::Hash;
use ledger_core::ids::Seq;

use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::blob::{of_blob, open};
use crate::cli::error::Failure;
use crate::cli::output::escape::escape;
use crate::cli::output::note;
use crate::units::count_of;

/// Where blobs are to go.
pub(super) struct Target<'a>(&'a Path);

impl<'a> Target<'a> {
    /// Makes the directory, which must be empty or not there.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) fn make(dir: &'a Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            let message = format!("{} can't be used", dir.display());
            ApiError::new(ErrorCode::Failed, message).because(error)
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        if std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
            let message = format!("{} is not empty", dir.display());
            return Err(ApiError::new(ErrorCode::Conflict, message)
                .hint("name a directory that is empty or not there with --blobs")
                .into());
        }
        Ok(Self(dir))
    }
}

/// The blobs that events name, with the first event that does.
#[derive(Debug, Default)]
pub(super) struct Named(BTreeMap<Hash, Seq>);

impl Named {
    /// Looks at an exported event.
    pub(super) fn look(&mut self, seq: Seq, data: &str) {
        if let Ok(Some(named)) = in_payload(data) {
            self.0.entry(named.blake3).or_insert(seq);
        }
    }

    /// Copies them, or says that they are not exported. Returns those that could not be had.
    ///
    /// # Errors
    /// [`Failure`] if they can't be written.
    pub(super) fn export(
        &self,
        data_dir: &Path,
        target: Option<&Target<'_>>,
    ) -> Result<Vec<BlobFinding>, Failure> {
        let named = count_of(self.0.len() as u64, "blob");
        let Some(target) = target else {
            if !self.0.is_empty() {
                note(format_args!(
                    "{named} that the events name are not in the export: --blobs DIR copies them"
                ));
            }
            return Ok(Vec::new());
        };
        let lost = self.copy(&open(data_dir)?, target.0).map_err(of_blob)?;
        for blob in &lost {
            let blob = blob.to_string();
            note(format_args!("not exported: {}", escape(&blob)));
        }
        let copied = count_of((self.0.len() - lost.len()) as u64, "blob");
        let dir = target.0.display().to_string();
        note(format_args!("{copied} copied to {}", escape(&dir)));
        Ok(lost)
    }

    fn copy(&self, from: &BlobDir, to: &Path) -> Result<Vec<BlobFinding>, BlobError> {
        let mut carrier = Carrier::into_dir(to)?;
        let mut lost = Vec::new();
        for (&digest, &seq) in &self.0 {
            if let Err(fault) = carrier.copy(from, digest)? {
                lost.push(BlobFinding { seq, digest, fault });
            }
        }
        carrier.finish()?;
        lost.sort_by_key(|blob| blob.seq);
        Ok(lost)
    }
}

//! The peer `file`: what a disk gives if nothing but appending is asked of it. A file full of
//! zeros, so that no append changes its size or its extents; frames with a CRC32; one write and
//! one fdatasync a group. At its end it begins anew, like a journal whose segments are reused.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Engine, Group};
use crate::error::{Context, Failure};

/// Size of the file.
const SIZE: u64 = 64 * 1024 * 1024;

/// The open file.
pub(super) struct FrameFile {
    file: File,
    at: u64,
    frames: Vec<u8>,
}

impl FrameFile {
    /// Makes the file, full of zeros and synced.
    ///
    /// # Errors
    /// [`Failure`] if the file system refuses.
    pub(super) fn create(dir: &Path) -> Result<Self, Failure> {
        let create = || -> std::io::Result<File> {
            let mut file = File::create_new(dir.join("frames"))?;
            let zeros = vec![0; 1024 * 1024];
            for _ in 0..SIZE / zeros.len() as u64 {
                file.write_all(&zeros)?;
            }
            file.sync_all()?;
            Ok(file)
        };
        Ok(Self {
            file: create().context("making the peer's file")?,
            at: 0,
            frames: Vec::new(),
        })
    }
}

impl Engine for FrameFile {
    fn commit(&mut self, group: &Group) -> Result<(), Failure> {
        self.frames.clear();
        for (_, record, _) in group.records() {
            let len = u32::try_from(record.len()).context("framing a record")?;
            self.frames.extend_from_slice(&len.to_le_bytes());
            let crc = crc32fast::hash(record);
            self.frames.extend_from_slice(&crc.to_le_bytes());
            self.frames.extend_from_slice(record);
        }
        let len = self.frames.len() as u64;
        if self.at + len > SIZE {
            self.at = 0;
        }
        self.file
            .write_all_at(&self.frames, self.at)
            .and_then(|()| self.file.sync_data())
            .context("writing the peer's file")?;
        self.at += len;
        Ok(())
    }
}

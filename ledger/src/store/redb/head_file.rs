//! The file `head`: how far the ledger is known to reach, kept apart from the store.
//!
//! ```text
//!  0  [8]   "OPSLHEAD"                 32  u64   seq of the last event
//!  8  u32   layout, 1                  40  [32]  its hash
//! 12  u32   zero                       72  u32   CRC-32 of bytes 0 to 72
//! 16  [16]  ledger id
//! ```
//! Little endian, 76 bytes. It is written in place after each commit and synced when the store is
//! made and closed, so it is a *lower bound*: a power failure may leave it behind the store, but a
//! store behind it has lost events that were acknowledged. redb alone cannot tell: after a crash
//! it falls back to the commit before if a bit of the last one is wrong, and says nothing.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use uuid::Uuid;

use crate::hash::Hash;
use crate::ids::{LedgerId, Seq};

/// Name of the file in the data directory.
pub const HEAD_FILE: &str = "head";
/// Its length in bytes.
pub const HEAD_FILE_LEN: usize = 76;

const MAGIC: &[u8; 8] = b"OPSLHEAD";
const LAYOUT: u32 = 1;

/// What a head file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadFile {
    /// Which ledger.
    pub ledger_id: LedgerId,
    /// An event that the ledger has.
    pub seq: Seq,
    /// Its hash.
    pub hash: Hash,
}

/// What is wrong with a head file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadFileFault {
    /// There is none.
    #[error("the file `head` is missing")]
    Missing,
    /// It can't be read.
    #[error("the file `head` could not be read: {0}")]
    Unreadable(String),
    /// It is not [`HEAD_FILE_LEN`] bytes long.
    #[error("the file `head` is {0} bytes long instead of {HEAD_FILE_LEN}")]
    Length(usize),
    /// It was made by newer software.
    #[error("the file `head` has layout {0}; this binary knows layout {LAYOUT}")]
    Newer(u32),
    /// Its bytes are not what was written.
    #[error("the file `head` is damaged")]
    Damaged,
}

impl HeadFile {
    /// The file's bytes.
    pub fn encode(&self) -> [u8; HEAD_FILE_LEN] {
        let mut out = [0; HEAD_FILE_LEN];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&LAYOUT.to_le_bytes());
        out[16..32].copy_from_slice(self.ledger_id.0.as_bytes());
        out[32..40].copy_from_slice(&self.seq.0.to_le_bytes());
        out[40..72].copy_from_slice(&self.hash.0);
        let crc = crc32fast::hash(&out[..72]);
        out[72..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// [`HeadFileFault`] if they are not exactly what [`HeadFile::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadFileFault> {
        let bytes: &[u8; HEAD_FILE_LEN] = bytes
            .try_into()
            .map_err(|_| HeadFileFault::Length(bytes.len()))?;
        let (body, crc) = bytes.split_at(72);
        if crc32fast::hash(body).to_le_bytes() != crc || &body[..8] != MAGIC {
            return Err(HeadFileFault::Damaged);
        }
        let layout = u32::from_le_bytes(field(body, 8));
        if layout != LAYOUT {
            return Err(HeadFileFault::Newer(layout));
        }
        if field::<4>(body, 12) != [0; 4] {
            return Err(HeadFileFault::Damaged);
        }
        Ok(Self {
            ledger_id: LedgerId(Uuid::from_bytes(field(body, 16))),
            seq: Seq(u64::from_le_bytes(field(body, 32))),
            hash: Hash(field(body, 40)),
        })
    }

    /// Writes it over what the file holds, without a sync.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        file.write_all_at(&self.encode(), 0)
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("offsets lie inside the file's fixed length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_and_every_flipped_bit_is_found() {
        let head = HeadFile {
            ledger_id: LedgerId(Uuid::from_u128(5)),
            seq: Seq(77),
            hash: Hash([9; 32]),
        };
        let bytes = head.encode();
        assert_eq!(HeadFile::decode(&bytes), Ok(head));
        for i in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[i / 8] ^= 1 << (i % 8);
            assert!(HeadFile::decode(&bad).is_err(), "bit {i}");
        }
        for n in 0..bytes.len() {
            assert_eq!(HeadFile::decode(&bytes[..n]), Err(HeadFileFault::Length(n)));
        }
    }
}

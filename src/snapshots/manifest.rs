//! A snapshot's manifest: one JSON document that says which files there were, with the hash of each.
//! The hash of its bytes is recorded in the ledger, so that a changed snapshot is found out from there.
//!
//! What is read is believed in nothing: every path is checked to be relative and to stay beneath the
//! directory that it is held against, before anything is done with it.

use ledger_core::hash::Hash;
use ledger_core::ids::{Id, LedgerId};
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of manifests.
pub(super) const FORMAT: u32 = 1;
/// Longest manifest that is read, in bytes.
pub(super) const MAX_MANIFEST: u64 = 64 * 1024 * 1024;
/// Longest path, in bytes.
const MAX_PATH: usize = 4096;
/// Longest name in one, in bytes.
const MAX_NAME: usize = 255;

/// Why a path is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// It begins with a slash.
    #[error("must be relative")]
    Absolute,
    /// It has `.`, `..` or an empty name in it.
    #[error("must be of plain names: no `.`, no `..`, no empty one")]
    Names,
    /// It is too long.
    #[error("must be at most 4096 bytes long, each name at most 255")]
    Long,
    /// It has a NUL in it.
    #[error("must not hold a NUL")]
    Nul,
}

/// Whether a path is relative and stays beneath where it is held against.
///
/// # Errors
/// [`PathFault`].
pub(super) fn check_path(path: &str) -> Result<(), PathFault> {
    if path.starts_with('/') {
        return Err(PathFault::Absolute);
    }
    if path.contains('\0') {
        return Err(PathFault::Nul);
    }
    if path.len() > MAX_PATH || path.split('/').any(|name| name.len() > MAX_NAME) {
        return Err(PathFault::Long);
    }
    if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return Err(PathFault::Names);
    }
    Ok(())
}

/// A file that was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Where it was, from the root.
    pub path: String,
    /// Its permissions: the nine bits of read, write and execute.
    pub mode: u32,
    /// How long it is.
    pub bytes: u64,
    /// What it holds.
    pub blake3: Hash,
    /// Whether it changed each time it was read, so that what was copied may never have been.
    #[serde(default, skip_serializing_if = "is_false")]
    pub changing: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Why a file that fits a pattern was not copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case", deny_unknown_fields)]
pub enum SkipReason {
    /// It is a symbolic link, which is not followed.
    Link,
    /// It is a socket, a pipe or a device.
    Special,
    /// It belongs to the ledger itself.
    Ledger,
    /// Its name is not UTF-8.
    Name,
    /// It can't be read.
    Unread {
        /// Why.
        error: String,
    },
}

impl SkipReason {
    /// Whether something is missing that should be there.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Unread { .. } | Self::Name)
    }
}

impl std::fmt::Display for SkipReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Link => f.write_str("a symbolic link, which is not followed"),
            Self::Special => f.write_str("not a regular file"),
            Self::Ledger => f.write_str("the ledger's own, for which there are backups"),
            Self::Name => f.write_str("its name is not UTF-8"),
            Self::Unread { error } => write!(f, "not readable: {error}"),
        }
    }
}

/// What fits a pattern and was not copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Where it is, from the root.
    pub path: String,
    /// Why.
    #[serde(flatten)]
    pub reason: SkipReason,
}

/// What a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// Which set it is of.
    pub set: Id,
    /// Its name, which is made from the time.
    pub snapshot: Id,
    /// The ledger in whose data directory it was made.
    pub ledger_id: LedgerId,
    /// When it was made.
    pub made_at: Timestamp,
    /// Version of the software that made it.
    pub software: String,
    /// The directory that the paths go out from.
    pub root: String,
    /// The files, by path.
    pub files: Vec<FileEntry>,
    /// What was not copied, by path.
    pub skipped: Vec<Skipped>,
}

/// Why a manifest can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It can't be read.
    #[error("its manifest can't be read: {0}")]
    Io(#[from] std::io::Error),
    /// It was made by later software.
    #[error("its manifest has format {0}; this binary knows {FORMAT}")]
    Newer(u32),
    /// It is not what was written.
    #[error("its manifest is damaged: {0}")]
    Damaged(String),
}

impl Manifest {
    /// The bytes that stand in its file, and their hash.
    pub(super) fn to_bytes(&self) -> (Vec<u8>, Hash) {
        let mut text = serde_json::to_vec_pretty(self)
            .expect("a manifest holds texts, numbers and lists of them");
        text.push(b'\n');
        let hash = Hash::of(&text);
        (text, hash)
    }

    /// Reads the manifest of a snapshot, and hashes it.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub(super) fn parse(bytes: &[u8], set: &Id, name: &Id) -> Result<(Self, Hash), ManifestError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |e: serde_json::Error| ManifestError::Damaged(e.to_string());
        let Format { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format != FORMAT {
            return Err(ManifestError::Newer(format));
        }
        let read: Self = serde_json::from_slice(bytes).map_err(damaged)?;
        read.check(set, name).map_err(ManifestError::Damaged)?;
        Ok((read, Hash::of(bytes)))
    }

    fn check(&self, set: &Id, name: &Id) -> Result<(), String> {
        if (&self.set, &self.snapshot) != (set, name) {
            return Err(format!("it is of {} {}", self.set, self.snapshot));
        }
        for file in &self.files {
            check_path(&file.path).map_err(|fault| format!("{:?} {fault}", file.path))?;
            if file.mode > 0o777 {
                return Err(format!("{:?} has mode {:o}", file.path, file.mode));
            }
        }
        let ascending = self.files.windows(2).all(|two| two[0].path < two[1].path);
        ascending
            .then_some(())
            .ok_or_else(|| "its files are not in order".to_owned())
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// How many files changed while they were copied.
    pub fn changing(&self) -> u64 {
        self.files.iter().filter(|file| file.changing).count() as u64
    }

    /// How many files could not be read.
    pub fn lost(&self) -> u64 {
        self.skipped.iter().filter(|s| s.reason.is_loss()).count() as u64
    }

    /// Whether another holds the same, and lacks the same. The ledger's own parts come and go.
    pub(super) fn holds_the_same(&self, other: &Self) -> bool {
        let foreign = |skipped: &&Skipped| skipped.reason != SkipReason::Ledger;
        (&self.root, &self.files) == (&other.root, &other.files)
            && self
                .skipped
                .iter()
                .filter(foreign)
                .eq(other.skipped.iter().filter(foreign))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(path: &str) -> Manifest {
        Manifest {
            format: FORMAT,
            set: Id::new("configs").unwrap(),
            snapshot: Id::new("s1").unwrap(),
            ledger_id: "0198c1f2-0000-7000-8000-000000000001".parse().unwrap(),
            made_at: Timestamp(1),
            software: "x".into(),
            root: "/srv".into(),
            files: vec![FileEntry {
                path: path.into(),
                mode: 0o644,
                bytes: 1,
                blake3: Hash::of(b"x"),
                changing: false,
            }],
            skipped: vec![Skipped {
                path: "p".into(),
                reason: SkipReason::Unread { error: "no".into() },
            }],
        }
    }

    #[test]
    fn parts_of_the_ledger_that_come_and_go_make_no_difference() {
        let (mut one, other) = (sample("a"), sample("a"));
        let skipped = |reason| Skipped {
            path: "q".into(),
            reason,
        };
        one.skipped.push(skipped(SkipReason::Ledger));
        assert!(one.holds_the_same(&other) && other.holds_the_same(&one));
        one.skipped.push(skipped(SkipReason::Link));
        assert!(!one.holds_the_same(&other));
    }

    fn read(manifest: &Manifest) -> Result<(Manifest, Hash), String> {
        let (bytes, _) = manifest.to_bytes();
        let (set, name) = (Id::new("configs").unwrap(), Id::new("s1").unwrap());
        Manifest::parse(&bytes, &set, &name).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_written_is_read_and_hashed_alike() {
        let manifest = sample("a/b");
        let (_, hash) = manifest.to_bytes();
        assert_eq!(read(&manifest), Ok((manifest, hash)));
    }

    #[test]
    fn a_manifest_that_would_lead_astray_is_damaged() {
        for path in ["/etc/passwd", "../x", "a/../../x", "", "a//b", "a/.", "x\0"] {
            assert!(
                read(&sample(path)).unwrap_err().contains("damaged"),
                "{path:?}"
            );
        }
        let mut setuid = sample("a");
        setuid.files[0].mode = 0o4755;
        assert!(read(&setuid).unwrap_err().contains("4755"));
        let mut twice = sample("a");
        twice.files.push(twice.files[0].clone());
        assert!(read(&twice).unwrap_err().contains("order"));
        let mut other = sample("a");
        other.snapshot = Id::new("s2").unwrap();
        assert!(read(&other).is_err());
        let mut newer = sample("a");
        newer.format = 2;
        assert!(read(&newer).unwrap_err().contains("format 2"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let id = Id::new("x").unwrap();
            prop_assert!(Manifest::parse(&bytes, &id, &id).is_err());
        }

        #[test]
        fn a_path_that_is_taken_stays_beneath(path in "[a./]{0,12}") {
            if check_path(&path).is_ok() {
                let joined = std::path::Path::new("/root").join(&path);
                let plain = joined.components().all(|part| {
                    !matches!(part, std::path::Component::ParentDir)
                });
                prop_assert!(plain && joined.starts_with("/root"), "{}", joined.display());
            }
        }
    }
}

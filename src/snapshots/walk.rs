//! Finding the files of a set: everything beneath its root that fits one of its patterns.
//!
//! Links are not followed, neither to files nor to directories, and what is no regular file is named
//! and passed over. What belongs to the ledger itself (its keys above all) is never taken, whatever
//! the patterns say.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use ledger_core::files;
use nix::sys::stat::FileStat;

use super::SnapshotError;
use super::beneath::{Dir, Sort, sort_of};
use super::glob::{PathGlob, Places};
use super::manifest::{FileEntry, SkipReason, Skipped};
use super::restore::TEMPORARY;

/// Most names that are looked at.
const MAX_NAMES: u64 = 1_000_000;
/// Deepest directory.
const MAX_DEPTH: usize = 100;

/// What was found, by path.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<String>,
    pub(super) skipped: Vec<Skipped>,
}

/// What belongs to the ledger, told by device and inode, so that no other path leads to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Own(BTreeSet<(u64, u64)>);

/// The parts of a data directory that are never taken.
const PARTS: [&str; 12] = [
    "attempts",
    "blobs",
    "checkpoints",
    "head",
    "journal",
    "keys",
    "ledger.redb",
    "reserve",
    "run",
    "secrets",
    "snapshots",
    "views",
];

/// Those of them whose files are secrets.
const SECRET: [&str; 2] = ["keys", "secrets"];

impl Own {
    /// What there is of them.
    pub(super) fn of(data_dir: &Path) -> io::Result<Self> {
        let dir = Dir::open(data_dir)?;
        let mut own = BTreeSet::new();
        for part in PARTS {
            if let Some(stat) = dir.stat(part)? {
                own.insert((stat.st_dev, stat.st_ino));
            }
        }
        // A second name of a secret is no less of one.
        for part in SECRET {
            let Ok(secrets) = dir.dir(part) else {
                continue;
            };
            for name in secrets.names()?.0 {
                let stat = secrets.stat(&name)?;
                own.extend(stat.map(|stat| (stat.st_dev, stat.st_ino)));
            }
        }
        Ok(Self(own))
    }

    fn has(&self, stat: &FileStat) -> bool {
        self.0.contains(&(stat.st_dev, stat.st_ino))
    }
}

/// Finds what fits one of the patterns.
///
/// # Errors
/// [`SnapshotError`] if there is no end to it, or the root can't be read.
pub(super) fn find(
    root: &Path,
    patterns: &[PathGlob],
    own: &Own,
    max_files: u64,
) -> Result<Found, SnapshotError> {
    let io = |error| SnapshotError::Io {
        path: root.to_owned(),
        error,
    };
    let dir = Dir::open(root).map_err(io)?;
    let mut walk = Walk {
        patterns,
        own,
        max_files,
        names: 0,
        found: Found::default(),
    };
    let begin: Vec<Places> = patterns.iter().map(PathGlob::begin).collect();
    walk.dir(&dir, "", &begin, 0)?;
    let mut found = walk.found;
    found.files.sort_unstable();
    found.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

struct Walk<'a> {
    patterns: &'a [PathGlob],
    own: &'a Own,
    max_files: u64,
    names: u64,
    found: Found,
}

impl Walk<'_> {
    fn dir(
        &mut self,
        dir: &Dir,
        path: &str,
        at: &[Places],
        depth: usize,
    ) -> Result<(), SnapshotError> {
        let (names, others) = match dir.names() {
            Ok(names) => names,
            Err(error) => {
                self.skip(path.trim_end_matches('/'), unread(&error));
                return Ok(());
            }
        };
        for name in others {
            // Whether it fits can't be told by a pattern of characters.
            self.skip(&format!("{path}{name}"), SkipReason::Name);
        }
        for name in names {
            self.names += 1;
            if self.names > MAX_NAMES {
                return Err(SnapshotError::TooMany {
                    what: "names to look at",
                    limit: MAX_NAMES,
                });
            }
            if name.starts_with(TEMPORARY) {
                continue;
            }
            let steps = self.patterns.iter().zip(at);
            let next: Vec<Places> = steps.map(|(glob, at)| glob.step(at, &name)).collect();
            let (fits, goes_on) = (
                next.iter().any(Places::is_match),
                next.iter().any(Places::goes_on),
            );
            if fits || goes_on {
                self.name(dir, &format!("{path}{name}"), &next, depth, fits)?;
            }
        }
        Ok(())
    }

    /// A name that fits, or in which something may.
    fn name(
        &mut self,
        dir: &Dir,
        path: &str,
        at: &[Places],
        depth: usize,
        fits: bool,
    ) -> Result<(), SnapshotError> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let stat = match dir.stat(name) {
            Ok(Some(stat)) => stat,
            // It went while the names were read.
            Ok(None) => return Ok(()),
            Err(error) => {
                self.skip(path, unread(&error));
                return Ok(());
            }
        };
        match sort_of(&stat) {
            _ if self.own.has(&stat) => self.skip(path, SkipReason::Ledger),
            Sort::Directory if at.iter().any(Places::goes_on) => {
                if depth >= MAX_DEPTH {
                    return Err(SnapshotError::TooMany {
                        what: "directories in each other",
                        limit: MAX_DEPTH as u64,
                    });
                }
                match dir.dir(name) {
                    Ok(inner) => self.dir(&inner, &format!("{path}/"), at, depth + 1)?,
                    Err(error) => self.skip(path, unread(&error)),
                }
            }
            Sort::Directory => {}
            // Of one that leads to a directory it is not known whether anything in it would fit.
            Sort::Link if fits || dir.leads_to_directory(name) => self.skip(path, SkipReason::Link),
            Sort::File if fits => {
                self.found.files.push(path.to_owned());
                if self.found.files.len() as u64 > self.max_files {
                    return Err(SnapshotError::TooMany {
                        what: "files",
                        limit: self.max_files,
                    });
                }
            }
            Sort::Special if fits => self.skip(path, SkipReason::Special),
            Sort::File | Sort::Special | Sort::Link => {}
        }
        Ok(())
    }

    fn skip(&mut self, path: &str, reason: SkipReason) {
        self.found.skipped.push(Skipped {
            path: path.to_owned(),
            reason,
        });
    }
}

fn unread(error: &io::Error) -> SkipReason {
    SkipReason::Unread {
        error: error.to_string(),
    }
}

/// Whether files may be taken from beneath `root`: not from within the ledger's own parts.
///
/// # Errors
/// [`SnapshotError`].
pub(super) fn check_root(data_dir: &Path, root: &Path) -> Result<(), SnapshotError> {
    for part in PARTS {
        let within = files::lies_in(root, &data_dir.join(part));
        let within = within.map_err(|error| SnapshotError::Io {
            path: root.to_owned(),
            error,
        })?;
        if within {
            return Err(SnapshotError::Misplaced(root.to_owned()));
        }
    }
    Ok(())
}

/// Whether files may be restored beneath `target`: to no place that is a part of the ledger's.
///
/// # Errors
/// [`SnapshotError`].
pub(super) fn check_target(
    data_dir: &Path,
    target: &Path,
    entries: &[FileEntry],
) -> Result<(), SnapshotError> {
    check_root(data_dir, target)?;
    let resolved = |path: &Path| {
        files::resolve(path).map_err(|error| SnapshotError::Io {
            path: path.to_owned(),
            error,
        })
    };
    let (data_dir, target) = (resolved(data_dir)?, resolved(target)?);
    // Links are not followed beneath the target, so the names say where a file goes.
    let places = entries.iter().map(|file| target.join(&file.path));
    for place in places {
        let part = place.strip_prefix(&data_dir).ok();
        let part = part.and_then(|within| within.components().next());
        if part.is_some_and(|part| PARTS.iter().any(|own| part.as_os_str() == *own)) {
            return Err(SnapshotError::Misplaced(place));
        }
    }
    Ok(())
}

//! `[snapshots.SET]` of `ledger.toml`: which files are copied, how often, and how long copies are kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ledger_core::ids::Id;
use ledger_core::time::Millis;
use toml::de::{DeTable, DeValue};

use super::scheduler::{Key, Setters, key_name, set_all};
use super::{Config, Found, Located, duration, jobs, size, text, whole};
use crate::snapshots::{FileSet, Keep, PathGlob};

/// `[snapshots.SET]`: a set of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotConfig {
    /// `root`: the directory that `files` go out from, relative to the data directory. Default: that.
    pub root: PathBuf,
    /// `files`: patterns of paths beneath it. `*` and `?` stay within a name, `**` is any number of names.
    pub files: Vec<PathGlob>,
    /// `every`: how often they are copied, beside at the start of a node. Default 1 h.
    pub every: Millis,
    /// `keep_for`: how long copies are kept. Default 24 h. The latest is kept however old it is.
    pub keep_for: Millis,
    /// `keep`: how many are kept, 1 to 1,000. Default 5.
    pub keep: u32,
    /// `max_files`: most files in a snapshot, 1 to 100,000; more are an error. Default 10,000.
    pub max_files: u32,
    /// `max_size`: most bytes of all its files together; more are an error. Default 1 GiB.
    pub max_size: u64,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::new(),
            files: Vec::new(),
            every: Millis(3_600_000),
            keep_for: Millis(24 * 3_600_000),
            keep: 5,
            max_files: 10_000,
            max_size: 1 << 30,
        }
    }
}

/// Most sets.
const MAX_SETS: usize = 1000;

/// Every set, by name.
pub type SnapshotSets = BTreeMap<Id, SnapshotConfig>;

impl SnapshotConfig {
    /// The set of this name in a data directory.
    pub fn file_set(&self, name: &Id, data_dir: &Path) -> FileSet {
        // Without a root it is the data directory, and not that with a slash at its end.
        let root = match self.root.as_os_str().is_empty() {
            true => data_dir.to_owned(),
            false => data_dir.join(&self.root),
        };
        FileSet {
            name: name.clone(),
            root,
            files: self.files.clone(),
            max_files: self.max_files.into(),
            max_bytes: self.max_size,
            keep: Keep {
                keep_for: self.keep_for,
                newest: usize::try_from(self.keep).unwrap_or(usize::MAX),
            },
        }
    }
}

/// `[snapshots.SET]`.
pub(super) fn set(config: &mut Config, key: &Key<'_>, table: &DeTable<'_>, found: &mut Found) {
    let path = format!("snapshots.{}", key.get_ref());
    let name = found.keep(key_name(key, &path));
    let mut read = SnapshotConfig::default();
    let setters: &Setters<SnapshotConfig> = &[
        ("root", |s, v| {
            s.root = PathBuf::from(text(v)?);
            Ok(())
        }),
        ("files", |s, v| patterns(v).map(|files| s.files = files)),
        ("every", |s, v| match duration(v)? {
            Millis(0..1000) => Err("must be at least 1s".to_owned()),
            every => {
                s.every = every;
                Ok(())
            }
        }),
        ("keep_for", |s, v| duration(v).map(|d| s.keep_for = d)),
        ("keep", |s, v| whole(v, 1, 1000).map(|n| s.keep = n)),
        ("max_files", |s, v| {
            whole(v, 1, 100_000).map(|n| s.max_files = n)
        }),
        ("max_size", |s, v| size(v).map(|n| s.max_size = n)),
    ];
    set_all(&mut read, &path, table, setters, found);
    let fault = |problem: &str| Located::value(key.span(), &path, problem.to_owned());
    let unnamed = match table.get("files") {
        None => true,
        Some(files) => files.get_ref().as_array().is_some_and(|all| all.is_empty()),
    };
    if unnamed {
        found.add(fault("names no files; write files = [\"conf/**/*.toml\"]"));
    }
    if let Some(name) = name {
        config.snapshots.insert(name, read);
    }
    if config.snapshots.len() == MAX_SETS + 1 {
        found.add(fault("is one too many: there are at most 1000 sets"));
    }
}

fn patterns(value: &DeValue<'_>) -> Result<Vec<PathGlob>, String> {
    let texts = jobs::texts(value)?;
    let pattern = |text: &String| {
        PathGlob::new(text).map_err(|fault| format!("has the pattern {text:?}, which {fault}"))
    };
    texts.iter().map(pattern).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SnapshotSets, String> {
        let config = Config::parse(text, Path::new("l.toml")).map_err(|e| e.to_string())?;
        Ok(config.snapshots)
    }

    #[test]
    fn a_set_is_read_with_all_its_keys_and_has_defaults() {
        let sets = parse(
            "[snapshots.configs]\nfiles = [\"conf/**/*.toml\"]\n\
             [snapshots.weights]\nroot = \"/srv/w\"\nfiles = [\"*.bin\", \"x/**\"]\nevery = \"1d\"\n\
             keep_for = \"7d\"\nkeep = 2\nmax_files = 3\nmax_size = \"4GiB\"\n",
        )
        .unwrap();
        let globs = |texts: &[&str]| -> Vec<PathGlob> {
            texts.iter().map(|t| PathGlob::new(t).unwrap()).collect()
        };
        let configs = SnapshotConfig {
            files: globs(&["conf/**/*.toml"]),
            ..SnapshotConfig::default()
        };
        assert_eq!(sets["configs"], configs);
        let weights = SnapshotConfig {
            root: "/srv/w".into(),
            files: globs(&["*.bin", "x/**"]),
            every: Millis(24 * 3_600_000),
            keep_for: Millis(7 * 24 * 3_600_000),
            keep: 2,
            max_files: 3,
            max_size: 4 << 30,
        };
        assert_eq!(sets["weights"], weights);
        let data = Path::new("/data");
        let roots = sets.iter().map(|(name, set)| set.file_set(name, data).root);
        let roots: Vec<_> = roots.collect();
        assert_eq!(roots, [Path::new("/data"), Path::new("/srv/w")]);
    }

    #[test]
    fn faults_name_the_line_and_what_was_meant() {
        for (text, expected) in [
            (
                "[snapshots.x]\nkeep = 2",
                "l.toml:1: `snapshots.x` names no files; write files = [\"conf/**/*.toml\"]",
            ),
            (
                "[snapshots.x]\nfiles = [\"/etc/*\"]",
                "l.toml:2: `snapshots.x.files` has the pattern \"/etc/*\", which must be relative",
            ),
            (
                "[snapshots.x]\nfiles = [\"../y\"]",
                "l.toml:2: `snapshots.x.files` has the pattern \"../y\", which must be of plain names: \
                 no `.`, no `..`, no empty one",
            ),
            (
                "[snapshots.x]\nfiles = [\"y\"]\nevry = \"1h\"",
                "l.toml:3: there is no key `evry`; did you mean `every`?",
            ),
            (
                "[snapshots.x]\nfiles = [\"y\"]\nevery = \"1ms\"",
                "l.toml:3: `snapshots.x.every` must be at least 1s",
            ),
            (
                "[snapshots]\nfiles = [\"y\"]",
                "l.toml:2: `snapshots.files` is a table; write [snapshots.files] on a line of its own",
            ),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        }
    }
}

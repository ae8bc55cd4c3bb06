//! Where a ledger may make cgroups, found out once by its node.
//!
//! Always below the cgroup that the node itself is in, so that whatever limits the node's service
//! limits its tasks too. There it makes a directory of its own, `ledger-DEVICE-INODE` of the data
//! directory, and each shim one below that, named by the shim's pid and start time: who meets one
//! later knows whose it was, and that nobody but a ledger made it.
//!
//! Version 2 is preferred: it can put a process in as it is born, kill all at once and say whether
//! anything is left. A service that asks for `Delegate=` with a `DelegateSubgroup=` runs in a leaf
//! of what was delegated to it; then the place is beside that leaf.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Which interface a hierarchy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupVersion {
    /// One hierarchy for each controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// A directory in which cgroups can be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupBase {
    /// The interface.
    pub version: CgroupVersion,
    /// The ledger's own directory in the hierarchy.
    pub dir: PathBuf,
}

impl CgroupBase {
    /// Makes the directory, if there's none.
    pub(super) fn make(&self) -> io::Result<()> {
        match fs::create_dir(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if self.version == CgroupVersion::V2 {
            // Without it there's no limit on processes, and everything else works.
            let _ = fs::write(self.dir.join(SUBTREE), "+pids");
        }
        Ok(())
    }
}

/// Where a ledger's cgroups are. Without any, trees are found by group, session and descent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlaces {
    /// Those that hold the trees of attempts.
    pub trees: Option<CgroupBase>,
    /// Those that limit how many processes a tree may have: the same, or in the `pids` hierarchy.
    pub limits: Option<CgroupBase>,
}

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    /// Which part of the hierarchy is mounted there.
    root: PathBuf,
    version: CgroupVersion,
    /// Its options, which name the controllers of version 1.
    options: String,
}

impl CgroupPlaces {
    /// Finds out where the calling process may make cgroups for the ledger in `data_dir`, and makes
    /// its directories there.
    pub fn find(data_dir: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (mounts, own) = (read("/proc/self/mountinfo"), read("/proc/self/cgroup"));
        let Ok(name) = base_name(data_dir) else {
            return Self::default();
        };
        let mounts = parse_mounts(&mounts);
        let trees = unified(&mounts, &own, &name);
        let of = |controller: &str| legacy(&mounts, &own, controller, &name);
        let pids = match &trees {
            Some(base) if can_limit(&base.dir) => Some(base.clone()),
            Some(_) | None => of("pids"),
        };
        Self {
            trees: trees.or_else(|| pids.clone()).or_else(|| of("freezer")),
            limits: pids,
        }
    }

    /// In a word, for people: `v2`, `v1` or `none`.
    pub fn way(&self) -> &'static str {
        match self.trees.as_ref().map(|base| base.version) {
            Some(CgroupVersion::V2) => "v2",
            Some(CgroupVersion::V1) => "v1",
            None => "none",
        }
    }

    /// All directories, each once.
    pub(super) fn bases(&self) -> impl Iterator<Item = &CgroupBase> {
        let limits = self.limits.as_ref();
        let other = limits.filter(|base| Some(*base) != self.trees.as_ref());
        self.trees.iter().chain(other)
    }
}

/// The name of a ledger's own directory: the same wherever its data directory is mounted.
fn base_name(data_dir: &Path) -> io::Result<String> {
    let meta = fs::metadata(data_dir)?;
    Ok(format!("{PREFIX}{:x}-{:x}", meta.dev(), meta.ino()))
}

const PREFIX: &str = "ledger-";

/// Whether a path is one that [`CgroupPlaces::find`] would give and `leaf` is in it: two names of
/// our making below a mounted hierarchy. A record of it may have been tampered with, and nothing
/// else may ever be killed by it.
pub(super) fn is_ours(path: &Path, leaf: &str, data_dir: &Path) -> bool {
    let named = |path: &Path, name: &str| path.file_name().is_some_and(|found| found == name);
    let Ok(base) = base_name(data_dir) else {
        return false;
    };
    let plain = path
        .components()
        .all(|part| !matches!(part, std::path::Component::ParentDir));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    plain
        && named(path, leaf)
        && path.parent().is_some_and(|parent| named(parent, &base))
        && parse_mounts(&mounts)
            .iter()
            .any(|mount| path.starts_with(&mount.point))
}

/// A directory in the unified hierarchy.
fn unified(mounts: &[Mount], own: &str, name: &str) -> Option<CgroupBase> {
    let mount = mounts.iter().find(|m| m.version == CgroupVersion::V2)?;
    let own = own_dir(mount, own, |controllers| controllers.is_empty())?;
    let delegated = own.parent().filter(|parent| is_delegated(parent));
    let above = delegated.unwrap_or(&own);
    let _ = fs::write(above.join(SUBTREE), "+pids");
    made(above, name, CgroupVersion::V2)
}

const SUBTREE: &str = "cgroup.subtree_control";

fn can_limit(base: &Path) -> bool {
    let enabled = fs::read_to_string(base.join(SUBTREE)).unwrap_or_default();
    enabled.split_whitespace().any(|name| name == "pids")
}

/// A directory in the hierarchy of a controller.
fn legacy(mounts: &[Mount], own: &str, controller: &str, name: &str) -> Option<CgroupBase> {
    let has = |list: &str| list.split(',').any(|one| one == controller);
    let is_it = |mount: &&Mount| mount.version == CgroupVersion::V1 && has(&mount.options);
    let mount = mounts.iter().find(is_it)?;
    let own = own_dir(mount, own, has)?;
    made(&own, name, CgroupVersion::V1)
}

/// Makes the directory unless it's there, and makes sure that others can be made in it.
fn made(above: &Path, name: &str, version: CgroupVersion) -> Option<CgroupBase> {
    let dir = above.join(name);
    let base = CgroupBase { version, dir };
    base.make().ok()?;
    let probe = base.dir.join(format!("probe-{}", std::process::id()));
    fs::create_dir(&probe).ok()?;
    fs::remove_dir(&probe).ok()?;
    Some(base)
}

/// The directory of the cgroup that this process is in, if it can be seen.
fn own_dir(mount: &Mount, own: &str, is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let path = own.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        is_it(controllers).then_some(path)
    })?;
    // A path that leads out of the namespace, `/..`, is no place to be in.
    let below = Path::new(path).strip_prefix(&mount.root).ok()?;
    let leads_out = |part| matches!(part, std::path::Component::ParentDir);
    if below.components().any(leads_out) {
        return None;
    }
    Some(mount.point.join(below))
}

fn parse_mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(3);
        let (root, point) = (unescape(head.next()?), unescape(head.next()?));
        let mut tail = tail.split(' ');
        let version = match tail.next()? {
            "cgroup2" => CgroupVersion::V2,
            "cgroup" => CgroupVersion::V1,
            _ => return None,
        };
        Some(Mount {
            point: point.into(),
            root: root.into(),
            version,
            options: tail.nth(1)?.to_owned(),
        })
    };
    text.lines().filter_map(mount).collect()
}

/// A name in `mountinfo`, where blanks and the like stand as octal numbers.
fn unescape(name: &str) -> String {
    let named = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    named.iter().fold(name.to_owned(), |name, (code, text)| {
        name.replace(code, text)
    })
}

/// Whether a service manager says that a cgroup is left to its service.
#[allow(unsafe_code)] // neither std nor nix reads extended attributes
fn is_delegated(dir: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = std::ffi::CString::new(dir.as_os_str().as_bytes()) else {
        return false;
    };
    [c"user.delegate", c"trusted.delegate"].iter().any(|name| {
        let mut value = [0u8; 8];
        let place = value.as_mut_ptr().cast();
        // SAFETY: two NUL-terminated strings, and a place of the length that is given.
        let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), place, value.len()) };
        length == 1 && value[0] == b'1'
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        24 1 0:22 / /proc rw,relatime - proc proc rw\n\
        30 24 0:26 / /sys/fs/cgroup/pids rw,relatime shared:1 - cgroup cgroup rw,pids\n\
        31 24 0:27 /docker/1 /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        32 24 0:28 / /sys/fs/cgroup/uni\\040fied rw - cgroup2 cgroup2 rw,nsdelegate\n\
        bad line\n";
    const OWN: &str =
        "12:cpu,cpuacct:/docker/1/x\n8:pids:/a/b\n1:name=systemd:/q\n0::/s/u.service\n";

    #[test]
    fn hierarchies_are_found_with_ones_own_place_in_them() {
        let mounts = parse_mounts(MOUNTS);
        assert_eq!(mounts.len(), 3);
        let own = |at: usize, controller: &str| {
            own_dir(&mounts[at], OWN, |list| {
                list.split(',').any(|one| one == controller)
            })
        };
        assert_eq!(own(0, "pids"), Some("/sys/fs/cgroup/pids/a/b".into()));
        // Only part of the hierarchy is mounted there.
        assert_eq!(own(1, "cpu"), Some("/sys/fs/cgroup/cpu,cpuacct/x".into()));
        assert_eq!(
            own_dir(&mounts[2], OWN, str::is_empty),
            Some("/sys/fs/cgroup/uni fied/s/u.service".into())
        );
        assert_eq!(own(0, "memory"), None);
        assert_eq!(own_dir(&mounts[0], "8:pids:/../b\n", |_| true), None);
        assert_eq!(own_dir(&mounts[1], "8:cpu:/elsewhere\n", |_| true), None);
    }

    #[test]
    fn only_directories_of_our_own_making_are_ours() {
        let data = tempfile::tempdir().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let Some(mount) = parse_mounts(&mounts).into_iter().next() else {
            return;
        };
        let base = base_name(data.path()).unwrap();
        let path = |middle: &str, leaf: &str| mount.point.join(middle).join(leaf);
        assert!(is_ours(&path(&base, "12.34"), "12.34", data.path()));
        for (middle, leaf) in [("ledger-0-0", "12.34"), (&*base, "12.35"), ("", "12.34")] {
            assert!(!is_ours(&path(middle, leaf), "12.34", data.path()));
        }
        let elsewhere = Path::new("/tmp").join(&base).join("12.34");
        assert!(!is_ours(&elsewhere, "12.34", data.path()));
        let sly = path("x/..", &base).join("12.34");
        assert!(!is_ours(&sly, "12.34", data.path()));
        let other = tempfile::tempdir().unwrap();
        assert!(!is_ours(&path(&base, "12.34"), "12.34", other.path()));
    }
}

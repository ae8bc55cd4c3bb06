//! cgroups: what holds the whole tree of an attempt, however its processes fork, whomever they
//! leave behind and whatever sessions they make.
//!
//! A shim has one, in which its attempts are one after another; it's empty in between, which is
//! checked. What differs with the version of the interface:
//!
//! | | version 2 | version 1 |
//! |---|---|---|
//! | who is in it | the child and its tree, from birth | the shim too: the child inherits it |
//! | how it is killed | `cgroup.kill`, all at once | one by one, until nobody is left |
//! | whether it is empty | `cgroup.events` | `cgroup.procs` names the shim alone |
//!
//! A process is moved into a cgroup only once in the life of a shim, if at all: the kernel makes
//! whoever moves one wait for all processors, milliseconds on a quiet host.
//!
//! Invariant: a process is signaled through a pidfd that was opened before the cgroup named its pid
//! once more, so it is the one that is in it. That needs no `/proc`.

mod place;

use std::cell::{Cell, OnceCell};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

pub use place::{CgroupBase, CgroupPlaces, CgroupVersion};

use super::identity::{ProcessIdentity, boot_id};
use super::sys;

/// Most that is read of a file of the kernel's: the pids of half a million processes.
const MAX_READ: u64 = 4 << 20;

/// Rounds in which a cgroup without `cgroup.kill` is killed. Each reaches all that the round before
/// has missed; whoever still is there is met again by the ladder.
const KILL_ROUNDS: u32 = 50;

/// A shim's cgroup, as it is written down for whoever comes after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupRecord {
    /// Its interface.
    pub version: CgroupVersion,
    /// Its directory.
    pub path: PathBuf,
}

/// The name of a shim's cgroup.
fn leaf_name(shim: &ProcessIdentity) -> String {
    format!("{}.{}", shim.pid, shim.start_time)
}

/// The shim that a cgroup was made for.
fn shim_of(leaf: &str) -> Option<ProcessIdentity> {
    let (pid, start_time) = leaf.split_once('.')?;
    Some(ProcessIdentity {
        pid: pid.parse().ok()?,
        start_time: start_time.parse().ok()?,
        boot_id: boot_id().ok()?.to_owned(),
    })
}

/// An open cgroup.
#[derive(Debug)]
pub(super) struct Cgroup {
    version: CgroupVersion,
    path: PathBuf,
    dir: OwnedFd,
    /// Whether all in it were ever killed at once.
    killed: Cell<bool>,
    /// The limit on processes that was set last, if that is what it is.
    limit: Cell<Option<Option<u32>>>,
    /// Says whether it is populated; opened when that is asked first.
    events: OnceCell<File>,
}

/// A process in a cgroup, held.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pid: i32,
    pidfd: OwnedFd,
}

impl Member {
    pub(super) fn signal(&self, signal: i32) -> io::Result<()> {
        sys::pidfd_send_signal(self.pidfd.as_fd(), signal)
    }
}

impl Cgroup {
    /// Makes the cgroup of a shim, unless it is there.
    pub(super) fn make(base: &CgroupBase, shim: &ProcessIdentity) -> io::Result<Self> {
        let path = base.dir.join(leaf_name(shim));
        match fs::create_dir(&path) {
            // Whoever was there last has taken it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                base.make()?;
                fs::create_dir(&path)?;
            }
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        Self::open(base.version, path)
    }

    /// Opens what was written down for a shim of the ledger in `data_dir`; `None` if it's gone, or
    /// if it is not what such a shim would have written down.
    pub(super) fn recorded(
        record: &CgroupRecord,
        shim: &ProcessIdentity,
        data_dir: &Path,
    ) -> Option<Self> {
        place::is_ours(&record.path, &leaf_name(shim), data_dir)
            .then(|| Self::open(record.version, record.path.clone()).ok())?
    }

    fn open(version: CgroupVersion, path: PathBuf) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let dir = nix::fcntl::open(&path, flags, Mode::empty())?;
        Ok(Self {
            version,
            path,
            dir,
            killed: Cell::new(false),
            limit: Cell::new(None),
            events: OnceCell::new(),
        })
    }

    pub(super) fn record(&self) -> CgroupRecord {
        CgroupRecord {
            version: self.version,
            path: self.path.clone(),
        }
    }

    /// The directory, for making a process in it.
    pub(super) fn dir(&self) -> RawFd {
        self.dir.as_raw_fd()
    }

    /// What a process that moves into it writes to.
    pub(super) fn open_procs(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        Ok(openat(&self.dir, "cgroup.procs", flags, Mode::empty())?)
    }

    /// Moves the calling process into it.
    fn join(&self) -> io::Result<()> {
        self.write("cgroup.procs", "0")
    }

    /// Limits how many processes may be in it.
    fn limit(&self, processes: Option<u32>) -> io::Result<()> {
        if self.limit.get() == Some(processes) {
            return Ok(());
        }
        let own = u32::from(self.version == CgroupVersion::V1);
        let text = match processes {
            // The shim is in it too.
            Some(processes) => processes.saturating_add(own).to_string(),
            None => "max".to_owned(),
        };
        self.write("pids.max", &text)?;
        self.limit.set(Some(processes));
        Ok(())
    }

    /// Who is in it, except the calling process. Kernel threads and processes of other pid
    /// namespaces can't be signaled and aren't named.
    pub(super) fn pids(&self) -> io::Result<Vec<i32>> {
        let own = std::process::id() as i32;
        let text = self.read("cgroup.procs")?;
        let pids = text.lines().filter_map(|line| line.parse().ok());
        Ok(pids.filter(|pid| *pid > 1 && *pid != own).collect())
    }

    /// The same, each held so that a signal reaches it and nobody else.
    pub(super) fn members(&self) -> io::Result<Vec<Member>> {
        let hold = |pid| sys::pidfd_open(pid).ok().map(|pidfd| Member { pid, pidfd });
        let mut held: Vec<Member> = self.pids()?.into_iter().filter_map(hold).collect();
        let mut still = self.pids()?;
        still.sort_unstable();
        held.retain(|member| still.binary_search(&member.pid).is_ok());
        Ok(held)
    }

    /// Whether anything but the calling process runs in it.
    pub(super) fn is_populated(&self) -> io::Result<bool> {
        match self.version {
            CgroupVersion::V2 => {
                let mut events = [0; 128];
                let count = self.events()?.read_at(&mut events, 0)?;
                let mut lines = events[..count].split(|&byte| byte == b'\n');
                let populated = lines.any(|line| line == b"populated 1");
                // A kernel may count one that has just been reaped a moment longer.
                Ok(populated && !self.pids()?.is_empty())
            }
            CgroupVersion::V1 => Ok(!self.pids()?.is_empty()),
        }
    }

    /// Sends SIGKILL to all in it, but not to the calling process.
    pub(super) fn kill(&self) -> io::Result<()> {
        if self.version == CgroupVersion::V2 && self.write("cgroup.kill", "1").is_ok() {
            self.killed.set(true);
            return Ok(());
        }
        if self.version == CgroupVersion::V1 {
            // Nobody is born any more, where that can be had; else each round meets fewer.
            self.limit.set(None);
            let _ = self.write("pids.max", "0");
        }
        let mut seen = BTreeSet::new();
        for _ in 0..KILL_ROUNDS {
            let members = self.members()?;
            let new = members.iter().filter(|member| seen.insert(member.pid));
            let reached = new.filter(|member| member.signal(libc::SIGKILL).is_ok());
            if reached.count() == 0 {
                break;
            }
        }
        Ok(())
    }

    /// CPU time that all who were ever in it have used, microseconds; where the kernel counts it.
    pub(super) fn cpu_us(&self) -> Option<u64> {
        if self.version == CgroupVersion::V1 {
            return None;
        }
        let text = self.read("cpu.stat").ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        line?.parse().ok()
    }

    /// Removes it. It must be empty.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_dir(&self.path)
    }

    fn events(&self) -> io::Result<&File> {
        if let Some(events) = self.events.get() {
            return Ok(events);
        }
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, "cgroup.events", flags, Mode::empty())?;
        Ok(self.events.get_or_init(|| File::from(file)))
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.dir, name, flags, Mode::empty())?);
        let mut text = String::new();
        file.take(MAX_READ).read_to_string(&mut text)?;
        Ok(text)
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = openat(&self.dir, name, flags, Mode::empty())?;
        nix::unistd::write(&file, text.as_bytes())?;
        Ok(())
    }
}

/// What a shim has of cgroups: nothing, one, or one for the tree and another for its limit.
#[derive(Debug, Default)]
pub(super) struct Slot {
    tree: Option<Cgroup>,
    limit: Option<Cgroup>,
}

impl Slot {
    /// Makes what a shim needs. What can't be made is done without.
    pub(super) fn make(places: &CgroupPlaces, shim: &ProcessIdentity) -> Self {
        let tree = places.trees.as_ref();
        let tree = tree.and_then(|base| Cgroup::make(base, shim).ok());
        let inherits = |tree: &Cgroup| tree.version == CgroupVersion::V1;
        match tree {
            Some(tree) if inherits(&tree) && tree.join().is_err() => Self::default(),
            tree => Self { tree, limit: None },
        }
    }

    /// Readies it for an attempt which may have so many processes at once.
    pub(super) fn prepare(
        &mut self,
        places: &CgroupPlaces,
        shim: &ProcessIdentity,
        processes: Option<u32>,
    ) {
        self.renew(places, shim);
        let Some(base) = &places.limits else { return };
        if places.trees.as_ref() == Some(base) {
            // Also lifts what a kill has left behind.
            let _ = self.tree.as_ref().map(|tree| tree.limit(processes));
            return;
        }
        if processes.is_some() && self.limit.is_none() {
            let joined = |limit: &Cgroup| limit.join().is_ok();
            self.limit = Cgroup::make(base, shim).ok().filter(joined);
        }
        let _ = self.limit.as_ref().map(|limit| limit.limit(processes));
    }

    /// Makes the tree's cgroup anew if all in it were killed at once: some kernels (6.14 and stable
    /// ones since) kill whatever is born into a cgroup to which that has ever happened.
    fn renew(&mut self, places: &CgroupPlaces, shim: &ProcessIdentity) {
        let Some(tree) = self.tree.take_if(|tree| tree.killed.get()) else {
            return;
        };
        // If it can't be removed, this one is done without.
        if tree.remove().is_ok() {
            let base = places.trees.as_ref();
            self.tree = base.and_then(|base| Cgroup::make(base, shim).ok());
        }
    }

    /// What holds the tree.
    pub(super) fn tree(&self) -> Option<&Cgroup> {
        self.tree.as_ref()
    }

    /// In what the child is made: only where it isn't inherited.
    pub(super) fn birthplace(&self) -> Option<&Cgroup> {
        self.tree().filter(|tree| tree.version == CgroupVersion::V2)
    }

    /// Removes all of it: the shim ends.
    pub(super) fn retire(&mut self) {
        for cgroup in [self.tree.take(), self.limit.take()].into_iter().flatten() {
            if cgroup.version == CgroupVersion::V1
                && let Some(base) = cgroup.path.parent()
            {
                let _ = fs::write(base.join("cgroup.procs"), "0");
            }
            // If it stays, the node finds it.
            let _ = cgroup.remove();
        }
    }
}

/// What was found of shims that have gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CgroupsSwept {
    /// Empty cgroups that were removed.
    pub removed: u64,
    /// Processes in others that were killed.
    pub killed: u64,
    /// Cgroups that are still not empty.
    pub left: u64,
}

impl CgroupPlaces {
    /// Removes the ledger's own directories, where nobody is left in them: whoever needs one makes it
    /// again.
    pub(super) fn remove_unused(&self) {
        for base in self.bases() {
            // One that isn't empty stays.
            let _ = fs::remove_dir(&base.dir);
        }
    }

    /// Removes the cgroups of shims that have gone, if nothing is left in them.
    pub fn remove_empty(&self) -> CgroupsSwept {
        let mut swept = CgroupsSwept::default();
        self.of_the_dead(|cgroup| match cgroup.remove() {
            Ok(()) => swept.removed += 1,
            Err(_) => swept.left += 1,
        });
        swept
    }

    /// Removes the cgroups of shims that have gone and ends what is left in them, except for those
    /// of which `is_known` says that they are somebody's.
    pub fn sweep(&self, is_known: impl Fn(&ProcessIdentity) -> bool) -> CgroupsSwept {
        let mut swept = CgroupsSwept::default();
        self.of_the_dead_but(is_known, |cgroup| sweep_one(cgroup, &mut swept));
        swept
    }

    fn of_the_dead(&self, see: impl FnMut(Cgroup)) {
        self.of_the_dead_but(|_| false, see);
    }

    fn of_the_dead_but(
        &self,
        is_known: impl Fn(&ProcessIdentity) -> bool,
        mut see: impl FnMut(Cgroup),
    ) {
        for base in self.bases() {
            for entry in fs::read_dir(&base.dir).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let Some(shim) = name.to_str().and_then(shim_of) else {
                    continue;
                };
                let gone = matches!(shim.is_alive_same(), Ok(false));
                if !gone || is_known(&shim) {
                    continue;
                }
                if let Ok(cgroup) = Cgroup::open(base.version, entry.path()) {
                    see(cgroup);
                }
            }
        }
    }
}

fn sweep_one(cgroup: Cgroup, swept: &mut CgroupsSwept) {
    let members = cgroup.pids().unwrap_or_default().len() as u64;
    if members > 0 {
        let _ = cgroup.kill();
        swept.killed += members;
    }
    match cgroup.remove() {
        Ok(()) => swept.removed += 1,
        // What was killed just now may take its time.
        Err(_) => swept.left += 1,
    }
}

#[cfg(test)]
mod tests;

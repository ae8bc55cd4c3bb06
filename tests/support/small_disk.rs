//! Small file systems of their own: ext4 in an image, whose syncs and failures are those of a disk;
//! where that can't be had, one in memory. Mounting takes root; without it a test says that it was not
//! run, except in CI, where that is a failure.

#![allow(clippy::print_stderr)] // a test that is not run says so where the others are counted

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Ledger, is_ci, show, text};

/// A file system that is gone when this is dropped.
pub(crate) struct SmallDisk {
    at: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let done = Command::new(program).args(arguments).output();
    match done {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(format!("{program} {arguments:?}: {}", text(&done.stderr))),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// Like [`run`], for what can't fail once a disk was mounted.
fn must(program: &str, arguments: &[&str]) {
    run(program, arguments).unwrap();
}

/// Says that a test was not run.
fn not_run(why: &str) {
    assert!(!is_ci(), "CI must be able to mount: {why}");
    eprintln!("not run, because this needs to mount: {why}");
}

impl SmallDisk {
    /// One of so many MiB on ext4, and where its image is. Nothing if this machine does not let us.
    pub(crate) fn ext4(room: &Path, name: &str, mib: u64) -> Option<(Self, PathBuf)> {
        let at = room.join(name);
        std::fs::create_dir_all(&at).unwrap();
        let image = room.join(format!("{name}.image"));
        let mounted = Self::image(&image, mib << 20)
            .and_then(|()| run("mount", &["-o", "loop", show(&image), show(&at)]));
        Self::of(at, mounted).map(|disk| (disk, image))
    }

    /// One of so many MiB. Nothing if this machine does not let us.
    pub(crate) fn mount(room: &Path, name: &str, mib: u64) -> Option<Self> {
        let at = room.join(name);
        std::fs::create_dir_all(&at).unwrap();
        let image = room.join(format!("{name}.image"));
        let mounted = Self::image(&image, mib << 20)
            .and_then(|()| run("mount", &["-o", "loop", show(&image), show(&at)]))
            .or_else(|why| {
                eprintln!("in memory instead of on ext4: {why}");
                Self::in_memory(&at, mib)
            });
        Self::of(at, mounted)
    }

    /// One of so many MiB in an image on another disk that has less room, as thinly provisioned ones are:
    /// it may be out of room before it knows.
    pub(crate) fn thin(room: &Path, name: &str, mib: u64, below: &Self) -> Option<Self> {
        let at = room.join(name);
        std::fs::create_dir_all(&at).unwrap();
        let image = below.at.join("image");
        let mounted = Self::image(&image, mib << 20)
            .and_then(|()| run("mount", &["-o", "loop", show(&image), show(&at)]));
        Self::of(at, mounted)
    }

    /// One in memory, that can grow.
    pub(crate) fn memory(room: &Path, name: &str, mib: u64) -> Option<Self> {
        let at = room.join(name);
        std::fs::create_dir_all(&at).unwrap();
        let mounted = Self::in_memory(&at, mib);
        Self::of(at, mounted)
    }

    fn in_memory(at: &Path, mib: u64) -> Result<(), String> {
        let options = format!("size={mib}m,mode=700");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &options, "small-disk", show(at)],
        )
    }

    fn image(image: &Path, bytes: u64) -> Result<(), String> {
        let file = std::fs::File::create_new(image).map_err(|e| e.to_string())?;
        file.set_len(bytes).map_err(|e| e.to_string())?;
        // Nothing kept for root, and no work left for later.
        let options = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        let path = show(image);
        run("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", options, path])
    }

    fn of(at: PathBuf, mounted: Result<(), String>) -> Option<Self> {
        match mounted {
            Ok(()) => Some(Self { at }),
            Err(why) => {
                not_run(&why);
                None
            }
        }
    }

    /// A ledger on it.
    pub(crate) fn ledger(&self, room: tempfile::TempDir) -> Ledger {
        let dir = self.at.join("data");
        let ledger = Ledger { room, dir };
        let made = ledger.cli(&["init"]);
        assert!(made.status.success(), "{}", text(&made.stderr));
        ledger
    }

    /// Takes all the room that there is but for so many KiB, by a file of this name.
    pub(crate) fn fill(&self, name: &str, but_kib: u64) {
        let path = self.at.join(name);
        let input = std::fs::File::open("/dev/zero").unwrap();
        let mut output = std::fs::File::create(&path).unwrap();
        let copied = std::io::copy(&mut &input, &mut output);
        assert!(copied.is_err(), "the disk has an end");
        let len = output.metadata().unwrap().len();
        output.set_len(len.saturating_sub(but_kib << 10)).unwrap();
        output.sync_all().unwrap();
    }

    /// Takes so many MiB, by a file of this name.
    pub(crate) fn take(&self, name: &str, mib: usize) {
        std::fs::write(self.at.join(name), vec![1; mib << 20]).unwrap();
    }

    /// Removes a file.
    pub(crate) fn free(&self, name: &str) {
        std::fs::remove_file(self.at.join(name)).unwrap();
        must("sync", &["-f", show(&self.at)]);
    }

    pub(crate) fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        must("mount", &["-o", &options, show(&self.at)]);
    }

    /// From here on every call fails with an I/O error, and what was not synced is gone: the disk has
    /// been pulled. Only for one on ext4.
    #[allow(unsafe_code)] // this ioctl has no safe wrapper
    pub(crate) fn pull(&self) {
        // EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32), without a flush of its journal.
        const SHUTDOWN: u64 = 0x8004_587D;
        let how: u32 = 2;
        let dir = std::fs::File::open(&self.at).unwrap();
        // SAFETY: the call reads four bytes from where the pointer leads, which live until it returns.
        let done = unsafe { libc::ioctl(dir.as_raw_fd(), SHUTDOWN as _, &raw const how) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    /// From here on every write waits, for as long as what is returned lives. Only for one on ext4.
    pub(crate) fn freeze(&self) -> Frozen {
        must("fsfreeze", &["-f", show(&self.at)]);
        Frozen(self.at.clone())
    }

    /// Unmounts it, mends it, and mounts it again.
    pub(crate) fn mend(&self, image: &Path) {
        must("umount", &[show(&self.at)]);
        let checked = Command::new("e2fsck").args(["-fy", show(image)]).output();
        // 1: mended.
        assert!(checked.unwrap().status.code().is_some_and(|code| code <= 1));
        must("mount", &["-o", "loop", show(image), show(&self.at)]);
    }

    /// Where it is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }
}

/// A file system whose writes wait.
pub(crate) struct Frozen(PathBuf);

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.0).status();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, for shims that are just ending hold it open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        // Whoever made the room around it may have gone before, and could not remove it.
        if let Some(room) = self.at.parent() {
            let _ = std::fs::remove_dir_all(room);
        }
    }
}

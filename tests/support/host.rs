//! What some hosts can do and others can't: giving pids, freezing processes; and what a test says
//! that could not run.

#![allow(dead_code, unreachable_pub)] // each test crate uses its own part

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use opsledger::shim::ProcessIdentity;

/// A process that was given a pid of the test's choice. Dropping it ends it.
pub struct Given(pub ProcessIdentity);

#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

impl Given {
    /// Starts `sleep 600` as the process `pid`, in a session of its own if it is asked to.
    #[allow(unsafe_code)] // nobody wraps clone3
    pub fn pid(pid: i32) -> Option<Self> {
        let program = CString::new("/bin/sleep").unwrap();
        let argument = CString::new("600").unwrap();
        let argv = [program.as_ptr(), argument.as_ptr(), std::ptr::null()];
        let envp = [std::ptr::null()];
        let args = CloneArgs {
            exit_signal: libc::SIGCHLD as u64,
            set_tid: &raw const pid as u64,
            set_tid_size: 1,
            ..CloneArgs::default()
        };
        let size = size_of::<CloneArgs>();
        // SAFETY: a fork with copied memory; the child makes system calls and nothing else.
        let made = unsafe {
            let made = libc::syscall(libc::SYS_clone3, &raw const args, size);
            if made == 0 {
                libc::setsid();
                libc::execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr());
                libc::_exit(127);
            }
            made
        };
        if made != i64::from(pid) {
            return None;
        }
        Some(Self(ProcessIdentity::of(pid).unwrap().unwrap()))
    }

    /// Some pid that nobody has. `None` where the kernel won't be asked.
    pub fn some_pid() -> Option<Self> {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id() as i32;
        child.wait().unwrap();
        Self::pid(pid)
    }

    /// The number of a process that has gone, in another tick of the clock.
    pub fn after(gone: &ProcessIdentity) -> Option<Self> {
        // A number is in use for as long as anybody is of its session, reaped or not.
        for _ in 0..2000 {
            match Self::pid(gone.pid) {
                Some(given) if given.0.start_time != gone.start_time => return Some(given),
                Some(_) | None => {}
            }
            // tidy: allow(sleep) — what is waited for here announces itself to nobody
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        None
    }

    pub fn lives(&self) -> bool {
        self.0.is_alive_same().unwrap()
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0.pid);
        let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        let _ = waitpid(pid, None);
    }
}

/// For a test that can't run here: a failure where everything must run.
#[allow(clippy::print_stdout)] // whoever runs the tests must see it
pub fn lacks(what: &str) {
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "this host lacks {what}");
    println!("not run: this host lacks {what}");
}

/// A cgroup of the version 1 freezer, in which a process can be made deaf to SIGKILL.
pub struct Freezer(PathBuf);

impl Freezer {
    pub fn make() -> Option<Self> {
        let name = format!("opsledger-test-{}", unique());
        let dir = Path::new("/sys/fs/cgroup/freezer").join(name);
        fs::create_dir(&dir).ok()?;
        let made = Self(dir);
        made.0.join("freezer.state").exists().then_some(made)
    }

    pub fn freeze(&self, pid: i32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
        self.set("FROZEN");
        while self.state() != "FROZEN" {
            // tidy: allow(sleep) — what is waited for here announces itself to nobody
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    pub fn thaw(&self) {
        self.set("THAWED");
    }

    fn set(&self, state: &str) {
        fs::write(self.0.join("freezer.state"), state).unwrap();
    }

    fn state(&self) -> String {
        let state = fs::read_to_string(self.0.join("freezer.state")).unwrap();
        state.trim().to_owned()
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("freezer.state"), "THAWED");
        remove(&self.0);
    }
}

/// A cgroup of version 2 whose processes do nothing, and still die of SIGKILL.
pub struct Ice(PathBuf);

impl Ice {
    pub fn make() -> Option<Self> {
        let unified = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .into_iter()
            .map(Path::new)
            .find(|dir| dir.join("cgroup.controllers").exists())?;
        let dir = unified.join(format!("opsledger-test-{}", unique()));
        fs::create_dir(&dir).ok()?;
        Some(Self(dir))
    }

    pub fn freeze(&self, pid: i32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
        fs::write(self.0.join("cgroup.freeze"), "1").unwrap();
        let events = || fs::read_to_string(self.0.join("cgroup.events")).unwrap();
        while !events().contains("frozen 1") {
            // tidy: allow(sleep) — what is waited for here announces itself to nobody
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

impl Drop for Ice {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.freeze"), "0");
        remove(&self.0);
    }
}

/// Removes a cgroup. Whoever was in it takes a moment to go.
fn remove(dir: &Path) {
    for _ in 0..200 {
        if fs::remove_dir(dir).is_ok() {
            return;
        }
        // tidy: allow(sleep) — what is waited for here announces itself to nobody
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A name that nobody else has.
fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{count}", std::process::id())
}

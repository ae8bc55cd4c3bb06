//! Shims that are killed at a moment of the test's choice: a tracer follows the spawner's next child from
//! one call of the kernel to the next, and kills it where it gives a file its name.

use std::ffi::c_void;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread::JoinHandle;

use opsledger::shim::ProcessStat;

/// When a shim dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// About to give the file of this name.
    Before(&'static str),
    /// Having just given it.
    After(&'static str),
}

impl Moment {
    fn file(self) -> &'static str {
        match self {
            Self::Before(file) | Self::After(file) => file,
        }
    }
}

/// A trap for the next shim of a spawner.
pub struct Trap(JoinHandle<i32>);

impl Trap {
    /// Sets it. `None` where processes may not be traced.
    pub fn set(spawner: i32, moment: Moment) -> Option<Self> {
        let (attached, is_attached) = mpsc::channel();
        let thread = std::thread::spawn(move || Tracer { spawner, moment }.run(&attached));
        is_attached.recv().unwrap().then_some(Self(thread))
    }

    /// Waits until a shim has died in it; its pid.
    pub fn caught(self) -> i32 {
        self.0.join().unwrap()
    }
}

struct Tracer {
    spawner: i32,
    moment: Moment,
}

const OPTIONS: i32 = libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACESYSGOOD;
pub(super) const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

impl Tracer {
    /// All that a thread traces goes on by itself when the thread ends.
    fn run(&self, attached: &mpsc::Sender<bool>) -> i32 {
        let seized = request(libc::PTRACE_SEIZE, self.spawner, OPTIONS as usize);
        attached.send(seized).unwrap();
        if !seized {
            return 0;
        }
        let mut caught = None;
        let mut names_it = false;
        loop {
            let (pid, status) = wait();
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                assert_ne!(pid, self.spawner, "the spawner has ended");
                match caught {
                    Some(shim) if shim == pid => return pid,
                    _ => continue,
                }
            }
            let signal = libc::WSTOPSIG(status);
            let is_shim = pid != self.spawner && self.is_child(pid);
            if status >> 16 == libc::PTRACE_EVENT_STOP && pid != self.spawner && !is_shim {
                // Of the shim's own children nothing is asked.
                request(libc::PTRACE_DETACH, pid, 0);
            } else if signal == SYSCALL_STOP {
                let was_named = std::mem::take(&mut names_it);
                names_it = !was_named && self.names_it(pid);
                let now = match self.moment {
                    Moment::Before(_) => names_it,
                    Moment::After(_) => was_named,
                };
                if now {
                    caught = Some(pid);
                    kill(pid);
                } else {
                    request(libc::PTRACE_SYSCALL, pid, 0);
                }
            } else {
                let is_event = status >> 16 != 0;
                let pass_on = if is_event { 0 } else { signal };
                let go_on = if is_shim {
                    libc::PTRACE_SYSCALL
                } else {
                    libc::PTRACE_CONT
                };
                request(go_on, pid, pass_on as usize);
            }
        }
    }

    fn is_child(&self, pid: i32) -> bool {
        let stat = ProcessStat::of(pid).unwrap();
        stat.is_some_and(|stat| stat.parent == self.spawner)
    }

    /// Whether a process that stopped on its way into the kernel is about to give the name.
    fn names_it(&self, pid: i32) -> bool {
        let Some((number, to)) = renaming(pid) else {
            return false;
        };
        if ![libc::SYS_renameat, libc::SYS_renameat2].contains(&number) {
            return false;
        }
        let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
        let mut name = [0; 16];
        let read = memory.read_at(&mut name, to).unwrap();
        let name = name[..read].split(|byte| *byte == 0).next();
        name == Some(self.moment.file().as_bytes())
    }
}

/// The number of the call that a process has stopped on its way into, and its fourth argument.
#[allow(unsafe_code)] // nix has this behind a feature of its own
fn renaming(pid: i32) -> Option<(libc::c_long, u64)> {
    // SAFETY: the kernel fills in as much of it as there is, and zeros are a value of each field.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of_val(&info);
    let place = (&raw mut info).cast::<c_void>();
    // SAFETY: a place of the size that is given.
    let got = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, place) };
    if got <= 0 || info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: what `op` says.
    let entry = unsafe { info.u.entry };
    Some((libc::c_long::try_from(entry.nr).ok()?, entry.args[3]))
}

#[allow(unsafe_code)] // nix has this behind a feature of its own
pub(super) fn request(what: libc::c_uint, pid: i32, data: usize) -> bool {
    // SAFETY: none of these requests reads or writes memory of ours.
    let done = unsafe { libc::ptrace(what, pid, std::ptr::null_mut::<c_void>(), data) };
    // Whoever was killed meanwhile is told of by the next wait.
    done == 0
}

#[allow(unsafe_code)] // nix fails on signals that it has no name for, and knows no __WNOTHREAD on all
pub(super) fn wait() -> (i32, i32) {
    let mut status = 0;
    // Not for what other threads of the test have started.
    let flags = libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: a place for the status.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, flags) };
    assert!(pid > 0, "nobody is left to wait for");
    (pid, status)
}

pub(super) fn kill(pid: i32) {
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

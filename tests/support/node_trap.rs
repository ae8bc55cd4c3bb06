//! A node that is killed at a call of the kernel of the test's choice, whichever of its threads makes it.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread::JoinHandle;

use super::tracer::{SYSCALL_STOP, kill, request, wait};

/// What the node does with a file whose path ends like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Opens it.
    Open(&'static str),
    /// Has it, or what is in it, brought to the disk.
    Sync(&'static str),
    /// Gives it another name.
    Rename(&'static str),
}

/// When it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// About to make the call.
    Before(Call),
    /// Having made it.
    After(Call),
}

/// A trap for a node.
pub struct NodeTrap(JoinHandle<()>);

impl NodeTrap {
    /// Sets it. `None` where processes may not be traced.
    pub fn set(node: i32, moment: Moment) -> Option<Self> {
        let (attached, is_attached) = mpsc::channel();
        let tracer = Tracer {
            node,
            moment,
            inside: BTreeSet::new(),
        };
        let thread = std::thread::spawn(move || tracer.run(&attached));
        is_attached.recv().unwrap().then_some(Self(thread))
    }

    /// Waits until the node was killed.
    pub fn caught(self) {
        self.0.join().unwrap();
    }
}

struct Tracer {
    node: i32,
    moment: Moment,
    /// Threads that are in the call.
    inside: BTreeSet<i32>,
}

impl Tracer {
    /// Ends once the node was killed, so that whoever has started it learns of its end: a thread that
    /// traced it to its end would be the only one to.
    fn run(mut self, attached: &mpsc::Sender<bool>) {
        let seized = self.seize();
        attached.send(seized).unwrap();
        if !seized {
            return;
        }
        loop {
            let (thread, status) = wait();
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                assert_ne!(thread, self.node, "the node ended before it came to that");
                continue;
            }
            let signal = libc::WSTOPSIG(status);
            if signal == SYSCALL_STOP && self.is_now(thread) {
                return kill(self.node);
            }
            let is_own = signal == SYSCALL_STOP || status >> 16 != 0;
            let pass_on = if is_own { 0 } else { signal };
            request(libc::PTRACE_SYSCALL, thread, pass_on as usize);
        }
    }

    /// All its threads, and those that they start.
    fn seize(&self) -> bool {
        let options = libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACESYSGOOD;
        let mut seized = BTreeSet::new();
        loop {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.node)).unwrap();
            let names = threads.map(|entry| entry.unwrap().file_name());
            let ids = names.map(|name| name.to_str().unwrap().parse::<i32>().unwrap());
            let new: Vec<_> = ids.filter(|id| !seized.contains(id)).collect();
            if new.is_empty() {
                return true;
            }
            for thread in new {
                // One that a seized thread has started meanwhile is traced already.
                if request(libc::PTRACE_SEIZE, thread, options as usize) {
                    request(libc::PTRACE_INTERRUPT, thread, 0);
                } else if thread == self.node {
                    return false;
                }
                seized.insert(thread);
            }
        }
    }

    /// Whether a thread that stopped at the kernel's door is where it is waited for.
    fn is_now(&mut self, thread: i32) -> bool {
        let (call, before) = match self.moment {
            Moment::Before(call) => (call, true),
            Moment::After(call) => (call, false),
        };
        match door(thread) {
            Some(Door::In(number, arguments)) => {
                let makes_it = self.makes(call, number, arguments);
                if makes_it {
                    self.inside.insert(thread);
                }
                makes_it && before
            }
            Some(Door::Out) => self.inside.remove(&thread),
            None => false,
        }
    }

    fn makes(&self, call: Call, number: libc::c_long, arguments: [u64; 6]) -> bool {
        let (end, path) = match (call, number) {
            (Call::Open(end), libc::SYS_openat) => (end, self.text(arguments[1])),
            (Call::Sync(end), libc::SYS_fsync | libc::SYS_fdatasync) => {
                (end, self.open_file(arguments[0]))
            }
            #[cfg(target_arch = "x86_64")]
            (Call::Rename(end), libc::SYS_rename) => (end, self.text(arguments[0])),
            (Call::Rename(end), libc::SYS_renameat | libc::SYS_renameat2) => {
                (end, self.text(arguments[1]))
            }
            _ => return false,
        };
        path.ends_with(end)
    }

    fn open_file(&self, descriptor: u64) -> String {
        let link = std::fs::read_link(format!("/proc/{}/fd/{descriptor}", self.node));
        link.map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    fn text(&self, at: u64) -> String {
        let memory = std::fs::File::open(format!("/proc/{}/mem", self.node)).unwrap();
        let mut bytes = [0; 4096];
        let read = memory.read_at(&mut bytes, at).unwrap_or(0);
        let text = bytes[..read].split(|byte| *byte == 0).next();
        String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
    }
}

enum Door {
    /// The number of the call and its arguments.
    In(libc::c_long, [u64; 6]),
    Out,
}

#[allow(unsafe_code)] // nix has this behind a feature of its own
fn door(thread: i32) -> Option<Door> {
    // SAFETY: the kernel fills in as much of it as there is, and zeros are a value of each field.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of_val(&info);
    let place = (&raw mut info).cast::<c_void>();
    // SAFETY: a place of the size that is given.
    let got = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size, place) };
    match info.op {
        _ if got <= 0 => None,
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: what `op` says.
            let entry = unsafe { info.u.entry };
            Some(Door::In(libc::c_long::try_from(entry.nr).ok()?, entry.args))
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => Some(Door::Out),
        _ => None,
    }
}

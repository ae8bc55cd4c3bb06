//! Starting the child: everything is prepared first, then `clone(CLONE_VM | CLONE_VFORK)` and exec.
//!
//! With a cgroup of version 2 to be born in, the call is `clone3`; where that is not to be had, the
//! new process writes itself into it.
//!
//! The way of glibc's `posix_spawn`, with the steps it doesn't offer (death signal, credentials):
//! the new process borrows the shim's memory while the shim is suspended until `exec` or exit. No
//! page table is copied, and a failure is simply written where the shim will read it. What runs in
//! between ([`child_main`]) makes system calls and nothing else: no allocation, no locks.
//!
//! Descriptors: 0 of the shim is `/dev/null`; everything from 3 on is close-on-exec. All signals
//! are blocked in the shim and all have their default action, so that nothing runs on the borrowed
//! stack but the child, and the child only has to empty its mask.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{Whence, lseek, pipe2};

use super::cgroup::Cgroup;
use super::protocol::SpawnRequest;
use super::records::SpawnStep;

/// Searched for a program when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/bin:/bin";

/// Runs scripts without an interpreter line, as `execvp` does.
const SHELL: &std::ffi::CStr = c"/bin/sh";

/// Ample for [`child_main`] and the system calls below it.
const STACK_BYTES: usize = 64 * 1024;

/// A child that has become its program.
pub(super) struct Child {
    /// Process id, and id of its process group. Not recycled before it is reaped.
    pub(super) pid: i32,
    /// Reading end of its standard output; does not block.
    pub(super) stdout: OwnedFd,
    /// Reading end of its standard error; does not block.
    pub(super) stderr: OwnedFd,
}

/// A child that could not be started. Nothing of it is left.
#[derive(Debug)]
pub(super) struct SpawnFailure {
    pub(super) step: SpawnStep,
    pub(super) error: io::Error,
}

impl SpawnFailure {
    pub(super) fn prepare<E: Into<io::Error>>(error: E) -> Self {
        Self {
            step: SpawnStep::Prepare,
            error: error.into(),
        }
    }
}

/// How a child gets into its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is born in it.
    Birth,
    /// It moves there before it becomes its program.
    #[cfg_attr(target_arch = "x86_64", allow(dead_code))]
    Move,
}

impl Entry {
    /// The best way there is on this machine.
    #[cfg(target_arch = "x86_64")]
    pub(super) const BEST: Self = Self::Birth;
    /// The best way there is on this machine.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) const BEST: Self = Self::Move;
}

/// Starts the child of `request`, in `cgroup` if there is one. The caller must be single-threaded,
/// with all signals blocked.
pub(super) fn start(
    request: &SpawnRequest,
    cgroup: Option<(&Cgroup, Entry)>,
) -> Result<Child, SpawnFailure> {
    let prepare = SpawnFailure::prepare::<Errno>;
    let (stdout, stdout_end) = pipe2(OFlag::O_CLOEXEC).map_err(prepare)?;
    let (stderr, stderr_end) = pipe2(OFlag::O_CLOEXEC).map_err(prepare)?;
    for reader in [&stdout, &stderr] {
        // Only our end: the child's must block as programs expect.
        let flags = nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(reader, flags).map_err(prepare)?;
    }
    let stdin = request
        .stdin
        .as_deref()
        .map(input)
        .transpose()
        .map_err(prepare)?;
    let texts = Texts::new(request).map_err(SpawnFailure::prepare)?;
    let mut plan = Plan {
        candidates: pointers(&texts.candidates),
        argv: pointers(&texts.argv),
        shell_argv: shell_arguments(&texts),
        envp: pointers(&texts.env),
        cwd: texts.cwd.as_ptr(),
        streams: [
            stdin.as_ref().map_or(0, AsRawFd::as_raw_fd),
            stdout_end.as_raw_fd(),
            stderr_end.as_raw_fd(),
        ],
        user: request
            .run_as
            .as_ref()
            .map(|user| (user.uid, user.gid, user.groups.as_slice())),
        parent: std::process::id() as i32,
        procs: -1,
        failure: None,
    };
    let pid = enter(&mut plan, cgroup).map_err(|error| SpawnFailure {
        step: SpawnStep::Fork,
        error,
    })?;
    match plan.failure {
        None => Ok(Child {
            pid,
            stdout,
            stderr,
        }),
        Some((step, errno)) => {
            // It is on its way out. How it ended tells nothing new.
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
            Err(SpawnFailure {
                step,
                error: io::Error::from_raw_os_error(errno),
            })
        }
    }
}

/// A file in memory that holds `text`, positioned at its start. Unlike a pipe it takes any amount
/// at once and needs no one to feed it.
fn input(text: &str) -> nix::Result<OwnedFd> {
    let file = memfd_create(c"stdin", MFdFlags::MFD_CLOEXEC)?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let count = nix::unistd::write(&file, rest)?;
        rest = &rest[count..];
    }
    lseek(&file, 0, Whence::SeekSet)?;
    Ok(file)
}

/// The strings of the exec, owned.
struct Texts {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    cwd: CString,
}

impl Texts {
    fn new(request: &SpawnRequest) -> io::Result<Self> {
        let program = request.argv.first().map_or("", String::as_str);
        let argv = request.argv.iter().map(|text| CString::new(text.as_str()));
        let env = request
            .env
            .iter()
            .map(|(name, value)| CString::new(format!("{name}={value}")));
        Ok(Self {
            candidates: candidates(program, &request.env)?,
            argv: argv.collect::<Result<_, _>>()?,
            env: env.collect::<Result<_, _>>()?,
            cwd: CString::new(request.cwd.as_os_str().as_bytes())?,
        })
    }
}

/// The files that `program` may name, in the order in which to try them.
fn candidates(program: &str, env: &BTreeMap<String, String>) -> io::Result<Vec<CString>> {
    if program.contains('/') {
        return Ok(vec![CString::new(program)?]);
    }
    let path = env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let place = |dir: &str| match dir {
        // An empty entry is the working directory.
        "" => CString::new(program),
        dir => CString::new(format!("{dir}/{program}")),
    };
    Ok(path.split(':').map(place).collect::<Result<_, _>>()?)
}

/// A null-terminated array of pointers to strings which must outlive it.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts
        .iter()
        .map(|text| text.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// `sh`, a place for the script's path, and the arguments.
fn shell_arguments(texts: &Texts) -> Vec<*const c_char> {
    let mut arguments = vec![SHELL.as_ptr(), std::ptr::null()];
    arguments.extend(pointers(texts.argv.get(1..).unwrap_or_default()));
    arguments
}

/// All that the child needs, in memory it shares with the suspended shim.
struct Plan<'a> {
    candidates: Vec<*const c_char>,
    argv: Vec<*const c_char>,
    shell_argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    cwd: *const c_char,
    streams: [RawFd; 3],
    user: Option<(u32, u32, &'a [u32])>,
    parent: i32,
    /// `cgroup.procs` of the cgroup to move to, or -1.
    procs: RawFd,
    failure: Option<(SpawnStep, c_int)>,
}

/// Makes the new process in the cgroup. One that can't be had is done without: the tree is then
/// found as where there are none.
fn enter(plan: &mut Plan<'_>, cgroup: Option<(&Cgroup, Entry)>) -> io::Result<i32> {
    let Some((cgroup, entry)) = cgroup else {
        return vfork_child(plan);
    };
    if entry == Entry::Birth
        && let Ok(pid) = clone_into(plan, cgroup)
    {
        return Ok(pid);
    }
    // Also where a container's filter does not know clone3.
    let procs = cgroup.open_procs().ok();
    plan.procs = procs.as_ref().map_or(-1, AsRawFd::as_raw_fd);
    vfork_child(plan)
}

/// libc's constant is of a type that is too narrow for it.
#[cfg(target_arch = "x86_64")]
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The kernel's `clone_args`, as of Linux 5.7.
#[cfg(target_arch = "x86_64")]
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

/// As [`vfork_child`], in a cgroup from birth.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // no library wraps clone3 with shared memory
fn clone_into(plan: &mut Plan<'_>, cgroup: &Cgroup) -> io::Result<i32> {
    let mut stack = Vec::<u128>::with_capacity(STACK_BYTES / size_of::<u128>());
    let room = stack.spare_capacity_mut();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let args = CloneArgs {
        flags: flags as u64 | CLONE_INTO_CGROUP,
        exit_signal: libc::SIGCHLD as u64,
        stack: room.as_mut_ptr() as u64,
        stack_size: size_of_val(room) as u64,
        cgroup: cgroup.dir() as u64,
        ..CloneArgs::default()
    };
    let pid: libc::c_long;
    // SAFETY: as in `vfork_child`: the child runs on `stack` alone, whose end is aligned as the ABI
    // wants it before a call, and this only thread is suspended until it has released the memory.
    // The parent's side is a system call and a jump; the child calls `child_main`, which never
    // returns.
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => pid,
            in("rdi") &raw const args,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") std::ptr::from_mut(plan),
            in("r13") child_main as extern "C" fn(*mut c_void) -> c_int,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    match i32::try_from(pid) {
        Ok(pid) if pid > 0 => Ok(pid),
        Ok(error) => Err(io::Error::from_raw_os_error(-error)),
        Err(_) => Err(io::ErrorKind::Other.into()),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn clone_into(_: &mut Plan<'_>, _: &Cgroup) -> io::Result<i32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Runs [`child_main`] in a new process; returns when that has become its program or has exited.
#[allow(unsafe_code)] // clone with shared memory cannot be wrapped safely in general
fn vfork_child(plan: &mut Plan<'_>) -> io::Result<i32> {
    // Words of 16 bytes: the ABI wants the stack aligned so. Left as it is, for what is not
    // touched costs no memory.
    let mut stack = Vec::<u128>::with_capacity(STACK_BYTES / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child runs on `stack` alone and touches only `plan`; both outlive it, because
    // CLONE_VFORK suspends this (only) thread until the child has released the memory. It makes
    // only async-signal-safe calls, and no signal handler can run in it (all are blocked).
    let pid = unsafe {
        libc::clone(
            child_main,
            top.cast::<c_void>(),
            flags,
            std::ptr::from_mut(plan).cast(),
        )
    };
    if pid < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(pid)
    }
}

/// The new process: becomes the program, or notes why not and exits.
#[allow(unsafe_code)] // raw calls on memory shared with the shim, see vfork_child
extern "C" fn child_main(plan: *mut c_void) -> c_int {
    // SAFETY: vfork_child passes a valid plan which nobody else touches meanwhile.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    let Err(failure) = become_program(plan);
    plan.failure = Some(failure);
    // SAFETY: leaves at once, without running the shim's exit handlers.
    unsafe { libc::_exit(127) }
}

type Failure = (SpawnStep, c_int);

#[allow(unsafe_code)] // async-signal-safe system calls only, see the head of the file
fn become_program(plan: &mut Plan<'_>) -> Result<std::convert::Infallible, Failure> {
    if plan.procs >= 0 {
        // SAFETY: one byte of a literal. That it can't be moved harms nothing.
        unsafe { libc::write(plan.procs, c"0".as_ptr().cast(), 1) };
    }
    // SAFETY: integers only; the child becomes the leader of a new group.
    step(SpawnStep::ProcessGroup, unsafe { libc::setpgid(0, 0) })?;
    become_user(plan)?;
    // After the credentials: changing them clears the death signal.
    // SAFETY: integers only.
    step(SpawnStep::DeathSignal, unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
    })?;
    // The shim may have died before the line above; then nobody would kill us any more.
    // SAFETY: no arguments.
    if unsafe { libc::getppid() } != plan.parent {
        return Err((SpawnStep::DeathSignal, libc::ESRCH));
    }
    // SAFETY: `cwd` is a NUL-terminated string of the plan.
    step(SpawnStep::WorkingDirectory, unsafe {
        libc::chdir(plan.cwd)
    })?;
    for (target, source) in (0..).zip(plan.streams) {
        if source != target {
            // SAFETY: integers only; `source` is an open descriptor of the plan.
            step(SpawnStep::Streams, unsafe { libc::dup2(source, target) })?;
        }
    }
    // SAFETY: an all-zero signal set is the empty one; the old mask isn't wanted.
    unsafe {
        let empty: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &empty, std::ptr::null_mut());
    }
    Err((SpawnStep::Exec, execute(plan)))
}

/// Becomes the configured user, for good. Raw calls, because glibc's wrappers reach for the thread
/// list of a memory that isn't ours.
#[allow(unsafe_code)] // set*id system calls
fn become_user(plan: &Plan<'_>) -> Result<(), Failure> {
    let Some((uid, gid, groups)) = plan.user else {
        return Ok(());
    };
    // SAFETY: pointer and length of one slice.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    step(SpawnStep::Credentials, result as c_int)?;
    // SAFETY: integers only.
    let result = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    step(SpawnStep::Credentials, result as c_int)?;
    // SAFETY: integers only.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    step(SpawnStep::Credentials, result as c_int)
}

/// Tries the candidates in turn; returns the error number that says most.
#[allow(unsafe_code)] // execve takes raw arrays
fn execute(plan: &mut Plan<'_>) -> c_int {
    let mut verdict = libc::ENOENT;
    for index in 0..plan.candidates.len() - 1 {
        let file = plan.candidates[index];
        // SAFETY: strings and arrays of the plan, all NUL- or null-terminated.
        unsafe { libc::execve(file, plan.argv.as_ptr(), plan.envp.as_ptr()) };
        match errno() {
            libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG => {}
            // Somewhere further on there may be one that we may run.
            libc::EACCES => verdict = libc::EACCES,
            libc::ENOEXEC => {
                plan.shell_argv[1] = file;
                let argv = plan.shell_argv.as_ptr();
                // SAFETY: as above; the place for the path was just filled.
                unsafe { libc::execve(SHELL.as_ptr(), argv, plan.envp.as_ptr()) };
                return libc::ENOEXEC;
            }
            other => return other,
        }
    }
    verdict
}

fn step(step: SpawnStep, result: c_int) -> Result<(), Failure> {
    if result < 0 {
        Err((step, errno()))
    } else {
        Ok(())
    }
}

#[allow(unsafe_code)] // reads a thread-local
fn errno() -> c_int {
    // SAFETY: a valid pointer to this thread's errno (the shim's own, which is suspended).
    unsafe { *libc::__errno_location() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(program: &str, path: Option<&str>) -> Vec<String> {
        let env = path
            .map(|path| ("PATH".to_owned(), path.to_owned()))
            .into_iter()
            .collect();
        let files = candidates(program, &env).unwrap();
        files
            .into_iter()
            .map(|file| file.into_string().unwrap())
            .collect()
    }

    #[test]
    fn programs_are_looked_up_in_the_path_given() {
        assert_eq!(tried("sh", Some("/a:/b")), ["/a/sh", "/b/sh"]);
        assert_eq!(tried("sh", None), ["/usr/bin/sh", "/bin/sh"]);
        assert_eq!(tried("./sh", Some("/a")), ["./sh"]);
        assert_eq!(tried("/x/sh", Some("/a")), ["/x/sh"]);
        assert_eq!(tried("sh", Some(":/a")), ["sh", "/a/sh"]);
    }
}

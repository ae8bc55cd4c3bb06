//! A node's socket: only its owner may open it, and it is there for as long as its node is.
//!
//! | must hold | why |
//! |---|---|
//! | it is 0600 in a directory that is 0700, from its first moment | whoever connects may do everything |
//! | of two nodes of one name that come at once one is told so | a name is how others speak to a node |
//! | if its name is gone it is bound anew | a leader that nobody can reach would keep the lease for good |
//! | what stands under its name and is another's is never removed | that other one serves there |

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ledger_core::ids::Id;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Interval, MissedTickBehavior};

use crate::run_dir;
use crate::shim::ProcessStat;

/// Longest name of a node: what a socket's path has left beside `/proc/self/fd/NUMBER/` and `.sock`.
const MAX_NODE_NAME: usize = 80;

/// How long a node that comes up waits for whoever has `run/` locked; nobody does for longer than it takes to
/// bind a socket.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);
/// How often to look whether the socket still has its name, which costs one `stat`.
const LOOK: Duration = Duration::from_secs(1);

/// Why a node's socket was not bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error("a node named {0} runs already")]
    Taken(Id),
    /// Another process has `run/` locked.
    #[error("another process has run/ locked, and does not let go of it")]
    Busy,
    /// Its name is too long for that of a socket.
    #[error("the name of a node has at most {MAX_NODE_NAME} characters, not {0}")]
    TooLong(usize),
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The `run` directory, held open: a socket's path has at most 108 bytes, and through a descriptor
/// it is always short, however deep the data directory lies.
struct RunDir(File);

impl RunDir {
    /// Opens it, and makes it where there is none.
    fn open(data_dir: &Path) -> io::Result<Self> {
        run_dir::open(data_dir).map(Self)
    }

    fn path(&self, node: &Id) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{node}.sock", self.0.as_raw_fd()))
    }

    /// Whether somebody listens on a node's socket, also if he is too busy to let anyone in.
    fn has_listener(&self, node: &Id) -> bool {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let connected = socket(AddressFamily::Unix, SockType::Stream, flags, None)
            .and_then(|socket| {
                connect(socket.as_raw_fd(), &UnixAddr::new(&self.path(node))?).map(|()| socket)
            })
            .map(|socket| getsockopt(&socket, PeerCredentials));
        match connected {
            Ok(Ok(listener)) => is_alive(listener.pid()),
            Ok(Err(_)) | Err(Errno::EAGAIN) => true,
            Err(_) => false,
        }
    }
}

/// Whether who began to listen lives. A process that was killed while it started another leaves its
/// socket open for as long as that one has not come to its own program, and nobody will ever answer.
fn is_alive(pid: i32) -> bool {
    // One of another namespace has no number here.
    pid == 0 || ProcessStat::of(pid).map_or(true, |stat| stat.is_some_and(|stat| stat.is_alive()))
}

/// Which file a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = path.symlink_metadata()?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
        })
    }
}

#[derive(Debug)]
struct Bound {
    listener: std::os::unix::net::UnixListener,
    place: Place,
}

impl Bound {
    /// Binds a node's socket. One left behind by a dead node is removed, and a directory in its place is
    /// set aside.
    fn bind(data_dir: &Path, node: &Id) -> Result<Self, BindError> {
        let dir = RunDir::open(data_dir)?;
        // One at a time looks, removes and binds. Whoever else has the lock is not waited for here: who
        // may wait asks again.
        let alone = Flock::lock(dir.0.try_clone()?, FlockArg::LockExclusiveNonblock);
        let _alone = alone.map_err(|(_, errno)| match errno {
            Errno::EWOULDBLOCK => BindError::Busy,
            errno => BindError::Io(errno.into()),
        })?;
        if dir.has_listener(node) {
            return Err(BindError::Taken(node.clone()));
        }
        let path = dir.path(node);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::IsADirectory => run_dir::set_aside(&path)?,
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            Ok(()) | Err(_) => {}
        }
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        let place = Place::of(&path)?;
        Ok(Self { listener, place })
    }
}

/// A node's socket: its name for as long as this lives. Dropping the one that bound it removes it.
#[derive(Debug)]
pub struct Socket {
    node: Id,
    data_dir: PathBuf,
    bound: Arc<Mutex<Bound>>,
    role: Part,
}

/// Who removes a socket's name in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Owner,
    Sharer,
}

impl Socket {
    /// Binds a node's socket, 0600 from its first moment, in `run/` (0700) below the data directory.
    /// One left behind by a dead node is removed; of two nodes of one name that come at once, one is
    /// told that it is taken.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(data_dir: &Path, node: &Id) -> Result<Self, BindError> {
        if node.len() > MAX_NODE_NAME {
            return Err(BindError::TooLong(node.len()));
        }
        let mut patience = PATIENCE;
        let bound = loop {
            match Bound::bind(data_dir, node) {
                Err(BindError::Busy) if !patience.is_zero() => {
                    std::thread::sleep(PAUSE);
                    patience = patience.saturating_sub(PAUSE);
                }
                bound => break bound?,
            }
        };
        Ok(Self {
            node: node.clone(),
            data_dir: data_dir.to_owned(),
            bound: Arc::new(Mutex::new(bound)),
            role: Part::Owner,
        })
    }

    /// The same socket for another thread.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            node: self.node.clone(),
            data_dir: self.data_dir.clone(),
            bound: Arc::clone(&self.bound),
            role: Part::Sharer,
        }
    }

    /// To accept with. Must be called in a runtime.
    ///
    /// # Errors
    /// If the process has too many files open.
    pub fn listener(&self) -> io::Result<Listener> {
        let (accepting, place) = self.accepting()?;
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Listener {
            socket: self.share(),
            accepting,
            place,
            looks,
            said: false,
        })
    }

    fn accepting(&self) -> io::Result<(UnixListener, Place)> {
        let bound = self.bound();
        let listener = UnixListener::from_std(bound.listener.try_clone()?)?;
        Ok((listener, bound.place))
    }

    /// Where it is bound, which it is anew if its name stands for it no more: nobody finds it then.
    ///
    /// # Errors
    /// [`BindError::Taken`] if another node serves under its name, [`BindError::Busy`] if that can't be told
    /// now; the system's.
    fn renew(&self) -> Result<Place, BindError> {
        let mut bound = self.bound();
        match Place::of(&self.path()) {
            Ok(place) if place == bound.place => return Ok(place),
            // Also where its directory can't be looked into: that is mended on the way.
            Ok(_) | Err(_) => {}
        }
        *bound = Bound::bind(&self.data_dir, &self.node)?;
        Ok(bound.place)
    }

    fn path(&self) -> PathBuf {
        run_dir::path(&self.data_dir).join(format!("{}.sock", self.node))
    }

    /// A panic under this lock leaves a whole [`Bound`] behind: it is replaced at once.
    fn bound(&self) -> std::sync::MutexGuard<'_, Bound> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let path = self.path();
        let is_own = || Place::of(&path).is_ok_and(|place| place == self.bound().place);
        if self.role == Part::Owner && is_own() {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Accepts connections to a [`Socket`], and looks after its name meanwhile.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    accepting: UnixListener,
    /// What that stands for.
    place: Place,
    looks: Interval,
    /// That it can't be bound anew is said once.
    said: bool,
}

impl Listener {
    /// The next connection. May be dropped at any time.
    ///
    /// # Errors
    /// The system's, which mostly pass.
    pub async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            tokio::select! {
                accepted = self.accepting.accept() => return Ok(accepted?.0),
                _ = self.looks.tick() => self.look(),
            }
        }
    }

    fn look(&mut self) {
        let place = self.place;
        let looked = self.socket.renew().and_then(|bound| {
            if bound != place {
                // Not before it is known that it can be accepted from: what fails is tried again.
                (self.accepting, self.place) = self.socket.accepting()?;
            }
            Ok(())
        });
        match looked {
            Ok(()) if self.place == place => self.said = false,
            Ok(()) => tracing::warn!("the socket was gone from run/ and is made anew"),
            Err(error) if !std::mem::replace(&mut self.said, true) => tracing::error!(
                %error,
                "the socket is gone from run/ and can't be made anew, so nobody reaches this node"
            ),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn id(name: &str) -> Id {
        Id::new(name).unwrap()
    }

    fn reaches(socket: &Socket, stream: &UnixStream) -> bool {
        let accepted = socket.bound().listener.accept();
        accepted.is_ok() && stream.peer_addr().is_ok()
    }

    #[test]
    fn a_socket_whose_name_is_gone_is_bound_anew() {
        let dir = tempfile::tempdir().unwrap();
        let socket = Socket::bind(dir.path(), &id("a")).unwrap();
        let path = dir.path().join("run/a.sock");
        let first = socket.renew().unwrap();
        assert_eq!(first, Place::of(&path).unwrap());

        std::fs::remove_file(&path).unwrap();
        UnixStream::connect(&path).unwrap_err();
        let second = socket.share().renew().unwrap();
        assert_eq!(second, Place::of(&path).unwrap());
        assert!(reaches(&socket, &UnixStream::connect(&path).unwrap()));
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(socket.renew().unwrap(), second);

        std::fs::remove_dir_all(dir.path().join("run")).unwrap();
        socket.renew().unwrap();
        assert!(reaches(&socket, &UnixStream::connect(&path).unwrap()));
        assert_eq!(mode(path.parent().unwrap()), 0o700);

        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_anothers_is_left_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Socket::bind(dir.path(), &id("a")).unwrap();
        let path = dir.path().join("run/a.sock");
        assert!(matches!(
            Socket::bind(dir.path(), &id("a")),
            Err(BindError::Taken(_))
        ));
        std::fs::remove_file(&path).unwrap();
        let second = Socket::bind(dir.path(), &id("a")).unwrap();
        assert!(matches!(first.renew(), Err(BindError::Taken(_))));
        drop(first);
        assert!(reaches(&second, &UnixStream::connect(&path).unwrap()));

        // Something that nobody listens at makes way.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        second.renew().unwrap();
        assert!(reaches(&second, &UnixStream::connect(&path).unwrap()));
    }

    #[test]
    #[allow(unsafe_code)] // nothing but `listen` is called between fork and exec
    fn a_socket_that_a_dead_process_has_left_open_is_free() {
        use std::os::unix::process::CommandExt;
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::open(dir.path()).unwrap();
        let left = std::os::unix::net::UnixListener::bind(run.path(&id("a"))).unwrap();
        assert!(
            run.has_listener(&id("a")),
            "it is this process that listens"
        );
        let fd = left.as_raw_fd();
        let mut heir = std::process::Command::new("true");
        // Who called this last is who listens.
        // SAFETY: the descriptor is open here and in the child, and the call takes no memory.
        let listen = move || match unsafe { libc::listen(fd, 8) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: between fork and exec one system call is made, and nothing is allocated.
        unsafe { heir.pre_exec(listen) };
        assert!(heir.status().unwrap().success());
        assert!(!run.has_listener(&id("a")));
        let socket = Socket::bind(dir.path(), &id("a")).unwrap();
        let path = dir.path().join("run/a.sock");
        assert!(reaches(&socket, &UnixStream::connect(&path).unwrap()));
    }
}

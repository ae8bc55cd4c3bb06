//! A part of the unified hierarchy that is left to a user, as a service manager leaves it
//! (`Delegate=`, `DelegateSubgroup=`): the node of that user, in a leaf of it, makes its cgroups beside
//! the leaf, and nowhere else.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use projections::tasks::StateName;

use crate::support::host::lacks;
use crate::support::{LEDGER, Ledger, Node, end, identity, is_gone, limited, named, script};

const NOBODY: u32 = 65534;

/// What is left to the user, with a leaf for the service itself.
struct Delegated(PathBuf);

impl Delegated {
    fn make() -> Option<Self> {
        let unified = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let mut mounted = unified.into_iter();
        let unified = mounted.find(|dir| dir.join("cgroup.controllers").exists())?;
        // So that what it can do shows: a controller is there for those below only if it is passed on.
        let _ = fs::write(unified.join("cgroup.subtree_control"), "+pids");
        let dir = unified.join(format!("opsledger-delegated-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        let made = Self(dir);
        fs::create_dir(made.leaf()).ok()?;
        for dir in [&made.0, &made.leaf()] {
            for file in [
                "",
                "cgroup.procs",
                "cgroup.threads",
                "cgroup.subtree_control",
            ] {
                chown(dir.join(file), Some(NOBODY), Some(NOBODY)).ok()?;
            }
        }
        made.mark().then_some(made)
    }

    fn leaf(&self) -> PathBuf {
        self.0.join("node")
    }

    /// Says that it is left to its service, as a service manager does.
    #[allow(unsafe_code)] // neither std nor nix writes extended attributes
    fn mark(&self) -> bool {
        let path = CString::new(self.0.to_str().unwrap()).unwrap();
        let (name, value) = (c"user.delegate".as_ptr(), c"1".as_ptr().cast());
        // SAFETY: two NUL-terminated strings, and one byte of a third.
        unsafe { libc::setxattr(path.as_ptr(), name, value, 1, 0) == 0 }
    }

    fn has_pids(&self) -> bool {
        let controllers = fs::read_to_string(self.0.join("cgroup.controllers")).unwrap();
        controllers.split_whitespace().any(|name| name == "pids")
    }

    /// What stands beside the leaf.
    fn made_in_it(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap());
        let dirs = entries.filter(|entry| entry.path().is_dir());
        let names = dirs.map(|dir| dir.file_name().into_string().unwrap());
        names.filter(|name| name != "node").collect()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for dir in [self.leaf(), self.0.clone()] {
            for _ in 0..200 {
                if fs::remove_dir(&dir).is_ok() {
                    break;
                }
                // tidy: allow(sleep) — what is waited for here announces itself to nobody
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
}

/// The node of a user who may do nothing outside of what was left to it.
async fn up(ledger: &Ledger, delegated: &Delegated) -> Option<Node> {
    let owner = format!("{NOBODY}:{NOBODY}");
    let mut owned = std::process::Command::new("chown");
    owned.args(["-R", &owner]).arg(ledger.room.path());
    if !owned.status().unwrap().success() {
        return None;
    }
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups \
         {LEDGER} --data-dir {} up",
        delegated.leaf().display(),
        ledger.dir.display()
    );
    let mut command = std::process::Command::new("sh");
    Node::try_start(command.args(["-c", &script])).await.ok()
}

#[tokio::test]
async fn what_is_left_to_a_service_is_found_and_used() {
    let Some(delegated) = Delegated::make() else {
        return lacks("a unified hierarchy with extended attributes");
    };
    let ledger = Ledger::configured("[reaper]\nmax_processes = 20\n");
    let mut told = ledger.fifo("told");
    let Some(node) = up(&ledger, &delegated).await else {
        return lacks("setpriv");
    };
    let info = node.status().await.node.unwrap();
    assert_eq!(info.cgroups.as_deref(), Some("v2"));
    let [own] = &delegated.made_in_it()[..] else {
        panic!("{:?}", delegated.made_in_it());
    };
    assert!(own.starts_with("ledger-"), "{own}");

    // One that has run away is found by where it is, though its shim is killed.
    let text = format!(
        "[ $LEDGER_ATTEMPT = 2 ] && exit 0; \
         (setsid sh -c 'echo $$ > {}; exec sleep 600' > /dev/null 2>&1 &); exec sleep 600",
        told.show()
    );
    node.submit(named("runaway", script(&text))).await;
    let daemon = identity(told.pid());
    let place = fs::read_to_string(format!("/proc/{}/cgroup", daemon.pid)).unwrap();
    let place = place.lines().find(|line| line.starts_with("0::")).unwrap();
    assert!(place.contains(own), "{place}");
    let shim = node.registered("runaway", 1).await.data["shim_pid"].as_i64();
    end(&identity(i32::try_from(shim.unwrap()).unwrap()));
    let view = node.end_of("runaway").await;
    assert_eq!((view.state, view.lost), (StateName::Completed, 1));
    assert!(is_gone(&daemon));

    // Limits are kept if what was left has them, and if not, status says so.
    let many = "for n in $(seq 60); do sleep 600 & done; echo all";
    let bomb = named("bomb", limited(60_000, 100, script(many)));
    let warned = info.warnings.iter().any(|w| w.contains("max_processes"));
    assert_eq!(warned, !delegated.has_pids(), "{:?}", info.warnings);
    let exit_code = node.run(bomb).await.exit_code;
    assert_eq!(exit_code, Some(if warned { 0 } else { 2 }));
    node.stop_well();
    ledger.assert_sound();
}

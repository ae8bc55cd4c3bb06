//! Whatever becomes of the lease's record, a leader that works goes on, and makes it whole.

use std::fs;
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use opsledger::api::wire::Role;
use opsledger::lease::file;

use crate::support::Member;
use crate::support::{Ledger, exec, id, named};

/// Waits until the record is whole again; every beat shows in its directory.
fn is_made_whole(dir: &Path, watch: &Inotify) {
    while file::read(dir).is_err() {
        watch.read_events().unwrap();
    }
}

#[tokio::test]
async fn a_leader_makes_its_record_whole_again() {
    let ledger = Ledger::new();
    let a = Member::leader(&ledger, "a").await;
    let b = Member::standby(&ledger, "b").await;
    let run = ledger.dir.join("run");
    let record = run.join("lease");
    let watch = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
    let flags = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE;
    watch.add_watch(&run, flags).unwrap();
    let whole = fs::read_to_string(&record).unwrap();
    let damages: [&dyn Fn(); 6] = [
        &|| fs::remove_file(&record).unwrap(),
        &|| fs::write(&record, "").unwrap(),
        &|| fs::write(&record, &whole[..whole.len() / 2]).unwrap(),
        &|| fs::write(&record, "\u{0}garbage\n".repeat(1000)).unwrap(),
        &|| fs::write(&record, whole.replace("\"version\":1", "\"version\":7")).unwrap(),
        &|| {
            fs::remove_file(&record).unwrap();
            fs::write(&record, "{}").unwrap();
        },
    ];
    for damage in damages {
        damage();
        is_made_whole(&ledger.dir, &watch);
        assert_eq!(a.standing().await.role, Role::Leader);
        assert_eq!(b.standing().await.role, Role::Standby);
    }
    let client = a.client().await;
    client.submit(&named("x", exec(&["true"]))).await.unwrap();
    client.wait(&id("x")).await.unwrap();
    b.stop_well();
    a.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("lease.acquired"), 1, "nobody else has led");
}

/// Puts something in the place of a directory, into which nodes write meanwhile and which they make anew.
fn replace(run: &Path, put: &dyn Fn() -> std::io::Result<()>) {
    while fs::remove_dir_all(run).and_then(|()| put()).is_err() {}
}

#[tokio::test]
async fn nodes_whose_sockets_are_removed_make_them_anew() {
    // So that a connection on which nothing is said stays, however slow the rest is.
    let ledger = Ledger::configured("[api]\nhead_timeout = \"10m\"\n");
    let a = Member::leader(&ledger, "a").await;
    let b = Member::standby(&ledger, "b").await;
    let (run, of_before) = (ledger.dir.join("run"), a.client().await);
    let elsewhere = ledger.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("lease"), "precious").unwrap();
    let damages: [&dyn Fn(); 6] = [
        &|| fs::remove_file(run.join("a.sock")).unwrap(),
        &|| fs::rename(run.join("b.sock"), run.join("c.sock")).unwrap(),
        &|| {
            fs::remove_file(run.join("a.sock")).unwrap();
            fs::create_dir(run.join("a.sock")).unwrap();
        },
        &|| replace(&run, &|| Ok(())),
        &|| replace(&run, &|| fs::write(&run, "")),
        &|| replace(&run, &|| std::os::unix::fs::symlink(&elsewhere, &run)),
    ];
    for damage in damages {
        damage();
        assert_eq!(a.reached().await.role, Role::Leader);
        assert_eq!(b.reached().await.role, Role::Standby);
    }
    assert_eq!(fs::read(elsewhere.join("lease")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    // Who was connected stays so, and who comes now finds the same node.
    of_before
        .submit(&named("x", exec(&["true"])))
        .await
        .unwrap();
    a.client().await.wait(&id("x")).await.unwrap();
    while file::read(&ledger.dir).is_err() {
        tokio::task::yield_now().await;
    }
    b.stop_well();
    a.stop_well();
    assert!(!run.join("a.sock").exists() && !run.join("b.sock").exists());
    let log = ledger.assert_sound();
    assert_eq!(log.count("lease.acquired"), 1, "nobody else has led");
}

#[tokio::test]
async fn a_leader_keeps_its_name_while_its_socket_is_gone() {
    let ledger = Ledger::new();
    let a = Member::leader(&ledger, "a").await;
    // For as long as this is held nothing is bound in it, and the leader works on.
    let run = fs::File::open(ledger.dir.join("run")).unwrap();
    let held = nix::fcntl::Flock::lock(run, nix::fcntl::FlockArg::LockExclusive).unwrap();
    fs::remove_file(ledger.dir.join("run/a.sock")).unwrap();
    let mut again = Member::spawn(&ledger, "a");
    again
        .says("a node named a runs on this ledger already")
        .await;
    assert_eq!(again.wait().code(), Some(6));
    let status = ledger.cli(&["lease", "status"]);
    assert_eq!(status.status.code(), Some(6));
    // One of another name waits for a while, and says what it waits for.
    let mut b = Member::spawn(&ledger, "b");
    b.says("another process has run/ locked, and does not let go of it")
        .await;
    assert_eq!(b.wait().code(), Some(1));
    let said = crate::support::text(&status.stdout);
    assert!(
        said.starts_with("leader   a leads, and can't be reached\n"),
        "{said}"
    );
    assert!(said.contains("of node a, which works\n"), "{said}");
    drop(held);
    assert_eq!(a.reached().await.role, Role::Leader);
    a.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("lease.acquired"), 1);
}

#[tokio::test]
async fn a_leader_stops_in_good_order_while_its_socket_can_not_be_bound() {
    let ledger = Ledger::new();
    let a = Member::leader(&ledger, "a").await;
    let run = fs::File::open(ledger.dir.join("run")).unwrap();
    let _held = nix::fcntl::Flock::lock(run, nix::fcntl::FlockArg::LockExclusive).unwrap();
    fs::remove_file(ledger.dir.join("run/a.sock")).unwrap();
    a.stop_well();
    assert_eq!(ledger.assert_sound().count("lease.released"), 1);
}

#[tokio::test]
async fn a_record_left_behind_says_nothing_to_who_comes_next() {
    let ledger = Ledger::new();
    for (term, content) in ["", "garbage", "{\"version\":1}", "\u{0}\u{0}\n"]
        .into_iter()
        .enumerate()
    {
        fs::create_dir_all(ledger.dir.join("run")).unwrap();
        fs::write(ledger.dir.join("run/lease"), content).unwrap();
        let a = Member::leader(&ledger, "a").await;
        assert_eq!(a.standing().await.term.0, term as u64 + 1);
        a.crash();
    }
    ledger.assert_sound();
}

//! A leader that hangs: it is ended by a standby, after its TTL, and only if it is the one.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use opsledger::lease::file;
use opsledger::lease::lock::DirLock;
use opsledger::lease::record::{Record, RecordFault};

use crate::support::{Ledger, Member, exec, id, identity, named, text};

/// As short as a busy machine allows.
const SHORT: &str = "[lease]\nheartbeat = \"200ms\"\nrenew_deadline = \"2s\"\nttl = \"3s\"\n";

#[tokio::test]
async fn a_stopped_leader_is_ended_and_replaced() {
    let ledger = Ledger::configured(SHORT);
    let mut a = Member::leader(&ledger, "a").await;
    let mut b = Member::standby(&ledger, "b").await;
    let client = a.client().await;
    client.submit(&named("x", exec(&["true"]))).await.unwrap();
    client.wait(&id("x")).await.unwrap();
    a.signal(Signal::SIGSTOP);
    assert_eq!(b.leads().await, 2);
    // It was ended, so there is nothing left that could wake up and write.
    a.signal_if_there(Signal::SIGCONT);
    assert_eq!(a.wait().signal(), Some(libc::SIGKILL));
    b.stop_well();
    let log = ledger.assert_sound();
    let fenced = log.only("lease.fenced");
    assert_eq!(fenced.data["cause"], "silent");
    assert!(fenced.data["silent_ms"].as_u64().unwrap() >= 3000);
    assert_eq!(fenced.data["pid"], a.pid());
    assert_eq!(log.end_of("x").kind, "task.completed");
}

#[tokio::test]
async fn whichever_of_several_leads_next_records_who_was_ended_and_why() {
    let ledger = Ledger::configured(SHORT);
    let mut a = Member::leader(&ledger, "a").await;
    let mut b = Member::standby(&ledger, "b").await;
    let mut c = Member::standby(&ledger, "c").await;
    a.signal(Signal::SIGSTOP);
    let (mut next, last) = tokio::select! {
        _ = b.leads() => (b, c),
        _ = c.leads() => (c, b),
    };
    assert_eq!(a.wait().signal(), Some(libc::SIGKILL));
    // Ended by an operator, through the one that stands by.
    let name = next.name.clone();
    last.stands(|s| s.leader.as_deref() == Some(&name)).await;
    let mut d = Member::standby(&ledger, "d").await;
    let forced = "lease acquire --force --node d --yes --reason try";
    let forced = ledger.cli(&forced.split(' ').collect::<Vec<_>>());
    assert!(forced.status.success(), "{forced:?}");
    assert_eq!(next.wait().signal(), Some(libc::SIGKILL));
    assert_eq!(d.leads().await, 3, "the other one has given way");
    last.stop_well();
    d.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("lease.lost"), 0);
    let [silent, forced] = log.of_kind("lease.fenced")[..] else {
        panic!("{:?}", log.of_kind("lease.fenced"));
    };
    assert_eq!((silent.term, &silent.data["cause"]), (2, &"silent".into()));
    assert_eq!((forced.term, &forced.data["cause"]), (3, &"forced".into()));
    assert_eq!(forced.data["reason"], "try");
    assert_eq!(forced.data["pid"], next.pid());
}

#[tokio::test]
async fn a_leader_stopped_with_nobody_beside_it_gives_up_its_term_when_it_wakes() {
    let ledger = Ledger::configured(SHORT);
    let mut a = Member::leader(&ledger, "a").await;
    let client = a.client().await;
    client.submit(&named("x", exec(&["true"]))).await.unwrap();
    client.wait(&id("x")).await.unwrap();
    let before = fs::read(ledger.dir.join("run/lease")).unwrap();
    a.signal(Signal::SIGSTOP);
    let asked = ledger.cli(&["status"]);
    assert_eq!(asked.status.code(), Some(124), "{asked:?}");
    let said = text(&asked.stderr);
    assert!(said.contains("of node a does not answer"), "{said}");
    assert!(said.contains("stopped by a signal"), "{said}");
    assert!(said.contains("`kill -CONT "), "{said}");
    // A second node would end it; this one only looks on until its deadline is over.
    let mut clock = Command::new("sleep").arg("2.1").spawn().unwrap();
    clock.wait().unwrap();
    a.signal(Signal::SIGCONT);
    a.says("its lease was not renewed for").await;
    assert_eq!(a.leads().await, 2);
    assert_ne!(fs::read(ledger.dir.join("run/lease")).unwrap(), before);
    a.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.only("lease.lost").data["term"], 1);
    assert_eq!(log.end_of("x").kind, "task.completed");
}

#[tokio::test]
async fn a_hung_leader_whose_record_was_destroyed_is_ended_by_who_has_seen_it() {
    let ledger = Ledger::configured(SHORT);
    let mut a = Member::leader(&ledger, "a").await;
    let mut b = Member::standby(&ledger, "b").await;
    b.stands(|s| s.leader.is_some()).await;
    a.signal(Signal::SIGSTOP);
    fs::write(ledger.dir.join("run/lease"), "{garbage").unwrap();
    assert_eq!(b.leads().await, 2);
    assert_eq!(a.wait().signal(), Some(libc::SIGKILL));
    b.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn a_hung_leader_that_nothing_names_is_left_and_said_to_be_there() {
    let ledger = Ledger::configured(SHORT);
    let mut a = Member::leader(&ledger, "a").await;
    a.signal(Signal::SIGSTOP);
    let record = ledger.dir.join("run/lease");
    fs::write(&record, "").unwrap();
    let mut b = Member::standby(&ledger, "b").await;
    let said = b.says("nothing says who").await;
    assert!(said.contains("the lease record is empty"), "{said}");
    let trouble = b.stands(|s| s.trouble.is_some()).await.trouble.unwrap();
    assert!(trouble.contains("the lease record is empty"), "{trouble}");
    // It wakes up past its deadline: it gives up its term, and the standby takes the next.
    a.signal(Signal::SIGCONT);
    assert_eq!(b.leads().await, 2);
    a.says(" stands by; ").await;
    b.stop_well();
    a.leads().await;
    a.stop_well();
    ledger.assert_sound();
}

/// Somebody who has nothing to do with the ledger.
struct Innocent(std::process::Child);

impl Innocent {
    fn new() -> Self {
        let mut cat = Command::new("cat");
        Self(
            cat.stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Innocent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn an_innocent_process_that_a_record_names_is_not_ended() {
    let ledger = Ledger::configured(SHORT);
    let mut innocent = Innocent::new();
    let who = identity(i32::try_from(innocent.0.id()).unwrap());
    // As if a node had died and its number had been given to another process; somebody else, who is no
    // node, has the lock.
    let ttl = ledger_core::time::Millis(3000);
    let mut elder = who.clone();
    elder.start_time -= 1;
    for (process, told) in [
        (who.clone(), "does not hold the lock"),
        (elder, "which is gone"),
    ] {
        let lock = DirLock::take(&ledger.dir).unwrap();
        let record = Record::new(id("a"), process, "i".into(), None, ttl);
        fs::create_dir_all(ledger.dir.join("run")).unwrap();
        fs::write(ledger.dir.join("run/lease"), record.text(1)).unwrap();
        let mut b = Member::standby(&ledger, "b").await;
        b.says(told).await;
        b.stands(|s| s.trouble.is_some()).await;
        assert!(innocent.0.try_wait().unwrap().is_none(), "it was ended");
        drop(lock);
        b.leads().await;
        b.stop_well();
    }
    let log = ledger.assert_sound();
    assert_eq!(log.count("lease.fenced"), 0);
}

#[tokio::test]
async fn a_record_of_a_newer_version_or_an_earlier_boot_names_nobody() {
    let ledger = Ledger::configured(SHORT);
    let innocent = Innocent::new();
    let mut who = identity(i32::try_from(innocent.0.id()).unwrap());
    who.boot_id = "00000000-0000-0000-0000-000000000000".into();
    let ttl = ledger_core::time::Millis(3000);
    let earlier = Record::new(id("a"), who, "i".into(), None, ttl).text(1);
    let newer = earlier.replace("\"version\":1", "\"version\":99");
    for (content, told) in [(earlier, "of an earlier boot"), (newer, "has version 99")] {
        let lock = DirLock::take(&ledger.dir).unwrap();
        fs::create_dir_all(ledger.dir.join("run")).unwrap();
        fs::write(ledger.dir.join("run/lease"), content).unwrap();
        let mut b = Member::standby(&ledger, "b").await;
        b.says(told).await;
        drop(lock);
        b.leads().await;
        b.stop_well();
    }
    ledger.assert_sound();
    assert!(matches!(
        file::read(ledger.room.path()),
        Err(RecordFault::Missing)
    ));
}

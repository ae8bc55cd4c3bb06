//! Leases and disks: one that is full, and one that stands still.

use std::os::unix::process::ExitStatusExt;

use opsledger::api::wire::Role;

use crate::beats::Beats;
use crate::support::Member;
use crate::support::small_disk::SmallDisk;
use crate::support::{Ledger, exec, id, named};

const TIMES: &str = "[lease]\nheartbeat = \"100ms\"\nrenew_deadline = \"2s\"\nttl = \"3s\"\n";

/// Beats that are waited for: more than go into a TTL.
const BEATS: usize = 40;

fn on_small_disk() -> Option<(SmallDisk, Ledger)> {
    let room = tempfile::tempdir().unwrap();
    let (disk, _) = SmallDisk::ext4(room.path(), "disk", 64)?;
    let ledger = disk.ledger(room);
    ledger.configure(TIMES);
    Some((disk, ledger))
}

#[tokio::test]
async fn a_full_disk_does_not_keep_a_leader_from_renewing() {
    let Some((disk, ledger)) = on_small_disk() else {
        return;
    };
    let a = Member::leader(&ledger, "a").await;
    let b = Member::standby(&ledger, "b").await;
    disk.fill("filler", 0);
    Beats::of(&ledger).wait(BEATS);
    assert_eq!(a.standing().await.role, Role::Leader);
    assert_eq!(b.standing().await.trouble, None);
    disk.free("filler");
    let client = a.client().await;
    client.submit(&named("x", exec(&["true"]))).await.unwrap();
    client.wait(&id("x")).await.unwrap();
    b.stop_well();
    a.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("lease.acquired"), 1);
}

#[tokio::test]
async fn a_leader_that_its_disk_holds_cannot_be_ended_and_is_not_replaced_before_it_is_gone() {
    let Some((disk, ledger)) = on_small_disk() else {
        return;
    };
    let mut a = Member::leader(&ledger, "a").await;
    let mut b = Member::standby(&ledger, "b").await;
    let frozen = disk.freeze();
    b.says("was killed and does not go").await;
    let trouble = b.standing().await.trouble.unwrap();
    assert!(trouble.contains("uninterruptible"), "{trouble}");
    assert_eq!(b.standing().await.role, Role::Standby);
    drop(frozen);
    assert_eq!(b.leads().await, 2);
    assert_eq!(a.wait().signal(), Some(libc::SIGKILL));
    b.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.only("lease.fenced").data["holder"], "a");
}

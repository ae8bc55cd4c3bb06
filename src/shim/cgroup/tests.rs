//! On this machine's own cgroups.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::Path;

use super::*;
use crate::shim::child::{self, Entry};
use crate::shim::{PROTOCOL_VERSION, SpawnRequest, TaskId};

fn request(argv: &[&str]) -> SpawnRequest {
    SpawnRequest {
        protocol: PROTOCOL_VERSION,
        task_id: TaskId::new("t").unwrap(),
        attempt: NonZeroU32::MIN,
        argv: argv.iter().map(|&text| text.to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: "/".into(),
        stdin: None,
        run_as: None,
        max_runtime_ms: 1000,
        grace_ms: 100,
        output_limit: 0,
        stall_after_ms: None,
        max_processes: None,
        announce_after_ms: 0,
    }
}

/// What a child writes that is started in a cgroup.
fn said(cgroup: &Cgroup, entry: Entry) -> String {
    let request = request(&["cat", "/proc/self/cgroup"]);
    let child = child::start(&request, Some((cgroup, entry))).unwrap();
    let mut status = 0;
    while !matches!(sys::reap(child.pid), Ok(Some(_))) {
        status += 1;
        assert!(status < 10_000);
        // tidy: allow(sleep) — a child of a bare start has no alarm
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut bytes = vec![0; 65_536];
    let count = nix::unistd::read(&child.stdout, &mut bytes).unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

/// A place of this test's own, if there's one of version 2.
fn unified(data: &Path) -> Option<CgroupBase> {
    let trees = CgroupPlaces::find(data).trees;
    let found = trees.filter(|base| base.version == CgroupVersion::V2);
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(found.is_some() || !ci, "no cgroups of version 2 here");
    found
}

#[test]
fn a_child_gets_into_its_cgroup_by_birth_and_by_moving() {
    let data = tempfile::tempdir().unwrap();
    let Some(base) = unified(data.path()) else {
        return;
    };
    let shim = ProcessIdentity::current().unwrap();
    let cgroup = Cgroup::make(&base, &shim).unwrap();
    let name = leaf_name(&shim);
    for entry in [Entry::Birth, Entry::Move] {
        let said = said(&cgroup, entry);
        assert!(said.contains(&name), "{entry:?}: {said}");
        assert!(!cgroup.is_populated().unwrap());
    }
    let record = cgroup.record();
    assert!(Cgroup::recorded(&record, &shim, data.path()).is_some());
    cgroup.remove().unwrap();
    assert!(Cgroup::recorded(&record, &shim, data.path()).is_none());
    fs::remove_dir(&base.dir).unwrap();
}

#[test]
fn one_that_was_killed_is_made_anew_and_a_base_that_is_gone_too() {
    let data = tempfile::tempdir().unwrap();
    let Some(base) = unified(data.path()) else {
        return;
    };
    let places = CgroupPlaces {
        trees: Some(base.clone()),
        limits: None,
    };
    let shim = ProcessIdentity::current().unwrap();
    let mut slot = Slot::make(&places, &shim);
    slot.prepare(&places, &shim, None);
    slot.tree().unwrap().kill().unwrap();
    slot.prepare(&places, &shim, None);
    let cgroup = slot.birthplace().unwrap();
    assert!(said(cgroup, Entry::BEST).contains(&leaf_name(&shim)));
    slot.retire();
    assert!(base.dir.exists());
    places.remove_unused();
    assert!(!base.dir.exists());
    let mut slot = Slot::make(&places, &shim);
    assert!(slot.tree().is_some());
    places.remove_unused();
    assert!(base.dir.exists(), "a shim is in it");
    slot.retire();
    places.remove_unused();
    assert!(!base.dir.exists());
}

#[test]
fn names_tell_whose_a_cgroup_is() {
    let shim = ProcessIdentity::current().unwrap();
    assert_eq!(shim_of(&leaf_name(&shim)), Some(shim));
    for foreign in ["", "12", "12.", ".7", "probe-5", "a.b", "1.2.3"] {
        assert_eq!(shim_of(foreign), None, "{foreign}");
    }
}

//! What this machine can do, against the list of what it must be able to (`host.toml`).

use opsledger::shim::{CgroupPlaces, CgroupVersion};

use crate::kit::{Freezer, Given, lacks};

/// Everything that tests may ask for, and whether it's here.
fn can(what: &str) -> bool {
    let data = tempfile::tempdir().unwrap();
    let places = || CgroupPlaces::find(data.path());
    match what {
        "pidfd" => {
            let own = opsledger::shim::ProcessIdentity::current().unwrap();
            own.is_alive_same().unwrap()
        }
        "openat2" => opsledger::shim::AttemptDir::new(data.path(), "t", 1)
            .and_then(|dir| dir.create())
            .is_ok(),
        "set_tid" => Given::some_pid().is_some(),
        "mount_namespace" => std::process::Command::new("unshare")
            .args(["-m", "true"])
            .status()
            .is_ok_and(|status| status.success()),
        "cgroup_v2" => {
            let trees = places().trees;
            trees.is_some_and(|base| base.version == CgroupVersion::V2)
        }
        "cgroup_birth" => cfg!(target_arch = "x86_64"),
        "cgroup_pids" => places().limits.is_some(),
        "freezer_v1" => Freezer::make().is_some(),
        other => panic!("host.toml asks for {other:?}, which nobody knows how to look for"),
    }
}

#[test]
fn this_host_can_do_what_the_tests_need() {
    let list = include_str!("host.toml");
    let table: toml::Table = list.parse().unwrap();
    let required = table["requires"].as_array().unwrap();
    assert!(!required.is_empty());
    let names = required.iter().map(|name| name.as_str().unwrap());
    let missing: Vec<_> = names.filter(|name| !can(name)).collect();
    if !missing.is_empty() {
        lacks(&missing.join(", "));
    }
}

//! What is started, how often, and what is refused.

use std::fs;
use std::num::NonZeroU32;

use nix::libc;
use opsledger::shim::{
    Claim, ClaimAttempt, Claimant, ExitResult, ProtocolVersion, Refusal, Report, RunAs,
    SpawnRequest, SpawnStep,
};

use crate::harness::{Node, launch, request, script};

fn assert_nothing_started(node: &Node, request: &SpawnRequest) {
    let dir = node.dir(request);
    assert_eq!(dir.read_started().unwrap(), None);
    assert_eq!(dir.read_outcome().unwrap(), None);
    assert!(dir.open_stdout().unwrap().is_none());
}

#[test]
fn a_claim_taken_by_the_node_keeps_a_late_shim_from_starting_anything() {
    let mut node = launch();
    let late = script("late", "echo started");
    let ClaimAttempt::Taken(mine) = node.dir(&late).take_claim_as_node().unwrap() else {
        panic!("nobody else was there");
    };
    node.send(&late);
    match node.report() {
        Report::ClaimedElsewhere {
            task_id,
            attempt,
            claim,
        } => {
            assert_eq!((task_id, attempt), (late.task_id.clone(), late.attempt));
            assert_eq!(claim, Some(mine));
        }
        other => panic!("{other:?}"),
    }
    assert_nothing_started(&node, &late);
}

#[test]
fn the_same_request_twice_starts_one_child() {
    let mut node = launch();
    let twice = script("twice", "echo started");
    node.send(&twice);
    node.send(&twice);
    let reports = [node.report(), node.report(), node.report()];
    let count = |is: fn(&Report) -> bool| reports.iter().filter(|report| is(report)).count();
    assert_eq!(count(|report| matches!(report, Report::Started(_))), 1);
    assert_eq!(count(|report| matches!(report, Report::Ended { .. })), 1);
    assert_eq!(
        count(|report| matches!(report, Report::ClaimedElsewhere { .. })),
        1
    );
    assert_eq!(
        fs::read(node.dir(&twice).stdout_path()).unwrap(),
        b"started\n"
    );
}

#[test]
fn the_claim_names_the_shim_and_tells_the_node_who_was_first() {
    let mut node = launch();
    let mut ready = node.fifo("ready");
    let text = format!("echo up > {}; exec sleep 600", ready.show());
    let dir = node.send(&script("held", &text));
    let started = node.started();
    ready.line();
    let claim = dir.read_claim().unwrap().unwrap();
    assert_eq!((claim.kind, &claim.by), (Claimant::Shim, &started.shim));
    assert_eq!(
        dir.take_claim_as_node().unwrap(),
        ClaimAttempt::HeldBy(claim)
    );
    assert_eq!(started.pgid, started.child.pid);
    node.orphaned(&dir).end(std::time::Duration::ZERO).unwrap();
    assert!(
        started.child.is_alive_same().unwrap(),
        "no orphans while the shim lives"
    );
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(started.shim.pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    crate::harness::wait_gone(&started.child);
}

#[test]
fn a_damaged_claim_is_still_a_claim() {
    let mut node = launch();
    let damaged = script("damaged", "echo started");
    let dir = node.dir(&damaged);
    dir.create().unwrap();
    fs::write(dir.path().join("claim"), "{").unwrap();
    node.send(&damaged);
    let report = node.report();
    assert!(
        matches!(
            report,
            Report::ClaimedElsewhere {
                claim: None::<Claim>,
                ..
            }
        ),
        "{report:?}"
    );
    assert_nothing_started(&node, &damaged);
}

#[test]
fn without_its_directory_nothing_is_started() {
    let mut node = launch();
    let homeless = script("homeless", "echo started");
    node.spawner.send(&homeless, &[]).unwrap();
    let report = node.report();
    let Report::Refused {
        task_id,
        refusal: Refusal::Directory,
        ..
    } = report
    else {
        panic!("{report:?}");
    };
    assert_eq!(task_id, Some(homeless.task_id.clone()));
    assert!(!node.dir(&homeless).path().exists());
}

#[test]
fn unknown_versions_and_impossible_requests_are_refused_by_name() {
    let mut node = launch();
    let mut newer = script("newer", "echo started");
    newer.protocol = ProtocolVersion(2);
    let mut relative = script("relative", "echo started");
    relative.cwd = "somewhere".into();
    for (wrong, wanted) in [
        (newer, Refusal::UnknownVersion),
        (relative, Refusal::Malformed),
    ] {
        node.send(&wrong);
        match node.report() {
            Report::Refused {
                task_id,
                attempt,
                refusal,
                ..
            } => {
                assert_eq!(task_id, Some(wrong.task_id.clone()));
                assert_eq!(attempt, Some(NonZeroU32::MIN));
                assert_eq!(refusal, wanted);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(node.dir(&wrong).read_claim().unwrap(), None);
    }
}

#[test]
fn a_request_that_is_too_large_is_not_sent_and_the_next_one_works() {
    let mut node = launch();
    let mut large = request("large", &["true"]);
    large.stdin = Some("x".repeat(300 * 1024));
    let error = node.spawner.send(&large, &[]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let (outcome, _) = node.run(&request("small", &["true"]));
    assert_eq!(outcome.result, ExitResult::Exited { code: 0 });
}

fn failure(node: &mut Node, request: &SpawnRequest) -> (SpawnStep, i32) {
    let dir = node.send(request);
    node.ended();
    assert_eq!(dir.read_started().unwrap(), None);
    let outcome = dir.read_outcome().unwrap().unwrap();
    assert_eq!((outcome.child, outcome.ladder), (None, None));
    match outcome.result {
        ExitResult::SpawnFailed {
            step,
            errno,
            message,
        } => {
            assert!(!message.is_empty());
            (step, errno)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn failures_to_start_name_the_step_and_the_error() {
    let mut node = launch();
    let missing = request("missing", &["no-such-program-anywhere"]);
    assert_eq!(
        failure(&mut node, &missing),
        (SpawnStep::Exec, libc::ENOENT)
    );
    let mut cwd = request("cwd", &["true"]);
    cwd.cwd = "/no/such/directory".into();
    assert_eq!(
        failure(&mut node, &cwd),
        (SpawnStep::WorkingDirectory, libc::ENOENT)
    );
    let directory = request("directory", &["/usr"]);
    assert_eq!(
        failure(&mut node, &directory),
        (SpawnStep::Exec, libc::EACCES)
    );
    let mut pathless = request("pathless", &["true"]);
    pathless
        .env
        .insert("PATH".into(), "/no/such/directory".into());
    assert_eq!(
        failure(&mut node, &pathless),
        (SpawnStep::Exec, libc::ENOENT)
    );
}

#[test]
fn a_script_without_interpreter_line_is_run_by_the_shell() {
    use std::os::unix::fs::PermissionsExt;
    let mut node = launch();
    let path = node.data.path().join("script");
    fs::write(&path, "echo \"$0 $1\"").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let name = path.to_str().unwrap().to_owned();
    let (_, dir) = node.run(&request("script", &[&name, "argument"]));
    assert_eq!(
        fs::read_to_string(dir.stdout_path()).unwrap(),
        format!("{name} argument\n")
    );
}

#[test]
fn another_user_can_be_configured() {
    if !nix::unistd::Uid::effective().is_root() {
        let mut node = launch();
        let mut other = request("other", &["id"]);
        other.run_as = Some(RunAs {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
        });
        assert_eq!(
            failure(&mut node, &other),
            (SpawnStep::Credentials, libc::EPERM)
        );
        return;
    }
    let mut node = launch();
    let mut other = script("other", "id -u; id -G; kill -0 $PPID 2>&- || echo no");
    other.run_as = Some(RunAs {
        uid: 65534,
        gid: 65533,
        groups: vec![65532],
    });
    let (_, dir) = node.run(&other);
    let output = fs::read_to_string(dir.stdout_path()).unwrap();
    assert_eq!(output, "65534\n65533 65532\nno\n");
}

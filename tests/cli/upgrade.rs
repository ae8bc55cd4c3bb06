//! A newer program under running work: the file is replaced, and nodes take it up by handing the lease
//! over.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{LEDGER, Ledger, Member, id, named, script, text};

/// Runs a program that must work. Files that are to be executed are written by others: a descriptor of
/// this process could be on its way into another test's child.
fn must(program: &str, arguments: &[&Path]) {
    let ran = Command::new(program).args(arguments).status().unwrap();
    assert!(ran.success(), "{program} {arguments:?}");
}

/// A node that runs from a file of its own.
fn node(ledger: &Ledger, program: &Path, name: &str) -> Member {
    let mut command = Command::new(program);
    command.arg("--data-dir").arg(&ledger.dir);
    command.args(["up", "--node", name]);
    Member::of(command, ledger, name)
}

fn runs_from(member: &Member) -> PathBuf {
    std::fs::read_link(format!("/proc/{}/exe", member.pid())).unwrap()
}

/// Has the leader step down, in favor of the other node.
async fn hand_over(ledger: &Ledger, from: &mut Member, to: &mut Member) {
    let ran = ledger.cli(&["lease", "step-down", "--yes"]);
    assert!(ran.status.success(), "{ran:?}");
    to.leads().await;
    from.says(" stands by; ").await;
}

#[tokio::test]
async fn the_program_is_replaced_under_running_work() {
    let ledger = Ledger::new();
    let (mut pids, gate) = (ledger.fifo("pids"), ledger.fifo("gate"));
    let (program, newer) = (ledger.path("program"), ledger.path("newer"));
    must("cp", &[Path::new(LEDGER), &program]);
    let mut a = node(&ledger, &program, "a");
    a.leads().await;
    let mut b = node(&ledger, &program, "b");
    b.says(" stands by; ").await;

    let work = format!(
        "echo $$ > {}; read x < {}; echo $x",
        pids.show(),
        gate.show()
    );
    let client = a.client().await;
    client.submit(&named("t", script(&work))).await.unwrap();
    let command = crate::support::identity(pids.pid());
    let shim = crate::support::identity(crate::support::parent_of(command.pid));

    must("cp", &[Path::new(LEDGER), &newer]);
    let longer = format!("printf newer >> {}", newer.display());
    must("sh", &[Path::new("-c"), Path::new(&longer)]);
    must("mv", &[&newer, &program]);
    let old = format!("{} (deleted)", program.display());
    assert_eq!(runs_from(&a), Path::new(&old));
    hand_over(&ledger, &mut a, &mut b).await;
    assert_eq!(runs_from(&a), program, "it has started itself anew");
    assert_eq!(runs_from(&b), Path::new(&old));
    hand_over(&ledger, &mut b, &mut a).await;
    assert_eq!(runs_from(&b), program);

    for process in [&command, &shim] {
        assert!(!crate::support::is_gone(process), "{process:?}");
    }
    gate.tell("done");
    let view = a.client().await.wait(&id("t")).await.unwrap();
    assert_eq!((view.exit_code, view.attempts.len()), (Some(0), 1));
    let logs = ledger.cli(&["task", "logs", "t"]);
    assert_eq!(text(&logs.stdout), "done\n");
    b.stop_well();
    a.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("task.started"), 1);
    assert_eq!(log.count("process.registered"), 1);
    assert_eq!(log.count("lease.acquired"), 3);
}

//! What the demo runs: real commands on real files, each with its queue and its limits.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use ledger_core::event::{Exec, Payload, Priority};
use ledger_core::ids::Id;
use ledger_core::time::Millis;

use super::failed;
use crate::api::wire::SubmitRequest;
use crate::cli::error::Failure;

/// Files that are made to be worked on.
const FILES: usize = 12;
/// Lines of the largest of them.
const LINES: usize = 40_000;

/// Makes the files: text that compresses and sorts like text does.
pub(super) fn make_files(dir: &Path) -> Result<(), Failure> {
    let io = |e: std::io::Error| failed("the demo's files can't be written", e);
    fs::create_dir(dir).map_err(io)?;
    let mut word = 1_u32;
    for file in 0..FILES {
        let path = dir.join(format!("part-{file:02}.txt"));
        let mut writer = std::io::BufWriter::new(fs::File::create(path).map_err(io)?);
        for line in 0..LINES / (file + 1) {
            // A linear congruential generator: the same files every time.
            word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            writeln!(
                writer,
                "{line:06} agent {:04x} reports {:08x}",
                word >> 18,
                word
            )
            .map_err(io)?;
        }
        writer.flush().map_err(io)?;
    }
    Ok(())
}

/// A command to be submitted.
pub(super) fn task(id: &str, priority: Priority, dir: &Path, argv: &[&str]) -> SubmitRequest {
    SubmitRequest {
        task_id: Some(Id::new(id).expect("the demo's own ids follow the rule")),
        priority,
        payload: Payload::Exec(Exec {
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            env: BTreeMap::new(),
            cwd: Some(dir.display().to_string()),
            stdin: None,
        }),
        max_runtime_ms: None,
        grace_ms: None,
        terms: None,
        idempotency_key: None,
        claimed_actor: None,
        correlation: None,
    }
}

fn script(id: &str, priority: Priority, dir: &Path, script: &str) -> SubmitRequest {
    task(id, priority, dir, &["sh", "-c", script])
}

/// A command that hangs and does not care about SIGTERM.
pub(super) fn hanging(dir: &Path) -> SubmitRequest {
    SubmitRequest {
        max_runtime_ms: Some(Millis(2000)),
        grace_ms: Some(Millis(500)),
        ..script(
            "hangs",
            Priority::Standard,
            dir,
            "trap '' TERM; while :; do sleep 1; done",
        )
    }
}

/// The task that fails until somebody makes the file that it needs.
pub(super) const FAILING: &str = "needs-approval";
/// The file that it needs.
pub(super) const APPROVAL: &str = "approved";

/// All of it, in the order of submission: background first, so that the queues show.
pub(super) fn all(dir: &Path) -> Vec<SubmitRequest> {
    let mut tasks = Vec::new();
    for file in 0..FILES {
        let name = format!("part-{file:02}.txt");
        tasks.push(script(
            &format!("compress-{file:02}"),
            Priority::Background,
            dir,
            &format!("gzip -9 -c {name} > {name}.gz && gzip -t {name}.gz && ls -l {name}.gz"),
        ));
    }
    tasks.push(hanging(dir));
    for (id, seconds) in [("index-a", "4"), ("index-b", "5")] {
        tasks.push(script(
            id,
            Priority::Standard,
            dir,
            &format!("echo begun; sleep {seconds}; sort -k4 part-*.txt | tail -n 1"),
        ));
    }
    tasks.push(script(
        "repository",
        Priority::Standard,
        dir,
        "command -v git >/dev/null || { echo 'git is not installed'; exit 0; }; \
         git init -q repo && cd repo && cp ../part-1*.txt . && git add . && \
         git -c user.name=demo -c user.email=demo@localhost commit -qm 'Add the parts' && \
         git fsck --strict && git log --oneline --stat",
    ));
    tasks.push(script(
        FAILING,
        Priority::Standard,
        dir,
        &format!("test -f {APPROVAL} || {{ echo '{APPROVAL}: no such file' >&2; exit 3; }}; cat {APPROVAL}"),
    ));
    for file in 0..FILES {
        tasks.push(script(
            &format!("count-{file:02}"),
            Priority::Standard,
            dir,
            &format!("cut -d' ' -f3 part-{file:02}.txt | sort | uniq -c | sort -rn | head -n 3"),
        ));
    }
    for file in 0..FILES {
        let name = format!("part-{file:02}.txt");
        tasks.push(task(
            &format!("hash-{file:02}"),
            Priority::Interactive,
            dir,
            &["sha256sum", &name],
        ));
    }
    tasks
}

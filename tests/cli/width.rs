//! What people read fits 80 columns also where there is no terminal to ask, whatever a name or a
//! reason is.

use crate::support::{Ledger, text};

/// What a command prints, none of it wider than it may be.
fn fits(ledger: &Ledger, arguments: &[&str]) -> String {
    let ran = ledger.cli(arguments);
    assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    let shown = text(&ran.stdout);
    for line in shown.lines() {
        assert!(line.chars().count() <= 80, "{arguments:?}: {line}");
    }
    shown
}

#[tokio::test]
async fn receipts_and_what_is_told_of_jobs_and_queues_fit() {
    let ledger = Ledger::new();
    let jobs = ledger.dir.join("jobs.d");
    std::fs::create_dir(&jobs).unwrap();
    let name = "copy-the-weights-to-the-other-rack";
    let job = format!(
        "[jobs.{name}]\nevery = \"1d\"\noverlap = \"queue\"\n\
         command = [\"/bin/echo\", \"from here\", \"{0}\", \"to there\", \"{0}\"]\n",
        "/srv/models/of/the/fleet/*"
    );
    std::fs::write(jobs.join("weights.toml"), job).unwrap();
    let node = ledger.up().await;
    let task = fits(&ledger, &["job", "run", name]);
    assert!(task.lines().any(|line| line.starts_with("hash ")), "{task}");
    let shown = fits(&ledger, &["job", "show", name]);
    assert!(
        shown.contains("\n                 "),
        "a long value goes on: {shown}"
    );
    assert!(
        shown.contains(&format!("\n        task {name}-manual-")),
        "{shown}"
    );
    for act in ["pause", "resume"] {
        fits(&ledger, &["job", act, name]);
    }
    fits(
        &ledger,
        &["task", "submit", "--not-before", "tomorrow", "--", "true"],
    );
    let reason = "until the disks of the second rack are exchanged, which takes all of the week";
    fits(
        &ledger,
        &["queue", "pause", "background", "--reason", reason],
    );
    let queues = fits(&ledger, &["queue", "list"]);
    assert!(queues.contains("until the disks"), "{queues}");
    let all = text(&ledger.cli(&["queue", "list", "--json"]).stdout);
    assert!(all.contains(reason), "{all}");
    fits(&ledger, &["queue", "resume", "background"]);
    node.stop_well();
}

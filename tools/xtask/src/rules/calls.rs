//! Calls that belong in one place, each with the reason.

use crate::finding::{Finding, Rule};
use crate::mentions::{Kind, Mention};
use crate::source::Source;
use crate::workspace::Workspace;

/// A call that some part of the tree may not make.
struct Ban {
    rule: Rule,
    /// Whether a mention is such a call.
    is_call: fn(&Mention) -> bool,
    /// Whether the file and the code around the mention may make it.
    may: fn(&Source, &Mention) -> bool,
    why: &'static str,
}

const BANS: [Ban; 6] = [
    Ban {
        rule: Rule::Exit,
        is_call: |call| call.starts_with(&["std", "process", "exit"]),
        may: |source, _| source.path == "src/main.rs" || is_in(source, &["src/shim"]),
        why: "it skips destructors and hides the exit code's one place: return an error to main",
    },
    Ban {
        rule: Rule::Exit,
        is_call: |call| call.ends_with(&["_exit"]),
        may: |source, call| is_in(source, &["src/shim"]) || call.in_test,
        why: "it is for children between fork and exec, which live in src/shim/",
    },
    Ban {
        rule: Rule::Sleep,
        is_call: |call| call.ends_with(&["thread", "sleep"]) || call.ends_with(&["time", "sleep"]),
        may: |_, call| !call.in_test,
        why: "a test that waits for time is slow or flaky: wait for the event",
    },
    Ban {
        rule: Rule::Print,
        is_call: |call| call.kind == Kind::MacroCall && prints(call),
        may: |source, call| {
            source.path == "src/main.rs"
                || is_in(source, &["src/cli", "src/shim", "tools"])
                || call.in_test
        },
        why: "output goes through src/cli/, which knows formats, colors and closed pipes",
    },
    Ban {
        rule: Rule::Clock,
        is_call: |call| CLOCKS.iter().any(|clock| call.ends_with(clock)),
        may: |source, call| is_in(source, &CLOCK_MODULES) || call.in_test,
        why: "time is an input: take `now` from the caller or the clock port",
    },
    Ban {
        rule: Rule::Clock,
        is_call: |call| DRAWS.iter().any(|draw| call.ends_with(draw)),
        may: |source, call| {
            is_in(
                source,
                &[
                    "ledger/src/clock",
                    "src/node/ports.rs",
                    "src/node/ports",
                    "tools",
                ],
            ) || call.in_test
        },
        why: "it reads clock and chance: draw ids from the random port, so that a seed repeats a run",
    },
];

/// Where clocks are read: the clock modules, the layers over the system of the shim (it keeps time by
/// itself while no node runs) and of the reaper, and what faces people.
const CLOCK_MODULES: [&str; 7] = [
    "ledger/src/clock",
    "src/node/ports.rs",
    "src/node/ports",
    "src/shim/sys",
    "src/reaper/sample",
    "src/cli",
    "tools",
];

/// Ends of paths that read a clock.
const CLOCKS: [&[&str]; 5] = [
    &["SystemTime", "now"],
    &["Instant", "now"],
    &["Timestamp", "now"],
    &["Zoned", "now"],
    &["clock_gettime"],
];

/// Ends of paths that draw an id.
const DRAWS: [&[&str]; 2] = [&["Uuid", "now_v7"], &["Uuid", "new_v4"]];

fn prints(call: &Mention) -> bool {
    let name = call.parts.last().map(String::as_str);
    matches!(
        name,
        Some("println" | "eprintln" | "print" | "eprint" | "dbg")
    )
}

/// Whether the file is one of the modules, or stands in its directory.
fn is_in(source: &Source, modules: &[&str]) -> bool {
    modules.iter().any(|module| {
        let rest = source.path.strip_prefix(module);
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    })
}

/// Calls where they do not belong.
pub(crate) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &workspace.sources {
        for call in source
            .mentions
            .iter()
            .filter(|mention| mention.kind != Kind::Import)
        {
            for ban in BANS
                .iter()
                .filter(|ban| (ban.is_call)(call) && !(ban.may)(source, call))
            {
                let message = format!("`{}` may not stand here: {}", call.text(), ban.why);
                findings.push(Finding::new(&source.path, call.line, ban.rule, message));
            }
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::places;

    fn found(path: &str, line: &str) -> Vec<String> {
        places(check, &[(path, &format!("\n{line}\n"))])
    }

    #[test]
    fn calls_in_the_wrong_place_are_found() {
        for (rule, path, line) in [
            ("exit", "src/cli/up.rs", "fn f() { std::process::exit(1) }"),
            (
                "exit",
                "src/lib.rs",
                "use std::process as p; fn f() { p::exit(1) }",
            ),
            ("exit", "src/node/a.rs", "fn f() { libc::_exit(1) }"),
            (
                "sleep",
                "tests/a.rs",
                "use std::thread; fn f() { thread::sleep(d) }",
            ),
            (
                "sleep",
                "src/a.rs",
                "#[test] fn f() { use tokio::time::sleep; sleep(d) }",
            ),
            ("print", "src/node/a.rs", "fn f() { println!(\"x\") }"),
            (
                "print",
                "ledger/src/a.rs",
                "fn f() { std::eprintln!(\"x\") }",
            ),
            (
                "print",
                "projections/src/a.rs",
                "fn f() { outer!({ print!(\"x\") }) }",
            ),
            ("print", "src/a.rs", "fn f() { dbg!(1); }"),
            (
                "clock",
                "src/lease/run.rs",
                "use std::time::Instant; fn f() { Instant::now(); }",
            ),
            ("clock", "src/shim/orphans.rs", "fn f() { Instant::now(); }"),
            (
                "clock",
                "src/api/a.rs",
                "fn f() { tokio::time::Instant::now(); }",
            ),
            (
                "clock",
                "ledger/src/a.rs",
                "use std::time::*; fn f() { SystemTime::now(); }",
            ),
            (
                "clock",
                "src/lease/run.rs",
                "fn f() { x.unwrap_or_else(jiff::Timestamp::now); }",
            ),
            (
                "clock",
                "ledger/src/a.rs",
                "fn f() { uuid::Uuid::now_v7(); }",
            ),
        ] {
            assert_eq!(found(path, line), [format!("{path}:2: {rule}")], "{line}");
        }
    }

    #[test]
    fn calls_in_their_place_pass() {
        for (path, line) in [
            (
                "src/main.rs",
                "fn f() { std::process::exit(1); println!(\"x\") }",
            ),
            (
                "src/shim/spawn.rs",
                "fn f() { libc::_exit(1); std::process::exit(1) }",
            ),
            ("src/node/a.rs", "fn f() { std::thread::sleep(d) }"),
            (
                "src/cli/out.rs",
                "fn f() { println!(\"x\"); std::time::Instant::now(); }",
            ),
            (
                "tools/bench/src/main.rs",
                "fn f() { println!(\"x\"); std::time::Instant::now(); }",
            ),
            (
                "tests/a.rs",
                "fn f() { println!(\"x\"); std::time::Instant::now(); }",
            ),
            ("src/shim/sys.rs", "fn f() { nix::time::clock_gettime(c); }"),
            ("ledger/src/clock.rs", "fn f() { uuid::Uuid::now_v7(); }"),
            (
                "ledger/src/clock.rs",
                "fn f() { std::time::SystemTime::now(); }",
            ),
            (
                "src/node/ports/real.rs",
                "fn f() { uuid::Uuid::now_v7(); Instant::now(); }",
            ),
            (
                "src/node/a.rs",
                "fn f() { writeln!(out, \"x\"); let now = clock.now(); }",
            ),
        ] {
            assert_eq!(found(path, line), Vec::<String>::new(), "{line}");
        }
    }
}

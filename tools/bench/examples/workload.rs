//! Writes the workload of `fixtures/workload.jsonl`: four agents at work on four small changes,
//! made up from a seed, in the format that `bench replay` reads.
//!
//! `cargo run -q -p bench --example workload > fixtures/workload.jsonl`
//!
//! An agent looks around (reads and searches, tens of milliseconds), edits, and runs commands
//! (seconds; one in eight is a build of more than half a minute), with time to think between two
//! calls. A few calls never end and have no duration. Commands are only there to be passed over.

use std::io::{self, Write};

/// Runs of agents.
const RUNS: u64 = 4;
/// Calls of one run.
const CALLS: u64 = 15;

/// Numbers from a seed (SplitMix64).
struct Draw(u64);

impl Draw {
    /// A whole number from `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        low + (z ^ (z >> 31)) % (high - low + 1)
    }
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut draw = Draw(2026);
    for run in 1..=RUNS {
        let mut now_ms = draw.between(0, 900);
        for _ in 0..CALLS {
            let (tool, ms, command) = call(&mut draw);
            let hangs = draw.between(1, 15) == 1;
            let duration = if hangs {
                String::new()
            } else {
                format!(",\"duration_s\":{}", seconds(ms))
            };
            let command = command.map_or(String::new(), |c| format!(",\"command\":\"{c}\""));
            writeln!(
                out,
                "{{\"run\":\"change-{run}\",\"tool\":\"{tool}\",\"start_s\":{}{duration}{command}}}",
                seconds(now_ms)
            )?;
            now_ms += ms + draw.between(400, 9_000);
        }
    }
    Ok(())
}

/// A tool, how long it takes in milliseconds, and what a shell would run.
fn call(draw: &mut Draw) -> (&'static str, u64, Option<&'static str>) {
    match draw.between(0, 15) {
        0..=3 => ("Read", draw.between(8, 60), None),
        4..=5 => ("Grep", draw.between(15, 400), None),
        6 => ("Glob", draw.between(10, 90), None),
        7..=9 => ("Edit", draw.between(12, 80), None),
        10..=13 => ("Bash", draw.between(60, 7_000), Some("cargo check")),
        14 => (
            "Bash",
            draw.between(31_000, 48_000),
            Some("cargo build --release"),
        ),
        _ => ("WebSearch", draw.between(900, 3_500), None),
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

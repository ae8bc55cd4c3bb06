//! `ledger demo`: the whole story on real processes in a temporary directory.
//!
//! Two nodes come up, one leads and one stands by, and some forty real commands of three priorities run:
//! real files are hashed and compressed, git is used, one fails and is retried by hand, one hangs and is
//! reaped. In the middle the leader is killed with -9 and the other node takes over; the first comes
//! back, stands by and is handed the lease on purpose. Then the demo shows what an operator would look
//! at, with the same commands an operator would type, and says in one line what came of it.
//!
//! Nothing here is special: it drives the binary and its API as any user would.

mod node;
mod story;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::error::{Exit, Failure};
use super::globals::Globals;
use super::output::{Buffering, Out, Paging};
use crate::api::wire::{ApiError, ErrorCode};

/// Options.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep the directory and say where it is
    #[arg(long)]
    keep: bool,
}

/// What the demo needs at every step.
struct Stage {
    exe: PathBuf,
    data_dir: PathBuf,
    files: PathBuf,
    out: Out,
    begun: Instant,
}

impl Stage {
    /// What happens next, with the time since the demo began.
    fn say(&mut self, line: impl std::fmt::Display) -> Result<(), Failure> {
        let at = self.begun.elapsed().as_secs_f64();
        self.out.line(format_args!(
            "{} {line}",
            self.out.paint.dim(&format!("{at:5.1}s"))
        ))
    }

    /// Runs `ledger` as an operator would, showing the command and its output. Returns its exit
    /// code.
    fn operator(&mut self, args: &[&str], lines: Lines) -> Result<u8, Failure> {
        let shown = format!("$ ledger {}", args.join(" "));
        self.out.line("")?;
        self.out.line(self.out.paint.strong(&shown))?;
        let done = Command::new(&self.exe)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--color", "never", "--no-pager"])
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| failed("`ledger` can't be run", e))?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        let keep = match lines {
            Lines::All => usize::MAX,
            Lines::First(count) => count,
        };
        let all: Vec<String> = text.lines().map(str::to_owned).collect();
        let left = all.len().saturating_sub(keep);
        self.out.lines(all.into_iter().take(keep))?;
        if left > 0 {
            self.out.line(format_args!("... {left} more lines"))?;
        }
        Ok(done
            .status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1))
    }
}

/// How much of a command's output is shown.
#[derive(Debug, Clone, Copy)]
enum Lines {
    All,
    First(usize),
}

fn failed(what: &str, error: impl std::fmt::Display) -> Failure {
    ApiError::new(ErrorCode::Failed, what).because(error).into()
}

pub(super) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let mut dir = tempfile::Builder::new()
        .prefix("ledger-demo-")
        .tempdir()
        .map_err(|e| failed("no temporary directory can be made", e))?;
    if args.keep {
        dir.disable_cleanup(true);
    }
    let exe =
        std::env::current_exe().map_err(|e| failed("this program can't be found again", e))?;
    let mut stage = Stage {
        exe,
        data_dir: dir.path().join("ledger"),
        files: dir.path().join("files"),
        out: globals.out(Paging::Never, Buffering::Lines),
        begun,
    };
    let exit = story::tell(&mut stage)?;
    if args.keep {
        let path = kept(dir.path());
        stage
            .out
            .line(format_args!("kept: ledger --data-dir {path} tail"))?;
    }
    stage.out.finish()?;
    Ok(exit)
}

fn kept(dir: &Path) -> String {
    super::output::escape::escape(&dir.join("ledger").display().to_string()).into_owned()
}

//! Clocks that a test sets for a node alone, through a library that is loaded before libc.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};

use super::Ledger;

/// A minute in seconds.
pub const MINUTE: i64 = 60;
/// An hour in seconds.
pub const HOUR: i64 = 3600;

/// The wall clock and the time since boot, as a node sees them.
pub struct FakeClock {
    library: PathBuf,
    path: PathBuf,
    file: File,
    wall: AtomicI64,
    boot: AtomicI64,
}

impl FakeClock {
    /// Clocks that show what the machine's do. Needs the C compiler that links every Rust program.
    pub fn make(ledger: &Ledger) -> Self {
        let (library, path) = (ledger.path("clock.so"), ledger.path("clock"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/clock.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
        let made = compiler.arg(&library).arg(source).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        std::fs::write(&path, [0; 16]).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let (wall, boot) = (AtomicI64::new(0), AtomicI64::new(0));
        Self {
            library,
            path,
            file,
            wall,
            boot,
        }
    }

    /// A node's command under these clocks, and with it whatever it starts of its own.
    pub fn up(&self, ledger: &Ledger) -> Command {
        let mut command = ledger.command(&["up"]);
        command
            .env("LD_PRELOAD", &self.library)
            .env("OPSLEDGER_TEST_CLOCK", &self.path);
        command
    }

    /// Whether a process runs under these clocks.
    pub fn rules(&self, pid: i32) -> bool {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        [&self.library, &self.path]
            .iter()
            .all(|file| maps.contains(super::show(file)))
    }

    /// Somebody sets the wall clock.
    pub fn set(&self, by_seconds: i64) {
        self.add(&self.wall, 0, by_seconds);
    }

    /// Time passes.
    pub fn pass(&self, seconds: i64) {
        // Little by little: whoever reads one clock before and the other after sees no step.
        let mut left = seconds;
        while left > 0 {
            let little = left.min(MINUTE / 2);
            self.add(&self.boot, 8, little);
            self.add(&self.wall, 0, little);
            left -= little;
        }
    }

    fn add(&self, offset: &AtomicI64, at: u64, seconds: i64) {
        let by = seconds * 1_000_000_000;
        let now = offset.fetch_add(by, Ordering::Relaxed) + by;
        self.file.write_all_at(&now.to_ne_bytes(), at).unwrap();
    }
}

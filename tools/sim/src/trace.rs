//! What happened in a run, line by line: always hashed, so that two runs of a seed can be compared, and
//! kept when somebody wants to read it.

use std::fmt;

/// The lines of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    keep: bool,
    pub(crate) lines: Vec<String>,
}

impl Trace {
    pub(crate) fn new(keep: bool) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            keep,
            lines: Vec::new(),
        }
    }

    /// Something happened at this simulated time.
    pub(crate) fn line(&mut self, at: u64, what: fmt::Arguments<'_>) {
        let line = format!("{:>9}.{:03} ms  {what}", at / 1000, at % 1000);
        self.hasher.update(line.as_bytes());
        if self.keep {
            self.lines.push(line);
        }
    }

    /// A digest of all lines.
    pub(crate) fn digest(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }
}

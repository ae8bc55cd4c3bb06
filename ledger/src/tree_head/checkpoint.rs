//! A checkpoint's text: origin, size, root and further lines (C2SP tlog-checkpoint).

use std::fmt;

use crate::merkle::{TreeRoot, TreeSize};

/// Longest text of a checkpoint, in bytes.
pub const MAX_CHECKPOINT: usize = 16 * 1024;

/// What a log commits itself to: a tree, under the log's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    tree: TreeRoot,
    extensions: Vec<String>,
}

/// Why a text is not a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// It is too long.
    #[error("a checkpoint is at most {MAX_CHECKPOINT} bytes long, not {0}")]
    Long(usize),
    /// A line is missing, empty, or not ended.
    #[error("line {0} of the checkpoint is missing, empty or has no end")]
    Line(usize),
    /// A line has a character that it can't have.
    #[error("line {0} of the checkpoint has a control character")]
    Control(usize),
    /// The second line is not a size.
    #[error("the checkpoint's second line is not the size of a tree")]
    Size,
    /// The third line is not a hash.
    #[error("the checkpoint's third line is not the root of a tree")]
    Root,
}

impl Checkpoint {
    /// A checkpoint with these lines.
    ///
    /// # Errors
    /// [`CheckpointError`] if it could not be written.
    pub fn new(
        origin: String,
        tree: TreeRoot,
        extensions: Vec<String>,
    ) -> Result<Self, CheckpointError> {
        check_line(1, &origin)?;
        for (number, line) in (4..).zip(&extensions) {
            check_line(number, line)?;
        }
        let checkpoint = Self {
            origin,
            tree,
            extensions,
        };
        match checkpoint.to_string().len() {
            0..=MAX_CHECKPOINT => Ok(checkpoint),
            long => Err(CheckpointError::Long(long)),
        }
    }

    /// Which log.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Its tree.
    pub fn tree(&self) -> TreeRoot {
        self.tree
    }

    /// The lines behind the root.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// Reads a text; takes exactly what is printed.
    ///
    /// # Errors
    /// [`CheckpointError`] if the text is not a checkpoint.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        if text.len() > MAX_CHECKPOINT {
            return Err(CheckpointError::Long(text.len()));
        }
        let mut rest = text;
        let mut lines = Vec::new();
        while !rest.is_empty() {
            let number = lines.len() + 1;
            let (line, more) = rest.split_once('\n').ok_or(CheckpointError::Line(number))?;
            check_line(number, line)?;
            lines.push(line);
            rest = more;
        }
        let mut lines = lines.into_iter();
        let mut line = |number| lines.next().ok_or(CheckpointError::Line(number));
        let (origin, size, root) = (line(1)?, line(2)?, line(3)?);
        let size = decimal(size).map(TreeSize);
        let size = size.filter(|&size| size <= TreeSize::MAX);
        let tree = TreeRoot {
            size: size.ok_or(CheckpointError::Size)?,
            hash: root.parse().map_err(|_| CheckpointError::Root)?,
        };
        Self::new(origin.to_owned(), tree, lines.map(str::to_owned).collect())
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.tree.size, self.tree.hash)?;
        self.extensions
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn check_line(number: usize, line: &str) -> Result<(), CheckpointError> {
    if line.is_empty() {
        Err(CheckpointError::Line(number))
    } else if line.contains(char::is_control) {
        Err(CheckpointError::Control(number))
    } else {
        Ok(())
    }
}

/// A number as it is written: in decimal, without a sign or zeros in front.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

//! Asking before something is done that can't be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::error::Failure;

/// What is asked, and what is said where it isn't done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The question.
    pub(crate) ask: &'a str,
    /// What would be done, where nobody can be asked: "this ends …".
    pub(crate) act: &'a str,
    /// What is said after a no.
    pub(crate) refused: &'a str,
}

impl Question<'_> {
    /// Asks on the terminal.
    ///
    /// # Errors
    /// [`ErrorCode::Refused`] if the answer is no, [`ErrorCode::Usage`] if there is nobody to ask.
    pub(crate) fn confirm(self) -> Result<(), Failure> {
        if !io::stdin().is_terminal() {
            let message = format!("{}, and nobody can be asked", self.act);
            return Err(ApiError::new(ErrorCode::Usage, message)
                .hint("--yes goes ahead, --dry-run only says what would be done")
                .into());
        }
        let mut stderr = io::stderr().lock();
        let mut answer = String::new();
        let asked = write!(stderr, "{} [y/N] ", self.ask)
            .and_then(|()| stderr.flush())
            .and_then(|()| io::stdin().lock().read_line(&mut answer));
        match (asked, answer.trim()) {
            (Ok(_), "y" | "Y" | "yes") => Ok(()),
            _ => Err(ApiError::new(ErrorCode::Refused, self.refused).into()),
        }
    }
}

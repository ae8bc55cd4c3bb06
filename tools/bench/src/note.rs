//! Notes for who watches: one line on standard error that is overwritten, and only on a terminal.

use std::io::{IsTerminal, Write};

/// Shows what is being done, in place of what was shown before.
pub(crate) fn progress(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // Nobody watches if this fails.
        let _ = write!(stderr, "\r\x1b[K{text}");
        let _ = stderr.flush();
    }
}

/// Takes the line away.
pub(crate) fn done() {
    progress("");
}

//! A progress bar with rate and ETA on standard error, where that is a terminal; else nothing.

use std::cell::Cell;
use std::fmt;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::units::format_count;

/// How long work goes on before it is shown: what ends at once would only flicker.
const GRACE: Duration = Duration::from_millis(300);

const EVENTS: &str =
    "{msg} [{bar:20}] {percent:>3}%  {human_pos} of {human_len}  {rate}  ETA {eta}";
const BYTES: &str =
    "{msg} [{bar:20}] {percent:>3}%  {bytes} of {total_bytes}  {bytes_per_sec}  ETA {eta}";

/// Shows how far long work has come. Goes away when it is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    template: &'static str,
    bar: ProgressBar,
    /// When it is to be shown, until it is; never if there is no terminal.
    due: Cell<Option<Instant>>,
}

impl Progress {
    /// Work on so many events.
    pub(crate) fn events(what: &'static str, total: u64) -> Self {
        Self::new(what, EVENTS, total)
    }

    /// Work on so many bytes.
    pub(crate) fn bytes(what: &'static str, total: u64) -> Self {
        Self::new(what, BYTES, total)
    }

    fn new(what: &'static str, template: &'static str, total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            what,
            template,
            bar: ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden()),
            due: Cell::new(terminal.then(|| Instant::now() + GRACE)),
        }
    }

    /// The work has come to here, of so much as is known now.
    pub(crate) fn of(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.at(done);
    }

    /// The work has come to here.
    pub(crate) fn at(&self, done: u64) {
        self.bar.set_position(done);
        if self.due.get().is_some_and(|due| Instant::now() >= due) {
            self.due.set(None);
            self.show();
        }
    }

    fn show(&self) {
        if let Ok(style) = ProgressStyle::with_template(self.template) {
            // The crate's own rate has four digits behind the point.
            let style =
                style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
                    let rate = format!("{:.0}", state.per_sec());
                    let rate = rate.parse().unwrap_or_default();
                    let _ = write!(out, "{}/s", format_count(rate));
                });
            self.bar.set_style(style.progress_chars("=> "));
        }
        self.bar.set_message(self.what);
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

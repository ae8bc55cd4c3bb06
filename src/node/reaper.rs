//! The reaper's place in the node: a thread with a runtime of its own, orders from the core, and
//! reports to it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use tokio::sync::mpsc::UnboundedReceiver;

use super::command::Input;
use super::threads::Mail;
use crate::reaper::run::{Effect, Metrics, Reaper};

/// Starts it; it works for as long as somebody can order something.
///
/// # Errors
/// If the system has no room, or `/proc` can't be read.
pub(super) fn spawn(
    metrics: Arc<Metrics>,
    inbox: Sender<Mail>,
    effects: UnboundedReceiver<Effect>,
) -> io::Result<JoinHandle<()>> {
    let tell = move |id: &str, report| {
        let id = id.into();
        // The core's thread may have stopped; the next life of the node looks again.
        let _ = inbox.send(Mail::Tell(Input::Seen { id, report }));
    };
    let reaper = Reaper::new(metrics, Box::new(tell))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("reaper".into())
        .spawn(move || runtime.block_on(reaper.run(effects)))
}

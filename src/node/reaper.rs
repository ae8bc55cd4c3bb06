//! The reaper's place in the node: a thread with a runtime of its own, orders from the core, and
//! reports to it.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use tokio::sync::mpsc::{
    UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel,
};

use super::command::Input;
use super::ports::uptime;
use super::threads::Mail;
use crate::lease::holding::Authority;
use crate::reaper::run::{Effect, Metrics, Reaper};

/// What the reaper is started with, and how the core reaches it.
pub(super) struct Line {
    orders: UnboundedSender<Effect>,
    effects: UnboundedReceiver<Effect>,
    metrics: Arc<Metrics>,
}

/// How others reach it, who must not keep it at work.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    /// For what may be asked besides.
    pub(crate) orders: WeakUnboundedSender<Effect>,
    /// What it has done.
    pub(crate) metrics: Arc<Metrics>,
}

/// Both ends, before anything is started.
pub(super) fn line() -> (Line, Reach) {
    let (orders, effects) = unbounded_channel();
    let metrics = Arc::new(Metrics::default());
    let reach = Reach {
        orders: orders.downgrade(),
        metrics: Arc::clone(&metrics),
    };
    let line = Line {
        orders,
        effects,
        metrics,
    };
    (line, reach)
}

/// Starts it, and returns where orders go; it works for as long as somebody can order something, and
/// signals nothing once the authority is over.
///
/// # Errors
/// If the system has no room, or `/proc` can't be read.
pub(super) fn spawn(
    line: Line,
    inbox: Sender<Mail>,
    authority: Authority,
) -> io::Result<(JoinHandle<()>, UnboundedSender<Effect>)> {
    let Line {
        orders,
        effects,
        metrics,
    } = line;
    let tell = move |id: &str, report| {
        let id = id.into();
        // The core's thread may have stopped; the next life of the node looks again.
        let _ = inbox.send(Mail::Tell(Input::Seen { id, report }));
    };
    let may = move || authority.holds(uptime());
    let reaper = Reaper::new(metrics, Box::new(tell), Box::new(may))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new()
        .name("reaper".into())
        .spawn(move || runtime.block_on(reaper.run(effects)))?;
    Ok((thread, orders))
}

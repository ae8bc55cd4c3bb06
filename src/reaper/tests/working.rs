//! A reaper at work on a real process: what it may not do.

use std::collections::BTreeSet;
use std::sync::Arc;

use ledger_core::event::ReapCause;
use ledger_core::time::Millis;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::super::decide::Report;
use super::super::run::{Effect, Found, Mode, ReapOrder, Reaper, WatchOrder};
use super::trees::Shell;

/// A process that obeys every signal, and a reaper that is told to end it.
async fn ordered(leads: bool) -> (Vec<Report>, Vec<Found>, Option<i32>) {
    let mut shell = Shell::run("exec sleep 600");
    let (orders, effects) = unbounded_channel();
    let (told, mut reports) = unbounded_channel();
    let tell = move |_: &str, report| drop(told.send(report));
    let may = move || leads;
    let reaper = Reaper::new(Arc::default(), Box::new(tell), Box::new(may)).unwrap();
    let id: Box<str> = "it".into();
    let watch = WatchOrder {
        id: id.clone(),
        identity: shell.identity(),
        max_runtime: Millis(600_000),
        stall_after: None,
        grace: Millis(600_000),
    };
    let reap = ReapOrder {
        id,
        cause: ReapCause::MaxRuntime,
        begun: None,
        attended: BTreeSet::new(),
    };
    orders.send(Effect::Watch(watch)).unwrap();
    orders.send(Effect::Reap(reap)).unwrap();
    let client = async move {
        // Orders are taken in turn, and what is due is done before the next is: behind the second
        // look the first signal was sent, or never will be.
        look(&orders).await;
        let left = look(&orders).await;
        if leads {
            let report = reports.recv().await.unwrap();
            return (vec![report], left);
        }
        drop(orders);
        (Vec::new(), left)
    };
    let ((told, left), ()) = tokio::join!(client, reaper.run(effects));
    (told, left, shell.ended())
}

async fn look(orders: &UnboundedSender<Effect>) -> Vec<Found> {
    let (reply, found) = crossbeam_channel::bounded(1);
    orders.send(Effect::Sweep(Mode::DryRun, reply)).unwrap();
    loop {
        tokio::task::yield_now().await;
        if let Ok(found) = found.try_recv() {
            return found;
        }
    }
}

#[tokio::test]
async fn a_node_that_leads_ends_what_it_is_told_to() {
    let (told, _, ended) = ordered(true).await;
    assert!(
        matches!(&told[..], [Report::Terminated { steps, .. }] if steps.len() == 1),
        "{told:?}"
    );
    assert_eq!(ended, Some(15));
}

#[tokio::test]
async fn one_that_leads_no_more_signals_nothing_and_forgets_its_orders() {
    let (told, left, ended) = ordered(false).await;
    assert_eq!((told, left, ended), (vec![], vec![], None));
}

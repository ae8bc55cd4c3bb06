//! What is seen of somebody else's process before it is ended, and of its end when the node is killed in
//! the middle of it.

use ledger_core::time::Millis;
use opsledger::api::wire::WatchRequest;
use opsledger::reaper::verdict::Verdict;
use projections::processes::Stage;

use crate::support::Ledger;
use crate::watching::{NEVER, SOON, Stranger, request, signals, told, watch};

#[tokio::test]
async fn a_ladder_goes_on_where_the_node_before_was_killed() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let mut deaf = Stranger::run("trap 'echo term' TERM; echo ready; while :; do read x; done");
    assert_eq!(deaf.line(), "ready");
    let wanted = WatchRequest {
        grace_ms: Some(Millis(2_000)),
        ..request(deaf.pid(), SOON)
    };
    let receipt = watch(&node, &wanted).await;
    let reaping = told(&node, "process.reaping", &receipt.id).await;
    assert_eq!(deaf.line(), "term");
    node.crash();
    let node = ledger.up().await;
    let terminated = told(&node, "process.terminated", &receipt.id).await;
    assert_eq!(signals(&terminated), ["SIGTERM", "SIGKILL"]);
    assert_eq!(
        terminated.data["steps"][0]["after_us"], reaping.data["runtime_us"],
        "the first SIGTERM was the one of the node before"
    );
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn one_that_stands_still_is_seen_to_be_stuck_before_it_is_ended() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    // Each sweep ends it; in between it is only seen.
    for _ in 0..5 {
        let idle = Stranger::run("read x");
        let wanted = WatchRequest {
            stall_after_ms: Some(Millis(1_000)),
            ..request(idle.pid(), NEVER)
        };
        let receipt = watch(&node, &wanted).await;
        let stuck = loop {
            let list = node.client.processes(None).await.unwrap();
            match list.processes.into_iter().next() {
                Some(info) if info.verdict == Verdict::Running => {}
                other => break other,
            }
        };
        let stage = stuck.and_then(|info| {
            assert_eq!(info.verdict, Verdict::Stuck);
            Some(info.view.process.foreign()?.stage.clone())
        });
        if stage == Some(Stage::Watched) {
            return node.stop_well();
        }
        drop(idle);
        let is_over = |kind: &str| matches!(kind, "process.terminated" | "process.ended");
        node.event(|e| is_over(&e.kind) && *e.of == *receipt.id)
            .await;
    }
    panic!("it is never seen before it is ended");
}

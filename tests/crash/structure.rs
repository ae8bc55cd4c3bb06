//! A store whose record of its own pages is wrong: opening does not find that out, and a writer who went by
//! it would write over events. The node finds out beside its first work, and stops.

use ledger_core::store::Offline;
use ledger_core::store::durable::OfflineReader;

use crate::support::{DEADLINE, Ledger, exec, named, text};

/// What redb keeps in front of its pages; opening and closing write there.
const HEADER: usize = 4096;

#[tokio::test]
async fn a_node_on_a_store_with_a_wrong_record_of_its_pages_stops_and_writes_none() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("one", exec(&["true"]))).await;
    node.crash();
    let path = ledger.dir.join("ledger.redb");
    let good = std::fs::read(&path).unwrap();
    let mut tried = 0;
    for at in (HEADER..good.len()).step_by(509) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        let checked = OfflineReader::open(&ledger.dir).map(|reader| reader.check_structure());
        if !matches!(checked, Ok(Err(_))) {
            continue;
        }
        // It may lead before it knows, and ends by itself.
        let mut command = ledger.command(&["up"]);
        let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
        let ended = tokio::time::timeout(DEADLINE, ended).await;
        let ended = ended.expect("it does not end").unwrap();
        let said = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(3), "byte {at}: {said}");
        assert!(said.contains("damaged"), "byte {at}: {said}");
        assert!(said.contains("hint: "), "byte {at}: {said}");
        let after = std::fs::read(&path).unwrap();
        assert!(
            after[HEADER..] == bad[HEADER..],
            "byte {at}: pages were written"
        );
        tried += 1;
        if tried == 3 {
            break;
        }
    }
    assert!(tried > 0, "no damage of this kind was tried");
    // With its pages as they were, everything is there, and what the nodes did meanwhile.
    std::fs::write(&path, &good).unwrap();
    let node = ledger.up().await;
    assert_eq!(node.task("one").await.attempts.len(), 1);
    node.stop_well();
    ledger.assert_sound();
}

//! `ops-refresh`: snapshots the views, so that the next start folds little, and takes down how full
//! the disk is and with what.

use std::fs;
use std::path::Path;

use super::{Leash, Report, World};
use crate::node::room::Room;
use crate::units::{count_of, format_size};

/// What of a data directory is measured.
const PARTS: [&str; 7] = [
    "ledger.redb",
    "journal",
    "blobs",
    "attempts",
    "views",
    "checkpoints",
    "backups",
];

pub(super) fn run(world: &World, leash: &Leash) -> Report {
    let mut report = Report::default();
    if let Some(views) = world.views.upgrade() {
        for (name, saved) in views.save() {
            match saved {
                Ok(header) => report.line(format!(
                    "view {name}: {} at seq {}, digest {}",
                    count_of(header.rows, "row"),
                    header.position.seq,
                    header.digest.short()
                )),
                Err(error) => report.finding(format!("view {name} can't be saved: {error}")),
            }
        }
    }
    match Room::of(&world.data_dir) {
        Ok(room) => report.line(format!(
            "disk: {} of {} free",
            format_size(room.free),
            format_size(room.total)
        )),
        Err(error) => report.finding(format!("the disk can't be asked how full it is: {error}")),
    }
    for part in PARTS {
        let mut size = Size::default();
        if !measure(&world.data_dir.join(part), leash, &mut size) {
            return report;
        }
        if size.files > 0 {
            report.line(format!(
                "{part}: {} in {}",
                format_size(size.bytes),
                count_of(size.files, "file")
            ));
        }
    }
    report
}

#[derive(Default)]
struct Size {
    bytes: u64,
    files: u64,
}

/// Adds up the files at and below a path, following no link; false if it was stopped. What vanishes
/// meanwhile does not count.
fn measure(path: &Path, leash: &Leash, size: &mut Size) -> bool {
    if leash.spent().is_some() {
        return false;
    }
    let Ok(meta) = fs::symlink_metadata(path) else {
        return true;
    };
    if meta.is_file() {
        size.bytes += meta.len();
        size.files += 1;
    } else if meta.is_dir() {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        for entry in entries {
            if !measure(&entry.path(), leash, size) {
                return false;
            }
        }
    }
    true
}

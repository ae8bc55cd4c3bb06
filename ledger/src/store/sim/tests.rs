//! The simulated disk does what it says: else the tests that stand on it prove nothing.

use std::io;

use super::*;
use crate::store::journal::{SegmentDir, SegmentFile};

fn disk() -> (Image, Disk) {
    let image = Image::from([(Name::Head, vec![b'a'; 3 * SECTOR])]);
    (image.clone(), Disk::holding(&image))
}

/// The letters that the sectors of a file have after a crash now.
fn letters(
    base: &Image,
    disk: &Disk,
    name: Name,
    keep: &mut dyn FnMut() -> bool,
) -> Option<String> {
    let record = disk.record();
    let mut platter = Platter::new(base, &record);
    platter.advance(record.len());
    let image = platter.image(keep);
    let first = |sector: &[u8]| char::from(sector[0].max(b'.'));
    Some(image.get(&name)?.chunks(SECTOR).map(first).collect())
}

fn head(base: &Image, disk: &Disk, mut keep: impl FnMut() -> bool) -> String {
    letters(base, disk, Name::Head, &mut keep).unwrap()
}

#[test]
fn what_is_not_synced_is_there_sector_by_sector() {
    let (base, disk) = disk();
    let file = disk.file(Name::Head);
    file.write_at(SECTOR as u64 - 1, &[b'b'; SECTOR + 2])
        .unwrap();
    let mut live = vec![0; 3 * SECTOR];
    file.read_at(0, &mut live).unwrap();
    assert_eq!(
        live.iter().filter(|byte| **byte == b'b').count(),
        SECTOR + 2
    );
    assert_eq!(head(&base, &disk, || false), "aaa");
    assert_eq!(head(&base, &disk, || true), "abb");
    let mut n = 0;
    let third = || {
        n += 1;
        n == 3
    };
    assert_eq!(head(&base, &disk, third), "aab");
    file.sync().unwrap();
    assert_eq!(head(&base, &disk, || false), "abb");
}

#[test]
fn a_failed_sync_shows_what_later_syncs_leave_out() {
    let (base, disk) = disk();
    let file = disk.file(Name::Head);
    file.write_at(0, &[b'b'; SECTOR]).unwrap();
    disk.fail_after(0, Fails::Once, io::ErrorKind::Other);
    assert!(file.sync().is_err());
    file.write_at(SECTOR as u64, &[b'c'; SECTOR]).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.live()[&Name::Head][0], b'b');
    assert_eq!(head(&base, &disk, || false), "aca");
    assert_eq!(head(&base, &disk, || true), "bca");
    // Written once more, it is an ordinary sector again.
    file.write_at(10, b"d").unwrap();
    file.sync().unwrap();
    assert_eq!(head(&base, &disk, || false), "bca");
}

#[test]
fn a_failed_write_has_written_the_sectors_before() {
    let (_, disk) = disk();
    let file = disk.file(Name::Head);
    disk.fail_after(1, Fails::ForGood, io::ErrorKind::Other);
    file.write_at(0, b"b").unwrap();
    assert!(file.write_at(0, b"c").is_err());
    assert!(file.write_at(0, &[b'c'; 2 * SECTOR]).is_err());
    assert!(file.sync().is_err());
    assert_eq!(disk.heal(), Some(1));
    let live = disk.live();
    assert_eq!(
        (live[&Name::Head][0], live[&Name::Head][SECTOR]),
        (b'c', b'a')
    );
    disk.fail_after(0, Fails::Growth, io::ErrorKind::StorageFull);
    file.write_at(0, b"e").unwrap();
    let error = file.write_at(3 * SECTOR as u64, b"e").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn a_made_file_is_there_once_it_is_made() {
    let (base, disk) = disk();
    let folder = disk.folder();
    folder.create(3, 2048).unwrap();
    let made = Name::Segment(3);
    let left = |disk: &Disk, keep: bool| letters(&base, disk, made, &mut || keep);
    assert_eq!(left(&disk, false).as_deref(), Some("...."));
    assert_eq!(folder.list().unwrap(), [3]);
    // Whatever fails while another is made in its place, it is gone or whole.
    for calls in 0..6 {
        let disk = disk.fork();
        disk.fail_after(calls, Fails::Once, io::ErrorKind::Other);
        assert!(disk.folder().create(3, 1024).is_err());
    }
    folder.remove(3).unwrap();
    assert!(folder.list().unwrap().is_empty());
    assert_eq!(left(&disk, false).as_deref(), Some("...."));
    assert_eq!(left(&disk, true), None);
}

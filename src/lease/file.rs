//! The record's file, `run/lease`: written by the holder, read by whoever waits.
//!
//! - A new tenure replaces the file (written beside, renamed), so nobody reads half of one.
//! - A beat writes the whole content over itself: bytes that the file has already, so it needs no
//!   room, and a record that somebody damaged or removed is whole again by the next beat. A directory in
//!   its place is set aside.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::observing::Sight;
use super::record::{MAX_RECORD, Record, RecordFault};
use crate::run_dir;

/// Its name in `run/`.
const NAME: &str = "lease";

/// Reads the record of a data directory.
///
/// # Errors
/// [`RecordFault`].
pub fn read(data_dir: &Path) -> Sight {
    let open = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(run_dir::path(data_dir).join(NAME));
    let mut bytes = Vec::new();
    let content = open.and_then(|file| {
        let mut file = file.take(MAX_RECORD as u64 + 1);
        file.read_to_end(&mut bytes)
    });
    match content {
        Err(e) if e.kind() == ErrorKind::NotFound => Err(RecordFault::Missing),
        Err(e) => Err(RecordFault::Unreadable(e.to_string())),
        Ok(len) if len > MAX_RECORD => Err(RecordFault::Damaged(format!(
            "it is longer than {MAX_RECORD} bytes"
        ))),
        Ok(_) => Record::parse(&bytes),
    }
}

/// The holder's end of the record. Dropping it leaves the file: the lock says that it means nothing.
#[derive(Debug)]
pub struct RecordFile {
    data_dir: PathBuf,
    file: File,
    record: Record,
    beat: u64,
}

impl RecordFile {
    /// Writes a record for a new tenure. The caller holds the lock.
    ///
    /// # Errors
    /// The system's.
    pub fn create(data_dir: &Path, record: Record) -> io::Result<Self> {
        run_dir::open(data_dir)?;
        let dir = run_dir::path(data_dir);
        let text = record.text(0);
        let file = match write_new(&dir, &text) {
            // The one that is there has the room that this one needs.
            Err(e) if e.kind() == ErrorKind::StorageFull => {
                write_over(&dir, &text).map_err(|_| e)?
            }
            written => written?,
        };
        Ok(Self {
            data_dir: data_dir.to_owned(),
            file,
            record,
            beat: 0,
        })
    }

    /// The record as it stands.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Names the term, once it is known. Shown with the next beat.
    pub fn set_term(&mut self, term: ledger_core::ids::Term) {
        self.record.term = Some(term);
    }

    /// Writes the next beat.
    ///
    /// # Errors
    /// The system's: nobody may have seen this beat.
    pub fn beat(&mut self) -> io::Result<()> {
        self.beat += 1;
        let text = self.record.text(self.beat);
        if self.is_in_place() {
            let len = text.len() as u64;
            if self.file.metadata()?.len() > len {
                self.file.set_len(len)?;
            }
            return self.file.write_all_at(text.as_bytes(), 0);
        }
        // The record was removed, or all of its directory.
        run_dir::open(&self.data_dir)?;
        self.file = write_new(&run_dir::path(&self.data_dir), &text)?;
        Ok(())
    }

    /// Whether the file that is open is the one that others find. What can't be looked at is not.
    fn is_in_place(&self) -> bool {
        let place = |meta: &std::fs::Metadata| (meta.dev(), meta.ino());
        let run = run_dir::path(&self.data_dir);
        let is_own_dir = run.symlink_metadata().is_ok_and(|meta| meta.is_dir());
        let found = run.join(NAME).symlink_metadata();
        let ours = self.file.metadata();
        is_own_dir
            && matches!((found, ours), (Ok(found), Ok(ours)) if place(&found) == place(&ours))
    }
}

fn write_over(dir: &Path, text: &str) -> io::Result<File> {
    let file = File::options()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(dir.join(NAME))?;
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)?;
    Ok(file)
}

fn write_new(dir: &Path, text: &str) -> io::Result<File> {
    let new = dir.join(".lease.new");
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        Ok(()) | Err(_) => {}
    }
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all_at(text.as_bytes(), 0)?;
    let path = dir.join(NAME);
    match std::fs::rename(&new, &path) {
        Err(e) if e.kind() == ErrorKind::IsADirectory => {
            run_dir::set_aside(&path)?;
            std::fs::rename(&new, &path)?;
        }
        renamed => renamed?,
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use ledger_core::ids::{Id, Term};
    use ledger_core::time::Millis;

    use super::*;
    use crate::shim::ProcessIdentity;

    fn record() -> Record {
        let me = ProcessIdentity::current().unwrap();
        let holder = Id::new("primary").unwrap();
        Record::new(holder, me, "i".into(), None, Millis(3000))
    }

    #[test]
    fn every_beat_is_seen_and_mends_what_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap_err(), RecordFault::Missing);
        let mut file = RecordFile::create(dir.path(), record()).unwrap();
        let path = dir.path().join("run/lease");
        let (seen, mut last) = read(dir.path()).unwrap();
        assert_eq!(seen, record());
        file.set_term(Term(3));
        let damages: [&dyn Fn(); 7] = [
            &|| {},
            &|| std::fs::write(&path, "").unwrap(),
            &|| std::fs::write(&path, "x".repeat(9000)).unwrap(),
            &|| std::fs::remove_file(&path).unwrap(),
            &|| {
                std::fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink("/dev/null", &path).unwrap();
            },
            &|| {
                std::fs::remove_file(&path).unwrap();
                std::fs::create_dir(&path).unwrap();
            },
            &|| {
                std::fs::remove_file(&path).unwrap();
                std::fs::create_dir(&path).unwrap();
                std::fs::write(path.join("kept"), "").unwrap();
            },
        ];
        for damage in damages {
            damage();
            file.beat().unwrap();
            let (seen, beat) = read(dir.path()).unwrap();
            assert_eq!(seen.term, Some(Term(3)));
            assert_ne!(beat, last);
            last = beat;
        }
        assert!(dir.path().join("run/lease.aside-2/kept").exists());
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::fs::write(&elsewhere, record().text(1)).unwrap();
        std::os::unix::fs::symlink(&elsewhere, dir.path().join("run/lease")).unwrap();
        let read = read(dir.path());
        assert!(matches!(read, Err(RecordFault::Unreadable(_))), "{read:?}");
    }
}

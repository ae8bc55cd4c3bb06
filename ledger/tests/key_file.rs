//! The file of a signer key: made once, for its owner alone, and refused if it is anything else.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use common::heads::ledger_key;
use ledger_core::tree_head::{
    KEY_FILE_MODE, KeyError, KeyFileError, create_key_file, read_key_file,
};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key")
    }

    /// A file of these bytes and this mode, where the key belongs.
    fn with(&self, bytes: &[u8], mode: u32) -> PathBuf {
        let path = self.key();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_key_is_made_once_and_reads_back() {
    let place = Place::new();
    let path = place.key();
    create_key_file(&path, &ledger_key()).unwrap();
    assert_eq!(mode(&path), KEY_FILE_MODE);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("{}\n", *ledger_key().to_text()));
    let read = read_key_file(&path).unwrap();
    assert_eq!(read.verifier(), ledger_key().verifier());

    let again = create_key_file(&path, &ledger_key());
    assert!(matches!(again, Err(KeyFileError::Exists(at)) if at == path));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn a_link_is_not_written_through() {
    let place = Place::new();
    let elsewhere = place.dir.path().join("elsewhere");
    symlink(&elsewhere, place.key()).unwrap();
    let made = create_key_file(&place.key(), &ledger_key());
    assert!(matches!(made, Err(KeyFileError::Exists(_))));
    assert!(!elsewhere.exists());
    // Read through one it may be.
    create_key_file(&elsewhere, &ledger_key()).unwrap();
    assert!(read_key_file(&place.key()).is_ok());
}

#[test]
fn a_key_that_others_can_get_at_is_refused() {
    let place = Place::new();
    let text = format!("{}\n", *ledger_key().to_text());
    for bad in [
        0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o660, 0o777,
    ] {
        let path = place.with(text.as_bytes(), bad);
        let found = read_key_file(&path).map(|_| ()).unwrap_err();
        assert!(
            matches!(&found, KeyFileError::Exposed { mode, .. } if *mode == bad),
            "{found}"
        );
        let said = found.to_string();
        assert!(said.contains(&format!("mode {bad:04o}")), "{said}");
        assert!(!said.contains("PRIVATE"), "{said}");
    }
    for good in [0o600, 0o400, 0o700] {
        let path = place.with(text.as_bytes(), good);
        assert!(read_key_file(&path).is_ok(), "{good:o}");
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn what_is_not_a_key_is_told_apart() {
    let place = Place::new();
    let missing = read_key_file(&place.key()).map(|_| ());
    assert!(matches!(missing, Err(KeyFileError::Missing(_))));
    let directory = read_key_file(place.dir.path()).map(|_| ());
    assert!(matches!(directory, Err(KeyFileError::NotAFile(_))));
    let socket = place.dir.path().join("socket");
    let _listening = UnixListener::bind(&socket).unwrap();
    let found = read_key_file(&socket).map(|_| ());
    assert!(matches!(found, Err(KeyFileError::NotAFile(_))));
    let nowhere = place.dir.path().join("no/where");
    let found = create_key_file(&nowhere, &ledger_key());
    assert!(matches!(found, Err(KeyFileError::Io { .. })));

    let text = ledger_key().to_text();
    let bare = place.with(text.as_bytes(), 0o600);
    assert!(read_key_file(&bare).is_ok());
    let verifier = ledger_key().verifier().to_string();
    for bad in [
        b"".as_slice(),
        b"\n",
        b"\xff",
        verifier.as_bytes(),
        format!("{}\n\n", *text).as_bytes(),
        format!("{}\r\n", *text).as_bytes(),
        format!(" {}\n", *text).as_bytes(),
        format!("{}\n{}\n", *text, *text).as_bytes(),
        &text.as_bytes()[..text.len() - 1],
        &[b'a'; 100_000],
    ] {
        let found = read_key_file(&place.with(bad, 0o600)).map(|_| ());
        let found = found.unwrap_err();
        assert!(matches!(found, KeyFileError::Malformed { .. }), "{found}");
    }
    let long = read_key_file(&place.with(&[b'a'; 100_000], 0o600)).map(|_| ());
    assert!(long.unwrap_err().to_string().ends_with("it is too long"));
    let damaged = text.replacen("PRIVATE+KEY+opsledger", "PRIVATE+KEY+opsludger", 1);
    let found = read_key_file(&place.with(damaged.as_bytes(), 0o600)).map(|_| ());
    let Err(KeyFileError::Malformed { error, .. }) = found else {
        panic!("{found:?}")
    };
    assert_eq!(error, KeyError::Id);
}

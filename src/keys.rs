//! The key that signs a ledger's heads: where it is, and whether it is the right one.
//!
//! ```text
//! DIR/keys/ledger.key   the signer key, for its owner alone (0600)
//! DIR/keys/ledger.pub   the verifier key, for whoever wants to check
//! ```
//! - It is made with the ledger, before it: `ledger.created` names its fingerprint, so a key that was
//!   exchanged later is found out.
//! - A key is never overwritten, and not used if others can read it.

use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ledger_core::event::{Event, LedgerCreated, LedgerEvent};
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::store::{LogReader, ReadError, for_each_event};
use ledger_core::tree_head::{
    KeyFileError, SignerKey, TreeHead, VerifierKey, create_key_file, read_key_file,
};

/// The directory below the data directory.
pub const KEY_DIR: &str = "keys";
/// The file of the signer key in it.
pub const KEY_FILE: &str = "ledger.key";
/// The file of the verifier key in it.
pub const PUBLIC_FILE: &str = "ledger.pub";

/// Why a ledger's heads can't be signed.
#[derive(Debug, thiserror::Error)]
pub enum NoKey {
    /// It was made without a key.
    #[error("this ledger was made without a key, so its heads can't be signed")]
    Unsigned,
    /// The key can't be read.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// There is a key, but not that of this ledger.
    #[error("{path} holds another key than the one this ledger was made with")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Fingerprint of the key in it.
        found: Hash,
        /// Fingerprint of the ledger's.
        expected: Hash,
    },
    /// The ledger can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The file of a ledger's signer key.
pub fn key_path(data_dir: &Path) -> PathBuf {
    data_dir.join(KEY_DIR).join(KEY_FILE)
}

/// Makes a new ledger's key, or makes one that was given its own, and writes both files.
///
/// # Errors
/// [`KeyFileError::Exists`] if there is a key already, and none was given to take its place.
pub fn make(
    data_dir: &Path,
    ledger: LedgerId,
    given: Option<&SignerKey>,
) -> Result<SignerKey, KeyFileError> {
    let dir = data_dir.join(KEY_DIR);
    let path = key_path(data_dir);
    let io = |path: &Path| {
        let path = path.to_owned();
        move |error| KeyFileError::Io { path, error }
    };
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir);
    made.map_err(io(&dir))?;
    let name = TreeHead::key_name(ledger);
    let key = match given {
        None => {
            let key = SignerKey::generate(name).map_err(io(&path))?;
            create_key_file(&path, &key)?;
            key
        }
        // It may be the very file that an interrupted attempt left behind.
        Some(given) => {
            let key = given.named(name);
            let new = path.with_extension("key.new");
            remove(&new).map_err(io(&new))?;
            create_key_file(&new, &key)?;
            fs::rename(&new, &path).map_err(io(&path))?;
            key
        }
    };
    let public = dir.join(PUBLIC_FILE);
    write_public(&public, &key.verifier()).map_err(io(&public))?;
    Ok(key)
}

fn write_public(path: &Path, key: &VerifierKey) -> io::Result<()> {
    remove(path)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    writeln!(file, "{key}")?;
    file.sync_all()?;
    match path.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The key of the ledger in a data directory, held against what its first event says.
///
/// # Errors
/// [`NoKey`]
pub fn load(data_dir: &Path, reader: &dyn LogReader) -> Result<SignerKey, NoKey> {
    let created = created(reader)?;
    let expected = created
        .and_then(|c| c.key_fingerprint)
        .ok_or(NoKey::Unsigned)?;
    let path = key_path(data_dir);
    let key = read_key_file(&path)?;
    let found = key.verifier().fingerprint();
    if found != expected {
        return Err(NoKey::Foreign {
            path,
            found,
            expected,
        });
    }
    Ok(key.named(TreeHead::key_name(reader.ledger_id())))
}

/// What the first event says, with its place in the chain checked.
///
/// # Errors
/// [`ReadError`] if it can't be read.
pub fn created(reader: &dyn LogReader) -> Result<Option<LedgerCreated>, ReadError> {
    let found = for_each_event(reader, Seq::FIRST, |chained| {
        ControlFlow::Break(match Event::decode(&chained.event) {
            Ok(Event::Ledger(LedgerEvent::Created(created))) => Some(created),
            _ => None,
        })
    })?;
    Ok(match found {
        ControlFlow::Break(created) => created,
        ControlFlow::Continue(()) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::node::create_ledger;
    use ledger_core::ids::Id;
    use ledger_core::store::durable::OfflineReader;
    use ledger_core::tree_head::KeyName;

    fn ledger() -> (tempfile::TempDir, OfflineReader) {
        let dir = tempfile::tempdir().unwrap();
        create_ledger(dir.path(), &Id::new("x").unwrap(), None).unwrap();
        let reader = OfflineReader::open(dir.path()).unwrap();
        (dir, reader)
    }

    #[test]
    fn a_ledger_has_a_key_that_is_its_own() {
        let (dir, reader) = ledger();
        let key = load(dir.path(), &reader).unwrap();
        assert_eq!(key.name(), &TreeHead::key_name(reader.ledger_id()));
        let public = fs::read_to_string(dir.path().join(KEY_DIR).join(PUBLIC_FILE)).unwrap();
        assert_eq!(public, format!("{}\n", key.verifier()));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&key_path(dir.path())), 0o600);
        assert_eq!(mode(&dir.path().join(KEY_DIR)), 0o700);
    }

    #[test]
    fn what_is_not_the_ledgers_own_key_is_refused() {
        let (dir, reader) = ledger();
        let path = key_path(dir.path());
        let own = fs::read(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load(dir.path(), &reader).unwrap_err();
        assert!(
            matches!(error, NoKey::File(KeyFileError::Exposed { .. })),
            "{error}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "nothing").unwrap();
        let error = load(dir.path(), &reader).unwrap_err();
        assert!(
            matches!(error, NoKey::File(KeyFileError::Malformed { .. })),
            "{error}"
        );
        let other = SignerKey::generate(TreeHead::key_name(reader.ledger_id())).unwrap();
        fs::write(&path, &**other.to_text()).unwrap();
        let error = load(dir.path(), &reader).unwrap_err();
        assert!(matches!(error, NoKey::Foreign { .. }), "{error}");
        fs::write(&path, own).unwrap();
        load(dir.path(), &reader).unwrap();
    }

    #[test]
    fn a_given_key_becomes_the_ledgers() {
        let given = SignerKey::from_seed(KeyName::new("someone").unwrap(), &[7; 32]);
        let dir = tempfile::tempdir().unwrap();
        create_ledger(dir.path(), &Id::new("x").unwrap(), Some(&given)).unwrap();
        let reader = OfflineReader::open(dir.path()).unwrap();
        let key = load(dir.path(), &reader).unwrap();
        assert_eq!(key.verifier().public_key(), given.verifier().public_key());
    }

    #[test]
    fn a_key_without_a_ledger_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let name = Id::new("x").unwrap();
        fs::create_dir(dir.path().join(KEY_DIR)).unwrap();
        fs::write(key_path(dir.path()), "precious").unwrap();
        assert!(create_ledger(dir.path(), &name, None).is_err());
        assert_eq!(fs::read(key_path(dir.path())).unwrap(), b"precious");
    }
}

//! Files of a ledger: the head, and whatever is left of a store.

use crate::salvage::check_scan;
use crate::store::redb::{HEAD_FILE_LEN, HeadFile};

/// The head file, as it is and with its checksum mended.
pub(super) fn head(data: &[u8]) {
    if let Ok(head) = HeadFile::decode(data) {
        assert_eq!(head.encode(), data, "a head has one encoding");
    }
    if data.len() == HEAD_FILE_LEN {
        let mut mended = data.to_vec();
        let crc = crc32fast::hash(&mended[..HEAD_FILE_LEN - 4]);
        mended[HEAD_FILE_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        if let Ok(head) = HeadFile::decode(&mended) {
            assert_eq!(head.encode()[..], mended, "a head has one encoding");
        }
    }
}

/// A damaged file that is looked through for events.
pub(super) fn scan(data: &[u8]) {
    check_scan(data);
}

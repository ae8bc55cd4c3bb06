//! The digest of a projection: one BLAKE3 hash over its canonical content, by which a live view, a
//! rebuilt one and a standby's are compared.
//!
//! ```text
//! BLAKE3-derive-key("opsledger 2026 projection digest v1",
//!     u64 length + name | u32 version | for each row: u64 length + key | u64 length + value)
//! ```
//! Integers are little endian. Lengths in front of every text make the input prefix-free, so two
//! contents never hash as the same bytes. The position is not part of it: a digest stands beside
//! the position that it is of, and an event that changes nothing leaves the digest as it was.

use ledger_core::hash::Hash;

/// Context of the key derivation; part of the digest's definition.
pub const DIGEST_CONTEXT: &str = "opsledger 2026 projection digest v1";

/// Hashing small pieces one by one costs about twice as much as hashing them gathered.
const GATHER: usize = 32 * 1024;

/// Computes a digest row by row.
#[derive(Debug)]
pub struct Digester {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    rows: u64,
}

impl Digester {
    /// Begins the digest of a projection of this name and version.
    pub fn new(name: &str, version: u32) -> Self {
        let mut digester = Self {
            hasher: blake3::Hasher::new_derive_key(DIGEST_CONTEXT),
            buffer: Vec::with_capacity(GATHER + 4096),
            rows: 0,
        };
        digester.text(name);
        digester.buffer.extend_from_slice(&version.to_le_bytes());
        digester
    }

    /// Adds the next row. Rows come in strictly ascending key order.
    pub fn row(&mut self, key: &str, value: &str) {
        self.text(key);
        self.text(value);
        self.rows += 1;
        if self.buffer.len() >= GATHER {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    /// How many rows were added.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The digest of all rows added.
    pub fn finish(mut self) -> Hash {
        self.hasher.update(&self.buffer);
        Hash(*self.hasher.finalize().as_bytes())
    }

    fn text(&mut self, text: &str) {
        let len = text.len() as u64;
        self.buffer.extend_from_slice(&len.to_le_bytes());
        self.buffer.extend_from_slice(text.as_bytes());
    }
}

/// The digest of a projection's content, from whatever emits its rows.
pub fn digest(name: &str, version: u32, rows: impl FnOnce(&mut dyn FnMut(&str, &str))) -> Hash {
    let mut digester = Digester::new(name, version);
    rows(&mut |key, value| digester.row(key, value));
    digester.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, version: u32, rows: &[(&str, &str)]) -> Hash {
        digest(name, version, |emit| {
            rows.iter().for_each(|(k, v)| emit(k, v));
        })
    }

    /// The definition, written out.
    fn plain(name: &str, version: u32, rows: &[(&str, &str)]) -> Hash {
        let text = |t: &str| [&(t.len() as u64).to_le_bytes(), t.as_bytes()].concat();
        let mut bytes = [text(name), version.to_le_bytes().to_vec()].concat();
        for (key, value) in rows {
            bytes.extend([text(key), text(value)].concat());
        }
        Hash(blake3::derive_key(DIGEST_CONTEXT, &bytes))
    }

    #[test]
    fn it_follows_its_written_definition() {
        let few = [("key", "1"), ("l", "")];
        assert_eq!(of("v", 3, &few), plain("v", 3, &few));
        let value = "x".repeat(1000);
        let keys: Vec<_> = (0..100).map(|i| format!("{i:03}")).collect();
        let many: Vec<_> = keys.iter().map(|key| (&**key, &*value)).collect();
        assert_eq!(
            of("v", 1, &many),
            plain("v", 1, &many),
            "gathered in pieces"
        );
    }

    #[test]
    fn every_part_of_the_content_counts() {
        let digests = [
            of("v", 1, &[]),
            of("w", 1, &[]),
            of("v", 2, &[]),
            of("v", 1, &[("", "")]),
            of("v", 1, &[("a", "b")]),
            of("v", 1, &[("ab", "")]),
            of("v", 1, &[("", "ab")]),
            of("v", 1, &[("a", "b"), ("c", "d")]),
            of("v", 1, &[("c", "d"), ("a", "b")]),
        ];
        for (i, a) in digests.iter().enumerate() {
            for b in &digests[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }
}

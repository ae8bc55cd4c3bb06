//! The tree's hash: SHA-256 with RFC 6962's prefixes, one by one or many at once.
//!
//! ```text
//! leaf(event)       = SHA-256(0x00 || event bytes)
//! node(left, right) = SHA-256(0x01 || left || right)
//! root of nothing   = SHA-256()
//! ```
//! The prefixes keep an inner node from being passed off as an event. Whatever hashes many uses
//! [`super::lanes`]; proofs are checked with `sha2` alone, so that a fault of the one would not be
//! hidden by the other.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::lanes::{self, Engine};
use crate::base64;

/// What stands in front of an event's bytes.
pub(super) const LEAF: u8 = 0x00;
/// What stands in front of two nodes' hashes.
pub(super) const NODE: u8 = 0x01;

/// A SHA-256 hash of the tree: a leaf, an inner node or a root. Shown as base64, as all formats
/// of transparency logs do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeHash(pub [u8; 32]);

impl TreeHash {
    /// Root of the tree without leaves: the SHA-256 of nothing.
    pub const EMPTY_ROOT: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9,
        0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52,
        0xb8, 0x55,
    ]);

    /// The leaf of an event.
    pub fn leaf(event: &[u8]) -> Self {
        let mut sha = Sha256::new_with_prefix([LEAF]);
        sha.update(event);
        Self(sha.finalize().into())
    }

    /// The node above two others.
    pub fn node(left: &Self, right: &Self) -> Self {
        let mut bytes = [NODE; 65];
        bytes[1..33].copy_from_slice(&left.0);
        bytes[33..].copy_from_slice(&right.0);
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&base64::encode(&self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeHash({self})")
    }
}

/// Why a text is not a hash of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash of the tree is 44 characters of base64 that stand for 32 bytes")]
pub struct TreeHashError;

impl FromStr for TreeHash {
    type Err = TreeHashError;
    fn from_str(text: &str) -> Result<Self, TreeHashError> {
        base64::decode_array(text).map(Self).ok_or(TreeHashError)
    }
}

/// Appends the leaves of some events to `out`, many at once where the processor can.
pub fn leaf_hashes<'a>(events: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<TreeHash>) {
    leaf_hashes_by(lanes::best(), events, out);
}

pub(super) fn leaf_hashes_by<'a>(
    engine: Engine,
    events: impl IntoIterator<Item = &'a [u8]>,
    out: &mut Vec<TreeHash>,
) {
    let events = events.into_iter();
    match engine {
        Engine::One => out.extend(events.map(TreeHash::leaf)),
        #[cfg(target_arch = "x86_64")]
        Engine::Eight(lanes) => lanes::leaves(lanes, events, out),
        #[cfg(target_arch = "x86_64")]
        Engine::Sixteen(lanes) => lanes::leaves(lanes, events, out),
    }
}

/// Replaces pairs of neighbors by the nodes above them: the first half of `nodes` is the answer.
pub(super) fn parents_by(engine: Engine, nodes: &mut [TreeHash]) -> &mut [TreeHash] {
    let pairs = nodes.len() / 2;
    match engine {
        #[cfg(target_arch = "x86_64")]
        Engine::Eight(lanes) if pairs > 1 => lanes::parents(lanes, nodes),
        #[cfg(target_arch = "x86_64")]
        Engine::Sixteen(lanes) if pairs > 1 => lanes::parents(lanes, nodes),
        _ => {
            for n in 0..pairs {
                nodes[n] = TreeHash::node(&nodes[2 * n], &nodes[2 * n + 1]);
            }
        }
    }
    &mut nodes[..pairs]
}

/// The root over nodes whose number is a power of two. They are overwritten.
pub(crate) fn perfect_root(nodes: &mut [TreeHash]) -> TreeHash {
    debug_assert!(nodes.len().is_power_of_two());
    let engine = lanes::best();
    let mut nodes = nodes;
    while nodes.len() > 1 {
        nodes = parents_by(engine, nodes);
    }
    nodes.first().copied().unwrap_or(TreeHash::EMPTY_ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefixes_are_those_of_rfc_6962() {
        assert_eq!(TreeHash::EMPTY_ROOT.0, *Sha256::digest(b""));
        assert_eq!(TreeHash::leaf(b"ab").0, *Sha256::digest(b"\0ab"));
        let (l, r) = (TreeHash([7; 32]), TreeHash([9; 32]));
        let bytes = [&[1][..], &l.0, &r.0].concat();
        assert_eq!(TreeHash::node(&l, &r).0, *Sha256::digest(bytes));
    }

    #[test]
    fn a_hash_reads_back_and_nothing_else_does() {
        let hash = TreeHash::leaf(b"x");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        for bad in ["", "AA==", &hash.to_string()[..43], &format!("{hash}=")] {
            assert_eq!(bad.parse::<TreeHash>(), Err(TreeHashError));
        }
    }
}

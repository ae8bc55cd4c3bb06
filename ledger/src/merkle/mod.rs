//! The RFC 6962 Merkle tree (SHA-256) over the ledger's events, and what can be proven with it.
//!
//! The chain proves a history to whoever reads all of it. The tree proves single things to those
//! who don't: that an event is in the ledger ([`inclusion`]), that a ledger has only grown
//! ([`consistency`]). Leaves are the exact stored bytes of the events, so chain and tree can only
//! be right together.
//!
//! ```text
//! tile level 2                            h16                      one per 65,536 events
//! tile level 1          h8        h8        h8  …                  one per 256 events
//!                     / … \     / … \     / … \
//! tile level 0       leaf …    leaf …    leaf …                    one per event
//! ```
//!
//! Tiles are those of C2SP tlog-tiles: 256 hashes of one height, every eighth height. Of them a
//! store keeps the levels from 1 up, as rows that a [`TreeWriter`] hands out; leaves are hashed
//! anew from the events, and all heights between tiles from the tiles. That costs a store 1/256 of
//! the rows and a proof some hundred hashes.
//!
//! Invariants:
//! - seq `n` is leaf `n - 1`; the tree whose last event is seq `n` has size `n`. [`LeafIndex`] and
//!   [`TreeSize`] exist so that the two can't be mixed up.
//! - A row depends on the events alone, not on how they were batched.
//! - Nothing here trusts what it reads: a proof made from damaged rows is refused by
//!   [`check_inclusion`] and [`check_consistency`], which see hashes only.

mod check;
mod frontier;
mod hash;
mod lanes;
mod prove;
mod size;
mod source;
mod tail;
mod tiles;
mod whole;
mod writer;

pub use check::{ProofFault, check_consistency, check_inclusion};
pub use frontier::{Frontier, FrontierError, StoredHash};
pub(crate) use hash::perfect_root;
pub use hash::{TreeHash, TreeHashError, leaf_hashes};
pub use prove::{ProveError, consistency, inclusion, root_at};
pub use size::{LeafIndex, TreeRoot, TreeSize};
pub use source::TreeSource;
pub use tail::TailTree;
pub use tiles::{
    BundleError, TileId, TileIdError, TileKind, entry_bundle, hash_tile, tiles_between,
};
pub use whole::WholeTiles;
pub use writer::{TileRow, TileRowError, TreeWriter};

/// Hashes in a full tile.
pub const TILE_WIDTH: usize = 256;
/// Heights of the tree in a tile: 2 to this power is [`TILE_WIDTH`].
pub const TILE_HEIGHT: u32 = 8;

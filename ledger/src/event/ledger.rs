//! `ledger.*`: the ledger itself.

use serde::{Deserialize, Serialize};

use super::family;
use crate::ids::{Id, LedgerId};

/// The event encoding that `ledger.created` announces.
pub const LEDGER_FORMAT: u16 = 1;

/// Seq 1 of every ledger, term 0: which ledger this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerCreated {
    /// The id in the domain of every hash of this ledger.
    pub ledger_id: LedgerId,
    /// Event encoding, 1.
    pub format: u16,
    /// The operator's name for it.
    pub name: Id,
    /// Version of the software that made it.
    pub software: String,
    /// Fingerprint of the key that signs tree heads, where there is one: BLAKE3 of the public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<crate::hash::Hash>,
}

family!(
    /// The ledger itself.
    LedgerEvent {
        /// It was made.
        Created(LedgerCreated) = "ledger.created",
    }
);

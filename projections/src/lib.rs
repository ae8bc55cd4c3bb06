//! Read models folded from the ledger.

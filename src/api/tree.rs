//! `/v1/tree`: signed heads and proofs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use ledger_core::ids::Seq;
use ledger_core::merkle::TreeSize;
use ledger_core::tree_head::SignerKey;
use serde::Deserialize;

use super::extract::Asked;
use super::server::{Api, blocking};
use super::wire::{ApiError, ErrorCode, GrowthProof, SignedHead, WrittenProof};
use crate::audit::heads::{self, NoProof};
use crate::keys::{self, NoKey};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofQuery {
    seq: Seq,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrowthQuery {
    /// Events that the older head stands for.
    size: u64,
}

pub(super) async fn head(State(api): State<Arc<Api>>) -> Result<Json<SignedHead>, ApiError> {
    let note = blocking(move || -> Result<_, ApiError> {
        let key = key(&api)?;
        Ok(heads::sign(api.reader.as_ref(), &key).map_err(NoProof::Read)?)
    });
    let note = note.await??.to_string();
    Ok(Json(SignedHead { note }))
}

pub(super) async fn proof(
    State(api): State<Arc<Api>>,
    Asked(ProofQuery { seq }): Asked<ProofQuery>,
) -> Result<Json<WrittenProof>, ApiError> {
    let proof = blocking(move || -> Result<_, ApiError> {
        let key = key(&api)?;
        Ok(heads::prove(api.reader.as_ref(), &key, seq)?)
    });
    let proof = proof.await??.to_string();
    Ok(Json(WrittenProof { proof }))
}

pub(super) async fn growth(
    State(api): State<Arc<Api>>,
    Asked(GrowthQuery { size }): Asked<GrowthQuery>,
) -> Result<Json<GrowthProof>, ApiError> {
    let growth = blocking(move || -> Result<_, ApiError> {
        let key = key(&api)?;
        Ok(heads::growth(api.reader.as_ref(), &key, TreeSize(size))?)
    });
    let growth = growth.await??;
    Ok(Json(GrowthProof {
        hashes: growth.hashes.iter().map(ToString::to_string).collect(),
        head: growth.head.to_string(),
    }))
}

/// Read anew each time: a file that was put right is used at once, and the key is in memory only
/// while it is needed.
fn key(api: &Api) -> Result<SignerKey, ApiError> {
    Ok(keys::load(&api.data_dir, api.reader.as_ref())?)
}

impl From<NoKey> for ApiError {
    fn from(error: NoKey) -> Self {
        let message = error.to_string();
        match error {
            NoKey::Unsigned => Self::new(ErrorCode::Refused, message)
                .hint("ledgers made since have a key; `ledger verify` works without one"),
            NoKey::File(error) => Self::new(ErrorCode::Refused, "the ledger's key can't be used")
                .because(error)
                .hint("it belongs in keys/ledger.key below the data directory, with mode 0600 (chmod 600)"),
            NoKey::Foreign { found, expected, .. } => Self::new(ErrorCode::Refused, message)
                .because(format!(
                    "its fingerprint is {}, that of the ledger's {}",
                    found.short(),
                    expected.short()
                ))
                .hint("bring the ledger's own key back: it is not in backups"),
            NoKey::Read(error) => NoProof::Read(error).into(),
        }
    }
}

impl From<NoProof> for ApiError {
    fn from(error: NoProof) -> Self {
        let message = error.to_string();
        match error {
            NoProof::Event { .. } => Self::new(ErrorCode::NotFound, message),
            NoProof::Size { .. } => Self::new(ErrorCode::Unanchored, message)
                .because("events that were there when that head was made are gone, or it is another ledger's"),
            NoProof::Tree(_) => {
                Self::new(ErrorCode::Tampered, message).hint("`ledger verify` says where")
            }
            NoProof::Text(_) => Self::new(ErrorCode::Failed, message),
            NoProof::Read(error) => match error {
                ledger_core::store::ReadError::Io(_) => Self::new(ErrorCode::Failed, message),
                _ => Self::new(ErrorCode::Tampered, message).hint("`ledger verify` says where"),
            },
        }
    }
}

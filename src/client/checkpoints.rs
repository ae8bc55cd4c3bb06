//! `/v1/checkpoints`.

use super::Client;
use super::connection::Patience;
#[cfg(doc)]
use crate::api::wire::ErrorCode;
use crate::api::wire::{
    ApiError, CheckpointList, CheckpointReceipt, CheckpointRequest, PruneReport, PruneRequest,
};

impl Client {
    /// Every checkpoint, and what became of others.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn checkpoints(&self) -> Result<CheckpointList, ApiError> {
        self.get("/v1/checkpoints", &[]).await
    }

    /// Makes a checkpoint; answers once it is verified and recorded.
    ///
    /// # Errors
    /// [`ErrorCode::Conflict`] if there is one of that name.
    pub async fn checkpoint(
        &self,
        request: &CheckpointRequest,
    ) -> Result<CheckpointReceipt, ApiError> {
        self.post("/v1/checkpoints", request, Patience::Endless)
            .await
    }

    /// Removes checkpoints by age and number, or says which would be.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn prune_checkpoints(&self, request: &PruneRequest) -> Result<PruneReport, ApiError> {
        self.post("/v1/checkpoints/prune", request, Patience::Endless)
            .await
    }
}

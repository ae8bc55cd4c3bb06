//! Parts of a request, read strictly: whatever is wrong with them is answered with an
//! [`ApiError`](super::wire::ApiError) like every other failure, never with the framework's text.

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use ledger_core::ids::Id;
use serde::de::DeserializeOwned;

use super::error::usage;
use super::wire::ApiError;

/// A whole body, at most [`MAX_BODY`](super::wire::MAX_BODY) bytes.
pub(super) struct Content(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Content {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_))) => {
                Err(usage(
                    "the request body is too large; at most 1 MiB is taken",
                ))
            }
            Err(error) => Err(usage("the request body can't be read").because(error.body_text())),
        }
    }
}

/// Everything behind the question mark.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => {
                Err(usage("the parameters are not what this endpoint takes")
                    .because(error.body_text()))
            }
        }
    }
}

/// The one name in a path, decoded.
pub(super) struct Name(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(PathRejection::FailedToDeserializePathParams(error))
                if matches!(error.kind(), ErrorKind::InvalidUtf8InPathParam { .. }) =>
            {
                Err(usage("the name in the path is not UTF-8"))
            }
            Err(error) => Err(usage("the path can't be read").because(error.body_text())),
        }
    }
}

/// The task whose id stands in the path. It need not exist.
pub(super) struct TaskId(pub(super) Id);

impl<S: Send + Sync> FromRequestParts<S> for TaskId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Name(name) = Name::from_request_parts(parts, state).await?;
        Id::new(&name).map(Self).map_err(|e| usage(e.to_string()))
    }
}

//! Parts of a request, read strictly: whatever is wrong with them is answered with an
//! [`ApiError`](super::wire::ApiError) like every other failure, never with the framework's text.

use std::sync::Arc;

use axum::body::{Bytes, HttpBody};
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{BytesRejection, FailedToBufferBody, PathRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use ledger_core::ids::Id;
use ledger_core::time::Millis;
use serde::de::DeserializeOwned;

use super::connections::{Limits, closing, duration};
use super::error::{answer, usage};
use super::server::Api;
use super::wire::{ApiError, ErrorCode, MAX_BODY};
use crate::units::format_limit;

/// A whole body, at most [`MAX_BODY`](super::wire::MAX_BODY) bytes, come in time.
pub(super) struct Content(pub(super) Bytes);

/// What knows how long a body may take.
pub(super) trait Limited: Send + Sync {
    /// How long.
    fn limits(&self) -> Limits;
}

impl Limited for Api {
    fn limits(&self) -> Limits {
        self.limits
    }
}

impl<S: Limited> FromRequest<Arc<S>> for Content {
    type Rejection = Response;

    async fn from_request(request: Request, served: &Arc<S>) -> Result<Self, Response> {
        // One that announces too much is not read at all.
        if request.body().size_hint().lower() > MAX_BODY as u64 {
            return Err(too_large());
        }
        let limit = served.limits().body_timeout;
        let whole = Bytes::from_request(request, served);
        let Ok(whole) = tokio::time::timeout(duration(limit), whole).await else {
            return Err(late(limit));
        };
        whole.map(Self).map_err(|error| match error {
            BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) => {
                too_large()
            }
            error => usage("the request body can't be read")
                .because(error.body_text())
                .hint("send the whole request again")
                .into_response(),
        })
    }
}

fn too_large() -> Response {
    let error = usage("the request body is too large; at most 1 MiB is taken")
        .hint("send less at a time; upload large content as a blob (`ledger blob put FILE`)");
    closing(answer(StatusCode::PAYLOAD_TOO_LARGE, error))
}

/// What is missing of the body may still come and would be taken for the next request, so the
/// connection ends here.
fn late(limit: Millis) -> Response {
    let limit = format_limit(limit);
    let error = ApiError::new(
        ErrorCode::Timeout,
        "the request body did not arrive in time",
    )
    .because(format!("it was not complete after {limit}"))
    .hint("nothing was recorded; send the whole request again");
    closing(answer(StatusCode::REQUEST_TIMEOUT, error))
}

/// Everything behind the question mark.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(usage("the parameters are not what this endpoint takes")
                .because(error.body_text())
                .hint("those that are not known are refused, so check their names")),
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

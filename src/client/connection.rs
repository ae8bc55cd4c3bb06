//! Connections: kept alive, one request at a time on each, another opened when all are busy.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::{Mutex, PoisonError};

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use ledger_core::time::Micros;

use super::address::Address;
use super::stream::ByteStream;
use super::{MAX_ANSWER, PATIENCE};
use crate::api::wire::{ApiError, ErrorBody, ErrorCode};
use crate::config::HEAD_TIMEOUT;
use crate::node::ports::Stopwatch;

/// Most idle connections kept.
const MAX_IDLE: usize = 64;
/// How long an idle connection is used again: half as long as a node keeps one by default. The
/// node closes first otherwise, perhaps while a request is on its way, of which nobody could then
/// say whether it was taken.
const MAX_IDLE_TIME: Micros = Micros(HEAD_TIMEOUT.0 * 1000 / 2);
/// Longest body of a failed answer that is read, in bytes.
const MAX_ERROR: usize = 64 * 1024;

/// How long an answer may take to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// [`PATIENCE`]: what the node can answer at once.
    Short,
    /// As long as it takes.
    Endless,
}

type Sender = SendRequest<Full<Bytes>>;

/// Connections to one node.
pub(super) struct Pool {
    pub(super) address: Address,
    /// With how long each has been idle, the longest first.
    idle: Mutex<Vec<(Sender, Stopwatch)>>,
    /// [`MAX_IDLE_TIME`], less in tests.
    pub(super) max_idle_time: Micros,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool with a first connection.
    pub(super) async fn open(address: Address) -> io::Result<Self> {
        let first = connect(&address).await?;
        Ok(Self {
            address,
            idle: Mutex::new(vec![(first, Stopwatch::start())]),
            max_idle_time: MAX_IDLE_TIME,
        })
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        patience: Patience,
    ) -> Result<Bytes, ApiError> {
        let whole = async {
            let (sender, response) = self.request(method, path, body).await?;
            let (parts, body) = response.into_parts();
            let limit = if parts.status.is_success() {
                MAX_ANSWER
            } else {
                MAX_ERROR
            };
            let bytes = read_whole(body, limit).await?;
            self.give_back(sender);
            if parts.status.is_success() {
                Ok(bytes)
            } else {
                Err(failure(parts.status.as_u16(), &bytes))
            }
        };
        within(patience, whole).await
    }

    /// Sends a request whose answer is read bit by bit.
    pub(super) async fn open_stream(
        &self,
        path: &str,
        patience: Patience,
    ) -> Result<ByteStream, ApiError> {
        let begun = async {
            let (sender, response) = self.request(Method::GET, path, Vec::new()).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(ByteStream::new(response.into_body(), sender));
            }
            let bytes = read_whole(response.into_body(), MAX_ERROR).await?;
            self.give_back(sender);
            Err(failure(status.as_u16(), &bytes))
        };
        within(patience, begun).await
    }

    /// Sends a request on an idle connection, or a new one if there is none or the node has
    /// closed it meanwhile.
    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(Sender, Response<Incoming>), ApiError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "ledger")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| ApiError::new(ErrorCode::Usage, "the request is malformed").because(e))?;
        loop {
            let kept = self.take_idle();
            let is_kept = kept.is_some();
            let mut sender = match kept {
                Some(sender) => sender,
                // Nothing was sent yet.
                None => connect(&self.address).await.map_err(|e| unreachable(&e))?,
            };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((sender, response)),
                // A kept connection may have been closed meanwhile. What comes back unsent was
                // not seen by anyone, so it may be sent again.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_kept => request = unsent,
                    _ => return Err(gone().because(error.into_error())),
                },
            }
        }
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((sender, since)) = idle.pop() {
            if since.elapsed() >= self.max_idle_time {
                // The rest have been idle for longer still.
                idle.clear();
            } else if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    fn give_back(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push((sender, Stopwatch::start()));
        }
    }
}

async fn connect(address: &Address) -> io::Result<Sender> {
    let stream = address.connect().await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Errors of the connection come up in the request that meets them.
    tokio::spawn(connection);
    Ok(sender)
}

async fn within<T>(
    patience: Patience,
    work: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    match patience {
        Patience::Endless => work.await,
        Patience::Short => tokio::time::timeout(PATIENCE, work)
            .await
            .unwrap_or_else(|_| {
                Err(
                    ApiError::new(ErrorCode::Timeout, "the node does not answer")
                        .because(format!(
                            "nothing came within {} seconds",
                            PATIENCE.as_secs()
                        ))
                        .hint("`ledger lease status` shows whether its process still runs"),
                )
            }),
    }
}

pub(super) async fn read_whole(body: Incoming, limit: usize) -> Result<Bytes, ApiError> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(ApiError::new(
            ErrorCode::Failed,
            "the node's answer is too long",
        )
        .because(format!("at most {limit} bytes are read"))),
        Err(e) => Err(gone().because(e)),
    }
}

/// The node's own words, or as much as can be said without them.
pub(super) fn failure(status: u16, body: &[u8]) -> ApiError {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.error,
        Err(_) => {
            let code = match status {
                404 => ErrorCode::NotFound,
                409 => ErrorCode::Conflict,
                400..500 => ErrorCode::Usage,
                _ => ErrorCode::Failed,
            };
            ApiError::new(code, format!("the node answered with HTTP status {status}"))
        }
    }
}

/// The answer did not come, or not all of it.
pub(super) fn gone() -> ApiError {
    ApiError::new(ErrorCode::Lost, "the connection to the node is lost")
        .hint("see which node leads now: `ledger lease status`")
}

/// Nobody listens any more.
fn unreachable(error: &io::Error) -> ApiError {
    ApiError::new(ErrorCode::NotLeader, "the node has gone")
        .because(error)
        .hint("see which node leads now: `ledger lease status`")
}

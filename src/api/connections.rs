//! Connections: how many there may be, and how long a request may take to arrive. A client that
//! says nothing, or stops in the middle, costs the node a bounded time and nothing else.
//!
//! | what comes | what goes back |
//! |---|---|
//! | a whole request | the answer; every failure has an [`ErrorBody`](super::wire::ErrorBody) |
//! | a body above [`MAX_BODY`](super::wire::MAX_BODY) | 413 and an error body, then the end |
//! | a body that is not complete within [`Limits::body_timeout`] | 408 and an error body, then the end |
//! | a connection beyond [`Limits::connections`] | 503 and an error body, then the end |
//! | nothing, or half a head, for [`Limits::head_timeout`]; HTTP/2 | the end, without a word |
//! | what is no HTTP/1 request | 400 and an error body, then the end |
//! | a path above 65,534 bytes | 414 and an error body, then the end |
//! | a head above [`MAX_HEAD`] or of more than 100 fields | 431 and an error body, then the end |
//!
//! The last three are hyper's own: they are met before there is a request that a route could answer.
//! [`Spoken`] gives them their body. No route minds the type of a body, so there is no 415.
//!
//! The limit on the head is also what ends an idle connection that is kept for a next request.
//! Requests that take long by their nature (`wait`, `follow=true`) have arrived and are not limited.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ledger_core::time::Millis;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::error::answer;
use super::socket::Listener;
use super::spoken::{Answering, Lasting, Spoken};
use super::wire::{ApiError, ErrorCode};

/// Longest head of a request, in bytes: far above what any client sends, and so little that all
/// connections together can't fill memory with it. hyper's own limit is three times that.
pub(super) const MAX_HEAD: usize = 128 * 1024;
/// Connections beyond the limit that are told so at once. Those beyond these wait unaccepted.
const TURNED_AWAY: usize = 64;
/// How long to wait after a connection could not be accepted, which mostly means that this process
/// or the system has too many files open: it passes, and trying again at once would help nobody.
const BREATH: Duration = Duration::from_millis(100);

/// What a client may take before its request is complete.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a head may take to arrive, and how long a connection may be idle.
    pub head_timeout: Millis,
    /// How long the body may take after that.
    pub body_timeout: Millis,
    /// Connections at once.
    pub connections: usize,
}

/// A limit as the runtime counts.
pub(super) const fn duration(limit: Millis) -> Duration {
    Duration::from_millis(limit.0)
}

/// Who is at the other end of the socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    /// Its user, as the kernel vouches for it.
    pub(super) uid: Option<u32>,
}

/// Serves connections until `stop` resolves, and those that are open then until they end.
/// Dropped, it closes them.
pub(super) async fn serve(
    mut listener: Listener,
    routes: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let full = Router::new().fallback(async || too_many());
    let room = Arc::new(Semaphore::new(limits.connections));
    let spare = Arc::new(Semaphore::new(TURNED_AWAY));
    let (closing, on_close) = watch::channel(false);
    let mut open = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let (stream, spare) = tokio::select! {
            () = &mut stop => break,
            Some(_) = open.join_next() => continue,
            accepted = accept(&mut listener, &spare) => accepted,
        };
        let (router, place) = match Arc::clone(&room).try_acquire_owned() {
            Ok(place) => (&routes, place),
            Err(_) => (&full, spare),
        };
        let on_close = on_close.clone();
        open.spawn(converse(stream, router.clone(), limits, on_close, place));
    }
    drop(listener);
    closing.send_replace(true);
    while open.join_next().await.is_some() {}
}

/// The next connection, and a place from which it can at least be turned away.
async fn accept(
    listener: &mut Listener,
    spare: &Arc<Semaphore>,
) -> (UnixStream, OwnedSemaphorePermit) {
    loop {
        let place = Arc::clone(spare).acquire_owned().await;
        match (listener.accept().await, place) {
            (Ok(stream), Ok(place)) => return (stream, place),
            (Err(error), _) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATH).await;
            }
            // The semaphore is never closed.
            (Ok(_), Err(_)) => {}
        }
    }
}

/// Answers one connection's requests until it ends, or has been told to close and is idle.
async fn converse(
    stream: UnixStream,
    router: Router,
    limits: Limits,
    mut on_close: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let peer = Peer {
        uid: stream.peer_cred().ok().map(|cred| cred.uid()),
    };
    let router = TowerToHyperService::new(router);
    let answering = Answering::default();
    let stream = Spoken::new(TokioIo::new(stream), answering.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let answer = answering.begin();
        request.extensions_mut().insert(peer);
        let answered = router.call(request);
        async move {
            let response = answered.await.unwrap_or_else(|never| match never {});
            Ok::<axum::http::Response<Lasting>, Infallible>(answer.of(response))
        }
    });
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(duration(limits.head_timeout))
        .max_header_size(MAX_HEAD)
        .serve_connection(stream, service);
    tokio::pin!(connection);
    let told = async { drop(on_close.wait_for(|close| *close).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = told => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

fn too_many() -> Response {
    let error = ApiError::new(ErrorCode::Refused, "the node has as many connections as it may")
        .hint("try again in a moment; if that goes on, look for clients that keep theirs, or raise api.max_connections in ledger.toml");
    closing(answer(StatusCode::SERVICE_UNAVAILABLE, error))
}

/// An answer after which the connection ends.
pub(super) fn closing(mut answer: Response) -> Response {
    let close = axum::http::HeaderValue::from_static("close");
    answer
        .headers_mut()
        .insert(axum::http::header::CONNECTION, close);
    answer
}

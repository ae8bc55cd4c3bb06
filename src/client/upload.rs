//! Requests whose body is read bit by bit, so that its size doesn't matter. Each has a connection of
//! its own: it may take long, and ends it if the node refuses in the middle.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::MAX_ANSWER;
use super::connection::{Pool, failure, gone, read_whole};
use crate::api::wire::{ApiError, ErrorCode};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Chunks between the file and the socket.
const STREAM_DEPTH: usize = 4;

type Chunk = io::Result<Frame<Bytes>>;

impl Pool {
    /// Sends content by a POST and reads the whole answer, however long the content takes.
    pub(super) async fn upload(
        &self,
        path: &str,
        content: impl Read + Send + 'static,
    ) -> Result<Bytes, ApiError> {
        let stream = self.address.connect().await;
        let stream = stream.map_err(|e| gone().because(e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| gone().because(e))?;
        // Errors of the connection come up in the request that meets them.
        tokio::spawn(connection);
        let (chunks, body) = mpsc::channel::<Chunk>(STREAM_DEPTH);
        let unread = Arc::new(Mutex::new(None));
        let told = Arc::clone(&unread);
        tokio::task::spawn_blocking(move || feed(content, &chunks, &told));
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, "ledger")
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(StreamBody::new(ReceiverStream::new(body)))
            .map_err(|e| ApiError::new(ErrorCode::Usage, "the request is malformed").because(e))?;
        let response = sender.send_request(request).await;
        let why = unread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(why) = why {
            return Err(
                ApiError::new(ErrorCode::Failed, "the content can't be read")
                    .because(why)
                    .hint("nothing was stored"),
            );
        }
        let (parts, body) = response.map_err(|e| gone().because(e))?.into_parts();
        let bytes = read_whole(body, MAX_ANSWER).await?;
        if parts.status.is_success() {
            Ok(bytes)
        } else {
            Err(failure(parts.status.as_u16(), &bytes))
        }
    }
}

/// Reads content until its end, or until nobody wants more. What can't be read ends the request in
/// the middle, so that the node stores nothing.
fn feed(mut content: impl Read, chunks: &mpsc::Sender<Chunk>, unread: &Mutex<Option<String>>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let chunk = match content.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => Ok(Frame::data(Bytes::copy_from_slice(&buffer[..count]))),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let mut unread = unread.lock().unwrap_or_else(PoisonError::into_inner);
                *unread = Some(error.to_string());
                Err(error)
            }
        };
        let failed = chunk.is_err();
        if chunks.blocking_send(chunk).is_err() || failed {
            return;
        }
    }
}

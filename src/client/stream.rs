//! Answers that are read bit by bit: bytes, raw blocks behind their lengths, lines of JSON.

use std::fmt;
use std::marker::PhantomData;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::connection::gone;
use crate::api::wire::{ApiError, ErrorCode, SnapshotHead};

/// Longest block that is read, in bytes: far above what stores write.
const MAX_BLOCK: usize = 1024 * 1024;
/// Longest line that is read, in bytes.
const MAX_LINE: usize = 16 * 1024 * 1024;

/// A body as it comes. Dropping it closes its connection.
pub struct ByteStream {
    body: Incoming,
    /// hyper ends a connection when its sender is dropped.
    _sender: SendRequest<Full<Bytes>>,
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").finish_non_exhaustive()
    }
}

impl ByteStream {
    pub(super) fn new(body: Incoming, sender: SendRequest<Full<Bytes>>) -> Self {
        Self {
            body,
            _sender: sender,
        }
    }

    /// The next bytes; `None` at the end. May be dropped while it waits without losing any.
    ///
    /// # Errors
    /// [`ErrorCode::Lost`] if the connection was before the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|e| gone().because(e))?;
            if let Ok(bytes) = frame.into_data()
                && !bytes.is_empty()
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// What has come and was not taken yet.
#[derive(Debug)]
struct Buffered {
    stream: ByteStream,
    bytes: Vec<u8>,
    /// Where what was not taken begins.
    at: usize,
}

impl Buffered {
    fn new(stream: ByteStream) -> Self {
        Self {
            stream,
            bytes: Vec::new(),
            at: 0,
        }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn take(&mut self, len: usize) -> &[u8] {
        self.at += len;
        &self.bytes[self.at - len..self.at]
    }

    /// Waits for more; `false` at the end.
    async fn more(&mut self) -> Result<bool, ApiError> {
        let Some(bytes) = self.stream.next().await? else {
            return Ok(false);
        };
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(&bytes);
        Ok(true)
    }
}

fn cut_short() -> ApiError {
    gone().because("the answer ended in the middle")
}

/// Raw blocks, each behind its length.
#[derive(Debug)]
pub struct BlockStream(Buffered);

impl BlockStream {
    pub(super) fn new(stream: ByteStream) -> Self {
        Self(Buffered::new(stream))
    }

    /// The next block's bytes, unchecked; `None` at the end. May be dropped while it waits
    /// without losing any.
    ///
    /// # Errors
    /// [`ErrorCode::Lost`] if the connection was, also in the middle of a block.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        loop {
            let rest = self.0.rest();
            if let Some((prefix, bytes)) = rest.split_first_chunk::<4>() {
                let len = u32::from_le_bytes(*prefix) as usize;
                if len > MAX_BLOCK {
                    return Err(ApiError::new(ErrorCode::Failed, "the node sent no blocks")
                        .because(format!("a block of {len} bytes is too long")));
                }
                if bytes.len() >= len {
                    return Ok(Some(self.0.take(4 + len)[4..].to_vec()));
                }
            }
            if !self.0.more().await? {
                return if self.0.rest().is_empty() {
                    Ok(None)
                } else {
                    Err(cut_short())
                };
            }
        }
    }
}

/// Lines of JSON.
#[derive(Debug)]
struct Lines(Buffered);

impl Lines {
    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ApiError> {
        let mut searched = 0;
        loop {
            let rest = self.0.rest();
            if let Some(at) = rest[searched..].iter().position(|b| *b == b'\n') {
                let line = self.0.take(searched + at + 1);
                return serde_json::from_slice(line).map(Some).map_err(|e| {
                    ApiError::new(ErrorCode::Failed, "the node's answer is not understood")
                        .because(e)
                });
            }
            searched = rest.len();
            if searched > MAX_LINE {
                return Err(
                    ApiError::new(ErrorCode::Failed, "the node's answer is too long")
                        .because(format!("a line has more than {MAX_LINE} bytes")),
                );
            }
            if !self.0.more().await? {
                let rest = self.0.rest();
                return if rest.is_empty() {
                    Ok(None)
                } else {
                    Err(cut_short())
                };
            }
        }
    }
}

/// Many of the same kind, a line of JSON each.
#[derive(Debug)]
pub struct JsonLines<T> {
    lines: Lines,
    of: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonLines<T> {
    pub(super) fn new(stream: ByteStream) -> Self {
        Self {
            lines: Lines(Buffered::new(stream)),
            of: PhantomData,
        }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// [`ErrorCode::Lost`] if the connection was; [`ErrorCode::Failed`] if a line is not what it should be.
    pub async fn next(&mut self) -> Result<Option<T>, ApiError> {
        self.lines.next().await
    }

    /// All of them.
    ///
    /// # Errors
    /// As [`JsonLines::next`].
    pub async fn collect(mut self) -> Result<Vec<T>, ApiError> {
        let mut all = Vec::new();
        while let Some(one) = self.next().await? {
            all.push(one);
        }
        Ok(all)
    }
}

/// A projection's content as it is sent: what it says of itself, then its rows.
#[derive(Debug)]
pub struct SnapshotStream {
    head: SnapshotHead,
    lines: Lines,
}

impl SnapshotStream {
    pub(super) async fn new(stream: ByteStream) -> Result<Self, ApiError> {
        let mut lines = Lines(Buffered::new(stream));
        let empty = || ApiError::new(ErrorCode::Failed, "the node's snapshot is empty");
        Ok(Self {
            head: lines.next().await?.ok_or_else(empty)?,
            lines,
        })
    }

    /// What it says of itself.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// The next row, its key and its value's exact bytes; `None` at the end.
    ///
    /// # Errors
    /// [`ErrorCode::Lost`] if the connection was; [`ErrorCode::Failed`] if a line is not a row.
    pub async fn row(&mut self) -> Result<Option<(String, Box<RawValue>)>, ApiError> {
        self.lines.next().await
    }
}

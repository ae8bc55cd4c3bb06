//! What hyper refuses by itself, in the API's own words.
//!
//! A head that is no HTTP, has too long a path or is too large never becomes a request, so no route
//! can answer it; hyper sends a bare status, takes no body for it and ends the connection. It offers
//! no hook (its `on_error` is private), so the bare answer is recognized on its way out, and one with
//! an [`ErrorBody`] goes out in its place.
//!
//! Nothing else can be taken for it: it is looked for only while no request is being answered, and
//! only at the end of what is written, where a route's answer ends with its JSON or a last chunk.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::response::Response;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::connections::MAX_HEAD;
use super::error::usage;
use super::wire::{ApiError, ErrorBody};

/// hyper's own answers are shorter than this.
const LONGEST: usize = 256;

/// How many requests of a connection are being answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Answering(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Answer(Answering);

impl Answering {
    /// A request has come.
    pub(super) fn begin(&self) -> Answer {
        self.0.fetch_add(1, Ordering::Relaxed);
        Answer(self.clone())
    }

    fn is_idle(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Answer {
    /// Lets it last as long as its body does.
    pub(super) fn of(self, response: Response) -> axum::http::Response<Lasting> {
        response.map(|body| Lasting {
            body,
            _answer: self,
        })
    }
}

/// The body of an answer that is under way.
#[derive(Debug)]
pub(super) struct Lasting {
    body: axum::body::Body,
    _answer: Answer,
}

impl Body for Lasting {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection on which no refusal goes out bare.
#[derive(Debug)]
pub(super) struct Spoken<S> {
    stream: S,
    answering: Answering,
    /// What is being written in place of a bare refusal.
    instead: Option<Instead>,
}

#[derive(Debug)]
struct Instead {
    bytes: Vec<u8>,
    written: usize,
    /// Length of what it stands for.
    of: usize,
}

impl<S> Spoken<S> {
    pub(super) fn new(stream: S, answering: Answering) -> Self {
        Self {
            stream,
            answering,
            instead: None,
        }
    }

    /// Where in what is to be written a bare refusal begins, and what to say instead.
    fn refusal(&self, bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
        if !self.answering.is_idle() || !bytes.ends_with(b"\r\n\r\n") {
            return None;
        }
        let from = bytes.len().saturating_sub(LONGEST);
        let status_line = b"HTTP/1.";
        let begins = bytes[from..]
            .windows(status_line.len())
            .rposition(|w| w == status_line)?;
        let at = from + begins;
        in_words(std::str::from_utf8(&bytes[at..]).ok()?).map(|instead| (at, instead))
    }
}

/// What to say in place of this, if it is a bare refusal.
fn in_words(answer: &str) -> Option<Vec<u8>> {
    let (status, fields) = answer.strip_suffix("\r\n\r\n")?.split_once("\r\n")?;
    let (_, status_and_reason) = status.split_once(' ')?;
    let error = refused(status_and_reason.split_once(' ')?.0)?;
    let mut kept = String::new();
    let mut is_empty = false;
    for field in fields.split("\r\n") {
        match field.split_once(": ")? {
            ("content-length", "0") => is_empty = true,
            ("connection", "close") => {}
            ("date", _) => kept = format!("{field}\r\n"),
            _ => return None,
        }
    }
    let body = serde_json::to_string(&ErrorBody { error }).ok()?;
    let length = body.len();
    is_empty.then(|| {
        format!(
            "{status}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n{kept}\r\n{body}"
        )
        .into_bytes()
    })
}

/// The error that a bare status stands for.
fn refused(status: &str) -> Option<ApiError> {
    Some(match status {
        "400" => usage("the request is not HTTP/1.1 as this API reads it")
            .hint("send a request line, headers and an empty line, each ended by CR LF"),
        "414" => usage("the path of the request is too long")
            .because(
                "at most 65,534 bytes are taken, with all that stands behind the question mark",
            )
            .hint("ask for less at a time"),
        "431" => usage("the head of the request is too large")
            .because(format!("at most {MAX_HEAD} bytes and 100 fields are taken"))
            .hint("send large content in the body"),
        _ => return None,
    })
}

impl<S: Write + Unpin> Spoken<S> {
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self {
            stream, instead, ..
        } = self;
        let Some(words) = instead else {
            return Poll::Ready(Ok(0));
        };
        while words.written < words.bytes.len() {
            let rest = &words.bytes[words.written..];
            match Pin::new(&mut *stream).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(0)),
                Poll::Ready(Ok(written)) => words.written += written,
                other => return other,
            }
        }
        let of = words.of;
        *instead = None;
        Poll::Ready(Ok(of))
    }
}

impl<S: Write + Unpin> Write for Spoken<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.instead.is_none() {
            match self.refusal(bytes) {
                None => return Pin::new(&mut self.stream).poll_write(cx, bytes),
                // What stands before it goes first.
                Some((at, _)) if at > 0 => {
                    return Pin::new(&mut self.stream).poll_write(cx, &bytes[..at]);
                }
                Some((_, words)) => {
                    self.instead = Some(Instead {
                        bytes: words,
                        written: 0,
                        of: bytes.len(),
                    });
                }
            }
        }
        self.poll_instead(cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let last = slices.iter().rposition(|slice| !slice.is_empty());
        let Some(last) = last else {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        };
        if self.instead.is_none() && self.refusal(&slices[last]).is_none() {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        if slices[..last].iter().any(|slice| !slice.is_empty()) {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..last]);
        }
        self.poll_write(cx, &slices[last])
    }
}

impl<S: Read + Unpin> Read for Spoken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str = "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
        content-length: 0\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";

    /// Takes what it is given in bits of three bytes.
    #[derive(Debug, Default)]
    struct Slow(Vec<u8>);

    impl Write for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(3);
            self.0.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(spoken: &mut Spoken<Slow>, mut bytes: &[u8]) -> String {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while !bytes.is_empty() {
            match Pin::new(&mut *spoken).poll_write(&mut cx, bytes) {
                Poll::Ready(Ok(n)) => bytes = &bytes[n..],
                other => panic!("{other:?}"),
            }
        }
        String::from_utf8(std::mem::take(&mut spoken.stream.0)).unwrap()
    }

    #[test]
    fn a_bare_refusal_gets_a_body_behind_whatever_stands_before_it() {
        let mut spoken = Spoken::new(Slow::default(), Answering::default());
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        let said = write(&mut spoken, format!("{before}{BARE}").as_bytes());
        let said = said.strip_prefix(before).unwrap();
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert!(head.contains("\r\ndate: Sun, "));
        let body: ErrorBody = serde_json::from_str(body).unwrap();
        assert!(body.error.message.contains("too large"));
    }

    #[test]
    fn what_a_route_says_is_left_alone() {
        let answering = Answering::default();
        let mut spoken = Spoken::new(Slow::default(), answering.clone());
        let answer = answering.begin();
        assert_eq!(write(&mut spoken, BARE.as_bytes()), BARE, "in a body");
        drop(answer);
        for other in [
            "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nallow: GET\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n{}",
        ] {
            assert_eq!(write(&mut spoken, other.as_bytes()), other);
        }
        assert_ne!(write(&mut spoken, BARE.as_bytes()), BARE);
    }
}

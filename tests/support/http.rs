//! HTTP by hand, for requests that no well-behaved client would send.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::DEADLINE;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Self {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The error's code and message; every failed answer must have them.
    pub fn error(&self) -> (String, String) {
        let error = &self.json()["error"];
        let field = |name: &str| match error[name].as_str() {
            Some(text) => text.to_owned(),
            None => panic!("no {name} in {self:?}"),
        };
        let (code, message) = (field("code"), field("message"));
        (code, message)
    }

    /// Message and cause in one.
    pub fn why(&self) -> String {
        let cause = self.json()["error"]["cause"]
            .as_str()
            .unwrap_or("")
            .to_owned();
        format!("{}: {cause}", self.error().1)
    }
}

/// Connects, also where the path is longer than a socket's may be.
fn connect(socket: &Path) -> UnixStream {
    let dir = File::open(socket.parent().unwrap()).unwrap();
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()))
        .join(socket.file_name().unwrap());
    let stream = UnixStream::connect(short).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Sends bytes and leaves the connection open.
pub fn send_only(socket: &Path, bytes: &[u8]) -> UnixStream {
    let mut stream = connect(socket);
    stream.write_all(bytes).unwrap();
    stream
}

/// Sends bytes and reads until the node closes; nothing if it says nothing that is HTTP.
pub fn raw(socket: &Path, bytes: &[u8]) -> Option<Answer> {
    let mut stream = connect(socket);
    // The node may answer and close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Answer::parse(&answer)
}

pub fn get_request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: ledger\r\nConnection: close\r\n\r\n").into_bytes()
}

pub fn post_request(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: ledger\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub fn get(socket: &Path, path: &str) -> Answer {
    raw(socket, &get_request(path)).unwrap_or_else(|| panic!("no answer to {path}"))
}

pub fn post(socket: &Path, path: &str, body: &str) -> Answer {
    raw(socket, &post_request(path, body.as_bytes()))
        .unwrap_or_else(|| panic!("no answer to {path}: {body}"))
}

//! The frames that requests travel in: node to spawner, spawner to an idle shim.
//!
//! ```text
//!  0  u32  length of the request   4  u32  count of shims   8  count times i32  pid   ..  request
//! ```
//! Little endian. The shims are those that the node has done with: it will not signal them any
//! more for an attempt they served. The spawner looks at no more than them.

use std::io::{self, Read, Write};

use super::protocol::MAX_REQUEST_BYTES;

const HEAD: usize = 8;
/// Most shims that are named in a frame.
pub(super) const MAX_RELEASED: usize = 256;

/// Writes a frame; of `released`, the last [`MAX_RELEASED`].
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a request that is too large; nothing is written then.
/// Otherwise the frame is not whole, and nothing more can be sent this way.
pub(super) fn write(to: &mut impl Write, released: &[i32], request: &[u8]) -> io::Result<()> {
    if request.len() > MAX_REQUEST_BYTES {
        let message = format!(
            "request of {} bytes; {MAX_REQUEST_BYTES} are allowed",
            request.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let released = &released[released.len().saturating_sub(MAX_RELEASED)..];
    let mut frame = Vec::with_capacity(HEAD + 4 * released.len() + request.len());
    frame.extend_from_slice(&(request.len() as u32).to_le_bytes());
    frame.extend_from_slice(&(released.len() as u32).to_le_bytes());
    for pid in released {
        frame.extend_from_slice(&pid.to_le_bytes());
    }
    frame.extend_from_slice(request);
    let written = to.write_all(&frame);
    // A request may hold secrets, and the spawner's memory is copied into every shim.
    frame.fill(0);
    written
}

/// Reads the next frame: its request into `request`, the shims it names into the answer. `None`
/// where there are no more whole ones.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for one that is too large, or what reading fails with.
pub(super) fn read(from: &mut impl Read, request: &mut Vec<u8>) -> io::Result<Option<Vec<i32>>> {
    // Whoever writes may die in the middle of it.
    let whole = |read: io::Result<()>| match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| true),
    };
    let mut head = [0; HEAD];
    if !whole(from.read_exact(&mut head))? {
        return Ok(None);
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let count = u32::from_le_bytes([c0, c1, c2, c3]) as usize;
    if length > MAX_REQUEST_BYTES || count > MAX_RELEASED {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut released = [0; 4 * MAX_RELEASED];
    let released = &mut released[..4 * count];
    request.resize(length, 0);
    if !whole(from.read_exact(released))? || !whole(from.read_exact(request))? {
        return Ok(None);
    }
    let (pids, _) = released.as_chunks();
    Ok(Some(
        pids.iter().map(|&pid| i32::from_le_bytes(pid)).collect(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_a_cut_one_does_not() {
        let mut bytes = Vec::new();
        write(&mut bytes, &[7, -1], b"first").unwrap();
        let first = bytes.len();
        write(&mut bytes, &[], b"").unwrap();
        let mut request = Vec::new();
        let mut from = bytes.as_slice();
        assert_eq!(read(&mut from, &mut request).unwrap(), Some(vec![7, -1]));
        assert_eq!(request, b"first");
        assert_eq!(read(&mut from, &mut request).unwrap(), Some(vec![]));
        assert_eq!(request, b"");
        assert_eq!(read(&mut from, &mut request).unwrap(), None);
        for cut in 0..first {
            let cut = read(&mut &bytes[..cut], &mut request);
            assert_eq!(cut.unwrap(), None);
        }
    }

    #[test]
    fn what_is_too_large_is_neither_written_nor_read() {
        let mut bytes = Vec::new();
        let huge = vec![b'x'; MAX_REQUEST_BYTES + 1];
        let error = write(&mut bytes, &[], &huge).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(bytes.is_empty());
        for head in [[u32::MAX, 0], [0, u32::MAX]] {
            let mut bytes: Vec<u8> = head.into_iter().flat_map(u32::to_le_bytes).collect();
            bytes.extend_from_slice(&[0; 4000]);
            let error = read(&mut bytes.as_slice(), &mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        write(&mut bytes, &[1; MAX_RELEASED + 1], b"x").unwrap();
        let named = read(&mut bytes.as_slice(), &mut Vec::new()).unwrap();
        assert_eq!(named.map(|pids| pids.len()), Some(MAX_RELEASED));
    }
}

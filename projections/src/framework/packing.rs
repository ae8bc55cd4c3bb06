//! Content as bytes: smaller than rows and faster to read, for checkpoints.
//!
//! Rows are what content is compared by; reading a million of them back takes longer than folding the
//! events that led there. So a projection with much content packs it by itself, and all others pack
//! their rows:
//!
//! ```text
//! number: LEB128 | text: number of bytes, bytes | signed number: zigzag, LEB128
//! rows:   number of rows, then key and value of each as texts
//! ```
//! Whoever unpacks must know that the bytes are those that were packed (by their hash): what they say is
//! checked no further than memory safety and the projection's own invariants need.

use super::projection::{Projection, RestoreError};

/// Writes numbers and texts.
#[derive(Debug, Default)]
pub struct Packer(Vec<u8>);

impl Packer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a number.
    pub fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push((n & 0x7F) as u8 | 0x80);
            n >>= 7;
        }
        self.0.push((n & 0x7F) as u8);
    }

    /// Adds how far `n` is from `base`, either way.
    pub fn from_base(&mut self, n: u64, base: u64) {
        let away = n.wrapping_sub(base).cast_signed();
        self.number(((away << 1) ^ (away >> 63)).cast_unsigned());
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    /// Adds bytes whose number the reader knows.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Adds one byte.
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Packed content that ends too early, or says what can't be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("packed content is cut or makes no sense")]
pub struct Unpackable;

impl From<Unpackable> for RestoreError {
    fn from(e: Unpackable) -> Self {
        Self::row("", e.to_string())
    }
}

/// Reads what a [`Packer`] wrote.
#[derive(Debug)]
pub struct Unpacker<'a>(&'a [u8]);

impl<'a> Unpacker<'a> {
    /// Over these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next number.
    ///
    /// # Errors
    /// [`Unpackable`].
    pub fn number(&mut self) -> Result<u64, Unpackable> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(Unpackable)
    }

    /// The next number that was written by its distance from `base`.
    ///
    /// # Errors
    /// [`Unpackable`].
    pub fn from_base(&mut self, base: u64) -> Result<u64, Unpackable> {
        let n = self.number()?;
        let away = (n >> 1).cast_signed() ^ -((n & 1).cast_signed());
        Ok(base.wrapping_add(away.cast_unsigned()))
    }

    /// The next number, which fits in 32 bits.
    ///
    /// # Errors
    /// [`Unpackable`].
    pub fn small(&mut self) -> Result<u32, Unpackable> {
        u32::try_from(self.number()?).map_err(|_| Unpackable)
    }

    /// The next number, which counts something that takes at least a byte each.
    ///
    /// # Errors
    /// [`Unpackable`].
    pub fn count(&mut self) -> Result<usize, Unpackable> {
        let n = usize::try_from(self.number()?).map_err(|_| Unpackable)?;
        if n > self.0.len() {
            return Err(Unpackable);
        }
        Ok(n)
    }

    /// The next text.
    ///
    /// # Errors
    /// [`Unpackable`].
    pub fn text(&mut self) -> Result<&'a str, Unpackable> {
        let len = self.count()?;
        std::str::from_utf8(self.bytes(len)?).map_err(|_| Unpackable)
    }

    /// The next bytes.
    ///
    /// # Errors
    /// [`Unpackable`].
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], Unpackable> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Unpackable)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Unpackable`].
    pub fn byte(&mut self) -> Result<u8, Unpackable> {
        let (byte, rest) = self.0.split_first().ok_or(Unpackable)?;
        self.0 = rest;
        Ok(*byte)
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// [`Unpackable`].
    pub fn end(&self) -> Result<(), Unpackable> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Unpackable)
    }
}

/// Packs a projection's rows.
pub fn pack_rows<P: Projection>(state: &P) -> Vec<u8> {
    let (mut rows, mut packer) = (0, Packer::new());
    state.rows(&mut |key, value| {
        rows += 1;
        packer.text(key);
        packer.text(value);
    });
    let mut all = Packer::new();
    all.number(rows);
    all.bytes(&packer.into_bytes());
    all.into_bytes()
}

/// The inverse of [`pack_rows`].
///
/// # Errors
/// [`RestoreError`].
pub fn unpack_rows<P: Projection>(bytes: &[u8]) -> Result<P, RestoreError> {
    let mut unpacker = Unpacker::new(bytes);
    let mut left = unpacker.count()?;
    let mut fault = None;
    let mut rows = std::iter::from_fn(|| {
        left = left.checked_sub(1)?;
        match unpacker
            .text()
            .and_then(|key| Ok((key.to_owned(), unpacker.text()?.to_owned())))
        {
            Ok(row) => Some(row),
            Err(cut) => {
                (fault, left) = (Some(cut), 0);
                None
            }
        }
    });
    let state = P::from_rows(&mut rows);
    rows.by_ref().for_each(drop);
    if let Some(fault) = fault {
        return Err(fault.into());
    }
    unpacker.end()?;
    state
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(n in any::<u64>(), base in any::<u64>(), text in ".{0,40}") {
            let mut packer = Packer::new();
            packer.number(n);
            packer.from_base(n, base);
            packer.text(&text);
            let bytes = packer.into_bytes();
            let mut unpacker = Unpacker::new(&bytes);
            prop_assert_eq!(unpacker.number(), Ok(n));
            prop_assert_eq!(unpacker.from_base(base), Ok(n));
            prop_assert_eq!(unpacker.text(), Ok(text.as_str()));
            prop_assert_eq!(unpacker.end(), Ok(()));
        }

        #[test]
        fn whatever_is_unpacked_ends_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut unpacker = Unpacker::new(&bytes);
            while unpacker.number().is_ok() && unpacker.text().is_ok() && unpacker.from_base(7).is_ok() {}
            let _ = unpack_rows::<crate::jobs::Jobs>(&bytes);
        }
    }
}

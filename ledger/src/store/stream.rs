//! Blocks one behind the other, as they go over a socket or into a file: each with its length in
//! front (u32, little endian). FORMAT.md calls it the raw block stream.

use std::io::{self, Read, Write};

use super::{BLOCK_CAP, BLOCK_HEADER, Block, BlockFault, ReadError};
use crate::codec::MAX_EVENT;
use crate::ids::Seq;

/// The longest block there is: one event of the largest size may be longer than [`BLOCK_CAP`].
pub const MAX_BLOCK: usize = {
    let alone = BLOCK_HEADER + 4 + MAX_EVENT;
    if alone > BLOCK_CAP { alone } else { BLOCK_CAP }
};

/// Writes one block.
///
/// # Errors
/// If the destination does.
pub fn write_block(out: &mut impl Write, block: &Block) -> io::Result<()> {
    let bytes = block.as_bytes();
    let len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(bytes)
}

/// Reads the next block; `None` at the end of the stream.
///
/// # Errors
/// [`ReadError::Io`] if the source fails, [`ReadError::Damaged`] if it ends inside a block or a
/// length is out of range, [`ReadError::Block`] if a block does not parse.
pub fn read_block(source: &mut impl Read) -> Result<Option<Block>, ReadError> {
    let mut len = [0; 4];
    let mut got = 0;
    while got < len.len() {
        match source.read(&mut len[got..]) {
            Ok(0) if got == 0 => return Ok(None),
            Ok(0) => return Err(cut()),
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(ReadError::Io(e)),
        }
    }
    let len = u32::from_le_bytes(len) as usize;
    if !(BLOCK_HEADER..=MAX_BLOCK).contains(&len) {
        return Err(ReadError::Damaged(format!(
            "a block of {len} bytes; blocks have {BLOCK_HEADER} to {MAX_BLOCK}"
        )));
    }
    let mut bytes = vec![0; len];
    source.read_exact(&mut bytes).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => cut(),
        _ => ReadError::Io(e),
    })?;
    let seq = bytes[8..16].try_into().map(u64::from_le_bytes).map(Seq);
    Block::parse(bytes)
        .map(Some)
        .map_err(|fault: BlockFault| ReadError::Block {
            seq: seq.unwrap_or_default(),
            fault,
        })
}

fn cut() -> ReadError {
    ReadError::Damaged("the stream ends inside a block".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Head;
    use crate::ids::Term;
    use crate::store::pack;
    use crate::store::samples::{batch, ledger_id};

    #[test]
    fn blocks_go_through_and_a_cut_is_found_at_every_length() {
        let batch = batch(ledger_id(1), Head::EMPTY, Term(1), &[40_000, 40_000, 30]);
        let blocks = pack(&batch, None);
        assert!(blocks.len() > 1);
        let mut out = Vec::new();
        let mut ends = vec![0];
        for block in &blocks {
            write_block(&mut out, block).unwrap();
            ends.push(out.len());
        }
        let mut source = &out[..];
        for block in &blocks {
            assert_eq!(read_block(&mut source).unwrap().as_ref(), Some(block));
        }
        assert!(read_block(&mut source).unwrap().is_none());
        for cut in (0..out.len()).step_by(7).chain(ends.clone()) {
            let mut source = &out[..cut];
            let end = loop {
                match read_block(&mut source) {
                    Ok(Some(_)) => {}
                    end => break end,
                }
            };
            assert_eq!(end.is_ok(), ends.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn lengths_out_of_range_are_refused_before_anything_is_allocated() {
        for len in [0, 79, MAX_BLOCK as u32 + 1, u32::MAX] {
            let refused = read_block(&mut &len.to_le_bytes()[..]);
            assert!(matches!(refused, Err(ReadError::Damaged(_))), "{len}");
        }
    }
}

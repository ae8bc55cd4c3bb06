//! A file that is read and never written: changes go into memory, page by page.
//!
//! redb needs to write even to look at a store whose writer was killed (it repairs first). Over
//! this backend it may: the repair happens in memory, the file keeps every byte as it was found,
//! and no permission to write it is needed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::redb::StorageBackend;

/// Bytes that are copied when one of them is written.
pub(super) const PAGE: usize = 4096;

/// Bytes at rest that can be read from any thread.
pub(in crate::store) trait Source: fmt::Debug + Send + Sync + 'static {
    /// How many there are.
    fn len(&self) -> io::Result<u64>;

    /// Fills `out` from `offset` on; an error if there are not that many.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

impl Source for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(out, offset)
    }
}

pub(super) fn past_the_end() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "read past the end of the file",
    )
}

struct State {
    /// Length as redb sees it.
    len: u64,
    /// How much of the source still shows through; what was cut off and grown again is zero.
    base: u64,
    /// Pages that were written, by their number.
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

/// Copy on write over a [`Source`].
pub(super) struct Overlay {
    source: Arc<dyn Source>,
    state: Mutex<State>,
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overlay")
    }
}

impl Overlay {
    pub(super) fn new(source: Arc<dyn Source>) -> io::Result<Self> {
        let len = source.len()?;
        Ok(Self {
            source,
            state: Mutex::new(State {
                len,
                base: len,
                pages: BTreeMap::new(),
            }),
        })
    }

    /// What was changed: the length, and the pages by their number.
    pub(super) fn into_changes(self) -> (u64, BTreeMap<u64, Box<[u8; PAGE]>>) {
        let state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        (state.len, state.pages)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the source shows of `offset..`, zeros behind it.
    fn read_base(&self, base: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let shown = base.saturating_sub(offset).min(out.len() as u64);
        let (shown, hidden) = out.split_at_mut(usize::try_from(shown).unwrap_or(usize::MAX));
        hidden.fill(0);
        if shown.is_empty() {
            return Ok(());
        }
        self.source.read(offset, shown)
    }
}

fn check_range(offset: u64, len: usize, end: u64) -> io::Result<u64> {
    offset
        .checked_add(len as u64)
        .filter(|&to| to <= end)
        .ok_or_else(past_the_end)
}

/// The part of page `number` that lies in `offset..to`, as a range in the page and one in the
/// buffer that begins at `offset`.
fn overlap(number: u64, offset: u64, to: u64) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
    let start = number * PAGE as u64;
    let (from, until) = (start.max(offset), (start + PAGE as u64).min(to));
    let span = |base: u64| (from - base) as usize..(until - base) as usize;
    (span(start), span(offset))
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let to = check_range(offset, out.len(), state.len)?;
        self.read_base(state.base, offset, out)?;
        if to > offset && !state.pages.is_empty() {
            let (first, last) = (offset / PAGE as u64, (to - 1) / PAGE as u64);
            for (&number, page) in state.pages.range(first..=last) {
                let (in_page, in_out) = overlap(number, offset, to);
                out[in_out].copy_from_slice(&page[in_page]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.len = len;
        state.base = state.base.min(len);
        let keep = len.div_ceil(PAGE as u64);
        state.pages.retain(|&number, _| number < keep);
        if let (Some(cut), Ok(rest)) = (
            state.pages.get_mut(&(len / PAGE as u64)),
            usize::try_from(len % PAGE as u64),
        ) {
            cut[rest..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let to = check_range(offset, data.len(), state.len)?;
        if data.is_empty() {
            return Ok(());
        }
        for number in offset / PAGE as u64..=(to - 1) / PAGE as u64 {
            let (in_page, in_data) = overlap(number, offset, to);
            if !state.pages.contains_key(&number) {
                let mut page = Box::new([0; PAGE]);
                self.read_base(state.base, number * PAGE as u64, &mut page[..])?;
                state.pages.insert(number, page);
            }
            if let Some(page) = state.pages.get_mut(&number) {
                page[in_page].copy_from_slice(&data[in_data]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug)]
    struct Image(Vec<u8>);

    impl Source for Image {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let from = offset as usize;
            out.copy_from_slice(&self.0[from..from + out.len()]);
            Ok(())
        }
    }

    #[derive(Debug, Clone)]
    enum Op {
        Write(u64, Vec<u8>),
        SetLen(u64),
        Read(u64, usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let at = 0u64..20_000;
        prop_oneof![
            (at.clone(), proptest::collection::vec(any::<u8>(), 0..9000))
                .prop_map(|(o, d)| Op::Write(o, d)),
            at.clone().prop_map(Op::SetLen),
            (at, 0usize..9000).prop_map(|(o, n)| Op::Read(o, n)),
        ]
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_vec(base in proptest::collection::vec(any::<u8>(), 0..20_000),
                                 ops in proptest::collection::vec(op(), 1..30)) {
            let overlay = Overlay::new(Arc::new(Image(base.clone()))).unwrap();
            let mut model = base;
            for op in ops {
                match op {
                    Op::Write(o, data) => {
                        let (from, to) = (o as usize, o as usize + data.len());
                        let fits = to <= model.len();
                        prop_assert_eq!(overlay.write(o, &data).is_ok(), fits);
                        if fits { model[from..to].copy_from_slice(&data); }
                    }
                    Op::SetLen(n) => {
                        overlay.set_len(n).unwrap();
                        model.resize(n as usize, 0);
                    }
                    Op::Read(o, n) => {
                        let mut out = vec![0xAA; n];
                        let ok = overlay.read(o, &mut out).is_ok();
                        prop_assert_eq!(ok, o as usize + n <= model.len());
                        if ok { prop_assert_eq!(&out[..], &model[o as usize..o as usize + n]); }
                    }
                }
                prop_assert_eq!(overlay.len().unwrap(), model.len() as u64);
            }
        }
    }

    #[test]
    fn the_source_is_never_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 5000]).unwrap();
        let read_only = File::open(file.path()).unwrap();
        let overlay = Overlay::new(Arc::new(read_only)).unwrap();
        overlay.set_len(9000).unwrap();
        overlay.write(4990, &[1; 100]).unwrap();
        let mut out = [0; 200];
        overlay.read(4900, &mut out).unwrap();
        assert_eq!((out[89], out[90], out[189], out[190]), (7, 1, 1, 0));
        assert_eq!(std::fs::read(file.path()).unwrap(), [7; 5000]);
    }
}

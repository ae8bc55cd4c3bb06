//! The tree and its events as C2SP tlog-tiles: static files that others' verifiers read.
//!
//! ```text
//! tile/<L>/<N>            256 hashes of level L: 8,192 bytes
//! tile/<L>/<N>.p/<W>      the last tile of a level, with W hashes
//! tile/entries/<N>        256 events, each behind its length (big-endian u16)
//! tile/entries/<N>.p/<W>  the last bundle, with W events
//! ```
//! N is written in groups of three digits, all but the last with an `x` before them: 1234067 is
//! `x001/x234/067`. The head stands beside them in the file `checkpoint`.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::prove::read_range;
use super::writer::concat;
use super::{ProveError, TILE_HEIGHT, TILE_WIDTH, TreeSize, TreeSource};

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TileKind {
    /// Hashes of a tile level.
    Hashes(u8),
    /// Events.
    Entries,
}

impl TileKind {
    /// How many hashes or events a tree has of it.
    fn count(self, size: TreeSize) -> u64 {
        let level = match self {
            Self::Hashes(level) => level,
            Self::Entries => 0,
        };
        let shift = u32::from(level) * TILE_HEIGHT;
        size.0.checked_shr(shift).unwrap_or(0)
    }
}

/// Names a tile or a bundle; shown as the path of its file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TileId {
    kind: TileKind,
    index: u64,
    /// 1 to 256.
    width: u16,
}

/// Highest level that the paths of tlog-tiles have a number for.
const MAX_LEVEL: u8 = 63;
const FULL: u64 = TILE_WIDTH as u64;

/// Why a path names no tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a tile, such as tile/0/x001/234 or tile/entries/000.p/17")]
pub struct TileIdError;

impl TileId {
    /// The tile at a position, as a tree of this size has it; none if it has not begun there.
    pub fn at(kind: TileKind, index: u64, size: TreeSize) -> Option<Self> {
        let first = index.checked_mul(FULL)?;
        let width = kind.count(size).checked_sub(first)?.min(FULL);
        let width = u16::try_from(width).ok().filter(|&width| width > 0)?;
        Some(Self { kind, index, width })
    }

    /// What it holds.
    pub fn kind(&self) -> TileKind {
        self.kind
    }

    /// Its position among those of its kind.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// How many hashes or events it has.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Which hashes of its level, or which events, from 0.
    pub fn range(&self) -> Range<u64> {
        let first = self.index * FULL;
        first..first + u64::from(self.width)
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}")?,
            TileKind::Entries => f.write_str("tile/entries")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for (more, group) in groups.iter().enumerate().rev() {
            let mark = if more > 0 { "x" } else { "" };
            write!(f, "/{mark}{group:03}")?;
        }
        match u64::from(self.width) {
            FULL => Ok(()),
            width => write!(f, ".p/{width}"),
        }
    }
}

impl FromStr for TileId {
    type Err = TileIdError;

    fn from_str(path: &str) -> Result<Self, TileIdError> {
        let id = parse(path).ok_or(TileIdError)?;
        // One path for a tile: no zeros too many, nothing behind.
        if id.to_string() == path {
            Ok(id)
        } else {
            Err(TileIdError)
        }
    }
}

fn parse(path: &str) -> Option<TileId> {
    let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(level.parse().ok().filter(|&level| level <= MAX_LEVEL)?),
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, width.parse().ok().filter(|w| (1..256).contains(w))?),
        None => (rest, TILE_WIDTH as u16),
    };
    let mut number = 0_u64;
    for group in index.split('/') {
        let digits = group.strip_prefix('x').unwrap_or(group);
        if digits.len() != 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        number = number.checked_mul(1000)?;
        number = number.checked_add(digits.parse().ok()?)?;
    }
    number.checked_mul(FULL)?.checked_add(FULL)?;
    Some(TileId {
        kind,
        index: number,
        width,
    })
}

/// The tiles and bundles that a tree of the new size has and one of the old size has not: the
/// files to write when an export grows, from size 0 all of them. By kind, then by position;
/// bundles last.
pub fn tiles_between(old: TreeSize, new: TreeSize) -> impl Iterator<Item = TileId> {
    let levels = (0..=MAX_LEVEL).map(TileKind::Hashes);
    let levels = levels.take_while(move |kind| kind.count(new) > 0);
    levels.chain([TileKind::Entries]).flat_map(move |kind| {
        let (before, now) = (kind.count(old), kind.count(new));
        let begin = if before < now {
            before / FULL
        } else {
            u64::MAX
        };
        (begin..now.div_ceil(FULL)).filter_map(move |index| TileId::at(kind, index, new))
    })
}

/// The bytes of a tile of [`TileKind::Hashes`], by its level and [`TileId::range`].
///
/// # Errors
/// [`ProveError`] if the source can't be read or has not all of it.
pub fn hash_tile<S: TreeSource>(
    source: &S,
    level: u8,
    range: Range<u64>,
) -> Result<Vec<u8>, ProveError<S::Error>> {
    read_range(source, level, range).map(|hashes| concat(&hashes))
}

/// Why events are not a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// A bundle has 1 to 256.
    #[error("a bundle has 1 to 256 events")]
    Count,
    /// An event is too long.
    #[error("an event of {0} bytes does not fit into a bundle")]
    Length(usize),
}

/// The bytes of a bundle of events.
///
/// # Errors
/// [`BundleError`] if there are none or too many, or one is longer than an event can be.
pub fn entry_bundle<'a>(
    events: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, BundleError> {
    let mut bytes = Vec::new();
    let mut count = 0;
    for event in events {
        let len = u16::try_from(event.len()).map_err(|_| BundleError::Length(event.len()))?;
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(event);
        count += 1;
    }
    if (1..=TILE_WIDTH).contains(&count) {
        Ok(bytes)
    } else {
        Err(BundleError::Count)
    }
}

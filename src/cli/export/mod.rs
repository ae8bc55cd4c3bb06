//! `ledger export`: the history in a form for others. What is written was checked against the
//! chain, through a node or offline; through a node it is recorded.

mod blobs;
mod file;
mod tiles;

use std::cell::RefCell;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use ledger_core::blobs::BlobFinding;
use ledger_core::chain::Head;
use ledger_core::envelope::ChainedEvent;
use ledger_core::event::LedgerExported;
use ledger_core::export::{CsvWriter, ExportError, Extent, JsonlWriter, SPREADSHEET_CELL};
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::merkle::{Frontier, TreeHash};
use ledger_core::store::{ChainWalk, LogReader, ReadError};
use ledger_core::tree_head::{KeyFileError, SignerKey, TreeHead};
use serde::Serialize;

use self::file::Target;
use super::backup::record;
use super::error::{Exit, Failure};
use super::filter_args::{FilterArgs, positions};
use super::globals::Globals;
use super::output::progress::Progress;
use super::output::{Buffering, Paging, aside, note};
use super::source::Source;
use crate::api::wire::{ApiError, ErrorCode, NoteRequest};
use crate::audit::filter::{Filter, SeqRange};
use crate::keys::{self, NoKey};
use crate::units::{count_of, format_count};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// In which form
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Format,
    /// The file to write, which must not be there, or the directory of tiles to begin or extend
    /// [default: standard output]
    #[arg(long, value_name = "PATH", required_if_eq("format", "tiles"))]
    to: Option<PathBuf>,
    /// A directory, empty or not there, for the blobs that the exported events name
    #[arg(long, value_name = "DIR")]
    blobs: Option<PathBuf>,
    #[command(flatten)]
    filter: FilterArgs,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A JSON object a line; `ledger import` takes it if it is complete
    Jsonl,
    /// A table for spreadsheets and databases
    Csv,
    /// A directory of C2SP tiles for verifiers of transparency logs
    Tiles,
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Tiles => "tiles",
        }
    }
}

/// What was exported, for people and programs.
#[derive(Debug, Serialize)]
struct Done {
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    ledger_id: LedgerId,
    seq: Seq,
    hash: Hash,
    events: u64,
    complete: bool,
    signed: bool,
    /// Blobs that could not be copied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<BlobFinding>,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    source.require_whole()?;
    let reader = source.reader();
    // As of one moment: what comes while it is written is not in it.
    let head = reader.head()?;
    let done = match args.format {
        Format::Tiles if args.blobs.is_some() => {
            let message = "tiles are of events alone";
            return Err(ApiError::new(ErrorCode::Usage, message)
                .hint("leave --blobs out, or export lines")
                .into());
        }
        Format::Tiles => tiles::export(args, reader, head, &data_dir)?,
        Format::Jsonl | Format::Csv => lines(args, reader, head, &data_dir)?,
    };
    let noted = LedgerExported {
        format: done.format.to_owned(),
        seq: done.seq,
        hash: done.hash,
        events: done.events,
        complete: done.complete,
    };
    record(&source, "export", &NoteRequest::Exported(noted))?;
    receipt(globals, args, &done)?;
    if done.lost.is_empty() {
        Ok(Exit::OK)
    } else {
        Ok(Exit::INCOMPLETE)
    }
}

/// Says what was exported: on standard output, unless that is the export itself.
fn receipt(globals: &Globals, args: &Args, done: &Done) -> Result<(), Failure> {
    let text = if globals.json {
        serde_json::to_string(done).map_err(|e| Failure::of_output(&e.into()))?
    } else {
        let whole = if done.complete { "all" } else { "part" };
        let added = match args.format {
            Format::Tiles => " added",
            Format::Jsonl | Format::Csv => "",
        };
        format!(
            "{whole} of ledger {} up to seq {}: {}{added}\nhash {}",
            done.ledger_id,
            done.seq,
            count_of(done.events, "event"),
            done.hash,
        )
    };
    if args.to.is_none() {
        aside(text);
        return Ok(());
    }
    let mut out = globals.out(Paging::Never, Buffering::Full);
    out.line(text)?;
    out.finish()
}

/// Writes a form that is one stream.
fn lines(
    args: &Args,
    reader: &dyn LogReader,
    head: Head,
    data_dir: &Path,
) -> Result<Done, Failure> {
    let filter = args.filter.filter()?;
    let extent = if args.filter.is_empty() {
        Extent::Complete
    } else {
        Extent::Part
    };
    let mut range = positions(reader, &filter)?;
    range.last = range.last.min(head.seq);
    let blobs = args.blobs.as_deref().map(blobs::Target::make).transpose()?;
    let target = Target::open(args.to.as_deref())?;
    let exported = Exported {
        reader,
        head,
        range,
        filter,
        extent,
        named: RefCell::default(),
    };
    let key = signer(data_dir, reader)?;
    let (target, events, signed) = match args.format {
        Format::Csv => exported.csv(target)?,
        Format::Jsonl | Format::Tiles => exported.jsonl(target, key.as_ref())?,
    };
    target.finish()?;
    let lost = exported.named.borrow().export(data_dir, blobs.as_ref())?;
    if extent == Extent::Part && args.format == Format::Jsonl {
        note("a filtered export can't be imported");
    }
    Ok(Done {
        format: args.format.name(),
        to: args.to.as_ref().map(|to| to.display().to_string()),
        ledger_id: reader.ledger_id(),
        seq: head.seq,
        hash: head.hash,
        events,
        complete: extent == Extent::Complete,
        signed,
        lost,
    })
}

/// What is to be exported.
struct Exported<'a> {
    reader: &'a dyn LogReader,
    head: Head,
    range: SeqRange,
    filter: Filter,
    extent: Extent,
    /// The blobs that they name.
    named: RefCell<blobs::Named>,
}

impl Exported<'_> {
    fn csv(&self, target: Target) -> Result<(Target, u64, bool), Failure> {
        let mut writer = CsvWriter::new(target).map_err(|e| Failure::of_output(&e))?;
        self.each(&mut |event, _| writer.write(event).map_err(|e| Failure::of_output(&e)))?;
        let (events, long) = (writer.events(), writer.long());
        if long > 0 {
            note(format_args!(
                "{} of the payloads have more than {} characters: the file holds them, a \
                 spreadsheet may cut them",
                format_count(long),
                format_count(SPREADSHEET_CELL as u64)
            ));
        }
        let target = writer.finish().map_err(|e| Failure::of_output(&e))?;
        Ok((target, events, false))
    }

    fn jsonl(
        &self,
        target: Target,
        key: Option<&SignerKey>,
    ) -> Result<(Target, u64, bool), Failure> {
        let mut writer = JsonlWriter::new(target);
        let mut tree = Frontier::new();
        let signing = key.filter(|_| self.extent == Extent::Complete);
        self.each(&mut |event, bytes| {
            if signing.is_some() {
                tree.extend(&[TreeHash::leaf(bytes)], &mut |_| {});
            }
            writer.write(event).map_err(of_export)
        })?;
        let events = writer.events();
        let ledger = self.reader.ledger_id();
        let tree_head = TreeHead {
            ledger,
            tree: tree.root(),
            chain: self.head.hash,
        };
        let checkpoint = signing.map(|key| tree_head.sign(key).to_string());
        let signed = checkpoint.is_some();
        let target = writer
            .finish(ledger, self.head, self.extent, checkpoint)
            .map_err(of_export)?;
        Ok((target, events, signed))
    }

    fn each(&self, write: WriteOne<'_>) -> Result<(), Failure> {
        let bar = Progress::events("exporting", self.range.last.0);
        each_event(self.reader, self.range, self.head, &mut |event, bytes| {
            let seq = event.event.header.seq;
            bar.at(seq.0);
            if self.filter.matches(event) {
                self.named.borrow_mut().look(seq, event.event.data);
                write(event, bytes)?;
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}

/// Writes an event, of which it gets the encoded bytes too.
type WriteOne<'v> = &'v mut dyn FnMut(&ChainedEvent<'_>, &[u8]) -> Result<(), Failure>;

/// Sees an event and its encoded bytes.
type Visit<'v> = &'v mut dyn FnMut(&ChainedEvent<'_>, &[u8]) -> Result<ControlFlow<()>, Failure>;

/// Shows the events of a range with their bytes, checked against the chain. If the range ends with
/// the head, so must they.
fn each_event(
    reader: &dyn LogReader,
    range: SeqRange,
    head: Head,
    visit: Visit<'_>,
) -> Result<(), Failure> {
    if range.first > range.last {
        return Ok(());
    }
    let mut walk = ChainWalk::new(reader.ledger_id());
    let mut last = None;
    'blocks: for block in reader.blocks(range.first)? {
        let block = block?;
        let skipped = range.first.0.saturating_sub(block.first().0);
        let bytes = block
            .iter()
            .skip(usize::try_from(skipped).unwrap_or(usize::MAX));
        for (event, bytes) in walk.check(&block, range.first)?.iter().zip(bytes) {
            let seq = event.event.header.seq;
            if seq > range.last {
                break 'blocks;
            }
            last = Some((seq, event.hash));
            if visit(event, bytes)?.is_break() {
                return Ok(());
            }
        }
    }
    match last {
        Some((seq, _)) if seq < range.last => {}
        Some((seq, hash)) if seq == head.seq && hash != head.hash => {}
        Some(_) => return Ok(()),
        None => {}
    }
    Err(ReadError::Damaged(format!(
        "its events do not lead to its head, seq {}",
        head.seq
    ))
    .into())
}

/// The key that signs this ledger's heads; none if it was made without one, or the key is elsewhere.
fn signer(data_dir: &Path, reader: &dyn LogReader) -> Result<Option<SignerKey>, Failure> {
    match keys::load(data_dir, reader) {
        Ok(key) => Ok(Some(key)),
        Err(NoKey::Unsigned | NoKey::File(KeyFileError::Missing(_))) => Ok(None),
        Err(error) => Err(ApiError::from(error).into()),
    }
}

fn of_export(error: ExportError) -> Failure {
    match error {
        ExportError::Io(error) => Failure::of_output(&error),
        ExportError::Payload { .. } => ApiError::new(ErrorCode::Failed, error.to_string())
            .hint("a backup and tiles hold such events as they are")
            .into(),
    }
}

/// Writes what comes to a stream of bytes.
impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.sink().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink().flush()
    }
}

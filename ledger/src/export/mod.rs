//! The ledger in forms for others: lines of JSON, which give the ledger back; a table for
//! spreadsheets and databases; C2SP tiles for verifiers of transparency logs.
//!
//! | form | one event is | stands for its head by | can be imported |
//! |---|---|---|---|
//! | [`JsonlWriter`] | an object with its exact payload | its last line | yes, if it is complete |
//! | [`CsvWriter`] | a record with all header fields and the payload | nothing | no |
//! | [`TileDir`] | a leaf | the file `checkpoint` | no |
//!
//! All are written event by event, in constant memory. Only events whose hashes were checked are
//! to be given to them.

mod csv;
mod import;
mod jsonl;
mod tile_dir;

pub use csv::{CsvWriter, SPREADSHEET_CELL};
pub use import::{ImportError, Imported, import_jsonl};
pub use jsonl::{
    EXPORT_FORMAT, ExportError, ExportHead, Extent, JsonlReader, JsonlWriter, Line, LineError,
    LineFault,
};
pub use tile_dir::{CHECKPOINT_FILE, Grown, TileDir, TileDirError};

#[cfg(test)]
mod tests;

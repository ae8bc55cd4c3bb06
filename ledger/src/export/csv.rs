//! A table (RFC 4180): a record for each event, header fields and payload, nothing left out. An
//! absent field is empty, and no field that is there is.

use std::io::{self, Write};

use crate::envelope::ChainedEvent;

/// Characters that fit into a cell of the usual spreadsheets, which cut longer ones without a
/// word.
pub const SPREADSHEET_CELL: usize = 32_767;

const COLUMNS: &str = "seq,term,recorded_at,event_id,kind,version,subject,actor,claimed_actor,\
                       cause,correlation,traceparent,idempotency_key,data,prev_hash,hash";

/// Writes events as records.
#[derive(Debug)]
pub struct CsvWriter<W> {
    out: W,
    events: u64,
    long: u64,
}

impl<W: Write> CsvWriter<W> {
    /// A writer that has written the names of the columns.
    ///
    /// # Errors
    /// The destination's.
    pub fn new(mut out: W) -> io::Result<Self> {
        write!(out, "{COLUMNS}\r\n")?;
        Ok(Self {
            out,
            events: 0,
            long: 0,
        })
    }

    /// How many events were written.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many of them have a payload above [`SPREADSHEET_CELL`].
    pub fn long(&self) -> u64 {
        self.long
    }

    /// Writes an event.
    ///
    /// # Errors
    /// The destination's.
    pub fn write(&mut self, event: &ChainedEvent<'_>) -> io::Result<()> {
        let h = &event.event.header;
        let cause = h.cause.map(|seq| seq.to_string());
        // Names are made of characters that need no quotes.
        write!(
            self.out,
            "{},{},{},{},{},{},{},{},{},{},{},{},{},",
            h.seq,
            h.term,
            h.recorded_at,
            h.event_id,
            h.kind,
            h.version,
            h.subject,
            h.actor,
            h.claimed_actor.unwrap_or_default(),
            cause.as_deref().unwrap_or_default(),
            h.correlation.unwrap_or_default(),
            h.traceparent.unwrap_or_default(),
            h.idempotency_key.unwrap_or_default(),
        )?;
        let data = event.event.data;
        write!(
            self.out,
            "\"{}\",{},{}\r\n",
            data.replace('"', "\"\""),
            event.prev_hash,
            event.hash
        )?;
        self.events += 1;
        // Most payloads are short in bytes already.
        if data.len() > SPREADSHEET_CELL && data.chars().count() > SPREADSHEET_CELL {
            self.long += 1;
        }
        Ok(())
    }

    /// Flushes.
    ///
    /// # Errors
    /// The destination's.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

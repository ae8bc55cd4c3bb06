//! `ledger blob put FILE|-`.

use std::fs::File;
use std::io::{self, Read};

use ledger_core::blobs::MediaType;

use crate::api::wire::ApiError;
use crate::cli::error::{Exit, Failure, of_io};
use crate::cli::globals::Globals;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Node;
use crate::units::format_size;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to store; `-` is standard input
    #[arg(value_name = "FILE|-")]
    content: Content,
    /// What it is. JSON documents (application/json) are checked and redacted like events; of
    /// everything else nothing is taken out
    #[arg(long, value_name = "TYPE", default_value = "application/octet-stream")]
    media_type: MediaType,
}

/// Where content comes from.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Standard input.
    Stdin,
    /// A file.
    File(String),
}

impl std::str::FromStr for Content {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("name a file, or `-` for standard input"),
            "-" => Ok(Self::Stdin),
            file => Ok(Self::File(file.to_owned())),
        }
    }
}

impl Content {
    /// Opens it.
    ///
    /// # Errors
    /// [`ApiError`]: there is no such file, or it can't be read.
    pub(crate) fn open(&self) -> Result<Box<dyn Read + Send>, ApiError> {
        match self {
            Self::Stdin => Ok(Box::new(io::stdin())),
            Self::File(name) => match File::open(name) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) => Err(of_io(format!("{name} can't be read"), &error).because(error)),
            },
        }
    }
}

pub(crate) fn run(globals: &Globals, args: Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let content = args.content.open()?;
    let stored = node.wait(node.client().upload_blob(content, &args.media_type))?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&stored)?;
    } else {
        let size = format_size(stored.bytes);
        out.line(format_args!(
            "{} {size} {}",
            stored.blake3, stored.media_type
        ))?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

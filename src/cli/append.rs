//! `ledger append`: an application's own events, one or many at once.

use std::io::{BufRead, Read};

use ledger_core::blobs::{KEY, MediaType, in_payload};

use ledger_core::envelope::is_traceparent;
use ledger_core::event::APP_PREFIX;
use ledger_core::ids::{Entity, Id, Kind, Seq};
use projections::subjects::Version;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::blob::Content;
use super::error::{Exit, Failure, of_io};
use super::globals::Globals;
use super::output::{Buffering, Paging};
use super::source::Node;
use super::task::retry::recorded;
use crate::api::wire::{
    ApiError, AppendEvent, AppendRequest, ErrorCode, MAX_BATCH, MAX_BODY, MAX_DOCUMENT,
};
use crate::names::key;
use crate::units::format_size;

/// Data beyond this is uploaded before the append: a request has at most [`MAX_BODY`] bytes.
const INLINE: usize = MAX_BODY / 2;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What happened: app.SOMETHING
    #[arg(
        value_name = "KIND",
        required_unless_present = "batch",
        conflicts_with = "batch"
    )]
    kind: Option<Kind>,
    /// What it is about, KIND/ID [default: app/default]
    #[arg(long, value_name = "SUBJECT", conflicts_with = "batch")]
    subject: Option<Entity>,
    /// Its data, one JSON object; `-` reads it from standard input. What is too large for an event
    /// becomes a blob, and the event names it
    #[arg(
        long,
        value_name = "JSON|@FILE|-",
        default_value = "{}",
        conflicts_with = "batch"
    )]
    data: String,
    /// Content that belongs to it, of any size and kind: a blob that the event names. Nothing is taken
    /// out of it, so keep secrets out
    #[arg(long, value_name = "FILE|-", conflicts_with = "batch")]
    blob: Option<Content>,
    /// What the blob is
    #[arg(
        long,
        value_name = "TYPE",
        default_value = "application/octet-stream",
        requires = "blob"
    )]
    media_type: MediaType,
    /// Append many, at most 1000, all or none: lines of
    /// {"kind":…,"subject":…,"expected_version":…,"data":…} from a file, or `-`; all but the kind may
    /// be left out
    #[arg(long, value_name = "FILE|-")]
    batch: Option<String>,
    /// A second append with the same key changes nothing and gives the first's receipt
    #[arg(long, value_name = "KEY", value_parser = key)]
    idempotency_key: Option<Id>,
    /// Append only if the ledger ends here
    #[arg(long, value_name = "SEQ")]
    expect_head: Option<u64>,
    /// Append only if this is the last app.* event about the subject, or if there is none yet
    #[arg(long, value_name = "SEQ|new", conflicts_with = "batch")]
    expect_version: Option<Version>,
    /// The event that led to this
    #[arg(long, value_name = "SEQ")]
    cause: Option<u64>,
    /// Who you say you are, such as agent/ada; who you provably are is recorded beside it
    #[arg(long = "as", value_name = "ACTOR")]
    claimed_actor: Option<Entity>,
    /// Ties this to others
    #[arg(long, value_name = "ID")]
    correlation: Option<Id>,
}

pub(crate) fn run(globals: &Globals, args: Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let mut node = None;
    let events = match (args.kind, &args.batch) {
        (Some(kind), _) => {
            let data = object(&read_data(args.data, args.blob.as_ref())?)?;
            let data = if args.blob.is_some() || data.get().len() > INLINE {
                let node = node.insert(Node::require(&data_dir)?);
                with_blob(node, &data, args.blob.as_ref(), &args.media_type)?
            } else {
                data
            };
            vec![AppendEvent {
                kind,
                subject: args.subject,
                expected_version: args.expect_version.map(Seq::from),
                data,
            }]
        }
        (None, Some(source)) => read_batch(source)?,
        (None, None) => Vec::new(),
    };
    let request = AppendRequest {
        events,
        idempotency_key: args.idempotency_key,
        expected_head: args.expect_head.map(Seq),
        claimed_actor: args.claimed_actor,
        correlation: args.correlation,
        cause: args.cause.map(Seq),
        traceparent: std::env::var("TRACEPARENT")
            .ok()
            .filter(|value| is_traceparent(value)),
    };
    let node = match node {
        Some(node) => node,
        None => Node::require(&data_dir)?,
    };
    let receipt = node.wait(async {
        let appended = node.client().append(&request).await;
        appended.map_err(|error| unanswered(error, &request))
    })?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&receipt)?;
    } else {
        let again = if receipt.replayed { " (as before)" } else { "" };
        let recorded = recorded(receipt.seq, receipt.term, &receipt.hash);
        out.line(format_args!("{recorded}{again}"))?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// What there is to know after an answer that did not come: nothing.
fn unanswered(error: ApiError, request: &AppendRequest) -> ApiError {
    match error.code {
        ErrorCode::Lost | ErrorCode::Timeout | ErrorCode::NotLeader => {}
        _ => return error,
    }
    let hint = match &request.idempotency_key {
        Some(key) => format!(
            "repeat it with the same --idempotency-key {key}: that is safe, it is recorded once"
        ),
        None => "look whether it is there (`ledger query`) before you repeat it; \
                 with --idempotency-key KEY repeating is always safe"
            .to_owned(),
    };
    let (code, cause) = (error.code, error.to_string());
    ApiError::new(
        code,
        "the append may or may not be recorded: its answer is lost",
    )
    .because(cause)
    .hint(hint)
}

fn unreadable(what: &str, error: &std::io::Error) -> ApiError {
    let failed = of_io(format!("{what} can't be read"), error);
    match error.kind() {
        std::io::ErrorKind::InvalidData => failed
            .because("it is not UTF-8 text, which is what the ledger keeps")
            .hint("attach it with --blob FILE: it is stored as it is then"),
        _ => failed.because(error),
    }
}

/// The event's data: what was given, or what stands in a file or on standard input.
fn read_data(given: String, blob: Option<&Content>) -> Result<String, ApiError> {
    let (name, mut content) = match given.strip_prefix('@') {
        None if given != "-" => return Ok(given),
        None if matches!(blob, Some(Content::Stdin)) => {
            let what = "standard input can't be both the data and the blob";
            return Err(ApiError::new(ErrorCode::Usage, what));
        }
        None => ("standard input", Content::Stdin.open()?),
        Some(file) => (file, Content::File(file.to_owned()).open()?),
    };
    let mut text = String::new();
    let limit = MAX_DOCUMENT as u64;
    (&mut content)
        .take(limit + 1)
        .read_to_string(&mut text)
        .map_err(|e| unreadable(name, &e))?;
    if text.len() as u64 > limit {
        return Err(ApiError::new(ErrorCode::Usage, "the data is too large")
            .because(format!("{name} has more than {}", format_size(limit)))
            .hint("attach it with --blob FILE: it is stored as it is then, and nothing is taken out of it"));
    }
    Ok(text)
}

/// Uploads what does not go into the event, and returns data that names it.
fn with_blob(
    node: &Node,
    data: &RawValue,
    blob: Option<&Content>,
    media_type: &MediaType,
) -> Result<Box<RawValue>, Failure> {
    let upload = |content: Box<dyn Read + Send>, media_type: &MediaType| {
        node.wait(node.client().upload_blob(content, media_type))
    };
    let raw = |text: String| {
        RawValue::from_string(text)
            .map_err(|e| ApiError::new(ErrorCode::Failed, "the data can't be written").because(e))
    };
    let Some(content) = blob else {
        let text = std::io::Cursor::new(data.get().to_owned());
        let stored = upload(Box::new(text), &MediaType::json())?;
        return Ok(raw(stored.to_payload())?);
    };
    if in_payload(data.get()).is_ok_and(|named| named.is_some()) {
        let what = format!("the data has the key {KEY} already");
        return Err(ApiError::new(ErrorCode::Usage, what).into());
    }
    let stored = upload(content.open()?, media_type)?;
    let named = stored.to_payload();
    let rest = data.get().trim_start_matches('{').trim_start();
    let separator = if rest.starts_with('}') { "" } else { "," };
    let named = named.trim_end_matches('}');
    Ok(raw(format!("{named}}}{separator}{rest}"))?)
}

/// Takes a text as a JSON object, exactly as it is written.
fn object(text: &str) -> Result<Box<RawValue>, ApiError> {
    let wrong = |why: String| {
        ApiError::new(ErrorCode::Usage, "the data is not a JSON object")
            .because(why)
            .hint("write one such as --data '{\"version\":\"1.4\"}'")
    };
    let raw: Box<RawValue> = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    if raw.get().starts_with('{') {
        Ok(raw)
    } else {
        Err(wrong("it is another kind of JSON value".to_owned()))
    }
}

/// A line of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: Kind,
    #[serde(default)]
    subject: Option<Entity>,
    #[serde(default)]
    expected_version: Option<Seq>,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

fn read_batch(source: &str) -> Result<Vec<AppendEvent>, ApiError> {
    if source == "-" {
        return parse_batch("standard input", std::io::stdin().lock());
    }
    let file = std::fs::File::open(source).map_err(|e| unreadable(source, &e))?;
    parse_batch(source, std::io::BufReader::new(file))
}

fn parse_batch(name: &str, lines: impl BufRead) -> Result<Vec<AppendEvent>, ApiError> {
    let mut events = Vec::new();
    let limited = lines.take(MAX_BODY as u64 + 1);
    for (number, line) in (1..).zip(limited.lines()) {
        let line = line.map_err(|e| unreadable(name, &e))?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |e: String| {
            ApiError::new(
                ErrorCode::Usage,
                format!("line {number} of {name} is not an event"),
            )
            .because(e)
            .hint("write one such as {\"kind\":\"app.deploy\",\"data\":{\"version\":\"1.4\"}}")
        };
        let parsed: Line = serde_json::from_str(&line).map_err(|e| wrong(e.to_string()))?;
        if !parsed.kind.starts_with(APP_PREFIX) {
            let kind = parsed.kind;
            let what =
                format!("line {number} of {name}: kind {kind} can't be appended from outside");
            return Err(ApiError::new(ErrorCode::Refused, what)
                .hint("an application's own kinds start with `app.`, such as app.deploy.done"));
        }
        let data = match parsed.data {
            Some(data) => object(data.get()),
            None => object("{}"),
        };
        let data = data.map_err(|e| wrong(e.to_string()))?;
        events.push(AppendEvent {
            kind: parsed.kind,
            subject: parsed.subject,
            expected_version: parsed.expected_version,
            data,
        });
        if events.len() > MAX_BATCH {
            return Err(ApiError::new(ErrorCode::Usage, "the batch is too large")
                .because(format!("at most {MAX_BATCH} events are appended at once"))
                .hint(format!(
                    "`split -l {MAX_BATCH} FILE` makes files of that size; each is appended whole or not at all"
                )));
        }
    }
    if events.is_empty() {
        return Err(ApiError::new(
            ErrorCode::Usage,
            format!("there is no event in {name}"),
        ));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_an_object_and_kept_as_written() {
        assert_eq!(object("{\"b\": 1.0}").unwrap().get(), "{\"b\": 1.0}");
        for bad in ["", "[]", "1", "{", "{} {}", "{a:1}"] {
            assert_eq!(object(bad).unwrap_err().code, ErrorCode::Usage, "{bad}");
        }
    }

    #[test]
    fn a_batch_is_lines_and_its_faults_name_theirs() {
        let parse = |text: &str| parse_batch("batch", text.as_bytes());
        let events =
            parse("{\"kind\":\"app.a\"}\n\n{\"kind\":\"app.b\",\"data\":{\"x\":1}}\n").unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(events[1].data.get(), "{\"x\":1}");
        let error = parse("{\"kind\":\"app.a\"}\n{\"kind\":\"App\"}").unwrap_err();
        assert_eq!(error.message, "line 2 of batch is not an event");
        let error = parse("{\"kind\":\"app.a\"}\n{\"kind\":\"task.done\"}").unwrap_err();
        assert_eq!(error.code, ErrorCode::Refused);
        assert!(error.message.starts_with("line 2 of batch: "), "{error}");
        assert!(parse("{\"kind\":\"app.a\",\"sbject\":\"a/b\"}").is_err());
        assert!(parse("{\"kind\":\"app.a\",\"data\":[]}").is_err());
        assert!(parse("").is_err());
        assert!(parse(&"{\"kind\":\"app.a\"}\n".repeat(MAX_BATCH + 1)).is_err());
    }
}

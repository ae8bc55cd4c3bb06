//! Signed notes: a text, an empty line, and lines with signatures (C2SP signed-note).

use std::fmt;

use super::key::{KeyId, KeyName, Signed, VerifierKey};
use crate::base64;

/// Longest note, in bytes: room for the signatures that are allowed, the largest that are known
/// (5 kB) included.
pub const MAX_NOTE: usize = 256 * 1024;
/// Most signatures of a note.
pub const MAX_SIGNATURES: usize = 32;

/// What a signature's line begins with: an em dash and a space.
const MARK: &str = "— ";

/// Why bytes are not a signed note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is too long.
    #[error("a note is at most {MAX_NOTE} bytes long, not {0}")]
    Long(usize),
    /// It is not text.
    #[error("a note is UTF-8 without control characters but line feeds")]
    Text,
    /// Text and signatures can't be told apart.
    #[error("a note is a text, an empty line and signatures, each line ended")]
    Form,
    /// A line behind the text is not a signature.
    #[error("signature {0} of the note is not a mark, a key's name and base64")]
    Signature(usize),
    /// There are too many of them.
    #[error("a note has at most {MAX_SIGNATURES} signatures")]
    Signatures,
}

/// A signature as it stands in a note; what it is worth only its key can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteSignature {
    name: KeyName,
    id: KeyId,
    bytes: Vec<u8>,
}

impl NoteSignature {
    pub(super) fn new(key: &VerifierKey, bytes: Vec<u8>) -> Self {
        Self {
            name: key.name().clone(),
            id: key.id(),
            bytes,
        }
    }

    /// Whose it says it is.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The id of the key that it says it is by.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The signature itself.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads a signature's line, without its end.
    fn parse(line: &str) -> Option<Self> {
        let (name, content) = line.strip_prefix(MARK)?.split_once(' ')?;
        let content = base64::decode(content)?;
        let (id, bytes) = content.split_first_chunk()?;
        Some(Self {
            name: KeyName::new(name).ok()?,
            id: KeyId(u32::from_be_bytes(*id)),
            bytes: Some(bytes.to_vec()).filter(|bytes| !bytes.is_empty())?,
        })
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = [&self.id.0.to_be_bytes()[..], &self.bytes].concat();
        write!(f, "{MARK}{} {}", self.name, base64::encode(&content))
    }
}

/// A text with at least one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl SignedNote {
    /// A text with its first signature.
    ///
    /// # Errors
    /// [`NoteError`] if they can't be a note.
    pub fn new(text: String, signature: NoteSignature) -> Result<Self, NoteError> {
        let note = Self {
            text,
            signatures: vec![signature],
        };
        check_text(&note.text)?;
        note.check_length()?;
        Ok(note)
    }

    /// What is signed. To be trusted no more than whoever signed it: see [`super::Trust::open`].
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its signatures, in their order.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature behind the others; in place of the one by the same key, if there is one.
    ///
    /// # Errors
    /// [`NoteError`] if the note would become too long. It is then as it was.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        let mut more = self.clone();
        more.signatures
            .retain(|old| (&old.name, old.id) != (&signature.name, signature.id));
        more.signatures.push(signature);
        if more.signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::Signatures);
        }
        more.check_length()?;
        *self = more;
        Ok(())
    }

    /// Reads a note; takes exactly what is printed.
    ///
    /// # Errors
    /// [`NoteError`] if the bytes are not a note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError::Long(bytes.len()));
        }
        let note = str::from_utf8(bytes).map_err(|_| NoteError::Text)?;
        // The text may have empty lines itself, so the last one counts.
        let end = note.rfind("\n\n").ok_or(NoteError::Form)?;
        let (text, signatures) = (&note[..=end], &note[end + 2..]);
        check_text(text)?;
        let lines = signatures.strip_suffix('\n').ok_or(NoteError::Form)?;
        let mut signatures = Vec::new();
        for (number, line) in (1..).zip(lines.split('\n')) {
            if number > MAX_SIGNATURES {
                return Err(NoteError::Signatures);
            }
            let signature = NoteSignature::parse(line).ok_or(NoteError::Signature(number))?;
            signatures.push(signature);
        }
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// What the signatures of a key say. Empty if it has not signed; `None` if one of them is not
    /// by the key that it names.
    pub(super) fn signed_by(&self, key: &VerifierKey) -> Option<Vec<Signed>> {
        let named =
            |signature: &&NoteSignature| (&signature.name, signature.id) == (key.name(), key.id());
        let signatures = self.signatures.iter().filter(named);
        signatures
            .map(|signature| key.check(&self.text, &signature.bytes))
            .collect()
    }

    fn check_length(&self) -> Result<(), NoteError> {
        match self.to_string().len() {
            0..=MAX_NOTE => Ok(()),
            long => Err(NoteError::Long(long)),
        }
    }
}

/// A text that can be told from the signatures behind it.
fn check_text(text: &str) -> Result<(), NoteError> {
    if text.contains(|c: char| c.is_control() && c != '\n') {
        return Err(NoteError::Text);
    }
    if text.ends_with('\n') && text != "\n" {
        Ok(())
    } else {
        Err(NoteError::Form)
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

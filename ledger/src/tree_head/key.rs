//! Keys: who signs, in the text forms that are used with signed notes.
//!
//! ```text
//! verifier key    NAME+ID+base64(kind || public key)
//! signer key      PRIVATE+KEY+NAME+ID+base64(01 || seed)
//! ID              first 4 bytes of SHA-256(NAME || "\n" || kind || public key), as 8 hex digits
//! kind            01: signs notes;  04: cosigns checkpoints, with the time
//! ```

use std::fmt;
use std::io;
use std::str::FromStr;

use base64ct::{Base64, Encoding};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::note::NoteSignature;
use super::{Checkpoint, ORIGIN};
use crate::base64;
use crate::hash::Hash;
use crate::ids::LedgerId;
use crate::time::Timestamp;

/// Longest name of a key, in bytes.
pub const MAX_KEY_NAME: usize = 255;

const PRIVATE: &str = "PRIVATE+KEY+";

/// Why a text is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A name breaks the rule.
    #[error(
        "a key's name is 1 to {MAX_KEY_NAME} bytes without white space, '+' and control characters"
    )]
    Name,
    /// It has other parts than a key.
    #[error("not a key: {0}")]
    Form(&'static str),
    /// It is the secret half, which nobody else must see.
    #[error("it is a private key: the public one is wanted")]
    Private,
    /// The id in it is not the key's.
    #[error("the key's id is not that of its name and content: it is damaged")]
    Id,
    /// It is of a kind that is not known here.
    #[error("the key is of kind {0}, which is not known here")]
    Kind(u8),
    /// The content is not a key.
    #[error("the content is not an Ed25519 key, or one that anybody could sign for")]
    Content,
}

/// A key's name: for a ledger's key the ledger's origin.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(Box<str>);

impl KeyName {
    /// Checks the text and takes it.
    ///
    /// # Errors
    /// [`KeyError::Name`] if it can't be a key's name.
    pub fn new(name: &str) -> Result<Self, KeyError> {
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if name.is_empty() || name.len() > MAX_KEY_NAME || name.contains(bad) {
            return Err(KeyError::Name);
        }
        Ok(Self(name.into()))
    }

    pub(super) fn of_ledger(ledger: LedgerId) -> Self {
        Self(format!("{ORIGIN}{ledger}").into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A short mark by which the signatures of a key are found; it proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(pub u32);

impl KeyId {
    fn of(name: &KeyName, kind: SignatureKind, public: &VerifyingKey) -> Self {
        let mut sha = Sha256::new_with_prefix(name.as_str());
        sha.update([b'\n', kind as u8]);
        sha.update(public.as_bytes());
        let [a, b, c, d, ..] = <[u8; 32]>::from(sha.finalize());
        Self(u32::from_be_bytes([a, b, c, d]))
    }

    /// Exactly eight lower-case hex digits.
    fn parse(text: &str) -> Option<Self> {
        let id = u32::from_str_radix(text, 16).ok().map(Self)?;
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What a key's signature says; the number is its kind in C2SP's formats.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum SignatureKind {
    /// An Ed25519 signature of a note: a log's own.
    Note = 1,
    /// A witness's, with the time: `cosignature/v1`.
    Cosignature = 4,
}

impl SignatureKind {
    fn of(byte: u8) -> Result<Self, KeyError> {
        match byte {
            1 => Ok(Self::Note),
            4 => Ok(Self::Cosignature),
            other => Err(KeyError::Kind(other)),
        }
    }
}

/// A point in time as cosignatures have it: whole seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// The latest that a cosignature can have.
    pub const MAX: Self = Self(u64::MAX >> 1);
}

impl From<Timestamp> for UnixSeconds {
    fn from(time: Timestamp) -> Self {
        Self(time.0 / 1_000_000)
    }
}

/// Checks signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    id: KeyId,
    kind: SignatureKind,
    public: VerifyingKey,
}

impl VerifierKey {
    fn new(name: KeyName, kind: SignatureKind, public: VerifyingKey) -> Self {
        let id = KeyId::of(&name, kind, &public);
        Self {
            name,
            id,
            kind,
            public,
        }
    }

    /// Whose it is.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// How its signatures are found.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What its signatures say.
    pub fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// The Ed25519 public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.public.to_bytes()
    }

    /// BLAKE3 of the public key: what a ledger's first event names its key by.
    pub fn fingerprint(&self) -> Hash {
        Hash::of(self.public.as_bytes())
    }

    /// Whether it made this signature under this text; `None` if it did not.
    pub(super) fn check(&self, text: &str, signature: &[u8]) -> Option<Signed> {
        match self.kind {
            SignatureKind::Note => {
                let signature = Signature::from_slice(signature).ok()?;
                self.public
                    .verify_strict(text.as_bytes(), &signature)
                    .ok()?;
                Some(Signed::Note)
            }
            SignatureKind::Cosignature => {
                let (time, signature) = signature.split_first_chunk()?;
                let time = UnixSeconds(u64::from_be_bytes(*time));
                let signature = Signature::from_slice(signature).ok()?;
                let message = cosigned(text, time);
                self.public
                    .verify_strict(message.as_bytes(), &signature)
                    .ok()?;
                (time <= UnixSeconds::MAX).then_some(Signed::At(time))
            }
        }
    }
}

/// What a good signature said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signed {
    /// This is mine.
    Note,
    /// I saw this, then, and nothing that contradicts it.
    At(UnixSeconds),
}

/// What a witness signs.
fn cosigned(text: &str, time: UnixSeconds) -> String {
    format!("cosignature/v1\ntime {}\n{text}", time.0)
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut content = [0; 33];
        content[0] = self.kind as u8;
        content[1..].copy_from_slice(self.public.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id, base64::encode(&content))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

/// Whether a text holds a signer key, or a part of one: it must not be shown.
pub fn holds_secret(text: &str) -> bool {
    text.contains(PRIVATE)
}

/// Name, id and content of a key's text, whose content can have a `+` itself.
fn parts(text: &str) -> Result<(KeyName, KeyId, &str), KeyError> {
    let form = KeyError::Form("it consists of a name, an id and content, with '+' between");
    let (name, rest) = text.split_once('+').ok_or(form)?;
    let (id, content) = rest.split_once('+').ok_or(form)?;
    let id = KeyId::parse(id).ok_or(KeyError::Form("its id is eight hex digits"))?;
    Ok((KeyName::new(name)?, id, content))
}

const CONTENT: KeyError =
    KeyError::Form("its content is a byte for the kind and 32 more, in base64");

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if holds_secret(text) {
            return Err(KeyError::Private);
        }
        let (name, id, content) = parts(text)?;
        // The kind first: keys of other kinds have other lengths.
        let content = base64::decode(content).ok_or(CONTENT)?;
        let (&kind, public) = content.split_first().ok_or(CONTENT)?;
        let kind = SignatureKind::of(kind)?;
        let public = public.try_into().map_err(|_| CONTENT)?;
        let public = VerifyingKey::from_bytes(public).map_err(|_| KeyError::Content)?;
        if public.is_weak() {
            return Err(KeyError::Content);
        }
        let key = Self::new(name, kind, public);
        if key.id == id {
            Ok(key)
        } else {
            Err(KeyError::Id)
        }
    }
}

/// Makes signatures. Wiped from memory when dropped, and never shown.
#[derive(Clone)]
pub struct SignerKey {
    name: KeyName,
    secret: SigningKey,
}

impl SignerKey {
    /// A new key, drawn from the operating system's generator.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn generate(name: KeyName) -> io::Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(io::Error::other)?;
        Ok(Self::from_seed(name, &seed))
    }

    /// The key of a seed: 32 bytes that nobody else knows.
    pub fn from_seed(name: KeyName, seed: &[u8; 32]) -> Self {
        let secret = SigningKey::from_bytes(seed);
        Self { name, secret }
    }

    /// The same key under another name, as which it has another id: a key that was given becomes
    /// a ledger's by taking its name.
    #[must_use]
    pub fn named(&self, name: KeyName) -> Self {
        let secret = self.secret.clone();
        Self { name, secret }
    }

    /// Reads a signer key's text.
    ///
    /// # Errors
    /// [`KeyError`] if it is not one.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let rest = text.strip_prefix(PRIVATE);
        let rest = rest.ok_or(KeyError::Form("a signer key begins with PRIVATE+KEY+"))?;
        let (name, id, content) = parts(rest)?;
        let mut bytes = Zeroizing::new([0; 33]);
        let decoded = Base64::decode(content, &mut *bytes).map_err(|_| CONTENT)?;
        let (&kind, seed) = decoded.split_first().ok_or(CONTENT)?;
        if kind != SignatureKind::Note as u8 {
            return Err(KeyError::Kind(kind));
        }
        let key = Self::from_seed(name, seed.try_into().map_err(|_| CONTENT)?);
        if key.verifier().id == id {
            Ok(key)
        } else {
            Err(KeyError::Id)
        }
    }

    /// The signer key's text, which is the secret itself.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut content = Zeroizing::new([0; 33]);
        content[0] = SignatureKind::Note as u8;
        content[1..].copy_from_slice(self.secret.as_bytes());
        let content = Zeroizing::new(base64::encode(&*content));
        let (name, id) = (&self.name, self.verifier().id);
        Zeroizing::new(format!("{PRIVATE}{name}+{id}+{}", *content))
    }

    /// Whose it is.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// Checks what [`SignerKey::sign`] makes.
    pub fn verifier(&self) -> VerifierKey {
        self.verifier_of(SignatureKind::Note)
    }

    /// Checks what [`SignerKey::cosign`] makes.
    pub fn witness_verifier(&self) -> VerifierKey {
        self.verifier_of(SignatureKind::Cosignature)
    }

    fn verifier_of(&self, kind: SignatureKind) -> VerifierKey {
        VerifierKey::new(self.name.clone(), kind, self.secret.verifying_key())
    }

    /// Signs a note's text.
    pub fn sign(&self, text: &str) -> NoteSignature {
        let signature = self.secret.sign(text.as_bytes());
        NoteSignature::new(&self.verifier(), signature.to_bytes().to_vec())
    }

    /// Cosigns a checkpoint as a witness: as of this time it is the largest that was seen of its
    /// origin, and consistent with all that were seen before. The caller has checked that.
    ///
    /// A key that cosigns should do nothing else, and not under a second name: the name is no part
    /// of what is signed.
    pub fn cosign(&self, checkpoint: &Checkpoint, time: UnixSeconds) -> NoteSignature {
        let time = time.min(UnixSeconds::MAX);
        let message = cosigned(&checkpoint.to_string(), time);
        let signature = self.secret.sign(message.as_bytes());
        let bytes = [&time.0.to_be_bytes()[..], &signature.to_bytes()].concat();
        NoteSignature::new(&self.witness_verifier(), bytes)
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({})", self.name)
    }
}

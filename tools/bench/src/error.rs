//! What a benchmark fails with: what was being done, and why it did not work. Nothing here is
//! handled by kind, so there is one type.

use std::error::Error;
use std::fmt;

/// A benchmark that could not be run to its end.
#[derive(Debug)]
pub(crate) struct Failure {
    what: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure that says everything itself.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            cause: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            None => f.write_str(&self.what),
            Some(cause) => write!(f, "{}: {cause}", self.what),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    /// The value, or a [`Failure`] to do `what`.
    fn context(self, what: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Context<T> for Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|cause| Failure {
            what: what.into(),
            cause: Some(cause.into()),
        })
    }
}

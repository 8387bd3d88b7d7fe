//! Errors of the policy file, each with its place.

use std::fmt;

use super::key_path::KeyPath;
use crate::manifest::Position;

/// Everything that is wrong with a policy file: one error or more, in the order of their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyErrors(Vec<PolicyError>);

impl PolicyErrors {
    /// Orders errors by their places; `None` if there are none.
    pub(super) fn new(mut errors: Vec<PolicyError>) -> Option<Self> {
        errors.sort_by_key(|error| error.position.map(|at| (at.line, at.column)));
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// Returns all errors; there is at least one.
    #[must_use]
    pub fn all(&self) -> &[PolicyError] {
        &self.0
    }
}

impl From<PolicyError> for PolicyErrors {
    fn from(error: PolicyError) -> Self {
        Self(vec![error])
    }
}

/// Writes a single error, or the number of errors and the first one.
impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.all() {
            [] => Ok(()),
            [only] => only.fmt(f),
            [first, ..] => write!(f, "{} errors, the first: {first}", self.0.len()),
        }
    }
}

impl std::error::Error for PolicyErrors {}

/// One error of a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// Where in the text; `None` if the whole file is meant.
    pub position: Option<Position>,
    /// The key; `None` if the text cannot be read that far, and if the message names the key.
    pub path: Option<KeyPath>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(f, "{position}: ")?;
        }
        if let Some(path) = &self.path {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for PolicyError {}

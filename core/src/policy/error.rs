//! Errors of the policy file that name the key and its place.

/// Why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// There is nothing in the text: an accident more often than a wish, and the built-in policy may
    /// allow more than the one that was meant.
    #[error("the file is empty; write `{{}}` for the built-in policy")]
    Empty,
    /// The text is not YAML, or a key or value does not fit.
    #[error("line {line}, column {column}: {message}")]
    At {
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
        /// What is wrong there.
        message: String,
    },
    /// A value contradicts another.
    #[error("{path}: {message}")]
    Key {
        /// The key's path, such as `profiles.fast.dind.daemonConfig.mtu`.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

impl PolicyError {
    /// An error at a key.
    pub(super) fn key(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Key {
            path: path.into(),
            message: message.into(),
        }
    }

    /// The parser's error, with a suggestion for a mistyped key.
    pub(super) fn from_yaml(error: &serde_saphyr::Error) -> Self {
        let text = error.without_snippet().to_string();
        let text = text.lines().next().unwrap_or_default();
        let message = text.rsplit_once(" at line ").map_or(text, |(m, _)| m);
        let (line, column) = error
            .location()
            .map_or((1, 1), |at| (at.line(), at.column()));
        Self::At {
            line,
            column,
            message: with_suggestion(message),
        }
    }
}

/// "unknown field `a`, expected one of b, c" in our words, with the nearest known key.
fn with_suggestion(message: &str) -> String {
    let Some((_, rest)) = message.split_once("unknown field `") else {
        return message.to_owned();
    };
    let Some((unknown, rest)) = rest.split_once('`') else {
        return message.to_owned();
    };
    let known: Vec<&str> = rest
        .rsplit_once("expected ")
        .map_or("", |(_, list)| list)
        .trim_start_matches("one of ")
        .split([',', ' '])
        .map(|word| word.trim_matches('`'))
        .filter(|word| !word.is_empty() && *word != "or")
        .collect();
    let nearest = known
        .iter()
        .map(|key| (distance(unknown, key), *key))
        .min()
        .filter(|(distance, key)| *distance <= 1 + key.len() / 4);
    match nearest {
        Some((_, key)) => format!("unknown key `{unknown}`; did you mean `{key}`?"),
        None => format!("unknown key `{unknown}`; known here: {}", known.join(", ")),
    }
}

/// The Levenshtein distance, ignoring case.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = substituted.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_edits() {
        for (a, b, edits) in [
            ("mtuu", "mtu", 1),
            ("mtu", "mtu", 0),
            ("abc", "xyz", 3),
            ("", "ab", 2),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }
}

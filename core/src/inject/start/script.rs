//! The start script, without the comments that are for its readers.

use std::{fmt::Write as _, sync::LazyLock};

use crate::dockerd::StartOptions;

static SCRIPT: LazyLock<[Script; 1]> = LazyLock::new(|| {
    let source = include_str!("dockerd-start.sh");
    let lines = source.lines().filter(|line| {
        let line = line.trim_start();
        !line.is_empty() && !line.starts_with('#')
    });
    let text = lines.fold(String::new(), |mut script, line| {
        // Writing to a string does not fail.
        let _ = writeln!(script, "{line}");
        script
    });
    [Script { text }]
});

/// A start script. There are few, each made once, so what is derived from one can be kept.
#[derive(Debug)]
pub struct Script {
    text: String,
}

impl Script {
    /// Returns the script that these options need.
    #[must_use]
    pub fn for_options(_options: StartOptions) -> &'static Self {
        let [script] = &*SCRIPT;
        script
    }

    /// Returns all scripts that there are.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &*SCRIPT
    }

    /// Returns which of [`Self::all`] this text is.
    #[must_use]
    pub fn find(text: &str) -> Option<usize> {
        Self::all().iter().position(|script| script.text == text)
    }

    /// Returns its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

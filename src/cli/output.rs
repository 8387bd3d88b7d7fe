//! What commands print: text with colours for terminals, in one write.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use clap::ValueEnum;

/// The format of a report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// When to colour the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Returns the paint for standard output.
    pub(super) fn paint(self) -> Paint {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        Paint {
            on: match self {
                Self::Always => true,
                Self::Never => false,
                Self::Auto => {
                    set("NO_COLOR").is_none()
                        && set("TERM").is_none_or(|term| term != "dumb")
                        && io::stdout().is_terminal()
                }
            },
        }
    }
}

/// A painter that adds colours, or leaves text as it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    #[cfg(test)]
    pub(super) const NONE: Self = Self { on: false };

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn cyan(self, text: &str) -> String {
        self.with("36", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Colours a unified diff line by line.
    pub(super) fn diff(self, diff: &str) -> String {
        if !self.on {
            return diff.to_owned();
        }
        let mut painted = String::with_capacity(diff.len() * 2);
        for (i, line) in diff.lines().enumerate() {
            let line = match line.as_bytes().first() {
                _ if i < 2 => self.bold(line),
                Some(b'@') => self.cyan(line),
                Some(b'+') => self.green(line),
                Some(b'-') => self.red(line),
                _ => line.to_owned(),
            };
            painted.push_str(&line);
            painted.push('\n');
        }
        painted
    }
}

/// Writes to standard output.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes a line to standard error.
pub(super) fn note(text: &str) {
    // If standard error is closed, there is no way to report that.
    let _ = writeln!(io::stderr(), "{text}");
}

/// Renders a table. Columns are as wide as their widest cell; lines have no trailing blanks.
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    paint: Paint,
) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    let mut widths = header.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; N]| {
        let padded = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}  "));
        padded.collect::<String>().trim_end().to_owned()
    };
    let mut text = paint.bold(&line(header)) + "\n";
    for row in &rows {
        text += &line(row.each_ref().map(String::as_str));
        text.push('\n');
    }
    text
}

/// Counts things in words: `no changes`, `1 change`, `2 changes`.
pub(super) fn count(n: usize, thing: &str) -> String {
    match n {
        0 => format!("no {thing}s"),
        1 => format!("1 {thing}"),
        n => format!("{n} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_coloured_line_by_line() {
        let diff = "--- a\n+++ b\n@@ -1 +1 @@\n-x\n+y\n z\n";
        assert_eq!(Paint::NONE.diff(diff), diff);
        assert_eq!(
            Paint { on: true }.diff(diff),
            "\x1b[1m--- a\x1b[0m\n\x1b[1m+++ b\x1b[0m\n\x1b[36m@@ -1 +1 @@\x1b[0m\n\x1b[31m-x\x1b[0m\n\x1b[32m+y\x1b[0m\n z\n"
        );
    }
}

//! The documents of a file, each with its exact text, so that unchanged documents stay byte for byte.
//!
//! YAML is split at its marker lines (<https://yaml.org/spec/1.2.2/#91-documents>) before it is
//! parsed: `---` at the start of a line always begins a document.
//! Scalars are read as kubectl reads them: `0644` is octal and `yes` is true, as in YAML 1.1.

use std::ops::Range;

use serde_json::Value;

use super::position::{Position, PositionTree};

/// A document of a stream.
#[derive(Debug, Clone)]
pub struct Document<'t> {
    /// Its exact text, with its marker line and comments. The texts of all documents make up the file.
    pub text: &'t str,
    /// The position of the text in the file.
    pub start: Position,
    /// Its content; `None` if there is none.
    pub value: Option<Value>,
}

/// The reason why a document cannot be used, and its position in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct DocumentError {
    /// The position in the file.
    pub at: Position,
    /// What is wrong there.
    pub message: String,
}

/// Reads the documents of a file, YAML or JSON.
///
/// # Errors
/// When a document is neither YAML nor JSON.
pub fn read(text: &str) -> Result<Vec<Document<'_>>, DocumentError> {
    let begins_as_json = text.trim_start().starts_with('{');
    if begins_as_json && let Some(documents) = read_json(text) {
        return Ok(documents);
    }
    let mut start = Position::START;
    let mut documents = Vec::new();
    for range in split_yaml(text) {
        let text = text.get(range).unwrap_or_default();
        let value = parse_yaml(text).map_err(|error| yaml_error(&error, start))?;
        documents.push(Document { text, start, value });
        start = start.after(text);
    }
    Ok(documents)
}

/// Reads one JSON document or several in a row; `None` when they are not JSON.
fn read_json(text: &str) -> Option<Vec<Document<'_>>> {
    let mut documents = Vec::new();
    let (mut begin, mut start) = (0, Position::START);
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    while let Some(value) = values.next() {
        let value = Some(value.ok()?);
        let end = values.byte_offset();
        let text = text.get(begin..end)?;
        documents.push(Document { text, start, value });
        (begin, start) = (end, start.after(text));
    }
    if let Some(last) = documents.last_mut() {
        last.text = text.get(begin - last.text.len()..)?;
    }
    Some(documents)
}

/// Returns the options for YAML 1.1's scalars, which kubectl uses.
pub(super) fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

fn parse_yaml(text: &str) -> Result<Option<Value>, serde_saphyr::Error> {
    if !has_content(text) {
        return Ok(None);
    }
    let value: Value = serde_saphyr::from_str_with_options(text, yaml_options())?;
    Ok(Some(value).filter(|value| !value.is_null()))
}

fn yaml_error(error: &serde_saphyr::Error, start: Position) -> DocumentError {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    let message = text.rsplit_once(" at line ").map_or(text, |(m, _)| m);
    let at = error
        .location()
        .map_or(start, |at| start.of(Position::new(at.line(), at.column())));
    // The parser's advice is meant for programmers; the one on tabs is missing.
    let message = message
        .split(", set DuplicateKeyPolicy")
        .next()
        .unwrap_or(message);
    let hint = if message.contains("tabs ") {
        "; indent with spaces"
    } else {
        ""
    };
    DocumentError {
        at,
        message: format!("expected YAML: {message}{hint}"),
    }
}

/// The role of a line when a stream is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// `---`; content may follow on the same line.
    Begin { content: bool },
    /// `...`
    End,
    /// A comment, a directive or nothing.
    Nothing,
    /// Anything else.
    Content,
}

impl Line {
    fn of(line: &str) -> Self {
        let line = line.trim_start_matches('\u{feff}');
        let marked = |marker| {
            line.strip_prefix(marker)
                .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        if let Some(rest) = marked("---") {
            let rest = rest.trim_start();
            let content = !rest.is_empty() && !rest.starts_with('#');
            Self::Begin { content }
        } else if marked("...").is_some() {
            Self::End
        } else if line.starts_with('%') || line.trim().is_empty() || is_comment(line) {
            Self::Nothing
        } else {
            Self::Content
        }
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// Returns the ranges of the documents. Comments before the first marker belong to the document that
/// the marker begins.
fn split_yaml(text: &str) -> Vec<Range<usize>> {
    let mut documents = Vec::new();
    let (mut begin, mut offset) = (0, 0);
    let (mut marked, mut filled) = (false, false);
    for line in text.split_inclusive('\n') {
        let next = offset + line.len();
        match Line::of(line) {
            Line::Begin { content } => {
                if marked || filled {
                    documents.push(begin..offset);
                    begin = offset;
                }
                (marked, filled) = (true, content);
            }
            Line::End => {
                documents.push(begin..next);
                begin = next;
                (marked, filled) = (false, false);
            }
            Line::Nothing => {}
            Line::Content => filled = true,
        }
        offset = next;
    }
    if begin < text.len() {
        documents.push(begin..text.len());
    }
    documents
}

fn has_content(text: &str) -> bool {
    text.lines()
        .map(Line::of)
        .any(|line| matches!(line, Line::Content | Line::Begin { content: true }))
}

impl Document<'_> {
    /// Returns the marker and the comments above the content, which are kept when the content changes.
    #[must_use]
    pub fn head(&self) -> &str {
        let is_head = |line: &&str| match Line::of(line) {
            Line::Nothing => true,
            Line::Begin { content } => !content,
            Line::End | Line::Content => false,
        };
        let lines = self.text.split_inclusive('\n').take_while(is_head);
        let length = lines.map(str::len).sum();
        let head = self.text.get(..length).unwrap_or_default();
        if head.trim().is_empty() { "" } else { head }
    }

    /// Returns whether its text begins with a marker `---`, after comments and directives.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        let mut lines = self.text.lines().map(Line::of);
        let first = lines.find(|line| *line != Line::Nothing);
        matches!(first, Some(Line::Begin { .. }))
    }

    /// Creates an error about the value at a JSON pointer, or about its nearest ancestor that exists.
    #[must_use]
    pub fn error_at(&self, pointer: &str, message: impl Into<String>) -> DocumentError {
        let at = PositionTree::read(self.text, yaml_options())
            .map_or(self.start, |tree| self.start.of(tree.at(pointer)));
        DocumentError {
            at,
            message: message.into(),
        }
    }
}

/// Writes a value as YAML like kubectl: lists are not indented, long lines are not folded.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let options = serde_saphyr::ser_options! {
        folded_wrap_chars: usize::MAX,
    };
    // This cannot fail for a JSON value; JSON would be valid YAML anyway.
    let mut text =
        serde_saphyr::to_string_with_options(value, options).unwrap_or_else(|_| value.to_string());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn texts(stream: &str) -> Vec<&str> {
        read(stream).unwrap().iter().map(|d| d.text).collect()
    }

    fn error(stream: &str) -> (u64, u64, String) {
        let error = read(stream).unwrap_err();
        (error.at.line, error.at.column, error.message)
    }

    #[test]
    fn a_stream_is_split_at_its_markers_without_losing_text() {
        let stream = "# head\n---\na: 1\n---\n# only a comment\n--- # text\nb: |\n  --- no marker\n...\nc: 3\n---\n";
        assert_eq!(
            texts(stream),
            [
                "# head\n---\na: 1\n",
                "---\n# only a comment\n",
                "--- # text\nb: |\n  --- no marker\n...\n",
                "c: 3\n",
                "---\n",
            ]
        );
        assert_eq!(texts(stream).concat(), stream);
    }

    #[test]
    fn documents_without_content_have_no_value() {
        for stream in [
            "",
            "\n",
            "# c\n",
            "---\n",
            "---\n# c\n...\n",
            "~\n",
            "---\nnull\n",
        ] {
            assert!(
                read(stream).unwrap().iter().all(|d| d.value.is_none()),
                "{stream:?}"
            );
        }
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark_are_accepted() {
        let documents = read("\u{feff}---\r\na: 1\r\n---\r\nb: 2\r\n").unwrap();
        let values: Vec<_> = documents.iter().map(|d| d.value.clone().unwrap()).collect();
        assert_eq!(values, [json!({"a": 1}), json!({"b": 2})]);
    }

    #[test]
    fn scalars_are_read_as_kubectl_reads_them() {
        let value = read("a: 0644\nb: \"0644\"\nc: yes\nd: 1e3\ne: 0o17\nf: 5m\ng: \"yes\"\n")
            .unwrap()[0]
            .value
            .clone();
        assert_eq!(
            value.unwrap(),
            json!({"a": 420, "b": "0644", "c": true, "d": 1000.0, "e": 15, "f": "5m", "g": "yes"})
        );
    }

    #[test]
    fn json_documents_may_follow_one_another() {
        let stream = "{\"a\": 1}\n{\"b\": 2} {\"c\": 3}\n";
        assert_eq!(texts(stream).concat(), stream);
        let documents = read(stream).unwrap();
        assert_eq!(documents[2].value, Some(json!({"c": 3})));
        assert_eq!(documents[2].start, Position::new(2, 9));
    }

    #[test]
    fn a_file_that_begins_like_json_may_be_yaml() {
        let documents = read("{a: 1, # comment\n b: [1,]}\n").unwrap();
        assert_eq!(documents[0].value, Some(json!({"a": 1, "b": [1]})));
    }

    #[test]
    fn errors_have_a_position_in_the_file() {
        let (line, column, message) = error("a: 1\n---\nb: [1\n---\nc: 1\n");
        assert_eq!((line, column), (3, 4), "{message}");
        let (line, _, message) = error("a: 1\n---\nb:\n\t- 1\n");
        assert_eq!(line, 4, "{message}");
        assert!(message.ends_with("; indent with spaces"), "{message}");
        let (line, _, message) = error("a: 1\na: 2\n");
        assert_eq!(line, 2, "{message}");
        assert_eq!(message, "expected YAML: duplicate mapping key: a");
    }

    #[test]
    fn positions_in_a_document_are_positions_in_the_file() {
        let documents = read("a: 1\n---\nb:\n- c: x\n  d: y\n").unwrap();
        let at = |pointer| documents[1].error_at(pointer, "").at;
        assert_eq!(at("/b/0/d"), Position::new(5, 6));
        assert_eq!(at("/b/0/missing"), Position::new(4, 3));
    }

    #[test]
    fn the_head_is_everything_above_the_content() {
        let head = |text: &str| read(text).unwrap()[0].head().to_owned();
        assert_eq!(head("# a\n---\n# b\n\nk: 1\n# c\n"), "# a\n---\n# b\n\n");
        assert_eq!(head("--- {a: 1}\n"), "");
        assert_eq!(head("{\"a\": 1}"), "");
    }

    #[test]
    fn yaml_is_written_as_kubectl_writes_it() {
        let long = "x y".repeat(50);
        let value = json!({"list": [{"a": "yes", "b": "0644", "c": "1.0"}], "long": long, "script": "a\nb\n", "none": {}, "null": null});
        assert_eq!(
            to_yaml(&value),
            format!(
                "list:\n- a: \"yes\"\n  b: \"0644\"\n  c: \"1.0\"\nlong: {long}\nscript: |\n  a\n  b\nnone: {{}}\n\"null\": null\n"
            )
        );
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "[ -~]{0,12}",
            "[\\x00-\\x7f]{0,8}",
            "\\PC{0,8}",
            "[ab:#\\-\n \t'\"]{0,12}"
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z0-9./: #-]{1,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn written_yaml_parses_to_the_same_value(value in any_value()) {
            let document = json!({ "k": value });
            let text = to_yaml(&document);
            prop_assert_eq!(read(&text).unwrap()[0].value.clone(), Some(document), "{}", text);
        }

        #[test]
        fn any_text_is_split_without_loss_or_panic(text in "([-.# a:\n]|---\n|\\.\\.\\.\n|%Y\n|\\PC){0,40}") {
            if let Ok(documents) = read(&text) {
                let joined: String = documents.iter().map(|d| d.text).collect();
                prop_assert_eq!(joined, text);
            }
        }
    }
}

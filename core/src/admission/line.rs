//! Text from a request, bounded for one line of a log, an Event or a page.

/// Returns `text` as one line of at most `max` bytes: control characters become spaces, and the rest is
/// cut at a character. What is logged of a request passes through here.
pub(super) fn line(text: &str, max: usize) -> String {
    text.char_indices()
        .take_while(|(start, c)| start + c.len_utf8() <= max)
        .map(|(_, c)| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_line_is_cut_at_a_character_and_has_no_control_characters() {
        assert_eq!(line("a\nb\u{1b}c", 100), "a b c");
        // U+0085 is a control character of two bytes, and becomes one space.
        assert_eq!(line("a\u{85}b", 100), "a b");
        assert_eq!(line("\u{e9}\u{e9}\u{e9}", 5), "\u{e9}\u{e9}");
        assert_eq!(line("", 5), "");
    }
}

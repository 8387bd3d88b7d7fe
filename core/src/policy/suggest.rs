//! Suggestions for mistyped keys.

/// How a message about an unknown key begins.
pub(super) const UNKNOWN_KEY: &str = "unknown key ";

/// Rewords serde's "unknown field `a`, expected one of b, c", with the nearest known key.
pub(super) fn with_suggestion(message: &str) -> String {
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
        Some((_, key)) => format!("{UNKNOWN_KEY}`{unknown}`; did you mean `{key}`?"),
        None => format!("{UNKNOWN_KEY}`{unknown}`; known here: {}", known.join(", ")),
    }
}

/// Returns the Levenshtein distance, ignoring case.
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

    #[test]
    fn a_far_fetched_key_gets_the_list_of_known_ones() {
        assert_eq!(
            with_suggestion("unknown field `mtuu`, expected one of `mtu`, `image`"),
            "unknown key `mtuu`; did you mean `mtu`?"
        );
        assert_eq!(
            with_suggestion("unknown field `colour`, expected `mtu` or `image`"),
            "unknown key `colour`; known here: mtu, image"
        );
        assert_eq!(with_suggestion("something else"), "something else");
    }
}

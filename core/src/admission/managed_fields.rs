//! Empties `managedFields` in a review before it is parsed.
//!
//! They are a third of the usual review, and nothing here reads them. serde_json passes over them by
//! checking each of their many short strings, at more than the cost of everything that is read.

use memchr::{memchr2, memmem};

/// The key, up to the bracket of its list, as the API server writes it. No string of JSON holds this
/// text, because a quote in a string is escaped.
const LIST: &[u8] = br#""managedFields":["#;

/// Removes the items of the first `managedFields` of a review. A review that is written in another
/// way than the API server's stays unchanged, which costs time and nothing else.
///
/// What is removed is not checked to be JSON.
pub fn empty_managed_fields(review: &mut Vec<u8>) {
    let Some(start) = memmem::find(review, LIST).map(|at| at + LIST.len()) else {
        return;
    };
    if let Some(len) = review.get(start..).and_then(items_len) {
        review.drain(start..start + len);
    }
}

/// Returns how many bytes of `text` come before the bracket that closes the list in which it begins.
fn items_len(text: &[u8]) -> Option<usize> {
    let (mut at, mut open) = (0, 0_usize);
    loop {
        match text.get(at)? {
            b'"' => at = end_of_string(text, at + 1)?,
            b'[' | b'{' => open += 1,
            b']' | b'}' if open == 0 => return Some(at),
            b']' | b'}' => open -= 1,
            _ => {}
        }
        at += 1;
    }
}

/// Returns where the quote is that ends the string in which `at` lies.
fn end_of_string(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn emptied(review: &str) -> String {
        let mut bytes = review.as_bytes().to_vec();
        empty_managed_fields(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_items_go_and_everything_else_stays() {
        let keys = json!({"k:{\"name\":\"]}\\\"\"}": {".": {}, "f:\u{2603}": [[], {"f:a": {}}]}});
        let review = |fields: Value| {
            json!({"request": {"uid": "u", "object": {
                "metadata": {"name": "p", "managedFields": fields, "labels": {"a": "b"}},
                "spec": {"containers": [{"name": "c"}]},
            }}})
        };
        let (full, empty) = (review(json!([keys, keys])), review(json!([])));
        assert_eq!(emptied(&full.to_string()), empty.to_string());
        assert_eq!(emptied(&empty.to_string()), empty.to_string());
    }

    #[test]
    fn a_value_that_looks_like_the_key_stays() {
        let review = json!({"a": "\"managedFields\":[1]", "b": "managedFields", "c": [1]});
        assert_eq!(emptied(&review.to_string()), review.to_string());
    }

    #[test]
    fn a_list_without_an_end_stays() {
        for review in [
            r#"{"managedFields":["#,
            r#"{"managedFields":[{"a":1}"#,
            r#"{"managedFields":["a]"#,
            r#"{"managedFields":["\"#,
            r#"{"managedFields":null}"#,
            r#"{"managedFields": [1]}"#,
        ] {
            assert_eq!(emptied(review), review);
        }
    }
}

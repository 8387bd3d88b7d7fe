//! JSON pointers, and the same paths as people write them.

/// Writes a pointer as people write paths: `/spec/containers/0/name` as `spec.containers[0].name`.
#[must_use]
pub fn dotted(pointer: &str) -> String {
    let mut path = String::new();
    for token in pointer.split('/').skip(1) {
        if !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit()) {
            path.extend(["[", token, "]"]);
            continue;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(&token.replace("~1", "/").replace("~0", "~"));
    }
    path
}

/// Parses a path that [`dotted`] wrote. A key with a dot in it cannot be told from two keys.
#[must_use]
pub fn pointer_of(path: &str) -> String {
    path.split(['.', '[', ']'])
        .filter(|token| !token.is_empty())
        .flat_map(|token| ["/".to_owned(), token.replace('~', "~0").replace('/', "~1")])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_people_write_them() {
        assert_eq!(dotted("/spec/containers/0/a~1b"), "spec.containers[0].a/b");
        assert_eq!(
            pointer_of("spec.containers[0].name"),
            "/spec/containers/0/name"
        );
    }
}

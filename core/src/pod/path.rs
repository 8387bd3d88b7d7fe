//! Paths in containers, compared as the kernel would resolve them.

use std::borrow::Cow;

/// Resolves `..` in a path. Hardly any path has one.
fn without_parents(path: &str) -> Cow<'_, str> {
    if !path.as_bytes().windows(2).any(|pair| pair == b"..") {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(kept.pop()),
            component => kept.push(component),
        }
    }
    Cow::Owned(kept.join("/"))
}

// Works on bytes: for paths as short as these, searching text is slower.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that `split` of a slice expects"
)]
fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

/// Splits a path without `..` into the components that the kernel resolves: without empty ones and
/// `.`, and with `/var/run` as `/run`, to which it is a link in every image that runs dockerd.
fn components(path: &str) -> impl Iterator<Item = &[u8]> + Clone {
    let all = path.as_bytes().split(is_slash);
    let all = all.filter(|component| !component.is_empty() && *component != b".");
    let mut first = all.clone();
    let through_var = first.next() == Some(b"var") && first.next() == Some(b"run");
    all.skip(usize::from(through_var))
}

/// Removes doubled and trailing slashes, `.` and `..` from a path, and writes `/var/run` as `/run`.
#[must_use]
pub fn canonical_path(path: &str) -> String {
    let mut canonical = String::with_capacity(path.len() + 1);
    for component in components(&without_parents(path)) {
        canonical.push('/');
        canonical.push_str(&String::from_utf8_lossy(component));
    }
    if canonical.is_empty() {
        canonical.push('/');
    }
    canonical
}

/// Returns whether two paths are the same, however they are spelled.
#[must_use]
pub fn is_same_path(a: &str, b: &str) -> bool {
    components(&without_parents(a)).eq(components(&without_parents(b)))
}

/// Returns whether `path` is `ancestor` or lies below it, however they are spelled.
#[must_use]
pub fn is_within(path: &str, ancestor: &str) -> bool {
    let path = without_parents(path);
    let mut rest = components(&path);
    components(&without_parents(ancestor)).all(|component| rest.next() == Some(component))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn var_run_is_the_same_as_run() {
        assert_eq!(canonical_path("/var/run/docker.sock"), "/run/docker.sock");
        assert_eq!(canonical_path("//run/./x/"), "/run/x");
        assert_eq!(canonical_path("/var/runner"), "/var/runner");
        assert_eq!(canonical_path("//."), "/");
        assert!(is_same_path("/var/run/docker.sock/", "//run/docker.sock"));
        assert!(!is_same_path("/var/run", "/var/run/x"));
    }

    #[test]
    fn parent_directories_are_resolved() {
        assert_eq!(canonical_path("/x/../var/run/y"), "/run/y");
        assert_eq!(canonical_path("/../../etc"), "/etc");
        assert!(is_within("/home/../usr/bin", "/usr"));
        assert_eq!(canonical_path("/a..b/c.."), "/a..b/c..");
    }

    #[test]
    fn a_path_is_within_itself_and_its_ancestors_only() {
        assert!(is_within("/var/lib/docker/overlay2", "/var/lib/docker/"));
        assert!(is_within("/var/lib/docker", "/var/lib/docker"));
        assert!(!is_within("/var/lib/docker2", "/var/lib/docker"));
        assert!(is_within("/anything", "/"));
        assert!(is_within("/var/run/x", "/run/"));
        assert!(!is_within("/var", "/var/lib"));
    }
}

//! Paths in containers, compared as the kernel would.

use std::borrow::Cow;

/// A path without `..` steps; hardly any has one.
fn without_steps_up(path: &str) -> Cow<'_, str> {
    if !path.as_bytes().split(is_slash).any(|step| step == b"..") {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(kept.pop()),
            step => kept.push(step),
        }
    }
    Cow::Owned(kept.join("/"))
}

// Bytes: for words as short as these, searching text is slower than looking at each.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "that is how a slice is split"
)]
fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

/// The steps of a path without `..` as the kernel takes them: without empty ones and `.`, and with
/// `/var/run` as `/run`, which it links to in every image that runs dockerd.
fn steps(path: &str) -> impl Iterator<Item = &[u8]> + Clone {
    let all = path.as_bytes().split(is_slash);
    let all = all.filter(|step| !step.is_empty() && *step != b".");
    let mut first = all.clone();
    let through_var = first.next() == Some(b"var") && first.next() == Some(b"run");
    all.skip(usize::from(through_var))
}

/// A path without doubled or trailing slashes, `.` and `..` steps, and with `/var/run` as `/run`.
#[must_use]
pub fn canonical_path(path: &str) -> String {
    let mut canonical = String::with_capacity(path.len() + 1);
    for step in steps(&without_steps_up(path)) {
        canonical.push('/');
        canonical.push_str(&String::from_utf8_lossy(step));
    }
    if canonical.is_empty() {
        canonical.push('/');
    }
    canonical
}

/// Whether two paths are the same, however they are spelled.
#[must_use]
pub fn is_same_path(a: &str, b: &str) -> bool {
    steps(&without_steps_up(a)).eq(steps(&without_steps_up(b)))
}

/// Whether `path` is `ancestor` or lies below it, however they are spelled.
#[must_use]
pub fn is_within(path: &str, ancestor: &str) -> bool {
    let path = without_steps_up(path);
    let mut steps_down = steps(&path);
    steps(&without_steps_up(ancestor)).all(|step| steps_down.next() == Some(step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn var_run_is_run() {
        assert_eq!(canonical_path("/var/run/docker.sock"), "/run/docker.sock");
        assert_eq!(canonical_path("//run/./x/"), "/run/x");
        assert_eq!(canonical_path("/var/runner"), "/var/runner");
        assert_eq!(canonical_path("//."), "/");
        assert!(is_same_path("/var/run/docker.sock/", "//run/docker.sock"));
        assert!(!is_same_path("/var/run", "/var/run/x"));
    }

    #[test]
    fn steps_up_are_taken() {
        assert_eq!(canonical_path("/x/../var/run/y"), "/run/y");
        assert_eq!(canonical_path("/../../etc"), "/etc");
        assert!(is_within("/home/../usr/bin", "/usr"));
    }

    #[test]
    fn a_path_is_within_itself_and_its_parents_only() {
        assert!(is_within("/var/lib/docker/overlay2", "/var/lib/docker/"));
        assert!(is_within("/var/lib/docker", "/var/lib/docker"));
        assert!(!is_within("/var/lib/docker2", "/var/lib/docker"));
        assert!(is_within("/anything", "/"));
        assert!(is_within("/var/run/x", "/run/"));
        assert!(!is_within("/var", "/var/lib"));
    }
}

//! Paths in containers, compared as the kernel would.

/// The steps of a path as the kernel takes them: without empty ones and `.`, and with `/var/run` as
/// `/run`, which it links to in every image that runs dockerd.
fn steps(path: &str) -> impl Iterator<Item = &[u8]> + Clone {
    // Bytes: for words as short as these, searching text is slower than looking at each.
    let all = path.as_bytes().split(|byte| *byte == b'/');
    let all = all.filter(|step| !step.is_empty() && *step != b".");
    let mut first = all.clone();
    let through_var = first.next() == Some(b"var") && first.next() == Some(b"run");
    all.skip(usize::from(through_var))
}

/// A path without doubled or trailing slashes and `.` steps, and with `/var/run` as `/run`.
#[must_use]
pub fn canonical_path(path: &str) -> String {
    let mut canonical = String::with_capacity(path.len() + 1);
    for step in steps(path) {
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
    steps(a).eq(steps(b))
}

/// Whether `path` is `ancestor` or lies below it, however they are spelled.
#[must_use]
pub fn is_within(path: &str, ancestor: &str) -> bool {
    let mut steps_down = steps(path);
    steps(ancestor).all(|step| steps_down.next() == Some(step))
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
    fn a_path_is_within_itself_and_its_parents_only() {
        assert!(is_within("/var/lib/docker/overlay2", "/var/lib/docker/"));
        assert!(is_within("/var/lib/docker", "/var/lib/docker"));
        assert!(!is_within("/var/lib/docker2", "/var/lib/docker"));
        assert!(is_within("/anything", "/"));
        assert!(is_within("/var/run/x", "/run/"));
        assert!(!is_within("/var", "/var/lib"));
    }
}

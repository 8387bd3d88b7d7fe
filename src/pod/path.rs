//! Paths in containers, compared as the kernel would.

/// A path without doubled or trailing slashes, `.` and `..` steps, and with `/var/run` as `/run`,
/// which it links to in every image that runs dockerd.
#[must_use]
pub fn canonical_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.starts_with(&["var", "run"]) {
        parts.remove(0);
    }
    format!("/{}", parts.join("/"))
}

/// Whether the canonical `path` is `ancestor` or lies below it.
#[must_use]
pub fn is_within(path: &str, ancestor: &str) -> bool {
    let (path, ancestor) = (canonical_path(path), canonical_path(ancestor));
    ancestor == "/"
        || path
            .strip_prefix(&ancestor)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn var_run_is_run() {
        assert_eq!(canonical_path("/var/run/docker.sock"), "/run/docker.sock");
        assert_eq!(canonical_path("//run/./x/"), "/run/x");
        assert_eq!(canonical_path("/var/runner"), "/var/runner");
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
    }
}

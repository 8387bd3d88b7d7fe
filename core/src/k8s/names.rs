//! The forms of Kubernetes names, as the API server validates them.
//!
//! The rules are those of apimachinery's
//! [`validation`](https://pkg.go.dev/k8s.io/apimachinery/pkg/util/validation) package; each function
//! names its counterpart there.

/// The longest DNS label, label value, and name part of a label key, in bytes.
pub const MAX_LABEL: usize = 63;
/// The longest DNS subdomain, and so the longest name of any object, in bytes.
pub const MAX_SUBDOMAIN: usize = 253;

/// Returns whether `text` is an RFC 1123 label, such as the name of a namespace or a Service: lower-case
/// letters, digits and `-` (`IsDNS1123Label`).
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= MAX_LABEL && is_dns_part(text)
}

/// Returns whether `text` is an RFC 1123 subdomain, as the name of most objects is: parts of lower-case
/// letters, digits and `-`, joined by `.` (`IsDNS1123Subdomain`).
#[must_use]
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= MAX_SUBDOMAIN && text.split('.').all(is_dns_part)
}

/// Returns whether `text` is the key of a label or annotation, `name` or `example.com/name`
/// (`IsQualifiedName`).
#[must_use]
pub fn is_label_key(text: &str) -> bool {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(is_dns_subdomain)
}

/// Returns whether `text` is the value of a label: letters, digits, `-`, `_` and `.`; it may be empty
/// (`IsValidLabelValue`).
#[must_use]
pub fn is_label_value(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text.is_empty()
        || text.len() <= MAX_LABEL
            && text.chars().all(is_inner)
            && begins_and_ends(text, |c| c.is_ascii_alphanumeric())
}

/// Returns whether `text` is the name of an environment variable.
///
/// Narrower than `IsEnvVarName`, which also takes a leading `-` or `.`: shells do not.
#[must_use]
pub fn is_env_var_name(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(is_inner)
}

/// Returns whether `text` names a resource that a container may request: one of Kubernetes' own, huge pages,
/// or an extended resource such as `example.com/gpu`
/// (`ValidateContainerResourceName` of the [core API](https://pkg.go.dev/k8s.io/kubernetes/pkg/apis/core/validation)).
#[must_use]
pub fn is_container_resource(text: &str) -> bool {
    matches!(text, "cpu" | "memory" | "ephemeral-storage")
        || text.starts_with("hugepages-")
        || text.contains('/') && is_label_key(text)
}

/// Returns whether `text` is a DNS label of any length.
fn is_dns_part(text: &str) -> bool {
    let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.chars().all(|c| is_end(c) || c == '-') && begins_and_ends(text, is_end)
}

fn begins_and_ends(text: &str, is_end: impl Fn(char) -> bool) -> bool {
    text.starts_with(&is_end) && text.ends_with(&is_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks a rule against texts that it accepts and texts that it refuses.
    fn check(rule: fn(&str) -> bool, accepted: &[&str], refused: &[&str]) {
        for text in accepted {
            assert!(rule(text), "{text:?} is refused");
        }
        for text in refused {
            assert!(!rule(text), "{text:?} is accepted");
        }
    }

    #[test]
    fn a_dns_label_is_at_most_63_lower_case_letters_digits_and_inner_hyphens() {
        let longest = "a".repeat(63);
        let too_long = "a".repeat(64);
        check(
            is_dns_label,
            &["a", "ci-1", "0", &longest],
            &["", "-a", "a-", "A", "a.b", "a_b", "é", "..", &too_long],
        );
    }

    #[test]
    fn a_subdomain_is_parts_of_letters_digits_and_inner_hyphens_joined_by_dots() {
        let longest = vec!["a"; 127].join(".");
        let too_long = vec!["a"; 128].join(".");
        let long_part = "a".repeat(64);
        check(
            is_dns_subdomain,
            &["a", "a.b-c.1", &longest, &long_part],
            &["", ".", "a.", ".a", "a..b", "A.b", "a.-b", &too_long],
        );
    }

    #[test]
    fn a_label_key_is_a_name_with_an_optional_domain() {
        let long_name = format!("example.com/{}", "a".repeat(64));
        check(
            is_label_key,
            &["a", "A_b.c-1", "example.com/Name", "slipway.io/inject"],
            &["", "/a", "a/", "a/b/c", "Example.com/a", "-a", &long_name],
        );
    }

    #[test]
    fn a_label_value_may_be_empty() {
        let too_long = "a".repeat(64);
        check(
            is_label_value,
            &["", "a", "A_b.c-1"],
            &["-a", "a.", "a b", "a/b", &too_long],
        );
    }

    #[test]
    fn a_variable_begins_with_a_letter_or_an_underscore() {
        check(
            is_env_var_name,
            &["PATH", "_a", "a.b-c"],
            &["", "1A", "-a", ".a", "A=B", "A B"],
        );
    }

    #[test]
    fn a_container_resource_is_kubernetes_own_huge_pages_or_extended() {
        check(
            is_container_resource,
            &["cpu", "hugepages-2Mi", "nvidia.com/gpu"],
            &["", "cpus", "storage", "gpu", "nvidia.com/", "a b/c"],
        );
    }
}

//! The cache key: which pods of a namespace share a cache.
//!
//! A key becomes the name of a directory and the value of an annotation, and its text may come
//! from anyone who creates pods. So it is bounded, holds no character that means something to a path,
//! and two sources never make the same key: an annotation cannot name a runner set's cache.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{k8s::names::is_dns_label, pod::Pod, policy::CacheKeySource};

/// Annotation by which a pod asks for a cache of its own, where the profile says `key: annotation`.
pub const CACHE_KEY: &str = "slipway.io/cache-key";

/// Labels that name the set of runners a pod belongs to, each with the word that tells its keys
/// from those of other systems; no word holds a `-`. Jenkins has none: its label is a new one for
/// each build.
const RUNNER_SETS: [(&str, &str); 5] = [
    ("actions.github.com/scale-set-name", "arc"),
    ("runner-deployment-name", "deployment"),
    ("runnerset-name", "runnerset"),
    ("project.runner.gitlab.com/id", "gitlab"),
    ("tag.buildkite.com/queue", "buildkite"),
];
/// The key of pods that share with all of their namespace. No other key has this form.
const WHOLE_NAMESPACE: &str = "all.pods";
/// The longest readable part, in bytes. With the hash a key stays below the 63 bytes of a label.
const MAX_READABLE: usize = 40;
/// How much of the hash stands in a key.
const HASH_BYTES: usize = 8;

/// A cache key: 1 to 63 bytes of lower-case letters, digits, `-` and `.`, beginning and ending
/// with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey(String);

impl CacheKey {
    /// The key of a pod. `label` is the one to read with [`CacheKeySource::Label`]. A pod without
    /// the label or annotation has the key of its runner set; one without a runner set shares with
    /// its namespace.
    #[must_use]
    pub fn of(pod: &Pod<'_>, source: CacheKeySource, label: Option<&str>) -> Self {
        let metadata = &pod.metadata;
        let own = match source {
            CacheKeySource::Namespace => return Self(WHOLE_NAMESPACE.to_owned()),
            CacheKeySource::RunnerSet => None,
            CacheKeySource::Label => label.and_then(|label| metadata.label(label)),
            CacheKeySource::Annotation => metadata.annotation(CACHE_KEY),
        };
        let kind = match source {
            CacheKeySource::Annotation => "annotation",
            _ => "label",
        };
        if let Some(value) = own.filter(|value| !value.is_empty()) {
            return Self::hashed(kind, value);
        }
        let mut sets = RUNNER_SETS
            .iter()
            .filter_map(|(label, system)| Some((*system, metadata.label(label)?)));
        match sets.find(|(_, set)| !set.is_empty()) {
            Some((system, set)) if is_dns_label(set) && set.len() <= MAX_READABLE => {
                Self(format!("{system}-{set}"))
            }
            Some((system, set)) => Self::hashed(system, set),
            None => Self(WHOLE_NAMESPACE.to_owned()),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What of `value` is fit for a name, for people, and a hash of all of it. The dot keeps such a
    /// key apart from a runner set's plain name.
    fn hashed(kind: &str, value: &str) -> Self {
        let readable: String = value
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
            .take(MAX_READABLE)
            .collect();
        let readable = if readable.is_empty() { kind } else { &readable };
        let digest = Sha256::digest([kind, "\0", value].concat());
        // 64 bits: someone who chooses a name cannot find another one's key by trying.
        let hash = digest
            .iter()
            .take(HASH_BYTES)
            .fold(0_u64, |hash, byte| (hash << 8) | u64::from(*byte));
        Self(format!("{readable}.{hash:016x}"))
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key(metadata: &Value, source: CacheKeySource) -> String {
        let text = json!({ "metadata": metadata }).to_string();
        let pod = Pod::parse(text.as_bytes()).unwrap();
        CacheKey::of(&pod, source, Some("example.com/repo")).to_string()
    }

    fn annotated(value: &str) -> String {
        key(
            &json!({"annotations": {CACHE_KEY: value}}),
            CacheKeySource::Annotation,
        )
    }

    #[test]
    fn a_runner_set_is_named_plainly_after_its_system() {
        let keys = RUNNER_SETS.map(|(label, _)| {
            key(
                &json!({"labels": {label: "build-7"}}),
                CacheKeySource::RunnerSet,
            )
        });
        assert_eq!(
            keys,
            [
                "arc-build-7",
                "deployment-build-7",
                "runnerset-build-7",
                "gitlab-build-7",
                "buildkite-build-7"
            ]
        );
    }

    #[test]
    fn sets_of_two_systems_with_one_strange_name_differ() {
        let of = |(label, _): (&str, &str)| {
            let set = json!({"labels": {label: "Build.7"}});
            key(&set, CacheKeySource::RunnerSet)
        };
        let keys: std::collections::HashSet<String> = RUNNER_SETS.into_iter().map(of).collect();
        assert_eq!(keys.len(), RUNNER_SETS.len(), "{keys:?}");
    }

    #[test]
    fn the_hash_is_the_beginning_of_sha_256() {
        // printf 'annotation\0fork' | sha256sum
        assert_eq!(annotated("fork"), "fork.9c9e99c7675a7629");
    }

    #[test]
    fn a_pod_without_a_set_shares_with_its_namespace() {
        for source in [
            CacheKeySource::Namespace,
            CacheKeySource::RunnerSet,
            CacheKeySource::Label,
            CacheKeySource::Annotation,
        ] {
            assert_eq!(key(&json!({}), source), WHOLE_NAMESPACE);
        }
    }

    #[test]
    fn whatever_a_stranger_writes_is_one_name() {
        let long = "x".repeat(100_000);
        for value in [
            "../../etc",
            "..",
            ".",
            "/",
            "a/b",
            "A b\n",
            "\u{1F980}",
            "$(reboot)",
            "all.pods",
            long.as_str(),
        ] {
            let key = annotated(value);
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.';
            assert!(key.len() <= 63 && key.chars().all(allowed), "{key}");
            assert!(!key.contains("..") && !key.starts_with('.'), "{key}");
            assert_ne!(key, WHOLE_NAMESPACE);
        }
    }

    #[test]
    fn values_that_look_alike_have_keys_of_their_own() {
        assert_ne!(annotated("Fork"), annotated("fork"));
        assert_ne!(annotated("a/b"), annotated("ab"));
    }

    #[test]
    fn no_annotation_or_label_names_the_cache_of_a_runner_set() {
        let set = json!({"labels": {RUNNER_SETS[0].0: "build"}});
        let label = json!({"labels": {"example.com/repo": "build"}});
        let keys = [
            key(&set, CacheKeySource::RunnerSet),
            key(&label, CacheKeySource::Label),
            annotated("build"),
        ];
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
    }
}

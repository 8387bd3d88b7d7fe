//! The cache key: pods of a namespace with the same key share a cache.
//!
//! A key becomes a directory name and an annotation value, and anyone who creates pods can choose
//! the text that it is made from. So keys are short and have no special characters. Keys from
//! different sources never collide: an annotation cannot select the cache of a runner set.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{k8s::names::is_dns_label, pod::Pod, policy::CacheKeySource};

/// Annotation with which a pod chooses its cache, if the profile sets `key: annotation`.
pub const CACHE_KEY: &str = "slipway.io/cache-key";

/// Labels that name the runner set of a pod, each with the prefix of its keys. No prefix contains a
/// `-`, so keys of two systems differ. Jenkins, Argo Workflows and Bitbucket are missing because their labels
/// change with each build or runner.
const RUNNER_SETS: [(&str, &str); 11] = [
    ("actions.github.com/scale-set-name", "arc"),
    ("runner-deployment-name", "deployment"),
    ("runnerset-name", "runnerset"),
    ("project.runner.gitlab.com/id", "gitlab"),
    ("tag.buildkite.com/queue", "buildkite"),
    ("woodpecker-ci.org/repo-id", "woodpecker"),
    ("pipelinesascode.tekton.dev/repository", "repository"),
    ("tekton.dev/task", "task"),
    ("teamcity-cloud-image", "teamcity"),
    ("garm/poolID", "garm"),
    ("scaledjob.keda.sh/name", "scaledjob"),
];
/// The label with which ARC's container hooks name the runner pod of a job pod:
/// `<scale set>-<letters>-runner-<letters>`.
const RUNNER_POD: &str = "runner-pod";
/// The prefix of the keys of job pods of ARC's container hooks.
const HOOKS: &str = "hooks";
/// The key of pods that share one cache for the whole namespace. No other key looks like this.
const WHOLE_NAMESPACE: &str = "all.pods";
/// The maximum length of the readable part in bytes. With the hash, a key fits into the 63 bytes of
/// a label value.
const MAX_READABLE: usize = 40;
/// The number of bytes of the hash in a key.
const HASH_BYTES: usize = 8;

/// A cache key: 1 to 63 lower-case letters, digits, `-` and `.`, starting and ending with a letter
/// or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CacheKey(String);

impl CacheKey {
    /// Returns the key of a pod. `label` is the label to read with [`CacheKeySource::Label`].
    ///
    /// Without that label or annotation, a pod gets the key of its runner set. Without a runner set,
    /// it shares the cache of its namespace.
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
            .filter_map(|(label, system)| Some((*system, metadata.label(label)?)))
            .chain(
                metadata
                    .label(RUNNER_POD)
                    .and_then(scale_set_of)
                    .map(|set| (HOOKS, set)),
            );
        match sets.find(|(_, set)| !set.is_empty()) {
            Some((system, set)) if is_dns_label(set) && set.len() <= MAX_READABLE => {
                Self(format!("{system}-{set}"))
            }
            Some((system, set)) => Self::hashed(system, set),
            None => Self(WHOLE_NAMESPACE.to_owned()),
        }
    }

    /// Returns the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a key made of the readable part of `value` and a hash of all of it. The dot between
    /// them distinguishes it from the plain name of a runner set.
    fn hashed(kind: &str, value: &str) -> Self {
        let readable: String = value
            .chars()
            .map(|c| c.to_ascii_lowercase())
            .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
            .take(MAX_READABLE)
            .collect();
        let readable = if readable.is_empty() { kind } else { &readable };
        let digest = Sha256::digest([kind, "\0", value].concat());
        // 64 bits: it is infeasible to find another value with the same key by trying.
        let hash = digest
            .iter()
            .take(HASH_BYTES)
            .fold(0_u64, |hash, byte| (hash << 8) | u64::from(*byte));
        Self(format!("{readable}.{hash:016x}"))
    }
}

/// Returns the scale set that is in a runner pod's name.
fn scale_set_of(runner_pod: &str) -> Option<&str> {
    let (ephemeral_set, _) = runner_pod.rsplit_once("-runner-")?;
    ephemeral_set.rsplit_once('-').map(|(name, _)| name)
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
    fn the_key_of_a_runner_set_is_its_system_and_its_name() {
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
                "buildkite-build-7",
                "woodpecker-build-7",
                "repository-build-7",
                "task-build-7",
                "teamcity-build-7",
                "garm-build-7",
                "scaledjob-build-7"
            ]
        );
    }

    #[test]
    fn the_job_pods_of_container_hooks_share_by_the_scale_set_of_their_runner() {
        let of = |name: &str| {
            let labels = json!({"labels": {RUNNER_POD: name}});
            key(&labels, CacheKeySource::RunnerSet)
        };
        assert_eq!(
            of("my-runner-set-7gk4d-runner-x5qzn"),
            "hooks-my-runner-set"
        );
        assert_eq!(of("a-runner-pod"), WHOLE_NAMESPACE);
        assert_eq!(of("pod"), WHOLE_NAMESPACE);
    }

    #[test]
    fn runner_sets_of_the_same_unusual_name_have_different_keys_in_each_system() {
        let of = |(label, _): (&str, &str)| {
            let set = json!({"labels": {label: "Build.7"}});
            key(&set, CacheKeySource::RunnerSet)
        };
        let keys: std::collections::HashSet<String> = RUNNER_SETS.into_iter().map(of).collect();
        assert_eq!(keys.len(), RUNNER_SETS.len(), "{keys:?}");
    }

    #[test]
    fn the_hash_is_a_prefix_of_sha_256() {
        // printf 'annotation\0fork' | sha256sum
        assert_eq!(annotated("fork"), "fork.9c9e99c7675a7629");
    }

    #[test]
    fn a_pod_without_a_runner_set_shares_the_cache_of_its_namespace() {
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
    fn any_annotation_yields_a_valid_directory_name() {
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
    fn similar_values_have_different_keys() {
        assert_ne!(annotated("Fork"), annotated("fork"));
        assert_ne!(annotated("a/b"), annotated("ab"));
    }

    #[test]
    fn no_annotation_or_label_selects_the_cache_of_a_runner_set() {
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

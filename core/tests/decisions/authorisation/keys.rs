//! Cache keys: whose cache a pod can choose.

use proptest::prelude::*;
use serde_json::json;
use slipway_core::{
    cache::key::{CACHE_KEY, CacheKey},
    pod::Pod,
    policy::CacheKeySource,
};

use super::pods::text;

const LABEL: &str = "example.com/repo";
const SETS: [&str; 5] = [
    "actions.github.com/scale-set-name",
    "runner-deployment-name",
    "runnerset-name",
    "project.runner.gitlab.com/id",
    "tag.buildkite.com/queue",
];

fn key(metadata: &serde_json::Value, source: CacheKeySource) -> String {
    let pod = json!({ "metadata": metadata }).to_string();
    let pod = Pod::parse(pod.as_bytes()).unwrap();
    CacheKey::of(&pod, source, Some(LABEL)).to_string()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn two_texts_never_lead_to_one_key_wherever_they_stand(
        a in text(), b in text(), first in 0..SETS.len(), second in 0..SETS.len(),
    ) {
        prop_assume!(!a.is_empty() && !b.is_empty());
        let set = |at: usize, name: &str| key(&json!({"labels": {SETS[at]: name}}), CacheKeySource::RunnerSet);
        let label = key(&json!({"labels": {LABEL: &b}}), CacheKeySource::Label);
        let annotation = key(&json!({"annotations": {CACHE_KEY: &b}}), CacheKeySource::Annotation);
        let theirs = set(first, &a);
        prop_assert_ne!(&theirs, &label);
        prop_assert_ne!(&theirs, &annotation);
        prop_assert_ne!(&label, &annotation);
        if (first, &a) != (second, &b) {
            prop_assert_ne!(&theirs, &set(second, &b));
        }
        for key in [theirs, label, annotation] {
            prop_assert_ne!(&key, "all.pods");
            let fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            prop_assert!((1..=63).contains(&key.len()) && key.chars().all(fit), "{key}");
            let end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            prop_assert!(end(key.chars().next()) && end(key.chars().last()) && !key.contains(".."), "{key}");
        }
    }

    #[test]
    fn with_the_namespaces_or_the_runner_sets_key_nothing_that_a_pod_annotates_matters(a in text(), set in text()) {
        let labels = json!({SETS[0]: set});
        let annotated = json!({"labels": labels, "annotations": {CACHE_KEY: a, LABEL: a}});
        for source in [CacheKeySource::Namespace, CacheKeySource::RunnerSet] {
            prop_assert_eq!(key(&annotated, source), key(&json!({"labels": labels}), source));
        }
    }
}

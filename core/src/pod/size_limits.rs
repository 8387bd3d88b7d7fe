//! Limits on the size of a pod.
//!
//! A mutating webhook sees pods before the API server validates them, so nothing else bounds them. No
//! runner pod comes near these limits. A list is read up to one item beyond its limit, so that parsing
//! takes no more memory than a few times the request. A pod beyond a limit is left alone, so that no
//! work on it uses up the deadline.

use super::{Container, Map, NodeSelectorTerm, Pod, Resources};

/// `containers` and `initContainers` together.
pub(super) const CONTAINERS: usize = 128;
/// `volumes`.
pub(super) const VOLUMES: usize = 500;
/// `env` of a container.
pub(super) const VARIABLES: usize = 2_000;
/// `volumeMounts` of a container.
pub(super) const MOUNTS: usize = 500;
/// `command` and `args` of a container, each.
pub(super) const ARGUMENTS: usize = 1_000;
/// What restricts where the pod may run: labels of the node selector, terms, requirements and values
/// of the required node affinity, and tolerations. Each is checked against every group of nodes.
pub(super) const CONSTRAINTS: usize = 1_000;
/// Labels, annotations, resources, and every other list.
pub(super) const ENTRIES: usize = 1_000;

impl Pod<'_> {
    /// Returns whether the pod exceeds a limit. Of such a pod not everything was read.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        let containers = || self.containers().iter().chain(self.init_containers());
        let metadata = &self.metadata;
        let security = self.spec.security_context.as_ref();
        let groups = security.and_then(|security| security.supplemental_groups.as_ref());
        containers().count() > CONTAINERS
            || self.volumes().len() > VOLUMES
            || self.scheduling_constraints() > CONSTRAINTS
            || metadata.labels.as_ref().map_or(0, Map::len) > ENTRIES
            || metadata.annotations.as_ref().map_or(0, Map::len) > ENTRIES
            || metadata.owner_references.as_ref().map_or(0, Vec::len) > ENTRIES
            || groups.map_or(0, Vec::len) > ENTRIES
            || self.has_many_host_names()
            || self.spec.resources.iter().any(has_many_resources)
            || containers().any(is_crowded)
    }

    fn has_many_host_names(&self) -> bool {
        let aliases = self.spec.host_aliases.as_deref().unwrap_or_default();
        let names = aliases
            .iter()
            .map(|alias| alias.hostnames.as_ref().map_or(0, Vec::len));
        aliases.len() + names.sum::<usize>() > ENTRIES
    }

    fn scheduling_constraints(&self) -> usize {
        let spec = &self.spec;
        let affinity = spec.affinity.as_ref();
        let required = affinity
            .and_then(|affinity| affinity.node_affinity.as_ref())
            .and_then(|affinity| affinity.required.as_ref());
        let terms = required.and_then(|required| required.node_selector_terms.as_deref());
        spec.node_selector.as_ref().map_or(0, Map::len)
            + spec.tolerations.as_ref().map_or(0, Vec::len)
            + terms
                .iter()
                .copied()
                .flatten()
                .map(constraints)
                .sum::<usize>()
    }
}

fn constraints(term: &NodeSelectorTerm<'_>) -> usize {
    let labels = term.match_expressions.iter().flatten();
    let requirements = labels.chain(term.match_fields.iter().flatten());
    let of_each = requirements.map(|r| 1 + r.values.as_ref().map_or(0, Vec::len));
    1 + of_each.sum::<usize>()
}

fn is_crowded(container: &Container<'_>) -> bool {
    let lifecycle = container.lifecycle.as_ref();
    let post_start = lifecycle.and_then(|lifecycle| lifecycle.post_start.as_ref());
    let exec = post_start.and_then(|handler| handler.exec.as_ref());
    container.env.as_ref().map_or(0, Vec::len) > VARIABLES
        || container.mounts().len() > MOUNTS
        || container.command.as_ref().map_or(0, Vec::len) > ARGUMENTS
        || container.args.as_ref().map_or(0, Vec::len) > ARGUMENTS
        || exec.is_some_and(|exec| exec.command.as_ref().map_or(0, Vec::len) > ARGUMENTS)
        || container.resources.iter().any(has_many_resources)
}

fn has_many_resources(resources: &Resources<'_>) -> bool {
    let mut all = [&resources.requests, &resources.limits]
        .into_iter()
        .flatten();
    all.any(|resources| resources.len() > ENTRIES)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod_with(pointer: &str, value: Value) -> String {
        let container = json!({"name": "c", "resources": {}});
        let required =
            json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In"}]}]});
        let affinity =
            json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
        let mut pod = json!({"metadata": {},
            "spec": {"containers": [container], "affinity": affinity, "securityContext": {}}});
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        pod.pointer_mut(parent).unwrap()[key] = value;
        pod.to_string()
    }

    fn entries(count: usize) -> Value {
        (0..count).map(|i| (i.to_string(), json!(""))).collect()
    }

    /// A list or map of a pod, and its limit.
    struct Limited {
        pointer: &'static str,
        limit: usize,
        with_entries: fn(usize) -> Value,
    }

    impl Limited {
        fn new(pointer: &'static str, limit: usize, with_entries: fn(usize) -> Value) -> Self {
            Self {
                pointer,
                limit,
                with_entries,
            }
        }
    }

    fn limited() -> Vec<Limited> {
        const TERMS: &str = "/spec/affinity/nodeAffinity\
            /requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        const VALUES: &str = "/spec/affinity/nodeAffinity\
            /requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms\
            /0/matchExpressions/0/values";
        let numbers = |n| json!(vec![1; n]);
        let texts = |n| json!(vec![""; n]);
        let objects = |n| json!(vec![json!({}); n]);
        let named = |n| json!(vec![json!({"name": ""}); n]);
        let mounts = |n| json!(vec![json!({"name": "", "mountPath": ""}); n]);
        vec![
            Limited::new("/metadata/labels", ENTRIES, entries),
            Limited::new("/metadata/annotations", ENTRIES, entries),
            Limited::new("/metadata/ownerReferences", ENTRIES, objects),
            // The pod has a term and a requirement already.
            Limited::new("/spec/nodeSelector", CONSTRAINTS - 2, entries),
            Limited::new("/spec/tolerations", CONSTRAINTS - 2, objects),
            Limited::new(TERMS, CONSTRAINTS, objects),
            Limited::new(VALUES, CONSTRAINTS - 2, texts),
            Limited::new("/spec/securityContext/supplementalGroups", ENTRIES, numbers),
            Limited::new("/spec/volumes", VOLUMES, named),
            Limited::new("/spec/containers", CONTAINERS, named),
            // The pod has a container already.
            Limited::new("/spec/initContainers", CONTAINERS - 1, named),
            Limited::new("/spec/containers/0/env", VARIABLES, named),
            Limited::new("/spec/containers/0/volumeMounts", MOUNTS, mounts),
            Limited::new("/spec/containers/0/command", ARGUMENTS, texts),
            Limited::new("/spec/containers/0/args", ARGUMENTS, texts),
            Limited::new("/spec/containers/0/resources/requests", ENTRIES, entries),
            Limited::new("/spec/containers/0/resources/limits", ENTRIES, entries),
        ]
    }

    #[test]
    fn one_entry_beyond_a_limit_is_too_many() {
        for Limited {
            pointer,
            limit,
            with_entries,
        } in limited()
        {
            for (count, too_large) in [(limit, false), (limit + 1, true), (20 * limit, true)] {
                let text = pod_with(pointer, with_entries(count));
                let pod = Pod::parse(text.as_bytes()).unwrap();
                assert_eq!(pod.is_too_large(), too_large, "{count} at {pointer}");
            }
        }
    }
}

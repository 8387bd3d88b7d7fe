//! How large a pod may be.
//!
//! Mutating webhooks see pods before the API server validates them: nothing bounds them but this. No
//! runner pod comes near these numbers. Of a larger list one item more than its number is read, so that
//! reading takes no more memory than a few times the request, and the pod is left alone, so that no work
//! on it takes the whole deadline.

use super::{Container, Map, NodeSelectorTerm, Pod};

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
/// What says where the pod may run: labels of the node selector, terms and requirements of the required
/// node affinity with their values, tolerations. Each is held against every group of nodes, or every node.
pub(super) const CONSTRAINTS: usize = 1_000;
/// Labels, annotations, resources, and every other list.
pub(super) const ENTRIES: usize = 1_000;

impl Pod<'_> {
    /// Whether the pod has more of anything than any runner pod. Of such a pod not everything was read.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        let containers = || self.containers().iter().chain(self.init_containers());
        let metadata = &self.metadata;
        let security = self.spec.security_context.as_ref();
        let groups = security.and_then(|security| security.supplemental_groups.as_ref());
        containers().count() > CONTAINERS
            || self.volumes().len() > VOLUMES
            || self.placement_constraints() > CONSTRAINTS
            || metadata.labels.as_ref().map_or(0, Map::len) > ENTRIES
            || metadata.annotations.as_ref().map_or(0, Map::len) > ENTRIES
            || metadata.owner_references.as_ref().map_or(0, Vec::len) > ENTRIES
            || groups.map_or(0, Vec::len) > ENTRIES
            || containers().any(is_crowded)
    }

    fn placement_constraints(&self) -> usize {
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
    let resources = container.resources.iter();
    let mut resources = resources.flat_map(|r| [&r.requests, &r.limits]).flatten();
    container.env.as_ref().map_or(0, Vec::len) > VARIABLES
        || container.mounts().len() > MOUNTS
        || container.command.as_ref().map_or(0, Vec::len) > ARGUMENTS
        || container.args.as_ref().map_or(0, Vec::len) > ARGUMENTS
        || resources.any(|resources| resources.len() > ENTRIES)
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

    /// Where a pod may have many of something, how many there may be, and so many of it.
    type Many = (&'static str, usize, fn(usize) -> Value);

    fn lists() -> Vec<Many> {
        const TERM: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
        const REQUIREMENT: &str = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution\
            /nodeSelectorTerms/0/matchExpressions/0/values";
        vec![
            ("/metadata/labels", ENTRIES, entries),
            ("/metadata/annotations", ENTRIES, entries),
            ("/metadata/ownerReferences", ENTRIES, |n| {
                json!(vec![json!({}); n])
            }),
            ("/spec/nodeSelector", CONSTRAINTS - 2, entries),
            ("/spec/tolerations", CONSTRAINTS - 2, |n| {
                json!(vec![json!({}); n])
            }),
            (TERM, CONSTRAINTS, |n| json!(vec![json!({}); n])),
            (REQUIREMENT, CONSTRAINTS - 2, |n| json!(vec![""; n])),
            ("/spec/securityContext/supplementalGroups", ENTRIES, |n| {
                json!(vec![1; n])
            }),
            ("/spec/volumes", VOLUMES, |n| {
                json!(vec![json!({"name": ""}); n])
            }),
            ("/spec/containers", CONTAINERS, |n| {
                json!(vec![json!({"name": ""}); n])
            }),
            ("/spec/initContainers", CONTAINERS - 1, |n| {
                json!(vec![json!({"name": ""}); n])
            }),
            ("/spec/containers/0/env", VARIABLES, |n| {
                json!(vec![json!({"name": ""}); n])
            }),
            ("/spec/containers/0/volumeMounts", MOUNTS, |n| {
                json!(vec![json!({"name": "", "mountPath": ""}); n])
            }),
            ("/spec/containers/0/command", ARGUMENTS, |n| {
                json!(vec![""; n])
            }),
            ("/spec/containers/0/args", ARGUMENTS, |n| json!(vec![""; n])),
            ("/spec/containers/0/resources/requests", ENTRIES, entries),
            ("/spec/containers/0/resources/limits", ENTRIES, entries),
        ]
    }

    #[test]
    fn a_pod_may_have_so_many_of_each_and_not_one_more() {
        for (pointer, most, of) in lists() {
            for (count, too_large) in [(most, false), (most + 1, true), (20 * most, true)] {
                let text = pod_with(pointer, of(count));
                let pod = Pod::parse(text.as_bytes()).unwrap();
                assert_eq!(pod.is_too_large(), too_large, "{count} at {pointer}");
            }
        }
    }
}

//! Nodes as the API server shows them, as a list and one by one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use slipway_core::nodes::{Inventory, NodeObject, Snapshot};
use slipway_fuzz::invariants::{POLICIES, cluster, the_patch_applies_once};

fuzz_target!(|json: &[u8]| {
    let Ok(nodes) = serde_json::from_slice::<Vec<NodeObject>>(json) else {
        return;
    };
    let listed = Snapshot::new(nodes.clone());
    let mut inventory = Inventory::default();
    for node in &nodes {
        inventory.apply(node.clone());
    }
    // However they were learnt, they are the same.
    let one_by_one = inventory.snapshot();
    assert_eq!(listed.len(), one_by_one.len());
    assert_eq!(listed.count_by_runtime(), one_by_one.count_by_runtime());

    let pod = json!({"metadata": {"labels": {"actions-ephemeral-runner": "True"}},
        "spec": {"containers": [{"name": "runner"}], "nodeSelector": {"pool": "a"},
            "tolerations": [{"operator": "Exists"}]}});
    for policy in POLICIES.iter() {
        the_patch_applies_once(&pod, "ci", cluster(policy, &listed));
        the_patch_applies_once(&pod, "ci", cluster(policy, &one_by_one));
    }
    for node in &nodes {
        inventory.remove(&node.metadata.name);
    }
    assert!(inventory.snapshot().is_empty());
    assert!(inventory.snapshot().count_by_runtime().is_empty());
});

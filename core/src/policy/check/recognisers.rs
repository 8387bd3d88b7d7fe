//! Recognisers of CI systems.

use std::collections::BTreeSet;

use super::Findings;
use crate::policy::{Mark, Recogniser, key_path::KeyPath, recogniser};

/// Checks recognisers; `path` is that of their list.
pub(super) fn check(path: &KeyPath, recognisers: &[Recogniser], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for (index, recogniser) in recognisers.iter().enumerate() {
        let path = path.clone().index(index);
        let name = &recogniser.name;
        findings.expect(!name.is_empty(), path.at("name"), "the name is empty");
        findings.expect(
            seen.insert(name),
            path.at("name"),
            format!("there are two recognisers `{name}`"),
        );
        // Without marks it only switches a built-in system on or off.
        let is_switch = recogniser.any_of.is_empty();
        findings.expect(
            !is_switch || recogniser::is_built_in(name),
            path.at("anyOf"),
            "it recognises nothing: name a label, a variable or an image",
        );
        findings.expect(
            is_switch || !recogniser.runner_containers.is_empty(),
            path.at("runnerContainers"),
            "name the containers in which jobs run",
        );
        for (index, mark) in recogniser.any_of.iter().enumerate() {
            findings.expect(
                !Mark::is_empty(mark),
                path.at("anyOf").index(index),
                "an empty mark would match every pod",
            );
        }
    }
}

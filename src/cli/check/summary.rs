//! What was seen, whatever is wrong with it.

use serde_json::{Map, Value};
use slipway_core::nodes::Snapshot;

use super::{cluster::Seen, rules::enabled};

/// What was seen, a line each.
pub(super) fn summary(seen: &Seen) -> Map<String, Value> {
    let enabled = enabled(seen);
    let names: Vec<&str> = enabled.iter().map(|n| n.name.as_str()).collect();
    let nodes = seen.nodes.as_ref().map_or_else(not_seen, |nodes| {
        let counts = Snapshot::new(nodes.iter().cloned()).count_by_runtime();
        let counts = counts.iter().map(|(kind, n)| format!("{n} with {kind}"));
        format!("{}: {}", nodes.len(), counts.collect::<Vec<_>>().join(", "))
    });
    let namespaces = seen.namespaces.as_ref().map_or_else(not_seen, |all| {
        let which = if names.is_empty() {
            String::new()
        } else {
            format!(": {}", names.join(", "))
        };
        format!("{} of {} have opted in{which}", names.len(), all.len())
    });
    let policy = match &seen.policy {
        Err(why) => not_seen(why),
        Ok(Err(_)) => format!("{}, which cannot be used", seen.policy_source),
        Ok(Ok(policy)) => {
            let profiles: Vec<&str> = policy.profile_names().collect();
            format!("{}; profiles: {}", seen.policy_source, profiles.join(", "))
        }
    };
    let ready = seen
        .ready
        .as_ref()
        .map_or_else(not_seen, |n| format!("{n} ready"));
    let webhook = match &seen.webhook {
        Ok(Some(_)) => format!("{}; replicas: {ready}", seen.webhook_name),
        Ok(None) => "not installed".to_owned(),
        Err(why) => not_seen(why),
    };
    [
        ("cluster", format!("Kubernetes {}", seen.version.0)),
        ("nodes", nodes),
        ("namespaces", namespaces),
        ("policy", policy),
        ("webhook", webhook),
    ]
    .into_iter()
    .map(|(name, words)| (name.to_owned(), Value::String(words)))
    .collect()
}

fn not_seen(why: &String) -> String {
    format!("not seen: {why}")
}

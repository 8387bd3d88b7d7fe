//! The summary of a survey: what is there, whatever is wrong with it.

use serde_json::{Map, Value};
use slipway_core::nodes::Snapshot;

use super::{rules::enabled, sockets::sockets, survey::Survey};

/// Summarises a survey in a line for each part of the cluster.
pub(super) fn summary(survey: &Survey) -> Map<String, Value> {
    let enabled = enabled(survey);
    let names: Vec<&str> = enabled.iter().map(|n| n.name.as_str()).collect();
    let nodes = survey.nodes.as_ref().map_or_else(unread, |nodes| {
        let counts = Snapshot::new(nodes.iter().cloned()).count_by_runtime();
        let counts = counts.iter().map(|(kind, n)| format!("{n} with {kind}"));
        format!("{}: {}", nodes.len(), counts.collect::<Vec<_>>().join(", "))
    });
    let namespaces = survey.namespaces.as_ref().map_or_else(unread, |all| {
        let which = if names.is_empty() {
            String::new()
        } else {
            format!(": {}", names.join(", "))
        };
        format!("{} of {} have opted in{which}", names.len(), all.len())
    });
    let policy = match &survey.policy.result {
        Err(why) => unread(why),
        Ok(Err(_)) => format!("{}, which cannot be used", survey.policy.source),
        Ok(Ok(policy)) => {
            let profiles: Vec<&str> = policy.profile_names().collect();
            format!(
                "{}; profiles: {}",
                survey.policy.source,
                profiles.join(", ")
            )
        }
    };
    let ready = survey
        .ready
        .as_ref()
        .map_or_else(unread, |n| format!("{n} ready"));
    let webhook = match &survey.webhook {
        Ok(Some(_)) => format!("{}; replicas: {ready}", survey.webhook_name),
        Ok(None) => "not installed".to_owned(),
        Err(why) => unread(why),
    };
    [
        ("cluster", format!("Kubernetes {}", survey.version.text)),
        ("nodes", nodes),
        ("namespaces", namespaces),
        ("policy", policy),
        ("sockets", sockets(survey)),
        ("webhook", webhook),
    ]
    .into_iter()
    .map(|(name, words)| (name.to_owned(), Value::String(words)))
    .collect()
}

fn unread(why: &String) -> String {
    format!("not read: {why}")
}

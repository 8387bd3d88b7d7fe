//! The namespaces whose runner pods would get a socket of the node, which is root on the node.

use serde_json::json;
use slipway_core::{
    admission::evaluate,
    decide::{Cluster, Outcome},
    nodes::Snapshot,
    pod::Pod,
};

use super::{rules::enabled, survey::Survey};

/// Names the namespaces in which a runner pod that brings no dockerd would get a host socket.
pub(super) fn sockets(survey: &Survey) -> String {
    let (Ok(nodes), Ok(namespaces), Some(policy)) =
        (&survey.nodes, &survey.namespaces, survey.usable_policy())
    else {
        return "not known without nodes, namespaces and a policy".to_owned();
    };
    let nodes = Snapshot::new(nodes.iter().cloned());
    let cluster = Cluster {
        nodes: Some(&nodes),
        namespaces,
        policy,
        dead_mirrors: &[],
        claims: None,
    };
    let mut named = Vec::new();
    for namespace in enabled(survey) {
        if let Some(strategy) = socket_in(&namespace.name, cluster) {
            named.push(format!("{} ({strategy})", namespace.name));
        }
    }
    if named.is_empty() {
        "no runner pod would get one".to_owned()
    } else {
        format!(
            "runner pods without a dockerd would get one in {}",
            named.join(", ")
        )
    }
}

/// Returns the strategy that gives a plain runner pod of the namespace a socket.
fn socket_in(namespace: &str, cluster: Cluster<'_>) -> Option<&'static str> {
    let pod = json!({
        "metadata": {"name": "runner", "labels": {"actions-ephemeral-runner": "True"}},
        "spec": {"containers": [{"name": "runner", "image": "ghcr.io/actions/actions-runner"}]},
    })
    .to_string();
    let pod = Pod::parse(pod.as_bytes()).ok()?;
    let decision = evaluate(&pod, namespace, cluster).decision;
    match &decision.outcome {
        Outcome::Apply(plan) if plan.socket.is_some() => Some(decision.strategy().as_str()),
        _ => None,
    }
}

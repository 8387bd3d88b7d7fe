//! The summary that a standalone server prints when it starts.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use slipway_core::{k8s::cluster_file, nodes::Snapshot};

use super::{CA_FILE, REVIEW_FILE, ServeArgs};
use crate::{cluster::state::ClusterState, server::Server};

/// Renders what a person wants to see first, and a command that works when pasted.
pub(super) fn summary(
    args: &ServeArgs,
    tls_dir: &Path,
    server: &Server,
    cluster: &ClusterInWords,
) -> String {
    let name_of = |path: &Option<PathBuf>, built_in: &str| {
        path.as_ref()
            .map_or_else(|| built_in.to_owned(), |path| path.display().to_string())
    };
    let ca = tls_dir.join(CA_FILE);
    let review = tls_dir.join(REVIEW_FILE);
    let curl = format!(
        "curl --silent --cacert {} -H 'content-type: application/json' --data-binary @{} https://{}/mutate",
        quoted(&ca),
        quoted(&review),
        reachable(server.address()),
    );
    let page = if args.status_page {
        format!(
            "Status page: http://{}/\n",
            reachable(server.metrics_address())
        )
    } else {
        String::new()
    };
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "Slipway {version} serves https://{address}/mutate (metrics: http://{metrics}/metrics)
{page}
  nodes       {nodes} ({nodes_from})
  namespaces  {namespaces} ({namespaces_from})
  policy      {policy}; profiles: {profiles}
  CA          {ca} (created for this run)

Send it a runner pod:
  {curl}
See what it changes:
  {curl} | jq -r .response.patch | base64 -d | jq .

",
        version = env!("CARGO_PKG_VERSION"),
        address = server.address(),
        metrics = server.metrics_address(),
        nodes = cluster.nodes,
        nodes_from = name_of(&args.standalone_args.nodes, cluster_file::EXAMPLE),
        namespaces = cluster.namespaces,
        namespaces_from = name_of(&args.standalone_args.namespaces, cluster_file::EXAMPLE),
        policy = name_of(&args.policy, "built-in"),
        profiles = cluster.profiles,
        ca = ca.display(),
    );
    text
}

/// The cluster in the words of the summary.
pub(super) struct ClusterInWords {
    nodes: String,
    namespaces: usize,
    profiles: String,
}

impl ClusterInWords {
    /// Describes a state of the cluster.
    pub(super) fn of(state: &ClusterState) -> Self {
        let profiles: Vec<&str> = state.policy.profile_names().collect();
        Self {
            nodes: state
                .nodes
                .as_deref()
                .map(nodes_in_words)
                .unwrap_or_default(),
            namespaces: state.namespaces.as_ref().map_or(0, |all| all.len()),
            profiles: profiles.join(", "),
        }
    }
}

fn nodes_in_words(nodes: &Snapshot) -> String {
    if nodes.is_empty() {
        return "none".to_owned();
    }
    let counts = nodes.count_by_runtime();
    let parts = counts.iter().map(|(kind, n)| format!("{n} with {kind}"));
    parts.collect::<Vec<_>>().join(", ")
}

/// Returns the address as a client on this machine would write it.
fn reachable(address: SocketAddr) -> String {
    let ip = address.ip();
    if ip.is_loopback() || ip.is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

/// Quotes a path for a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_spaces_can_be_pasted() {
        assert_eq!(quoted(Path::new("certs/dev/ca.crt")), "certs/dev/ca.crt");
        assert_eq!(quoted(Path::new("my dir/it's")), r"'my dir/it'\''s'");
    }

    #[test]
    fn the_address_is_covered_by_the_certificate() {
        for (listen, shown) in [
            ("127.0.0.1:8443", "localhost:8443"),
            ("[::]:1", "localhost:1"),
            ("0.0.0.0:2", "localhost:2"),
            ("10.0.0.7:3", "10.0.0.7:3"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), shown);
        }
    }
}

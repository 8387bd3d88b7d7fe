//! What several commands ask a cluster.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt, api::ListParams};
use slipway_core::policy::{Policy, PolicyErrors};

use super::input::PolicyFile;

/// The label of every object of the chart.
const CHART_LABEL: &str = "app.kubernetes.io/part-of=slipway";
/// The key of the policy in the chart's ConfigMap.
const POLICY_KEY: &str = "policy.yaml";

/// What the API server answered, or in words why it did not.
pub(super) type Answer<T> = Result<T, String>;

/// Returns what the API server said, without its JSON.
pub(super) fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// A policy, and where it is from.
#[derive(Debug)]
pub(super) struct SourcedPolicy {
    /// For people: a file, a ConfigMap, or the built-in policy.
    pub(super) source: String,
    /// The policy: unreadable, invalid, or valid.
    pub(super) result: Answer<Result<Policy, PolicyErrors>>,
}

impl SourcedPolicy {
    /// Reads the policy of the chart's ConfigMap in `namespace`. Without one, it is the built-in policy.
    pub(super) async fn installed(client: &Client, namespace: &str) -> Self {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let maps = match api.list(&ListParams::default().labels(CHART_LABEL)).await {
            Ok(maps) => maps.items,
            Err(error) => {
                return Self {
                    source: "policy".to_owned(),
                    result: Err(in_words(&error)),
                };
            }
        };
        let found = maps.iter().find_map(|map| {
            let text = map.data.as_ref()?.get(POLICY_KEY)?;
            Some((map.name_any(), text))
        });
        let (source, result) = match found {
            Some((name, text)) => (format!("ConfigMap {namespace}/{name}"), Policy::parse(text)),
            None => (
                format!("built-in (namespace {namespace} has no ConfigMap with one)"),
                Ok(Policy::default()),
            ),
        };
        Self {
            source,
            result: Ok(result),
        }
    }

    /// Returns the policy, or in words why there is none to use.
    pub(super) fn usable(self) -> Answer<Policy> {
        let source = self.source;
        self.result?.map_err(|error| format!("{source}: {error}"))
    }
}

impl From<PolicyFile> for SourcedPolicy {
    fn from(file: PolicyFile) -> Self {
        Self {
            source: file.name,
            result: Ok(Ok(file.policy)),
        }
    }
}

//! What tells apart the caches of one namespace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What tells apart the caches of one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CacheKeySource {
    /// Nothing: all pods of a namespace share.
    Namespace,
    /// The scale set, runner deployment, GitLab project, Buildkite queue or other runner set of the pod.
    RunnerSet,
    /// A label of the pod.
    Label,
    /// The annotation `slipway.io/cache-key` of the pod.
    Annotation,
}

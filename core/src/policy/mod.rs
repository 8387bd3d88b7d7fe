//! The policy file: what the cluster's administrator allows and asks for.
//!
//! It is read strictly: an unknown key or an invalid value is an error with its place, and all errors of a file are
//! reported at once. Types in [`values`] are valid by construction; [`check`] validates what spans several keys.

mod cache;
mod check;
mod error;
mod key_path;
mod profile;
mod read;
mod recogniser;
mod suggest;
pub mod values;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cache::{
    AccessMode, BuildkitdCache, CacheKeySource, CacheVolume, ClaimPool, DockerdCache, EmptyDir,
    EphemeralClaim, Fallback, LocalCache, NamedClaim, NoVolume, NodeSlots,
};
pub use error::{PolicyError, PolicyErrors};
pub use key_path::KeyPath;
pub use profile::{
    Buildkit, Buildkitd, Containerd, Dind, DockerSocket, InjectDind, Overwrite, Profile,
    ResourceSettings, StartupProbe, StrategyChoice, WhenMixed, WhenNoNodes,
};
pub use recogniser::{Mark, Recogniser};
use values::{Glob, MirrorUrl, SocketPath};

use crate::{
    k8s::namespace::PodSecurity,
    nodes::{DeclaredPool, RuntimeKind, Taint},
};

/// The name of the profile of namespaces that select no other.
pub const DEFAULT_PROFILE: &str = "default";

/// The policy file as it is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(title = "Slipway policy")]
pub struct PolicyFile {
    /// Settings by name. `default` exists even when it is not written.
    pub profiles: BTreeMap<String, Profile>,
    /// Which namespaces get which profile; the first match wins, then the namespace's label
    /// `slipway.io/profile`, then `default`.
    pub namespaces: Vec<NamespaceRule>,
    /// CI systems beside the built-in ones; a built-in one's name replaces it or switches it.
    pub recognisers: Vec<Recogniser>,
    /// The runtimes of node pools that may be empty.
    pub node_pools: Vec<NodePool>,
    /// The Pod Security level of namespaces without an `enforce` label, where the API server's
    /// own admission configuration sets one.
    pub pod_security_default: PodSecurity,
}

/// A profile for namespaces by name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceRule {
    /// Names, with `*` for any run of characters.
    pub names: Vec<Glob>,
    /// The profile.
    pub profile: String,
}

/// A pool of nodes that may be scaled to zero.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePool {
    /// The labels that its nodes will have.
    pub labels: BTreeMap<String, String>,
    /// The taints that its nodes will have.
    #[serde(default)]
    pub taints: Vec<PoolTaint>,
    /// Its container runtime.
    pub runtime: RuntimeKind,
    /// Its socket; `auto` is the runtime's usual one.
    #[serde(default)]
    pub socket_path: SocketPath,
}

impl NodePool {
    fn declared(&self) -> DeclaredPool {
        let taints = self.taints.iter().map(|taint| Taint {
            key: taint.key.clone(),
            value: taint.value.clone(),
            effect: taint.effect.clone(),
        });
        let socket = match &self.socket_path {
            SocketPath::Auto => None,
            SocketPath::At(path) => Some(path.to_string()),
        };
        DeclaredPool::new(self.labels.clone(), taints.collect(), self.runtime, socket)
    }
}

/// A taint of a node pool.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoolTaint {
    /// The key.
    pub key: String,
    /// The value.
    #[serde(default)]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// A checked policy.
#[derive(Debug, Clone)]
pub struct Policy {
    file: PolicyFile,
    recognisers: Vec<Recogniser>,
    node_pools: Vec<DeclaredPool>,
}

impl Default for Policy {
    fn default() -> Self {
        Self::from_file(PolicyFile::default())
    }
}

impl Policy {
    /// Parses a policy from YAML (or JSON, which is YAML). `{}` is the built-in policy.
    ///
    /// # Errors
    /// Everything that is wrong with the text, each error with its place.
    pub fn parse(yaml: &str) -> Result<Self, PolicyErrors> {
        let mut reading = read::read(yaml)?;
        for (path, message) in check::check(&reading.file) {
            reading.refuse(path, message);
        }
        match PolicyErrors::new(reading.errors) {
            Some(errors) => Err(errors),
            None => Ok(Self::from_file(reading.file)),
        }
    }

    fn from_file(mut file: PolicyFile) -> Self {
        file.profiles.entry(DEFAULT_PROFILE.to_owned()).or_default();
        let recognisers = recogniser::in_force(&file.recognisers);
        let node_pools = file.node_pools.iter().map(NodePool::declared).collect();
        Self {
            file,
            recognisers,
            node_pools,
        }
    }

    /// Returns the profile `name`, with its name as the policy holds it.
    #[must_use]
    pub fn profile(&self, name: &str) -> Option<(&str, &Profile)> {
        self.file
            .profiles
            .get_key_value(name)
            .map(|(name, profile)| (name.as_str(), profile))
    }

    /// Iterates over the names of all profiles.
    pub fn profile_names(&self) -> impl Iterator<Item = &str> {
        self.file.profiles.keys().map(String::as_str)
    }

    /// Returns the profile that the policy file gives to a namespace by its name.
    #[must_use]
    pub fn profile_for_namespace(&self, namespace: &str) -> Option<&str> {
        self.file
            .namespaces
            .iter()
            .find(|rule| rule.names.iter().any(|name| name.matches(namespace)))
            .map(|rule| rule.profile.as_str())
    }

    /// Returns whether a profile keeps caches in a pool of claims.
    #[must_use]
    pub fn has_claim_pools(&self) -> bool {
        let mut profiles = self.file.profiles.values();
        profiles.any(|profile| profile.dind.cache.claim_pool().is_some())
    }

    /// Returns the CI systems to look for, in order.
    #[must_use]
    pub fn recognisers(&self) -> &[Recogniser] {
        &self.recognisers
    }

    /// Returns whether the pods of this system get no host socket, because the policy does not name it.
    #[must_use]
    pub(crate) fn withholds_sockets(&self, system: &str) -> bool {
        let mut recognisers = self.recognisers.iter();
        recognisers.any(|recogniser| recogniser.name == system && recogniser.withholds_sockets)
    }

    /// Returns the registry mirrors of all profiles.
    #[must_use]
    pub fn registry_mirrors(&self) -> BTreeSet<&MirrorUrl> {
        let profiles = self.file.profiles.values();
        profiles
            .flat_map(|profile| profile.dind.all_mirrors())
            .collect()
    }

    /// Returns the declared node pools.
    #[must_use]
    pub fn node_pools(&self) -> &[DeclaredPool] {
        &self.node_pools
    }

    /// Returns the Pod Security level of namespaces that name none.
    #[must_use]
    pub fn pod_security_default(&self) -> PodSecurity {
        self.file.pod_security_default
    }

    /// Returns warnings about settings that are accepted but do not do what their names say, for the log at load
    /// and for `slipway policy check`.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        check::warnings(&self.file)
    }

    /// Returns the JSON Schema of the policy file.
    #[must_use]
    pub fn schema() -> schemars::Schema {
        schemars::schema_for!(PolicyFile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_mapping_is_the_built_in_policy_and_an_empty_file_an_error() {
        let policy = Policy::parse("{}\n").unwrap();
        let (_, profile) = policy.profile(DEFAULT_PROFILE).unwrap();
        assert_eq!(profile.strategy, StrategyChoice::Auto);
        for text in ["", " \n", "# nothing\n", "null", "---\n"] {
            let errors = Policy::parse(text).unwrap_err();
            assert!(
                errors.to_string().starts_with("the file is empty"),
                "{text:?}: {errors}"
            );
        }
    }

    #[test]
    fn a_file_could_hold_the_built_in_values() {
        let written = serde_json::to_string(&PolicyFile {
            profiles: [(DEFAULT_PROFILE.to_owned(), Profile::default())].into(),
            ..PolicyFile::default()
        })
        .unwrap();
        Policy::parse(&written).unwrap();
    }

    #[test]
    fn a_key_that_a_profile_leaves_out_has_its_built_in_value() {
        let policy = Policy::parse("profiles: {fast: {dind: {mtu: 1400}}}").unwrap();
        let (_, fast) = policy.profile("fast").unwrap();
        assert_eq!(fast.dind.mtu, Some(values::Mtu::Bytes(1400)));
        assert_eq!(fast.dind.registry_mirrors.len(), 1);
    }

    #[test]
    fn the_first_matching_namespace_rule_wins() {
        let policy = Policy::parse(
            "profiles: {a: {}, b: {}}\nnamespaces:\n- {names: [ci-*], profile: a}\n- {names: ['*'], profile: b}\n",
        )
        .unwrap();
        assert_eq!(policy.profile_for_namespace("ci-1"), Some("a"));
        assert_eq!(policy.profile_for_namespace("x"), Some("b"));
    }

    #[test]
    fn the_mirrors_of_every_registry_are_probed() {
        let policy = Policy::parse(
            "profiles: {default: {dind: {registryMirrors: ['https://a'], mirrors: {ghcr.io: ['https://b/c']}}}}",
        )
        .unwrap();
        let mirrors = policy.registry_mirrors().into_iter();
        let urls: Vec<&str> = mirrors.map(MirrorUrl::as_str).collect();
        assert_eq!(urls, ["https://a", "https://b/c"]);
    }

    #[test]
    fn the_schema_names_every_top_level_key() {
        let schema = serde_json::to_value(Policy::schema()).unwrap();
        let keys: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "profiles",
                "namespaces",
                "recognisers",
                "nodePools",
                "podSecurityDefault"
            ]
        );
    }
}

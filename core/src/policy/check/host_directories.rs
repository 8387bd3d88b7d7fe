//! Directories of the node.
//!
//! Slots are at `<root>/<namespace>/<key>`, local caches at `<path>/<namespace>`. If one of these trees were
//! within another, one pod's directory in the first would hold those of other namespaces or keys in the second.

use std::collections::BTreeMap;

use super::Findings;
use crate::{
    pod::is_within,
    policy::{
        BuildkitdCache, DEFAULT_PROFILE, LocalCache, Profile, key_path::KeyPath,
        values::AbsolutePath,
    },
};

/// What a tree of directories holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Slots,
    BuildkitdSlots,
    LocalCaches,
}

impl Kind {
    fn key(self) -> &'static str {
        match self {
            Self::Slots => "dind.cache.root",
            Self::BuildkitdSlots => "containerd.buildkitd.cache.root",
            Self::LocalCaches => "buildkit.localCache.path",
        }
    }
}

/// A tree of directories of the node, and the profile that sets it.
struct Tree<'p> {
    profile: &'p str,
    kind: Kind,
    path: &'p AbsolutePath,
}

impl Tree<'_> {
    /// Returns whether one tree is within the other. Trees of one kind may be the same.
    fn collides_with(&self, other: &Self) -> bool {
        let within = is_within(self.path.as_str(), other.path.as_str());
        let around = is_within(other.path.as_str(), self.path.as_str());
        let is_slots = |kind| kind != Kind::LocalCaches;
        let is_alike = is_slots(self.kind) == is_slots(other.kind);
        (within || around) && !(within && around && is_alike)
    }
}

/// Checks that no two trees of directories collide; `path` is that of the profiles.
pub(super) fn check(path: &KeyPath, profiles: &BTreeMap<String, Profile>, findings: &mut Findings) {
    let built_in = Profile::default();
    let default = (!profiles.contains_key(DEFAULT_PROFILE)).then_some((DEFAULT_PROFILE, &built_in));
    let named = profiles
        .iter()
        .map(|(name, profile)| (name.as_str(), profile));
    let trees = default
        .into_iter()
        .chain(named)
        .flat_map(|(name, profile)| trees(name, profile));
    let mut seen: Vec<Tree<'_>> = Vec::new();
    for tree in trees {
        if let Some(other) = seen.iter().find(|other| other.collides_with(&tree)) {
            findings.add(
                path.clone().key(tree.profile).at(tree.kind.key()),
                format!(
                    "`{}` and `{}` of profiles.{}.{} are one within the other: pods would see directories of other \
                     namespaces or keys; use two that are apart",
                    tree.path,
                    other.path,
                    other.profile,
                    other.kind.key()
                ),
            );
        }
        seen.push(tree);
    }
}

fn trees<'p>(name: &'p str, profile: &'p Profile) -> impl Iterator<Item = Tree<'p>> {
    let slots = profile.dind.cache.node_slots().map(|slots| &slots.root);
    let buildkitd = profile.containerd.buildkitd.as_ref();
    let buildkitd = buildkitd.and_then(|buildkitd| match &buildkitd.cache {
        BuildkitdCache::NodeSlots(slots) => Some(&slots.root),
        _ => None,
    });
    let local_caches = match &profile.buildkit.local_cache {
        LocalCache::HostPath { path } => Some(path),
        _ => None,
    };
    let tree = move |kind| {
        move |path| Tree {
            profile: name,
            kind,
            path,
        }
    };
    let slots = slots.map(tree(Kind::Slots));
    slots
        .into_iter()
        .chain(buildkitd.map(tree(Kind::BuildkitdSlots)))
        .chain(local_caches.map(tree(Kind::LocalCaches)))
}

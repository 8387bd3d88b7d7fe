//! Node slots and ephemeral claims.

use super::Findings;
use crate::policy::{
    BuildkitdCache, CacheKeySource, DockerdCache, EphemeralClaim, NodeSlots, Profile,
    key_path::KeyPath, values::LabelKey,
};

/// Slots for more dockerds than could run builds on a node.
const MAX_SLOTS: u8 = 64;

/// Checks a cache of dockerd, whose path is `path`.
pub(super) fn check(path: &KeyPath, cache: &DockerdCache, findings: &mut Findings) {
    match cache {
        DockerdCache::NodeSlots(slots) => check_slots(path, slots, findings),
        DockerdCache::Ephemeral(claim) => check_ephemeral(path, claim, findings),
        _ => {}
    }
}

/// Checks the cache of the buildkitd sidecar; `path` is that of the profile.
pub(super) fn check_buildkitd(path: &KeyPath, profile: &Profile, findings: &mut Findings) {
    let Some(buildkitd) = &profile.containerd.buildkitd else {
        return;
    };
    let path = path.at("containerd.buildkitd.cache");
    match &buildkitd.cache {
        BuildkitdCache::NodeSlots(slots) => check_slots(&path, slots, findings),
        BuildkitdCache::Pool(_) => findings.expect(
            profile.dind.cache.claim_pool().is_some(),
            path.at("type"),
            "the pool is that of `dind.cache`, which has another type",
        ),
        BuildkitdCache::Ephemeral(claim) => check_ephemeral(&path, claim, findings),
        _ => {}
    }
}

fn check_ephemeral(path: &KeyPath, claim: &EphemeralClaim, findings: &mut Findings) {
    findings.expect(
        claim.size.nano() > 0,
        path.at("size"),
        "a claim needs a size above zero",
    );
}

fn check_slots(path: &KeyPath, slots: &NodeSlots, findings: &mut Findings) {
    findings.expect(
        (1..=MAX_SLOTS).contains(&slots.slots),
        path.at("slots"),
        format!("expected 1 to {MAX_SLOTS}"),
    );
    check_key_label(path, slots.key, slots.key_label.as_ref(), findings);
}

/// Checks that `keyLabel` is set if `key: label` reads it, and only then.
pub(super) fn check_key_label(
    path: &KeyPath,
    key: CacheKeySource,
    label: Option<&LabelKey>,
    findings: &mut Findings,
) {
    let message = match (key, label) {
        (CacheKeySource::Label, None) => "`key: label` needs the label",
        (CacheKeySource::Label, Some(_)) | (_, None) => return,
        (_, Some(_)) => "only `key: label` reads it",
    };
    findings.add(path.at("keyLabel"), message);
}

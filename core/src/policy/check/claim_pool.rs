//! Pools of claims.

use super::{Findings, caches::check_key_label};
use crate::{
    k8s::names::{is_dns_label, is_label_value},
    policy::{AccessMode, ClaimPool, Dind, key_path::KeyPath},
};

/// The most claims of a pool. Nothing pays for more volumes in one namespace.
const MAX_CLAIMS: u16 = 1000;
/// The longest name of a profile with a pool: it becomes a part of the claims' names and the value of their
/// label.
const MAX_PROFILE_NAME: usize = 40;
/// The domain of Slipway's own labels.
const OWN_DOMAIN: &str = "slipway.io/";

/// Checks the pool of claims of the profile `profile`, if it has one; `path` is that of the cache.
pub(super) fn check(path: &KeyPath, profile: &str, dind: &Dind, findings: &mut Findings) {
    let Some(pool) = dind.cache.claim_pool() else {
        return;
    };
    findings.expect(
        is_dns_label(profile) && profile.len() <= MAX_PROFILE_NAME,
        path.at("type"),
        format!(
            "a profile with a pool needs a name of at most {MAX_PROFILE_NAME} lower-case letters, digits and `-`: its \
             claims are named after it"
        ),
    );
    check_counts(path, pool, findings);
    findings.expect(
        pool.size.nano() > 0,
        path.at("size"),
        "a claim needs a size above zero",
    );
    findings.expect(
        pool.access_mode != AccessMode::ReadWriteMany,
        path.at("accessMode"),
        "dockerd does not run on a shared file system: expected ReadWriteOncePod or ReadWriteOnce",
    );
    for (key, value) in &pool.labels {
        let path = path.at("labels").key(key.as_str());
        findings.expect(
            !key.as_str().starts_with(OWN_DOMAIN),
            path.clone(),
            "labels of slipway.io belong to Slipway",
        );
        findings.expect(
            is_label_value(value),
            path,
            format!(
                "`{value}` is not a valid label value: expected at most 63 letters, digits, `-`, `_` and `.`"
            ),
        );
    }
    check_key_label(path, pool.key, pool.key_label.as_ref(), findings);
}

fn check_counts(path: &KeyPath, pool: &ClaimPool, findings: &mut Findings) {
    findings.expect(
        (1..=MAX_CLAIMS).contains(&pool.claims),
        path.at("claims"),
        format!("expected 1 to {MAX_CLAIMS}"),
    );
    findings.expect(
        (1..=pool.claims.max(1)).contains(&pool.min_free),
        path.at("minFree"),
        "expected 1 or more, and not more than `claims`",
    );
    findings.expect(
        pool.expire_after_hours != Some(0),
        path.at("expireAfterHours"),
        "expected 1 or more, or null for never",
    );
}

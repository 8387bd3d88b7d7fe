//! Selects the profile of a namespace.

use super::bounded;
use crate::{
    k8s::namespace::Namespace,
    policy::{DEFAULT_PROFILE, Policy, Profile},
    reason::Reason,
};

/// Returns the profile of a namespace with its name; `None` if its pods are left alone.
#[must_use]
pub fn profile_of<'a>(namespace: &Namespace, policy: &'a Policy) -> Option<(&'a str, &'a Profile)> {
    profile_or_reason(namespace, policy).ok()
}

/// Returns the profile of a namespace with its name.
///
/// # Errors
/// Returns why the namespace's pods are left alone.
pub fn profile_or_reason<'a>(
    namespace: &Namespace,
    policy: &'a Policy,
) -> Result<(&'a str, &'a Profile), Reason> {
    if namespace.is_protected() {
        Err(Reason::NamespaceProtected)
    } else if namespace.is_enabled() {
        select_profile(&namespace.name, Some(namespace), policy)
    } else {
        Err(Reason::NamespaceNotEnabled)
    }
}

/// Selects a profile: by the policy's rule for the namespace, else by the namespace's label, else the
/// profile `default`.
pub(super) fn select_profile<'a>(
    namespace: &str,
    known: Option<&Namespace>,
    policy: &'a Policy,
) -> Result<(&'a str, &'a Profile), Reason> {
    let find = |name: &str| {
        policy
            .profile(name)
            .ok_or_else(|| Reason::ProfileUnknown(bounded(name)))
    };
    if let Some(name) = policy.profile_for_namespace(namespace) {
        return find(name);
    }
    let Some(name) = known.and_then(Namespace::profile) else {
        return find(DEFAULT_PROFILE);
    };
    let (name, profile) = find(name)?;
    if profile.selectable {
        Ok((name, profile))
    } else {
        Err(Reason::ProfileNotSelectable(bounded(name)))
    }
}

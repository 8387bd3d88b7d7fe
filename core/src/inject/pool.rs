//! A claim of the pool on dockerd's data-root, or what stands in for it.

use serde_json::{Value, json};

use super::{Injection, builder::Builder};
use crate::{
    cache::claims::{LEASE, LeaseResult},
    dockerd::Setting,
    reason::Reason,
};

/// The claim that the pod was given; `None` for the fallback, with the reason noted. To be called
/// only when the volume is going to be used: it is what asks for a claim.
pub(super) fn claim(builder: &mut Builder<'_>) -> Option<Value> {
    builder.plan.profile.dind.cache.claim_pool()?;
    if builder.pod.metadata.label(LEASE).is_some() {
        // Whoever wrote the label: a lease of ours would not be found by it.
        builder.note(Reason::PodSets(Setting::Label(LEASE)));
        return None;
    }
    match builder.plan.grant {
        None => {
            builder.want_claim();
            builder.note(Reason::ClaimAtAdmission);
            None
        }
        Some(LeaseResult::Refused(reason)) => {
            builder.note(reason.clone());
            None
        }
        Some(LeaseResult::Leased { claim, lease, warm }) => {
            builder.push(Injection::Label {
                key: LEASE,
                value: lease.clone(),
            });
            builder.note(Reason::ClaimLeased {
                claim: claim.clone(),
                warm: *warm,
            });
            Some(json!({"persistentVolumeClaim": {"claimName": claim}}))
        }
    }
}

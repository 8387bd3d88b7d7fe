//! A claim that the pod leases for dockerd's data-root.

use super::{builder::Builder, data_root::changes_group};
use crate::{
    cache::claims::{LEASE, LeaseResult},
    dockerd::Setting,
    patch::VolumeSource,
    reason::Reason,
};

/// Returns the claim that the pod leases. `None` leaves the data-root to the fallback; a note says
/// why. To be called only when the volume will be used: the call is what asks for a claim.
pub(super) fn source<'a>(builder: &mut Builder<'_, 'a>) -> Option<VolumeSource<'a>> {
    builder.plan.profile.dind.cache.claim_pool()?;
    if changes_group(builder) {
        builder.note(Reason::FsGroup);
        return None;
    }
    if builder.pod.metadata.label(LEASE).is_some() {
        // No matter who wrote the label, it would hide a lease of ours.
        builder.note(Reason::PodSets(Setting::Label(LEASE)));
        return None;
    }
    let plan = builder.plan;
    match &plan.lease {
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
            builder.label(LEASE, lease.clone());
            builder.note(Reason::ClaimLeased {
                claim: claim.clone(),
                warm: *warm,
            });
            Some(VolumeSource::claim(claim.clone()))
        }
    }
}

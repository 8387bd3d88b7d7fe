//! A request or a limit of the pod's dockerd: whether the profile may set it, and the notes on it.

use super::bounds::Bounds;
use crate::{
    dockerd::Setting,
    inject::builder::Builder,
    k8s::{
        quantity::Quantity,
        resource_field::{ResourceField, ResourceKind},
    },
    pod::Container,
    reason::{Clamp, Reason},
};

/// The request or the limit of one resource, in a container of the pod.
pub(super) struct Field<'q> {
    pub kind: ResourceKind,
    resource: &'q str,
    /// What the pod has.
    pub present: Option<Quantity>,
    /// What the profile has.
    profile: Option<&'q Quantity>,
    /// Whether the profile may set it.
    is_open: bool,
}

impl<'a> Field<'a> {
    pub fn new(
        builder: &Builder<'_, 'a>,
        container: &Container<'_>,
        kind: ResourceKind,
        resource: &'a str,
        bounds: &Bounds<'_>,
    ) -> Self {
        let plan = builder.plan;
        let settings = &plan.profile.dind.resources;
        let (profile, default) = match kind {
            ResourceKind::Requests => (settings.requests.get(resource), bounds.default_request),
            ResourceKind::Limits => (settings.limits.get(resource), bounds.default_limit),
        };
        let present = present(container, kind, resource);
        let is_open = present.as_ref().is_none_or(|present| {
            // A default that a LimitRange filled in is not the pod's own setting.
            let is_default = Some(present) == default;
            // More than the pod asks for may exceed the quota, and the pod would be rejected.
            let is_counted = plan.quotas.contains(&format!("{kind}.{resource}"));
            let in_quota = !is_counted || profile.is_none_or(|profile| profile <= present);
            (is_default || builder.overwrites_resources()) && in_quota
        });
        Self {
            kind,
            resource,
            present,
            profile,
            is_open,
        }
    }

    /// Returns what the profile sets.
    pub fn wanted(&self) -> Option<&'a Quantity> {
        self.profile.filter(|_| self.is_open)
    }

    /// Returns what the pod has and keeps.
    pub fn kept(&self) -> Option<&Quantity> {
        self.present.as_ref().filter(|_| self.wanted().is_none())
    }

    /// Notes when the pod's own setting wins over the profile's.
    pub fn note_kept(&self, builder: &mut Builder<'_, '_>) {
        if !self.is_open && self.profile.is_some() && self.profile != self.present.as_ref() {
            builder.note(Reason::PodSets(Setting::Resource(self.name())));
        }
    }

    /// Notes when another quantity is set than the profile's, or none.
    pub fn note_clamped(&self, builder: &mut Builder<'_, '_>, effective: Option<&Quantity>) {
        let Some(wanted) = self.wanted().filter(|wanted| effective != Some(wanted)) else {
            return;
        };
        let (field, wanted) = (self.name(), wanted.clone());
        let clamp = match effective.cloned() {
            Some(effective) => Clamp::Changed {
                field,
                wanted,
                effective,
            },
            None => Clamp::LeftOut { field, wanted },
        };
        builder.note(Reason::Clamped(Box::new(clamp)));
    }

    fn name(&self) -> ResourceField {
        ResourceField {
            kind: self.kind,
            resource: self.resource.to_owned(),
        }
    }
}

/// Returns what the container has; `None` also for an invalid quantity. A limit without a request is also the
/// request: the API server fills it in before it asks us, and a manifest is decided alike.
pub(super) fn present(
    container: &Container<'_>,
    kind: ResourceKind,
    resource: &str,
) -> Option<Quantity> {
    let resources = container.resources.as_ref()?;
    let request = resources.requests.as_ref().and_then(|r| r.get(resource));
    let limit = resources.limits.as_ref().and_then(|l| l.get(resource));
    let quantity = match kind {
        ResourceKind::Requests => request.or(limit),
        ResourceKind::Limits => limit,
    };
    quantity?.as_str().parse().ok()
}

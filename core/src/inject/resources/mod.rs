//! Requests and limits that the namespace's LimitRanges accept.
//!
//! A webhook sees pods with LimitRange defaults filled in, and LimitRanger checks the pod again
//! afterwards. A limit above a maximum, or a request above its limit, would reject the pod with a
//! message that does not name the webhook. So what a profile sets is clamped to what will be
//! accepted: the effective quantities ([`bounds`]). Quantities that the pod sets itself stay, unless
//! the profile may replace them ([`field`]).

mod bounds;
mod field;

use std::{borrow::Cow, collections::BTreeSet};

use bounds::{Amounts, Bounds, Desired};
use field::{Field, present};

use super::builder::Builder;
use crate::{
    k8s::{
        limits::LimitType,
        quantity::Quantity,
        resource_field::{ResourceField, ResourceKind},
    },
    patch::Resources,
    pod::{Container, ContainerRef, Pod},
    policy::ResourceSettings,
    reason::{Clamp, Reason},
};

/// The requests and limits of an init container that runs `chmod` once.
const INIT_CONTAINER: [(&str, &str); 2] = [("cpu", "50m"), ("memory", "32Mi")];

/// Returns the sum of the ephemeral-storage limits of the pod's containers, beyond which the kubelet evicts it.
pub(super) fn ephemeral_storage_limit(pod: &Pod<'_>) -> Option<Quantity> {
    let of_containers = pod.long_lived().map(|(_, container)| container);
    let limits =
        of_containers.filter_map(|c| present(c, ResourceKind::Limits, "ephemeral-storage"));
    limits.reduce(|sum, limit| sum.plus(&limit))
}

/// Notes a CPU limit of the container in which dockerd builds, where the pod sets it.
pub(super) fn note_cpu_limit(builder: &mut Builder<'_, '_>, container: &Container<'_>) {
    if let Some(limit) = present(container, ResourceKind::Limits, "cpu") {
        builder.note(Reason::CpuLimit(limit));
    }
}

/// Sets the requests and limits of the dockerd container.
pub(super) fn dockerd(builder: &mut Builder<'_, '_>, at: ContainerRef) {
    let settings = &builder.plan.profile.dind.resources;
    let Some(container) = builder.container(at) else {
        return;
    };
    if has_pod_level_resources(builder) {
        note_cpu_limit(builder, container);
        return;
    }
    let resources = settings.requests.keys().chain(settings.limits.keys());
    for resource in resources.collect::<BTreeSet<_>>() {
        dockerd_resource(builder, at, container, resource);
    }
    if !builder.changes_to(at).limits.contains_key("cpu") {
        note_cpu_limit(builder, container);
    }
}

/// Sets the request and the limit of one resource: both or neither, because one alone could leave a
/// request above its limit.
fn dockerd_resource<'a>(
    builder: &mut Builder<'_, 'a>,
    at: ContainerRef,
    container: &Container<'_>,
    resource: &'a str,
) {
    let bounds = Bounds::of(builder.plan.limits, LimitType::Container, resource);
    let [request, limit] = [ResourceKind::Requests, ResourceKind::Limits]
        .map(|kind| Field::new(builder, container, kind, resource, &bounds));
    request.note_kept(builder);
    limit.note_kept(builder);
    let desired = Desired {
        kept: Amounts {
            request: request.kept(),
            limit: limit.kept(),
        },
        wanted: Amounts {
            request: request.wanted(),
            limit: limit.wanted(),
        },
    };
    let effective = desired.effective(&bounds);
    let fields = [(&request, effective.request), (&limit, effective.limit)];
    let mut fit = fields
        .iter()
        .filter_map(|(field, effective)| Some((field.kind, (*effective)?)));
    if !fit.all(|(kind, quantity)| fits_pod(builder, Some(at), kind, resource, quantity)) {
        return;
    }
    for (field, effective) in fields {
        field.note_clamped(builder, effective);
        let Some(quantity) = effective.filter(|quantity| field.present.as_ref() != Some(*quantity))
        else {
            continue;
        };
        let changes = builder.changes_to(at);
        let quantities = match field.kind {
            ResourceKind::Requests => &mut changes.requests,
            ResourceKind::Limits => &mut changes.limits,
        };
        quantities.insert(Cow::Borrowed(resource), quantity.clone());
    }
}

/// Returns whether the pod's containers together stay within the LimitRanges of type Pod, when the
/// container `at`, or an added one, has this quantity.
fn fits_pod(
    builder: &mut Builder<'_, '_>,
    at: Option<ContainerRef>,
    kind: ResourceKind,
    resource: &str,
    quantity: &Quantity,
) -> bool {
    let bounds = Bounds::of(builder.plan.limits, LimitType::Pod, resource);
    let Some(max) = bounds.max else {
        return true;
    };
    let others: i128 = builder
        .pod
        .long_lived()
        .filter(|(other, _)| Some(*other) != at)
        .filter_map(|(_, container)| present(container, kind, resource))
        .map(|quantity| quantity.nano())
        .fold(0, i128::saturating_add);
    let fits = others.saturating_add(quantity.nano()) <= max.nano();
    if !fits {
        let clamp = Clamp::PodExceeded {
            field: ResourceField {
                kind,
                resource: resource.to_owned(),
            },
            wanted: quantity.clone(),
            max: max.clone(),
        };
        builder.note(Reason::Clamped(Box::new(clamp)));
    }
    fits
}

/// Returns whether the pod has pod-level resources, within which its containers must stay. They are
/// then left alone, with a note.
fn has_pod_level_resources(builder: &mut Builder<'_, '_>) -> bool {
    let has_them = builder.pod.spec.has_pod_level_resources();
    if has_them {
        builder.note(Reason::PodLevelResources);
    }
    has_them
}

/// Returns the `resources` of a container that is added: the settings, and what LimitRanges require.
pub(super) fn of_added<'a>(
    builder: &mut Builder<'_, 'a>,
    settings: &ResourceSettings,
) -> Resources<'a> {
    let mut resources = Resources::default();
    if has_pod_level_resources(builder) {
        return resources;
    }
    let limits = builder.plan.limits;
    let of_containers = limits
        .iter()
        .filter(|item| item.limit_type == LimitType::Container);
    let required = of_containers.flat_map(|item| item.default.keys().chain(item.max.keys()));
    let named = settings.requests.keys().chain(settings.limits.keys());
    for resource in named.chain(required).collect::<BTreeSet<_>>() {
        let bounds = Bounds::of(limits, LimitType::Container, resource);
        let request = settings.requests.get(resource);
        let limit = settings.limits.get(resource);
        let desired = Desired {
            kept: Amounts::default(),
            wanted: Amounts {
                request: request.or(bounds.default_request),
                limit: limit.or(bounds.default_limit).or(bounds.max),
            },
        };
        let effective = desired.effective(&bounds);
        for (quantities, kind, quantity) in [
            (
                &mut resources.requests,
                ResourceKind::Requests,
                effective.request,
            ),
            (&mut resources.limits, ResourceKind::Limits, effective.limit),
        ] {
            if let Some(quantity) = quantity
                && fits_pod(builder, None, kind, resource, quantity)
            {
                quantities.insert(resource.clone().into(), quantity.clone());
            }
        }
    }
    resources
}

/// Returns the `resources` of an init container that runs for a moment. It has limits too, because a
/// quota may require them. Init containers do not add to the sum of the others.
pub(super) fn of_init_container<'a>(builder: &mut Builder<'_, 'a>) -> Resources<'a> {
    let quantities = || {
        let parsed = INIT_CONTAINER.into_iter();
        parsed
            .filter_map(|(name, text)| Some((name.to_owned(), text.parse().ok()?)))
            .collect()
    };
    let settings = ResourceSettings {
        requests: quantities(),
        limits: quantities(),
    };
    of_added(builder, &settings)
}

/// Returns the size of a claim, within the LimitRanges for claims.
pub(super) fn claim_size(builder: &mut Builder<'_, '_>, size: &Quantity) -> Quantity {
    let bounds = Bounds::of(
        builder.plan.limits,
        LimitType::PersistentVolumeClaim,
        "storage",
    );
    let effective = bounds.clamp(size);
    if effective != size {
        let clamp = Clamp::Claim {
            wanted: size.clone(),
            effective: effective.clone(),
        };
        builder.note(Reason::Clamped(Box::new(clamp)));
    }
    effective.clone()
}

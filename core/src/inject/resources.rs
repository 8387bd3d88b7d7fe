//! Requests and limits that the namespace's LimitRanges accept.
//!
//! A webhook sees pods with LimitRange defaults filled in, and LimitRanger checks the pod again
//! afterwards. A limit above a maximum, or a request above its limit, would reject the pod with a
//! message that does not name the webhook. So what a profile desires is clamped to what will be
//! accepted: the effective quantities.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use super::builder::Builder;
use crate::{
    dockerd::Setting,
    k8s::{
        limits::{LimitRangeItem, LimitType},
        quantity::Quantity,
    },
    patch::Resources,
    pod::{Container, ContainerRef},
    policy::ResourceSettings,
    reason::Reason,
};

/// What an init container gets that runs `chmod` once.
const INIT_CONTAINER: [(&str, &str); 2] = [("cpu", "50m"), ("memory", "32Mi")];
/// The factor between a unit and its billionths, in which quantities are compared.
const NANO: i128 = 1_000_000_000;

/// Requests or limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What the scheduler reserves.
    Requests,
    /// What the kernel enforces.
    Limits,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::Limits => "limits",
        })
    }
}

/// The tightest bounds of all LimitRanges on one resource.
#[derive(Default)]
struct Bounds<'q> {
    min: Option<&'q Quantity>,
    max: Option<&'q Quantity>,
    default_request: Option<&'q Quantity>,
    default_limit: Option<&'q Quantity>,
    /// How many times its request a limit may be.
    max_ratio: Option<&'q Quantity>,
}

impl<'q> Bounds<'q> {
    fn of(limits: &'q [LimitRangeItem], limit_type: LimitType, resource: &str) -> Self {
        let mut bounds = Self::default();
        for item in limits.iter().filter(|item| item.limit_type == limit_type) {
            bounds.min = bounds.min.max(item.min.get(resource));
            bounds.max = lower(bounds.max, item.max.get(resource));
            bounds.max_ratio = lower(bounds.max_ratio, item.max_limit_request_ratio.get(resource));
            let default_request = item.default_request.get(resource);
            bounds.default_request = bounds.default_request.or(default_request);
            bounds.default_limit = bounds.default_limit.or(item.default.get(resource));
        }
        bounds
    }

    fn clamp<'w>(&self, quantity: &'w Quantity) -> &'w Quantity
    where
        'q: 'w,
    {
        let raised = self.min.map_or(quantity, |min| quantity.max(min));
        self.max.map_or(raised, |max| raised.min(max))
    }

    /// Returns whether `limit` is more times its request than allowed.
    fn exceeds_ratio(&self, limit: &Quantity, request: &Quantity) -> bool {
        // The ratio is in billionths, too: `limit > request * ratio`, both sides scaled alike.
        self.max_ratio.is_some_and(|ratio| {
            limit.nano().saturating_mul(NANO) > request.nano().saturating_mul(ratio.nano())
        })
    }
}

/// Returns the lower one of those that exist.
fn lower<'q>(a: Option<&'q Quantity>, b: Option<&'q Quantity>) -> Option<&'q Quantity> {
    a.into_iter().chain(b).min()
}

/// The request and the limit of a container for one resource; either may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Amounts<'q> {
    request: Option<&'q Quantity>,
    limit: Option<&'q Quantity>,
}

/// What a container shall have of one resource.
struct Desired<'q> {
    /// What the container has and keeps.
    kept: Amounts<'q>,
    /// What is to be set.
    wanted: Amounts<'q>,
}

impl<'q> Desired<'q> {
    /// Returns what can be set: within the bounds, and no request above its limit.
    fn effective(&self, bounds: &Bounds<'q>) -> Amounts<'q> {
        let limit = self.effective_limit(bounds);
        let cap = limit.or(self.kept.limit);
        let request = self.wanted.request.map(|wanted| {
            let request = bounds.clamp(wanted);
            match cap {
                // A high request keeps the limit from being too many times its request.
                Some(cap) if bounds.exceeds_ratio(cap, request.min(cap)) => cap,
                Some(cap) => request.min(cap),
                None => request,
            }
        });
        Amounts { request, limit }
    }

    fn effective_limit(&self, bounds: &Bounds<'q>) -> Option<&'q Quantity> {
        let limit = bounds.clamp(self.wanted.limit?);
        let Some(kept_request) = self.kept.request else {
            return Some(limit);
        };
        // A limit below the request that stays would be refused.
        let limit = limit.max(kept_request);
        let is_within = bounds.max.is_none_or(|max| limit <= max);
        (is_within && !bounds.exceeds_ratio(limit, kept_request)).then_some(limit)
    }
}

/// The request or the limit of one resource, in a container of the pod.
struct Field<'q> {
    kind: Kind,
    resource: &'q str,
    /// What the pod has.
    present: Option<Quantity>,
    /// What the profile names.
    profile: Option<&'q Quantity>,
    /// Whether the profile may set it.
    is_open: bool,
}

impl<'a> Field<'a> {
    fn new(
        builder: &Builder<'_, 'a>,
        container: &Container<'_>,
        kind: Kind,
        resource: &'a str,
        bounds: &Bounds<'_>,
    ) -> Self {
        let plan = builder.plan;
        let settings = &plan.profile.dind.resources;
        let (profile, default) = match kind {
            Kind::Requests => (settings.requests.get(resource), bounds.default_request),
            Kind::Limits => (settings.limits.get(resource), bounds.default_limit),
        };
        let present = present(container, kind, resource);
        let is_open = present.as_ref().is_none_or(|present| {
            // A default that a LimitRange filled in is not the pod's own setting.
            let is_default = Some(present) == default;
            // A quota may have no more left than the pod had, and the pod would be refused.
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

    /// What the profile sets.
    fn wanted(&self) -> Option<&'a Quantity> {
        self.profile.filter(|_| self.is_open)
    }

    /// What stays as the pod has it.
    fn kept(&self) -> Option<&Quantity> {
        self.present.as_ref().filter(|_| self.wanted().is_none())
    }

    /// Notes when the pod's own setting wins over the profile's.
    fn note_kept(&self, builder: &mut Builder<'_, '_>) {
        if !self.is_open && self.profile.is_some() && self.profile != self.present.as_ref() {
            let resource = format!("{}.{}", self.kind, self.resource);
            builder.note(Reason::PodSets(Setting::Resource(resource)));
        }
    }

    /// Notes when another quantity is set than the profile's, or none.
    fn note_clamped(&self, builder: &mut Builder<'_, '_>, effective: Option<&Quantity>) {
        let Some(wanted) = self.wanted().filter(|wanted| effective != Some(wanted)) else {
            return;
        };
        let Self { kind, resource, .. } = self;
        builder.note(Reason::Clamped(match effective {
            Some(effective) => format!(
                "{kind}.{resource}: {effective} instead of {wanted}, for the container's limit or a LimitRange"
            ),
            None => format!("{kind}.{resource}: {wanted} left out, for a LimitRange"),
        }));
    }
}

/// Sets the requests and limits of the dockerd container.
pub(super) fn dockerd(builder: &mut Builder<'_, '_>, at: ContainerRef) {
    let settings = &builder.plan.profile.dind.resources;
    let Some(container) = builder.container(at) else {
        return;
    };
    if has_pod_level_resources(builder) {
        return;
    }
    let resources = settings.requests.keys().chain(settings.limits.keys());
    for resource in resources.collect::<BTreeSet<_>>() {
        dockerd_resource(builder, at, container, resource);
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
    let [request, limit] = [Kind::Requests, Kind::Limits]
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
            Kind::Requests => &mut changes.requests,
            Kind::Limits => &mut changes.limits,
        };
        quantities.insert(Cow::Borrowed(resource), quantity.clone());
    }
}

/// Returns whether the pod's containers together stay within the LimitRanges of type Pod, when the
/// container `at`, or an added one, has this quantity.
fn fits_pod(
    builder: &mut Builder<'_, '_>,
    at: Option<ContainerRef>,
    kind: Kind,
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
        builder.note(Reason::Clamped(format!(
            "{kind}.{resource}: {quantity} left out, the pod would exceed the LimitRange's {max}"
        )));
    }
    fits
}

fn present(container: &Container<'_>, kind: Kind, resource: &str) -> Option<Quantity> {
    let resources = container.resources.as_ref()?;
    let quantities = match kind {
        Kind::Requests => resources.requests.as_ref(),
        Kind::Limits => resources.limits.as_ref(),
    };
    quantities?.get(resource)?.as_str().parse().ok()
}

/// Returns whether the pod has resources as a whole, beside which those of a container are not
/// touched; a note says so.
fn has_pod_level_resources(builder: &mut Builder<'_, '_>) -> bool {
    let has_them = builder.pod.spec.resources.is_some();
    if has_them {
        builder.note(Reason::PodLevelResources);
    }
    has_them
}

/// Returns the `resources` of a container that is added: the settings, and what LimitRanges demand.
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
    let demanded = of_containers.flat_map(|item| item.default.keys().chain(item.max.keys()));
    let named = settings.requests.keys().chain(settings.limits.keys());
    for resource in named.chain(demanded).collect::<BTreeSet<_>>() {
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
            (&mut resources.requests, Kind::Requests, effective.request),
            (&mut resources.limits, Kind::Limits, effective.limit),
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

/// Returns the `resources` of an init container that runs for a moment. It has limits, too, because
/// a quota may demand them; init containers do not add to the sum of the others.
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
        builder.note(Reason::Clamped(format!(
            "cache volume: {effective} instead of {size}, for a LimitRange"
        )));
    }
    effective.clone()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    fn limit_range(item: Value) -> Vec<LimitRangeItem> {
        vec![serde_json::from_value(item).unwrap()]
    }

    fn amounts((request, limit): &(Option<Quantity>, Option<Quantity>)) -> Amounts<'_> {
        Amounts {
            request: request.as_ref(),
            limit: limit.as_ref(),
        }
    }

    /// Returns the effective `(request, limit)` beside those that are kept.
    fn effective(
        kept: (Option<&str>, Option<&str>),
        wanted: (Option<&str>, Option<&str>),
        limits: &[LimitRangeItem],
    ) -> (Option<String>, Option<String>) {
        let [kept, wanted] =
            [kept, wanted].map(|(request, limit)| (request.map(quantity), limit.map(quantity)));
        let desired = Desired {
            kept: amounts(&kept),
            wanted: amounts(&wanted),
        };
        let effective = desired.effective(&Bounds::of(limits, LimitType::Container, "cpu"));
        let text = |quantity: Option<&Quantity>| quantity.map(ToString::to_string);
        (text(effective.request), text(effective.limit))
    }

    fn is(request: Option<&str>, limit: Option<&str>) -> (Option<String>, Option<String>) {
        (request.map(str::to_owned), limit.map(str::to_owned))
    }

    #[test]
    fn a_request_never_exceeds_its_limit() {
        let settled = effective((None, Some("200m")), (Some("500m"), None), &[]);
        assert_eq!(settled, is(Some("200m"), None));
    }

    #[test]
    fn a_limit_never_falls_below_a_request_that_stays() {
        let (kept, wanted) = ((Some("2"), None), (None, Some("1")));
        assert_eq!(effective(kept, wanted, &[]), is(None, Some("2")));
        let limits = limit_range(json!({"type": "Container", "max": {"cpu": "1500m"}}));
        assert_eq!(effective(kept, wanted, &limits), is(None, None));
    }

    #[test]
    fn the_bounds_of_a_limit_range_hold() {
        let limits =
            limit_range(json!({"type": "Container", "min": {"cpu": "200m"}, "max": {"cpu": 1}}));
        let settled = effective((None, None), (Some("100m"), Some("4")), &limits);
        assert_eq!(settled, is(Some("200m"), Some("1")));
    }

    #[test]
    fn a_request_is_raised_when_its_limit_would_be_too_many_times_higher() {
        let limits =
            limit_range(json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}));
        let settled = effective((None, None), (Some("100m"), Some("1")), &limits);
        assert_eq!(settled, is(Some("1"), Some("1")));
    }

    #[test]
    fn a_limit_too_many_times_higher_than_a_request_that_stays_is_left_out() {
        let limits =
            limit_range(json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}));
        let kept = (Some("100m"), None);
        assert_eq!(effective(kept, (None, Some("1")), &limits), is(None, None));
        let settled = effective(kept, (None, Some("150m")), &limits);
        assert_eq!(settled, is(None, Some("150m")));
    }
}

//! Requests and limits that the namespace's LimitRanges accept.
//!
//! A webhook sees pods with LimitRange defaults filled in, and LimitRanger checks the pod again
//! afterwards: what exceeds a maximum, or a request above its limit, would reject the pod with a
//! message that names no webhook. So everything is clamped here.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{ResourceKind, builder::Builder};
use crate::{
    dockerd::Setting,
    k8s::{
        limits::{LimitRangeItem, LimitType},
        quantity::Quantity,
    },
    pod::{Container, ContainerRef},
    policy::ResourceSettings,
    reason::Reason,
};

/// What a helper needs that runs `chmod` once.
const HELPER: [(&str, &str); 2] = [("cpu", "50m"), ("memory", "32Mi")];

/// The tightest bounds of all LimitRanges for one resource of a container.
#[derive(Default)]
struct Bounds<'l> {
    min: Option<&'l Quantity>,
    max: Option<&'l Quantity>,
    default_request: Option<&'l Quantity>,
    default_limit: Option<&'l Quantity>,
    ratio: Option<&'l Quantity>,
}

impl<'l> Bounds<'l> {
    fn of(limits: &'l [LimitRangeItem], limit_type: LimitType, resource: &str) -> Self {
        let mut bounds = Self::default();
        for item in limits.iter().filter(|item| item.limit_type == limit_type) {
            bounds.min = bounds.min.max(item.min.get(resource));
            bounds.max = tighter(bounds.max, item.max.get(resource));
            bounds.ratio = tighter(bounds.ratio, item.max_limit_request_ratio.get(resource));
            bounds.default_request = bounds
                .default_request
                .or(item.default_request.get(resource));
            bounds.default_limit = bounds.default_limit.or(item.default.get(resource));
        }
        bounds
    }

    fn clamp<'q>(&self, wanted: &'q Quantity) -> &'q Quantity
    where
        'l: 'q,
    {
        let raised = self.min.map_or(wanted, |min| wanted.max(min));
        self.max.map_or(raised, |max| raised.min(max))
    }
}

fn tighter<'q>(a: Option<&'q Quantity>, b: Option<&'q Quantity>) -> Option<&'q Quantity> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A resource of a container: what it has and keeps, and what the profile wants.
struct Wish<'q> {
    kept_request: Option<&'q Quantity>,
    kept_limit: Option<&'q Quantity>,
    request: Option<&'q Quantity>,
    limit: Option<&'q Quantity>,
}

/// The request and the limit to set, if any.
type Settled<'q> = (Option<&'q Quantity>, Option<&'q Quantity>);

/// Clamps a wish: inside the bounds, and no request above its limit.
fn settle<'q>(wish: &Wish<'q>, bounds: &Bounds<'q>) -> Settled<'q> {
    // A limit below a request that stays would be refused.
    let mut limit = wish
        .limit
        .map(|limit| bounds.clamp(limit))
        .map(|limit| wish.kept_request.map_or(limit, |kept| limit.max(kept)))
        .filter(|limit| bounds.max.is_none_or(|max| *limit <= max));
    let cap = limit.or(wish.kept_limit);
    let mut request = wish.request.map(|request| {
        let clamped = bounds.clamp(request);
        cap.map_or(clamped, |cap| clamped.min(cap))
    });
    if let (Some(ratio), Some(cap)) = (bounds.ratio, cap) {
        let exceeds = |request: &Quantity| {
            // nano/nano against nano: both sides scaled by 10^9.
            cap.nano().saturating_mul(1_000_000_000) > request.nano().saturating_mul(ratio.nano())
        };
        match (request, wish.kept_request) {
            (Some(wanted), _) if exceeds(wanted) => request = Some(cap),
            (None, Some(kept)) if limit.is_some() && exceeds(kept) => limit = None,
            _ => {}
        }
    }
    (request, limit)
}

/// A request or a limit of the dockerd container: what it has, and what the profile wants.
struct Bid<'q> {
    kind: ResourceKind,
    present: Option<Quantity>,
    wanted: Option<&'q Quantity>,
    /// Whether the profile's word counts, and not the pod's.
    is_open: bool,
}

impl<'q> Bid<'q> {
    fn new(
        builder: &Builder<'q>,
        container: &Container<'_>,
        kind: ResourceKind,
        name: &str,
        bounds: &Bounds<'q>,
    ) -> Self {
        let settings = &builder.plan.profile.dind.resources;
        let (wanted, default) = match kind {
            ResourceKind::Requests => (settings.requests.get(name), bounds.default_request),
            ResourceKind::Limits => (settings.limits.get(name), bounds.default_limit),
        };
        let present = present(container, kind, name);
        let counted = format!("{}.{name}", kind.as_str());
        let is_counted = builder.plan.quotas.contains(&counted);
        let is_open = present.as_ref().is_none_or(|present| {
            // Defaults that a LimitRange filled in are not the pod's own word.
            let is_default = Some(present) == default;
            // More than the pod had may be more than a quota has left, and the pod would be refused.
            let in_quota = !is_counted || wanted.is_none_or(|wanted| wanted <= present);
            (is_default || builder.overwrites_resources()) && in_quota
        });
        Self {
            kind,
            present,
            wanted,
            is_open,
        }
    }

    /// What the profile may set.
    fn wish(&self) -> Option<&'q Quantity> {
        self.wanted.filter(|_| self.is_open)
    }

    /// What stays as the pod has it.
    fn kept(&self) -> Option<&Quantity> {
        self.present.as_ref().filter(|_| self.wish().is_none())
    }
}

/// Requests and limits of the dockerd container.
pub(super) fn dockerd(builder: &mut Builder<'_>, place: ContainerRef) {
    let settings = &builder.plan.profile.dind.resources;
    let Some(container) = builder.container(place) else {
        return;
    };
    if builder.pod.spec.resources.is_some() {
        builder.note(Reason::PodLevelResources);
        return;
    }
    let names = settings.requests.keys().chain(settings.limits.keys());
    for name in names.collect::<BTreeSet<&String>>() {
        dockerd_resource(builder, place, container, name);
    }
}

/// The request and the limit of one resource: one without the other could leave a request above its limit.
fn dockerd_resource(
    builder: &mut Builder<'_>,
    place: ContainerRef,
    container: &Container<'_>,
    name: &str,
) {
    let bounds = Bounds::of(builder.plan.limits, LimitType::Container, name);
    let [request, limit] = [ResourceKind::Requests, ResourceKind::Limits]
        .map(|kind| Bid::new(builder, container, kind, name, &bounds));
    for bid in [&request, &limit] {
        if !bid.is_open && bid.wanted.is_some() && bid.wanted != bid.present.as_ref() {
            let resource = format!("{}.{name}", bid.kind.as_str());
            builder.note(Reason::PodSets(Setting::Resource(resource)));
        }
    }
    let wish = Wish {
        kept_request: request.kept(),
        kept_limit: limit.kept(),
        request: request.wish(),
        limit: limit.wish(),
    };
    let (new_request, new_limit) = settle(&wish, &bounds);
    let settled = [(&request, new_request), (&limit, new_limit)];
    let mut fits = |(bid, quantity): &(&Bid<'_>, Option<&Quantity>)| {
        quantity.is_none_or(|quantity| fits_pod(builder, Some(place), bid.kind, name, quantity))
    };
    if !settled.iter().all(&mut fits) {
        return;
    }
    for (bid, quantity) in settled {
        note_clamped(builder, bid.kind, name, bid.wish(), quantity);
        if let Some(quantity) = quantity.filter(|quantity| bid.present.as_ref() != Some(*quantity))
        {
            builder.resource(place, bid.kind, name, quantity.as_str());
        }
    }
}

fn note_clamped(
    builder: &mut Builder<'_>,
    kind: ResourceKind,
    name: &str,
    wanted: Option<&Quantity>,
    settled: Option<&Quantity>,
) {
    let Some(wanted) = wanted.filter(|wanted| settled != Some(*wanted)) else {
        return;
    };
    let kind = kind.as_str();
    builder.note(Reason::Clamped(match settled {
        Some(settled) => {
            format!("{kind}.{name}: {settled} instead of {wanted}, for the container's limit or a LimitRange")
        }
        None => format!("{kind}.{name}: {wanted} left out, for a LimitRange"),
    }));
}

/// Whether the sum over the pod stays within LimitRanges of type Pod, when the container at `place`,
/// or an added one, has this quantity.
fn fits_pod(
    builder: &mut Builder<'_>,
    place: Option<ContainerRef>,
    kind: ResourceKind,
    name: &str,
    quantity: &Quantity,
) -> bool {
    let bounds = Bounds::of(builder.plan.limits, LimitType::Pod, name);
    let Some(max) = bounds.max else {
        return true;
    };
    let others: i128 = builder
        .pod
        .long_lived()
        .filter(|(other, _)| Some(*other) != place)
        .filter_map(|(_, container)| present(container, kind, name))
        .map(|quantity| quantity.nano())
        .fold(0, i128::saturating_add);
    let fits = others.saturating_add(quantity.nano()) <= max.nano();
    if !fits {
        builder.note(Reason::Clamped(format!(
            "{}.{name}: {quantity} left out, the pod would exceed the LimitRange's {max}",
            kind.as_str()
        )));
    }
    fits
}

fn present(container: &Container<'_>, kind: ResourceKind, name: &str) -> Option<Quantity> {
    let resources = container.resources.as_ref()?;
    let map = match kind {
        ResourceKind::Requests => resources.requests.as_ref(),
        ResourceKind::Limits => resources.limits.as_ref(),
    };
    map?.get(name)?.as_str().parse().ok()
}

/// `resources` of a container that is added, with what LimitRanges demand of it.
pub(super) fn of_added(builder: &mut Builder<'_>, settings: &ResourceSettings) -> Value {
    if builder.pod.spec.resources.is_some() {
        builder.note(Reason::PodLevelResources);
        return Value::Object(Map::new());
    }
    let limits = builder.plan.limits;
    let bounded = limits
        .iter()
        .filter(|item| item.limit_type == LimitType::Container);
    let demanded = bounded.flat_map(|item| item.default.keys().chain(item.max.keys()));
    let wanted = settings.requests.keys().chain(settings.limits.keys());
    let names: BTreeSet<&String> = wanted.chain(demanded).collect();
    let mut requests = Map::new();
    let mut caps = Map::new();
    for name in names {
        let bounds = Bounds::of(limits, LimitType::Container, name);
        let wish = Wish {
            kept_request: None,
            kept_limit: None,
            request: settings.requests.get(name).or(bounds.default_request),
            limit: settings
                .limits
                .get(name)
                .or(bounds.default_limit)
                .or(bounds.max),
        };
        let (request, limit) = settle(&wish, &bounds);
        for (map, kind, quantity) in [
            (&mut requests, ResourceKind::Requests, request),
            (&mut caps, ResourceKind::Limits, limit),
        ] {
            if let Some(quantity) = quantity
                && fits_pod(builder, None, kind, name, quantity)
            {
                map.insert(name.clone(), json!(quantity));
            }
        }
    }
    let mut resources = Map::new();
    for (kind, map) in [("requests", requests), ("limits", caps)] {
        if !map.is_empty() {
            resources.insert(kind.to_owned(), Value::Object(map));
        }
    }
    Value::Object(resources)
}

/// `resources` of an init container that runs for a moment. It is limited too, because a quota may
/// demand that; init containers do not add to the sum of the others.
pub(super) fn of_helper(builder: &mut Builder<'_>) -> Value {
    let quantities = || {
        HELPER
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), text.parse().ok()?)))
            .collect()
    };
    let settings = ResourceSettings {
        requests: quantities(),
        limits: quantities(),
    };
    of_added(builder, &settings)
}

/// The size of a claim, within the LimitRanges for claims.
pub(super) fn claim_size(builder: &mut Builder<'_>, size: &Quantity) -> String {
    let plan = builder.plan;
    let bounds = Bounds::of(plan.limits, LimitType::PersistentVolumeClaim, "storage");
    let settled = bounds.clamp(size);
    if settled != size {
        builder.note(Reason::Clamped(format!(
            "cache volume: {settled} instead of {size}, for a LimitRange"
        )));
    }
    settled.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    fn item(value: serde_json::Value) -> Vec<LimitRangeItem> {
        vec![serde_json::from_value(value).unwrap()]
    }

    fn texts(settled: Settled<'_>) -> (Option<&str>, Option<&str>) {
        (
            settled.0.map(Quantity::as_str),
            settled.1.map(Quantity::as_str),
        )
    }

    #[test]
    fn a_request_never_exceeds_its_limit() {
        let (request, kept) = (quantity("500m"), quantity("200m"));
        let wish = Wish {
            kept_request: None,
            kept_limit: Some(&kept),
            request: Some(&request),
            limit: None,
        };
        assert_eq!(
            texts(settle(&wish, &Bounds::default())),
            (Some("200m"), None)
        );
    }

    #[test]
    fn a_limit_never_falls_below_a_request_that_stays() {
        let (kept, limit) = (quantity("2"), quantity("1"));
        let wish = Wish {
            kept_request: Some(&kept),
            kept_limit: None,
            request: None,
            limit: Some(&limit),
        };
        assert_eq!(texts(settle(&wish, &Bounds::default())), (None, Some("2")));
        let limits = item(json!({"type": "Container", "max": {"cpu": "1500m"}}));
        assert_eq!(
            texts(settle(
                &wish,
                &Bounds::of(&limits, LimitType::Container, "cpu")
            )),
            (None, None)
        );
    }

    #[test]
    fn the_bounds_of_a_limit_range_hold() {
        let limits = item(json!({"type": "Container", "min": {"cpu": "200m"}, "max": {"cpu": 1}}));
        let bounds = Bounds::of(&limits, LimitType::Container, "cpu");
        let (request, limit) = (quantity("100m"), quantity("4"));
        let wish = Wish {
            kept_request: None,
            kept_limit: None,
            request: Some(&request),
            limit: Some(&limit),
        };
        assert_eq!(texts(settle(&wish, &bounds)), (Some("200m"), Some("1")));
    }

    #[test]
    fn a_limit_is_no_more_than_its_ratio_times_the_request() {
        let limits = item(json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}));
        let bounds = Bounds::of(&limits, LimitType::Container, "cpu");
        let (request, limit) = (quantity("100m"), quantity("1"));
        let wish = Wish {
            kept_request: None,
            kept_limit: None,
            request: Some(&request),
            limit: Some(&limit),
        };
        assert_eq!(texts(settle(&wish, &bounds)), (Some("1"), Some("1")));
    }
}

//! The arithmetic of LimitRanges: the quantities closest to the desired ones that are accepted.

use crate::k8s::{
    limits::{LimitRangeItem, LimitType},
    quantity::Quantity,
};

/// The factor between a unit and its billionths, in which quantities are compared.
const NANO: i128 = 1_000_000_000;

/// The tightest bounds of all LimitRanges on one resource.
#[derive(Default)]
pub(super) struct Bounds<'q> {
    min: Option<&'q Quantity>,
    pub max: Option<&'q Quantity>,
    pub default_request: Option<&'q Quantity>,
    pub default_limit: Option<&'q Quantity>,
    /// How many times its request a limit may be.
    max_ratio: Option<&'q Quantity>,
}

impl<'q> Bounds<'q> {
    pub fn of(limits: &'q [LimitRangeItem], limit_type: LimitType, resource: &str) -> Self {
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

    /// Returns the accepted quantity that is closest to this one.
    pub fn clamp<'w>(&self, quantity: &'w Quantity) -> &'w Quantity
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
pub(super) struct Amounts<'q> {
    pub request: Option<&'q Quantity>,
    pub limit: Option<&'q Quantity>,
}

/// What a container should have of one resource.
pub(super) struct Desired<'q> {
    /// What the container has and keeps.
    pub kept: Amounts<'q>,
    /// What the profile wants to set.
    pub wanted: Amounts<'q>,
}

impl<'q> Desired<'q> {
    /// Returns what can be set: within the bounds, and no request above its limit.
    pub fn effective(&self, bounds: &Bounds<'q>) -> Amounts<'q> {
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

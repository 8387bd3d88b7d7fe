//! Ranks the claims that a pod may lease.

use std::{cmp::Reverse, sync::Arc};

use super::Claim;
use crate::{nodes::Candidates, pod::NodeSelectorTerm};

/// More claims than a request has time to try.
const MAX_CANDIDATES: usize = 64;

/// Returns the free claims that a pod with this cache key and these candidate nodes may lease, best
/// first:
///
/// 1. claims with the layers of its key, most recently used first;
/// 2. blank claims;
/// 3. unless keys are `strict`, claims of other keys, least recently used first.
#[must_use]
pub fn rank<'c>(
    claims: impl Iterator<Item = &'c Arc<Claim>>,
    key: &str,
    strict: bool,
    nodes: Option<&Candidates<'_>>,
) -> Vec<Arc<Claim>> {
    let mut found: Vec<&Arc<Claim>> = claims
        .filter(|claim| claim.is_free())
        .filter(|claim| !strict || claim.is_blank() || claim.serves(key))
        .filter(|claim| is_reachable(claim, nodes))
        .collect();
    found.sort_by_key(|claim| {
        let used = claim.annotations.last_used;
        if claim.serves(key) {
            (0, Some(Reverse(used)), None)
        } else if claim.is_blank() {
            (1, None, None)
        } else {
            (2, None, Some(used))
        }
    });
    found.into_iter().take(MAX_CANDIDATES).cloned().collect()
}

/// Returns whether at least one candidate node can reach the claim's volume. An unbound claim gets
/// its volume where its first pod runs.
fn is_reachable(claim: &Claim, nodes: Option<&Candidates<'_>>) -> bool {
    if claim.volume.is_none() {
        return true;
    }
    let Some(topology) = &claim.annotations.topology else {
        return false;
    };
    // Unreadable terms could mean any zone.
    let Ok(terms) = serde_json::from_str::<Vec<NodeSelectorTerm<'_>>>(topology) else {
        return false;
    };
    terms.is_empty() || nodes.is_some_and(|nodes| nodes.reach(&terms))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        cache::claims::fixtures::{claim, leased},
        nodes::Snapshot,
        pod::Pod,
    };

    fn used(name: &str, key: &str, seconds: i64) -> Claim {
        let mut claim = claim(name);
        claim.annotations.key = Some(key.to_owned());
        claim.annotations.last_used = jiff::Timestamp::from_second(seconds).ok();
        claim
    }

    fn names(claims: Vec<Claim>, strict: bool, nodes: Option<&Candidates<'_>>) -> String {
        let claims: Vec<_> = claims.into_iter().map(Arc::new).collect();
        let ranked = rank(claims.iter(), "mine", strict, nodes);
        let names: Vec<_> = ranked.iter().map(|claim| claim.name.clone()).collect();
        names.join(" ")
    }

    #[test]
    fn warm_claims_come_first_then_blank_ones_then_the_least_recently_used() {
        let claims = || {
            vec![
                used("other-late", "b", 20),
                used("other-early", "a", 10),
                claim("blank"),
                used("mine-early", "mine", 30),
                used("mine-late", "mine", 40),
            ]
        };
        assert_eq!(
            names(claims(), false, None),
            "mine-late mine-early blank other-early other-late"
        );
        assert_eq!(names(claims(), true, None), "mine-late mine-early blank");
    }

    #[test]
    fn leased_and_terminating_claims_are_left_out() {
        let terminating = Claim {
            terminating: true,
            ..claim("terminating")
        };
        let claims = vec![leased("leased", "r1"), terminating];
        assert_eq!(names(claims, false, None), "");
    }

    #[test]
    fn a_volume_in_a_zone_without_candidate_nodes_is_left_out() {
        let snapshot = Snapshot::new(["a", "b"].map(|zone| {
            serde_json::from_value(json!({"metadata": {"name": zone, "labels":
                {"topology.kubernetes.io/zone": zone, "pool": zone}}}))
            .unwrap()
        }));
        let pod = json!({"spec": {"nodeSelector": {"pool": "a"}}}).to_string();
        let pod = Pod::parse(pod.as_bytes()).unwrap();
        let nodes = snapshot.candidates(&pod, &[]);
        let bound = |name: &str, topology: Option<&str>| {
            let mut claim = claim(name);
            claim.volume = Some("pv".to_owned());
            claim.annotations.topology = topology.map(str::to_owned);
            claim
        };
        let zone = |zone: &str| {
            json!([{"matchExpressions": [
                {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}]}])
            .to_string()
        };
        let claims = || {
            vec![
                bound("in-a", Some(&zone("a"))),
                bound("in-b", Some(&zone("b"))),
                bound("anywhere", Some("[]")),
                bound("not-recorded-yet", None),
                bound("unreadable", Some("{")),
                claim("unbound"),
            ]
        };
        assert_eq!(
            names(claims(), false, Some(&nodes)),
            "in-a anywhere unbound"
        );
        assert_eq!(names(claims(), false, None), "anywhere unbound");
    }
}

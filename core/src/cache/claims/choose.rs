//! Ranks the claims that a pod may lease.

use std::{cmp::Reverse, sync::Arc};

use super::Claim;
use crate::{nodes::Candidates, pod::NodeSelectorTerm};

/// More candidates than a request ever has time to try.
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

/// Returns whether at least one candidate node can reach the claim's volume. An unbound claim gets a
/// volume where its first pod runs.
fn is_reachable(claim: &Claim, nodes: Option<&Candidates<'_>>) -> bool {
    if claim.volume.is_none() {
        return true;
    }
    let Some(topology) = &claim.annotations.topology else {
        return false;
    };
    // Unreadable terms could mean any place.
    let Ok(terms) = serde_json::from_str::<Vec<NodeSelectorTerm<'_>>>(topology) else {
        return false;
    };
    terms.is_empty() || nodes.is_some_and(|nodes| nodes.reach(&terms))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{cache::claims::claim::Annotations, nodes::Snapshot, pod::Pod};

    fn claim(name: &str, key: Option<&str>, used: i64) -> Claim {
        Claim {
            namespace: "ci".to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
            version: "1".to_owned(),
            profile: "fast".to_owned(),
            terminating: false,
            volume: None,
            size: None,
            created: None,
            annotations: Annotations {
                key: key.map(str::to_owned),
                last_used: jiff::Timestamp::from_second(used).ok(),
                ..Annotations::default()
            },
        }
    }

    fn names(claims: Vec<Claim>, strict: bool, nodes: Option<&Candidates<'_>>) -> String {
        let claims: Vec<_> = claims.into_iter().map(Arc::new).collect();
        let ranked = rank(claims.iter(), "mine", strict, nodes);
        let names: Vec<_> = ranked.iter().map(|claim| claim.name.clone()).collect();
        names.join(" ")
    }

    #[test]
    fn claims_with_own_layers_come_first_then_blank_ones_then_the_coldest() {
        let claims = || {
            vec![
                claim("other-late", Some("b"), 20),
                claim("other-early", Some("a"), 10),
                claim("blank", None, 0),
                claim("mine-early", Some("mine"), 30),
                claim("mine-late", Some("mine"), 40),
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
        let mut leased = claim("leased", None, 0);
        leased.annotations.lease = Some(crate::cache::claims::Lease {
            id: String::new(),
            pod: String::new(),
        });
        let mut terminating = claim("terminating", None, 0);
        terminating.terminating = true;
        assert_eq!(names(vec![leased, terminating], false, None), "");
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
            let mut claim = claim(name, None, 0);
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
                claim("unbound", None, 0),
            ]
        };
        assert_eq!(
            names(claims(), false, Some(&nodes)),
            "in-a anywhere unbound"
        );
        assert_eq!(names(claims(), false, None), "anywhere unbound");
    }
}

//! Which claims a pod may have, and which of them rather.

use std::{cmp::Reverse, sync::Arc};

use super::Claim;
use crate::{nodes::Candidates, pod::NodeSelectorTerm};

/// More candidates than any request has time to try.
const MAX_CANDIDATES: usize = 64;

/// The free claims that serve the cache key and that a pod with these candidate nodes can reach,
/// best first: those with its own layers, the latest first; then blank ones; then, unless keys are
/// `strict`, those of other keys, the least recently used first.
#[must_use]
pub fn choose<'c>(
    claims: impl Iterator<Item = &'c Arc<Claim>>,
    key: &str,
    strict: bool,
    nodes: Option<&Candidates<'_>>,
) -> Vec<Arc<Claim>> {
    let mut found: Vec<&Arc<Claim>> = claims
        .filter(|claim| claim.is_free())
        .filter(|claim| !strict || claim.is_blank() || claim.serves(key))
        .filter(|claim| is_reached(claim, nodes))
        .collect();
    found.sort_by_key(|claim| {
        let used = claim.marks.last_used;
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

/// Whether one of the candidate nodes at least reaches the claim's volume. A claim without a volume
/// gets one where its first pod is.
fn is_reached(claim: &Claim, nodes: Option<&Candidates<'_>>) -> bool {
    if claim.volume.is_none() {
        return true;
    }
    let Some(topology) = &claim.marks.topology else {
        return false;
    };
    // What cannot be read could be anywhere.
    let Ok(terms) = serde_json::from_str::<Vec<NodeSelectorTerm<'_>>>(topology) else {
        return false;
    };
    terms.is_empty() || nodes.is_some_and(|nodes| nodes.reach(&terms))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{cache::claims::claim::Marks, nodes::Snapshot, pod::Pod};

    fn claim(name: &str, key: Option<&str>, used: i64) -> Claim {
        Claim {
            namespace: "ci".to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
            version: "1".to_owned(),
            pool: "fast".to_owned(),
            terminating: false,
            volume: None,
            size: None,
            created: None,
            marks: Marks {
                key: key.map(str::to_owned),
                last_used: jiff::Timestamp::from_second(used).ok(),
                ..Marks::default()
            },
        }
    }

    fn names(claims: Vec<Claim>, strict: bool, nodes: Option<&Candidates<'_>>) -> String {
        let claims: Vec<_> = claims.into_iter().map(Arc::new).collect();
        let chosen = choose(claims.iter(), "mine", strict, nodes);
        let names: Vec<_> = chosen.iter().map(|claim| claim.name.clone()).collect();
        names.join(" ")
    }

    #[test]
    fn own_layers_come_first_then_blank_claims_then_the_coldest() {
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
    fn what_is_leased_or_goes_is_not_chosen() {
        let mut leased = claim("leased", None, 0);
        leased.marks.lease = Some(crate::cache::claims::Lease {
            id: String::new(),
            pod: String::new(),
        });
        let mut going = claim("going", None, 0);
        going.terminating = true;
        assert_eq!(names(vec![leased, going], false, None), "");
    }

    #[test]
    fn a_volume_in_a_zone_that_no_candidate_is_in_is_not_chosen() {
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
            claim.marks.topology = topology.map(str::to_owned);
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
                bound("not-known-yet", None),
                bound("spoilt", Some("{")),
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

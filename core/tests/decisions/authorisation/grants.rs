//! What the answer puts into the pod, against what the policy gives.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::{Value, json};
use slipway_core::{
    admission::{Admission, Answer, admit},
    cache::claims::{ClaimRequest, LeaseResult},
    decide::Cluster,
    pod::{ContainerRef, Pod, is_within},
    policy::Policy,
    recognise::{Dockerd, recognise},
};

use super::world::{World, world};

const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";
/// The API server's own limit on all annotations of one object.
const MAX_ANNOTATIONS: usize = 256 * 1024;
/// An entry of an audit log is a line.
const MAX_AUDIT: usize = 1024;
const MAX_WARNING: usize = 256;
/// `metadata.name` has at most 253 bytes; a `generateName` is shown with a star.
const MAX_NAME: usize = 254;

fn review(world: &World) -> String {
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": UID, "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE",
        "namespace": world.namespace, "object": world.pod}});
    review.to_string()
}

/// Admits the world's pod; a claim that it asks for has this result.
fn answer(world: &World, lease: Option<LeaseResult>) -> Answer {
    let review = review(world);
    world.with(|cluster| match (admitted(&review, cluster), lease) {
        (Admission::NeedsClaim(pending), Some(lease)) => pending.with_lease(lease),
        (admission, _) => admission.without_lease(),
    })
}

/// Returns what the world's pod asks its pool for.
fn claim_request(world: &World) -> Option<ClaimRequest> {
    let review = review(world);
    world.with(|cluster| match admitted(&review, cluster) {
        Admission::NeedsClaim(pending) => Some(pending.claim_request().clone()),
        _ => None,
    })
}

fn admitted<'a>(review: &'a str, cluster: Cluster<'a>) -> Admission<'a> {
    let admission = admit(review.as_bytes(), cluster).unwrap();
    admission.without_lookup(cluster)
}

/// The pod before and after, and what was said of it.
struct Outcome<'w> {
    world: &'w World,
    after: Value,
    response: Value,
    claim: Option<&'w str>,
}

impl<'w> Outcome<'w> {
    fn of(world: &'w World, answer: &Answer, claim: Option<&'w str>) -> Self {
        let review: Value = serde_json::from_slice(&answer.body).unwrap();
        let response = review["response"].clone();
        let mut after = world.pod.clone();
        if let Some(patch) = response["patch"].as_str() {
            let patch = STANDARD.decode(patch).unwrap();
            let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
            json_patch::patch(&mut after, &patch).unwrap();
        }
        Self {
            world,
            after,
            response,
            claim,
        }
    }

    fn added_volumes(&self) -> Vec<&Value> {
        let before = list(&self.world.pod, "volumes");
        list(&self.after, "volumes").split_off(before.len())
    }

    fn added_containers(&self) -> Vec<&Value> {
        let before = names(&containers(&self.world.pod));
        let mut all = containers(&self.after);
        all.retain(|container| !before.contains(&text(container, "name")));
        all
    }

    /// Mounts that were not there before, with the name of their container.
    fn added_mounts(&self) -> Vec<(&str, &Value)> {
        let before = containers(&self.world.pod);
        let mut added = Vec::new();
        for container in containers(&self.after) {
            let name = text(container, "name");
            let known = before.iter().find(|c| text(c, "name") == name);
            let known = known.map_or(0, |c| mounts(c).len());
            added.extend(mounts(container).into_iter().skip(known).map(|m| (name, m)));
        }
        added
    }

    /// Volumes that were added, or that something was mounted of: one of the pod's own serves where it
    /// is what would have been added.
    fn volumes_in_use(&self) -> Vec<&Value> {
        let mut volumes = self.added_volumes();
        for (_, mount) in self.added_mounts() {
            let all = list(&self.after, "volumes").into_iter();
            volumes.extend(all.filter(|volume| volume["name"] == mount["name"]));
        }
        volumes
    }

    fn containers_with(&self, volume: &Value) -> Vec<&str> {
        let mounts = |c: &&Value| mounts(c).iter().any(|m| m["name"] == volume["name"]);
        let all = containers(&self.after).into_iter();
        all.filter(mounts).map(|c| text(c, "name")).collect()
    }
}

fn list<'p>(pod: &'p Value, key: &str) -> Vec<&'p Value> {
    pod["spec"][key].as_array().into_iter().flatten().collect()
}

fn containers(pod: &Value) -> Vec<&Value> {
    [list(pod, "initContainers"), list(pod, "containers")].concat()
}

fn mounts(container: &Value) -> Vec<&Value> {
    let mounts = container["volumeMounts"].as_array();
    mounts.into_iter().flatten().collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn names<'v>(list: &[&'v Value]) -> Vec<&'v str> {
    list.iter().map(|item| text(item, "name")).collect()
}

fn is_privileged(container: &Value) -> bool {
    container["securityContext"]["privileged"] == json!(true)
}

/// The names of the containers in which jobs run, and of that in which dockerd runs.
fn roles(world: &World) -> (Vec<String>, Option<String>) {
    let json = world.pod.to_string();
    let pod = Pod::parse(json.as_bytes()).unwrap();
    let policy = Policy::parse(&world.policy.to_string()).unwrap();
    let Some(runner) = recognise(&pod, policy.recognisers()) else {
        return (Vec::new(), None);
    };
    let name = |place: ContainerRef| pod.container(place).unwrap().name.to_string();
    let dockerd = match runner.dockerd {
        Dockerd::Absent | Dockerd::Hidden => None,
        Dockerd::Sidecar(place) | Dockerd::InRunner(place) => Some(name(place)),
    };
    (runner.clients.into_iter().map(name).collect(), dockerd)
}

/// Every answer to the world: with no claim, and with each claim that the pod could have.
fn with_every_claim(
    world: &World,
    check: impl Fn(&Outcome<'_>) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let first = answer(world, None);
    check(&Outcome::of(world, &first, None))?;
    let request = claim_request(world);
    for claim in request
        .and_then(|request| request.candidates)
        .into_iter()
        .flatten()
    {
        let lease = LeaseResult::Leased {
            claim: claim.name.clone(),
            lease: UID.to_owned(),
            warm: false,
        };
        let answer = answer(world, Some(lease));
        check(&Outcome::of(world, &answer, Some(&claim.name)))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_host_path_is_one_that_the_policy_gives_and_only_its_containers_see_it(world in world()) {
        let (clients, dockerd) = roles(&world);
        with_every_claim(&world, |outcome| {
            for volume in outcome.added_volumes() {
                let Some(path) = volume["hostPath"]["path"].as_str() else { continue };
                let seen_by = outcome.containers_with(volume);
                let of_client = |name: &&str| clients.iter().any(|client| client == name);
                let of_dockerd = |name: &&str| dockerd.as_deref() == Some(name) || *name == "slipway-dind";
                if world.gives_socket(path) {
                    prop_assert_eq!(&volume["hostPath"]["type"], "Socket");
                    prop_assert!(seen_by.iter().all(of_client), "{path} in {seen_by:?}");
                } else if world.gives_slots(path) {
                    prop_assert!(seen_by.iter().all(of_dockerd) && seen_by.len() == 1, "{path} in {seen_by:?}");
                } else if world.gives_local_cache(path) {
                    let helper = |name: &&str| *name == "slipway-cache-permissions";
                    prop_assert!(seen_by.iter().all(|n| of_client(n) || helper(n)), "{path} in {seen_by:?}");
                } else {
                    prop_assert!(false, "{path} in {seen_by:?}");
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn no_mount_of_the_pods_own_gets_hold_of_a_volume_that_is_added(world in world()) {
        with_every_claim(&world, |outcome| {
            let added = names(&outcome.added_volumes());
            for container in containers(&world.pod) {
                for mount in mounts(container) {
                    prop_assert!(!added.contains(&text(mount, "name")), "{mount} of {container}");
                }
            }
            // And no added mount is of a part that the pod chose.
            for (_, mount) in outcome.added_mounts() {
                let file = mount.get("subPath").and_then(Value::as_str);
                prop_assert!(matches!(file, None | Some("daemon.json" | "buildkitd.toml")), "{mount}");
                prop_assert!(mount.get("subPathExpr").is_none() && mount.get("mountPropagation").is_none());
            }
            Ok(())
        })?;
    }

    #[test]
    fn no_container_becomes_privileged_and_none_is_added_that_the_policy_does_not_give(world in world()) {
        with_every_claim(&world, |outcome| {
            for before in containers(&world.pod) {
                let name = text(before, "name");
                if let Some(after) = containers(&outcome.after).into_iter().find(|c| text(c, "name") == name) {
                    prop_assert_eq!(&before["securityContext"], &after["securityContext"]);
                    prop_assert!(mounts(after).len() >= mounts(before).len());
                } else {
                    // Taken out for a host socket, never anything else.
                    prop_assert!(world.settings()["replaceDockerd"] == json!(true) && world.gives_host_access());
                }
            }
            for container in outcome.added_containers() {
                let name = text(container, "name");
                let known = ["slipway-dind", "slipway-buildkitd", "slipway-cache-permissions"];
                prop_assert!(known.contains(&name), "{container}");
                prop_assert!(world.gives_host_access(), "{container}");
                prop_assert_eq!(is_privileged(container), name != "slipway-cache-permissions");
            }
            Ok(())
        })?;
    }

    #[test]
    fn nothing_of_an_added_privileged_container_is_hidden_by_the_pods_volumes(world in world()) {
        with_every_claim(&world, |outcome| {
            let own = names(&list(&world.pod, "volumes"));
            for container in outcome.added_containers().into_iter().filter(|c| is_privileged(c)) {
                for mount in mounts(container).into_iter().filter(|m| own.contains(&text(m, "name"))) {
                    let path = text(mount, "mountPath");
                    for of_image in ["/bin", "/etc", "/lib", "/opt", "/sbin", "/usr", "/var"] {
                        let meets = is_within(path, of_image) || is_within(of_image, path);
                        prop_assert!(!meets && !path.contains(".."), "{mount}");
                    }
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn what_slipway_has_no_business_with_stays_as_it_is(world in world()) {
        with_every_claim(&world, |outcome| {
            let stripped = |pod: &Value| {
                let mut pod = pod.clone();
                for key in ["volumes", "containers", "initContainers", "affinity"] {
                    pod["spec"].as_object_mut().unwrap().remove(key);
                }
                let mut groups = BTreeSet::new();
                if let Some(context) = pod["spec"]["securityContext"].as_object_mut() {
                    groups.extend(context.remove("supplementalGroups").into_iter()
                        .flat_map(|g| g.as_array().unwrap().clone()).filter_map(|g| g.as_i64()));
                }
                if pod["spec"]["securityContext"] == json!({}) {
                    pod["spec"].as_object_mut().unwrap().remove("securityContext");
                }
                let metadata = pod["metadata"].as_object_mut().unwrap();
                for key in ["slipway.io/status", "slipway.io/daemon.json", "slipway.io/buildkitd.toml"] {
                    metadata["annotations"].as_object_mut().unwrap().remove(key);
                }
                metadata["labels"].as_object_mut().unwrap().remove("slipway.io/lease");
                if pod["spec"]["securityContext"].is_null() {
                    pod["spec"].as_object_mut().unwrap().remove("securityContext");
                }
                (pod, groups)
            };
            let ((before, groups), (after, groups_after)) = (stripped(&world.pod), stripped(&outcome.after));
            prop_assert_eq!(before, after);
            let added: BTreeSet<i64> = groups_after.difference(&groups).copied().collect();
            prop_assert!(added.is_empty() || world.gives_host_access(), "{added:?}");
            prop_assert!(added.is_subset(&[7, 2375].into()), "{added:?}");
            Ok(())
        })?;
    }

    #[test]
    fn every_claim_is_the_policys_own_or_one_of_the_namespaces_pool_and_key(world in world()) {
        let cache = &world.settings()["dind"]["cache"];
        let request = claim_request(&world);
        for claim in request.iter().flat_map(|request| request.candidates.iter().flatten()) {
            prop_assert_eq!(&claim.namespace, world.namespace);
            prop_assert_eq!(Some(claim.profile.as_str()), world.profile());
            prop_assert!(claim.is_free());
            let strict = cache["strictKeys"] != json!(false);
            let key = claim.annotations.key.as_deref();
            prop_assert!(!strict || key.is_none_or(|key| world.is_own_key(key, cache)), "{key:?}");
        }
        with_every_claim(&world, |outcome| {
            for volume in outcome.added_volumes() {
                let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() else { continue };
                let named = cache["type"] == json!("pvc") && claim == "shared";
                prop_assert!(named || outcome.claim == Some(claim), "{volume}");
            }
            Ok(())
        })?;
    }

    #[test]
    fn the_audit_log_tells_exactly_what_was_granted(world in world()) {
        with_every_claim(&world, |outcome| {
            let audit = &outcome.response["auditAnnotations"];
            let mut granted = BTreeSet::new();
            let volumes = outcome.volumes_in_use();
            granted.extend(volumes.iter().filter_map(|v| v["hostPath"]["path"].as_str()).map(str::to_owned));
            for container in outcome.added_containers().into_iter().filter(|c| is_privileged(c)) {
                granted.insert(format!("privileged:{}", text(container, "name")));
            }
            let told = audit["host-access"].as_str().into_iter().flat_map(|told| told.split(','));
            prop_assert_eq!(told.map(str::to_owned).collect::<BTreeSet<_>>(), granted);
            if outcome.after != world.pod {
                prop_assert_eq!(audit["profile"].as_str(), world.profile());
                prop_assert!(audit["strategy"] != json!("none") && !audit["reasons"].is_null());
                let claims = volumes.iter()
                    .filter_map(|v| v["persistentVolumeClaim"]["claimName"].as_str()).find(|c| *c != "shared");
                prop_assert_eq!(audit["claim"].as_str(), claims);
            }
            Ok(())
        })?;
    }

    #[test]
    fn whatever_the_pod_says_what_is_repeated_of_it_is_short(world in world()) {
        let answer = answer(&world, None);
        let response = Outcome::of(&world, &answer, None);
        for (key, value) in response.response["auditAnnotations"].as_object().into_iter().flatten() {
            prop_assert!(value.as_str().unwrap().len() <= MAX_AUDIT, "{key}: {value}");
        }
        for warning in response.response["warnings"].as_array().into_iter().flatten() {
            let warning = warning.as_str().unwrap();
            prop_assert!(warning.chars().count() <= MAX_WARNING && !warning.chars().any(char::is_control));
        }
        let annotations = response.after["metadata"]["annotations"].as_object().unwrap();
        let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().unwrap().len()).sum();
        prop_assert!(size <= MAX_ANNOTATIONS);
        let request = claim_request(&world);
        let requested = request.iter().map(|request| &request.lease.pod);
        let left = answer.left_alone.iter().map(|left| &left.pod);
        for name in [&answer.record.pod].into_iter().chain(requested).chain(left) {
            prop_assert!(name.len() <= MAX_NAME && !name.chars().any(char::is_control), "{name:?}");
        }
        for owner in answer.left_alone.iter().filter_map(|left| left.owner.as_ref()) {
            prop_assert!(owner.name.len() <= MAX_NAME && owner.kind.len() <= MAX_NAME);
        }
    }
}

//! The guards: policies on what the service account writes.

use serde_json::{Value, json};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    helm::{self, NAMESPACE, render, render_for},
    objects::{Objects, strings},
};

const GUARD: &str = "ValidatingAdmissionPolicy";

/// The operations that a verb is to admission; none for one that only reads.
fn operation(verb: &str) -> Option<&'static str> {
    match verb {
        "get" | "list" | "watch" => None,
        "create" => Some("CREATE"),
        "update" | "patch" => Some("UPDATE"),
        "delete" => Some("DELETE"),
        _ => panic!("what is {verb} to admission?"),
    }
}

/// Everything that the server's account may write is guarded, but for what the values leave out.
pub fn check(values: &Value, objects: &Objects) {
    let is_off = |resource: &str| {
        let value = match resource {
            "mutatingwebhookconfigurations" => "/guards/webhook",
            "secrets" => "/guards/secret",
            "leases" => "/guards/lease",
            "events" => "/guards/events",
            "persistentvolumeclaims" => "/pools/guard",
            _ => return false,
        };
        values.pointer(value) == Some(&json!(false))
    };
    let rules = objects.own_rules("ClusterRole");
    for rule in rules.chain(objects.own_rules("Role")) {
        for resource in strings(&rule["resources"]) {
            let verbs = strings(&rule["verbs"]).into_iter();
            for operation in verbs.filter_map(operation) {
                let mut guards = objects.all(GUARD);
                let is_guarded = guards.any(|guard| {
                    let guarded = &guard["spec"]["matchConstraints"]["resourceRules"][0];
                    guarded["apiGroups"] == rule["apiGroups"]
                        && strings(&guarded["resources"]) == [resource]
                        && strings(&guarded["operations"]).contains(&operation)
                });
                assert_ne!(is_guarded, is_off(resource), "{operation} {resource}");
            }
        }
    }
    for guard in objects.all(GUARD) {
        let name = &guard["metadata"]["name"];
        let spec = &guard["spec"];
        assert_eq!(spec["failurePolicy"], "Fail", "{name}");
        let matched = &spec["matchConstraints"];
        assert_eq!(matched["matchPolicy"], "Equivalent", "{name}");
        let versions = &matched["resourceRules"][0]["apiVersions"];
        assert_eq!(versions, &json!(["*"]), "{name}");
        let binding = objects.named("ValidatingAdmissionPolicyBinding", name);
        let wanted = json!({"policyName": name, "validationActions": ["Deny"]});
        assert_eq!(binding["spec"], wanted);
    }
}

/// The names of a release's guards, without the release's.
fn guards(objects: &Objects) -> Vec<&str> {
    let guards = objects.all(GUARD);
    let names = guards.map(|guard| guard["metadata"]["name"].as_str().unwrap());
    names
        .map(|name| name.strip_prefix("slipway-").unwrap())
        .collect()
}

fn each_right_that_a_mode_gives_has_its_guard() -> Outcome {
    helm::needed()?;
    let pools = json!({"pools": {"enabled": true}});
    assert_eq!(
        guards(&render(&json!({}))),
        ["webhook", "secret", "lease", "events"]
    );
    assert_eq!(
        guards(&render(&pools)),
        ["webhook", "secret", "lease", "events", "claims"]
    );
    let cert_manager = json!({"certificates": {"mode": "cert-manager"}});
    assert_eq!(guards(&render(&cert_manager)), ["events"]);
    let pools_of_others =
        json!({"pools": {"enabled": true}, "certificates": {"mode": "cert-manager"}});
    assert_eq!(
        guards(&render(&pools_of_others)),
        ["lease", "events", "claims"]
    );
    Ok(())
}

fn a_guard_is_left_out_where_it_is_not_wanted_or_not_known() -> Outcome {
    helm::needed()?;
    let all = ["webhook", "secret", "lease", "events", "claims"];
    for guard in all {
        let off = match guard {
            "claims" => json!({"pools": {"enabled": true, "guard": false}}),
            _ => json!({"pools": {"enabled": true}, "guards": {guard: false}}),
        };
        let mut others = all.to_vec();
        others.retain(|other| *other != guard);
        assert_eq!(guards(&render(&off)), others);
    }
    let pools = json!({"pools": {"enabled": true}});
    for (version, known) in [("1.29.15", false), ("v1.30.0-gke.100", true)] {
        let objects = render_for(&pools, &["--kube-version", version]);
        assert_eq!(!guards(&objects).is_empty(), known, "{version}");
    }
    Ok(())
}

fn a_guard_is_for_the_account_that_the_pods_have() -> Outcome {
    helm::needed()?;
    let objects = render(&json!({"pools": {"enabled": true}, "serviceAccount": {"name": "gate"}}));
    let account = format!("request.userInfo.username == 'system:serviceaccount:{NAMESPACE}:gate'");
    for guard in objects.all(GUARD) {
        let conditions = &guard["spec"]["matchConditions"];
        let wanted = json!([{"name": "slipway", "expression": account}]);
        assert_eq!(conditions, &wanted);
    }
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![
        each_right_that_a_mode_gives_has_its_guard,
        a_guard_is_left_out_where_it_is_not_wanted_or_not_known,
        a_guard_is_for_the_account_that_the_pods_have,
    ]
}

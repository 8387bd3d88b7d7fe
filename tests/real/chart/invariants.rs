//! Invariants of every release, for all values.

use serde_json::{Value, json};
use slipway_core::policy::Policy;

use super::{
    guards,
    helm::NAMESPACE,
    objects::{Objects, check_type, selects, strings},
};

/// Kinds that are not in a namespace.
const CLUSTER: [&str; 6] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "MutatingWebhookConfiguration",
    "PriorityClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

pub fn check(values: &Value, objects: &Objects) {
    for object in objects.iter() {
        check_type(object);
        check_metadata(values, object);
    }
    check_selectors(objects);
    check_ports(objects);
    check_rights(objects);
    guards::check(values, objects);
    check_pods(values, objects);
    check_sweeper(objects);
    check_volumes(values, objects);
    check_drain(objects);
    check_names(objects);
    check_policy(values, objects);
    check_webhook(objects);
}

fn check_metadata(values: &Value, object: &Value) {
    let metadata = &object["metadata"];
    let kind = object["kind"].as_str().unwrap();
    if CLUSTER.contains(&kind) {
        assert!(metadata.get("namespace").is_none(), "{object}");
    } else {
        let own = metadata["namespace"] == NAMESPACE;
        assert!(own || kind == "PersistentVolumeClaim", "{object}");
    }
    let name = metadata["name"].as_str().unwrap();
    assert!(name.len() <= 63, "{name}");
    let labels = metadata["labels"].as_object().unwrap();
    for key in ["name", "instance", "version", "component", "managed-by"] {
        assert!(
            labels.contains_key(&format!("app.kubernetes.io/{key}")),
            "{object}"
        );
    }
    for (wanted, found) in [
        ("commonLabels", "labels"),
        ("commonAnnotations", "annotations"),
    ] {
        for (key, value) in values[wanted].as_object().into_iter().flatten() {
            assert_eq!(&metadata[found][key], value, "{object}");
        }
    }
}

fn check_selectors(objects: &Objects) {
    let deployment = &objects.one("Deployment")["spec"];
    let labels = &deployment["template"]["metadata"]["labels"];
    let other = &objects.one("Pod")["metadata"]["labels"];
    let mut selectors = vec![
        &deployment["selector"]["matchLabels"],
        &objects.one("Service")["spec"]["selector"],
    ];
    selectors.extend(
        objects
            .all("PodDisruptionBudget")
            .map(|o| &o["spec"]["selector"]["matchLabels"]),
    );
    selectors.extend(
        objects
            .all("NetworkPolicy")
            .filter(|o| o["metadata"]["labels"]["app.kubernetes.io/component"] == "webhook")
            .map(|o| &o["spec"]["podSelector"]["matchLabels"]),
    );
    for sweeper in objects.all("DaemonSet") {
        let own = &sweeper["spec"]["selector"]["matchLabels"];
        let of_sweeper = &sweeper["spec"]["template"]["metadata"]["labels"];
        assert!(selects(own, of_sweeper) && !selects(own, labels) && !selects(own, other));
        assert!(selectors.iter().all(|s| !selects(s, of_sweeper)));
    }
    for selector in selectors {
        assert!(selects(selector, labels), "{selector} {labels}");
        assert!(
            !selects(selector, other),
            "the test's pod is one of the webhook's"
        );
    }
    for monitor in objects.all("ServiceMonitor") {
        let selector = &monitor["spec"]["selector"]["matchLabels"];
        assert!(selects(
            selector,
            &objects.one("Service")["metadata"]["labels"]
        ));
    }
}

fn names_of(list: &Value) -> Vec<&str> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap()).collect()
}

fn check_ports(objects: &Objects) {
    let container = &objects.pod()["containers"][0];
    let ports = &container["ports"];
    let named = names_of(ports);
    assert_eq!(named, ["https", "metrics"]);
    for (port, argument) in [(&ports[0], "listen"), (&ports[1], "metrics-listen")] {
        let address = objects.argument(argument).unwrap();
        let (_, number) = address.rsplit_once(':').unwrap();
        assert_eq!(port["containerPort"].to_string(), number, "--{argument}");
        address.parse::<std::net::SocketAddr>().unwrap();
    }
    for probe in ["readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "metrics");
    }
    let service = &objects.one("Service")["spec"]["ports"];
    assert_eq!(names_of(service), named);
    for port in service.as_array().unwrap() {
        assert_eq!(port["targetPort"], port["name"]);
    }
    let called = &objects.webhook()["clientConfig"]["service"];
    assert_eq!(called["port"], service[0]["port"]);
    assert_eq!(called["path"], "/mutate");
    for policy in objects.all("NetworkPolicy") {
        // The sweeper's lets nothing in.
        for rule in policy["spec"]["ingress"].as_array().into_iter().flatten() {
            let port = rule["ports"][0]["port"].as_str().unwrap();
            assert!(named.contains(&port));
        }
    }
    for monitor in objects.all("ServiceMonitor") {
        assert_eq!(monitor["spec"]["endpoints"][0]["port"], "metrics");
    }
}

/// Checks that no rule grants more than allowed.
fn check_rights(objects: &Objects) {
    for rule in objects.rules("ClusterRole").chain(objects.rules("Role")) {
        for field in ["apiGroups", "resources", "verbs"] {
            let found = strings(&rule[field]);
            assert!(!found.is_empty() && !found.contains(&"*"), "{rule}");
        }
        let verbs = strings(&rule["verbs"]);
        for verb in ["impersonate", "escalate", "bind", "deletecollection"] {
            assert!(!verbs.contains(&verb), "{rule}");
        }
        let changes = verbs
            .iter()
            .any(|verb| !["get", "list", "watch"].contains(verb));
        for resource in strings(&rule["resources"]) {
            let by_name = rule["resourceNames"]
                .as_array()
                .is_some_and(|n| !n.is_empty());
            let allowed = match resource {
                "nodes" | "namespaces" | "limitranges" | "resourcequotas" | "pods"
                | "endpointslices" => !changes,
                "persistentvolumes" => verbs == ["get"],
                // The API of the empty group would let anybody's Event be changed.
                "events" => {
                    strings(&rule["apiGroups"]) == ["events.k8s.io"] && verbs == ["create", "patch"]
                }
                "secrets" | "leases" => by_name || verbs == ["create"],
                "mutatingwebhookconfigurations" => by_name && !verbs.contains(&"delete"),
                "persistentvolumeclaims" => true,
                _ => false,
            };
            assert!(allowed, "{rule}");
        }
    }
    for rule in objects.rules("ClusterRole") {
        let resources = strings(&rule["resources"]);
        assert!(
            !resources.contains(&"secrets") && !resources.contains(&"leases"),
            "{rule}"
        );
    }
    check_bindings(objects);
}

/// Checks that each role is bound to the account of one of the two pods.
fn check_bindings(objects: &Objects) {
    let accounts = [objects.pod(), &objects.one("Pod")["spec"]].map(|p| &p["serviceAccountName"]);
    assert_ne!(accounts[0], accounts[1]);
    for kind in ["ClusterRoleBinding", "RoleBinding"] {
        for binding in objects.all(kind) {
            let role = &binding["roleRef"];
            let role = objects.named(role["kind"].as_str().unwrap(), &role["name"]);
            let component = &role["metadata"]["labels"]["app.kubernetes.io/component"];
            let account = accounts[usize::from(component == "check")];
            assert_eq!(
                binding["subjects"],
                json!([{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}])
            );
        }
    }
}

/// Checks Pod Security level `restricted`, apart from the host network if it is enabled.
fn check_pods(values: &Value, objects: &Objects) {
    for pod in [objects.pod(), &objects.one("Pod")["spec"]] {
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true);
        let given = values.pointer("/podSecurityContext/runAsUser");
        let own = if values["openshift"] == true {
            Value::Null
        } else {
            json!(65532)
        };
        assert_eq!(&security["runAsUser"], given.unwrap_or(&own));
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
        // A Service called `slipway` would set SLIPWAY_PORT and the like.
        assert_eq!(pod["enableServiceLinks"], false);
        let container = &pod["containers"][0];
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        let image = container["image"].as_str().unwrap();
        assert!(
            image.contains([':', '@']) && !image.ends_with(':'),
            "{image}"
        );
    }
    assert_eq!(
        objects.pod()["containers"][0]["image"],
        objects.one("Pod")["spec"]["containers"][0]["image"]
    );
}

/// The sweeper has root's rights over the directories of slots, and nothing else.
fn check_sweeper(objects: &Objects) {
    for sweeper in objects.all("DaemonSet") {
        let pod = &sweeper["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["enableServiceLinks"], false);
        for field in ["serviceAccountName", "hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod.get(field).is_none(), "{field}");
        }
        assert_eq!(
            pod["securityContext"],
            json!({"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}})
        );
        assert_eq!(names_of(&pod["containers"]), ["sweeper"]);
        let container = &pod["containers"][0];
        assert_eq!(
            container["securityContext"],
            json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"], "add": ["DAC_OVERRIDE", "FOWNER"]}})
        );
        assert_eq!(container["image"], objects.pod()["containers"][0]["image"]);
        let mounts = container["volumeMounts"].as_array().unwrap();
        let volumes = pod["volumes"].as_array().unwrap();
        assert!(!mounts.is_empty() && mounts.len() == volumes.len());
        for (mount, volume) in mounts.iter().zip(volumes) {
            assert_eq!(mount["name"], volume["name"]);
            assert_eq!(volume["hostPath"]["type"], "DirectoryOrCreate");
            // Beside the program, which is in the root of the image.
            let path = volume["hostPath"]["path"].as_str().unwrap();
            assert_eq!(mount["mountPath"], format!("/slots{path}"));
            let argument = format!("--root=/slots{path}");
            assert!(strings(&container["args"]).contains(&argument.as_str()));
        }
    }
}

fn check_volumes(values: &Value, objects: &Objects) {
    for pod in [objects.pod(), &objects.one("Pod")["spec"]] {
        let volumes = names_of(&pod["volumes"]);
        for mount in pod["containers"][0]["volumeMounts"].as_array().unwrap() {
            assert!(volumes.contains(&mount["name"].as_str().unwrap()));
            assert!(
                mount.get("subPath").is_none(),
                "it would not follow changes"
            );
            assert_eq!(mount["readOnly"], true);
        }
        for volume in pod["volumes"].as_array().unwrap() {
            if let Some(name) = volume["configMap"].get("name")
                && values.get("policyConfigMap") != Some(name)
            {
                assert!(
                    objects
                        .all("ConfigMap")
                        .any(|map| &map["metadata"]["name"] == name)
                );
            }
        }
    }
}

/// Checks that the kubelet kills no pod that is still draining.
fn check_drain(objects: &Objects) {
    let seconds = |name: &str| -> u64 {
        let value = objects.argument(name).unwrap();
        value.strip_suffix('s').unwrap().parse().unwrap()
    };
    let grace = objects.pod()["terminationGracePeriodSeconds"]
        .as_u64()
        .unwrap();
    assert!(grace > seconds("drain-delay") + seconds("drain-timeout"));
    let patience = objects.webhook()["timeoutSeconds"].as_u64().unwrap();
    assert!(seconds("request-timeout") >= 1 && seconds("request-timeout") < patience);
}

/// Checks that the objects that the arguments name exist, or that the rights cover them.
fn check_names(objects: &Objects) {
    let name_of = |kind: &str| objects.one(kind)["metadata"]["name"].as_str().unwrap();
    let configuration = name_of("MutatingWebhookConfiguration");
    assert_eq!(
        objects.argument("webhook-configuration"),
        Some(configuration)
    );
    assert_eq!(objects.argument("service"), Some(name_of("Service")));
    let service = &objects.webhook()["clientConfig"]["service"];
    assert_eq!(service["name"], name_of("Service"));
    assert_eq!(service["namespace"], NAMESPACE);
    let named = |kind: &str, resource: &str| {
        let rules: Vec<_> = objects.own_rules(kind).collect();
        let rule = rules.iter().find(|rule| {
            strings(&rule["resources"]).contains(&resource) && rule.get("resourceNames").is_some()
        });
        rule.map(|rule| strings(&rule["resourceNames"])[0].to_owned())
    };
    let own = named("ClusterRole", "mutatingwebhookconfigurations");
    assert_eq!(own.as_deref(), Some(configuration));
    if let Some(secret) = objects.argument("tls-secret") {
        assert_eq!(named("Role", "secrets").as_deref(), Some(secret));
        let lease = objects.argument("lease");
        assert_eq!(named("Role", "leases").as_deref(), lease);
    } else {
        assert_eq!(named("Role", "secrets"), None);
    }
    if objects.has("PriorityClass") {
        assert_eq!(objects.pod()["priorityClassName"], name_of("PriorityClass"));
    }
}

fn check_policy(values: &Value, objects: &Objects) {
    if values.get("policyConfigMap").is_some() {
        let mut maps = objects.all("ConfigMap");
        assert!(maps.all(|map| map["data"].get("policy.yaml").is_none()));
        return;
    }
    let text = objects.policy();
    Policy::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let written: Value = serde_saphyr::from_str(text).unwrap();
    let wanted = values.get("policy").cloned().unwrap_or(json!({}));
    assert_eq!(written, wanted);
}

fn check_webhook(objects: &Objects) {
    let webhook = objects.webhook();
    assert_eq!(webhook["admissionReviewVersions"], json!(["v1"]));
    assert_eq!(
        webhook["rules"],
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "Namespaced"}])
    );
    let selector = webhook["namespaceSelector"]["matchExpressions"]
        .as_array()
        .unwrap();
    let enabled = json!({"key": "slipway.io/inject", "operator": "In", "values": ["enabled"]});
    assert!(selector.contains(&enabled));
    let not_in = |key: &str| {
        let found = selector
            .iter()
            .find(|e| e["key"] == key && e["operator"] == "NotIn");
        strings(&found.unwrap()["values"])
    };
    for namespace in ["kube-system", "kube-public", "kube-node-lease", NAMESPACE] {
        assert!(not_in("kubernetes.io/metadata.name").contains(&namespace));
    }
    assert_eq!(not_in("kubernetes.azure.com/managedby"), ["aks"]);
    assert_eq!(not_in("control-plane"), ["true"]);
    assert!(selector.contains(&json!({"key": "control-plane", "operator": "DoesNotExist"})));
    assert_eq!(
        webhook["objectSelector"],
        json!({"matchExpressions": [{"key": "slipway.io/inject", "operator": "NotIn", "values": ["false", "disabled"]}]})
    );
}

//! Rendered objects: found by kind, and checked against the types of the Kubernetes API.

use k8s_openapi::api::{
    admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
    },
    apps::v1::{DaemonSet, Deployment},
    core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    scheduling::v1::PriorityClass,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use slipway_testkit::{harness::Test, tests};

/// The objects of one release.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects(Vec<Value>);

/// Parses the non-empty documents of a YAML stream.
pub fn parse_stream(text: &str) -> Vec<Value> {
    let documents = text.split("\n---\n");
    documents
        .map(|document| {
            serde_saphyr::from_str::<Value>(document)
                .unwrap_or_else(|error| panic!("{error}\n{document}"))
        })
        .filter(|document| !document.is_null())
        .collect()
}

impl Objects {
    pub fn new(objects: Vec<Value>) -> Self {
        Self(objects)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.0.iter()
    }

    /// Returns all objects of a kind.
    pub fn all<'o>(&'o self, kind: &str) -> impl Iterator<Item = &'o Value> + use<'o> {
        let kind = kind.to_owned();
        self.0.iter().filter(move |object| object["kind"] == *kind)
    }

    /// Returns the only object of a kind.
    pub fn one<'o>(&'o self, kind: &str) -> &'o Value {
        let mut all = self.all(kind);
        let first = all.next().unwrap_or_else(|| panic!("no {kind}"));
        assert!(all.next().is_none(), "more than one {kind}");
        first
    }

    pub fn has(&self, kind: &str) -> bool {
        self.all(kind).next().is_some()
    }

    /// Returns the object of a kind and a name.
    pub fn named<'o>(&'o self, kind: &str, name: &Value) -> &'o Value {
        let mut named = self.all(kind).filter(|o| &o["metadata"]["name"] == name);
        named.next().unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// Returns the webhook of the webhook configuration.
    pub fn webhook(&self) -> &Value {
        let webhooks = &self.one("MutatingWebhookConfiguration")["webhooks"];
        assert_eq!(webhooks.as_array().unwrap().len(), 1);
        &webhooks[0]
    }

    /// Returns the pod template's spec.
    pub fn pod(&self) -> &Value {
        &self.one("Deployment")["spec"]["template"]["spec"]
    }

    /// Returns the arguments of the server's container.
    pub fn arguments(&self) -> Vec<&str> {
        strings(&self.pod()["containers"][0]["args"])
    }

    /// Returns the value of an argument `--name=value`.
    pub fn argument(&self, name: &str) -> Option<&str> {
        let prefix = format!("--{name}=");
        self.arguments()
            .into_iter()
            .find_map(|argument| argument.strip_prefix(&prefix))
    }

    /// Returns the expression of the match condition.
    pub fn expression(&self) -> Option<&str> {
        let conditions = self.webhook().get("matchConditions")?.as_array().unwrap();
        assert_eq!(conditions.len(), 1);
        conditions[0]["expression"].as_str()
    }

    /// Returns the text of the mounted policy.
    pub fn policy(&self) -> &str {
        let maps = self.all("ConfigMap");
        let texts: Vec<&str> = maps
            .filter_map(|map| map["data"]["policy.yaml"].as_str())
            .collect();
        assert_eq!(texts.len(), 1);
        texts[0]
    }

    /// Returns all rules of a kind of role, for the server and for the test.
    pub fn rules<'o>(&'o self, kind: &str) -> impl Iterator<Item = &'o Value> + use<'o> {
        self.all(kind)
            .flat_map(|role| role["rules"].as_array().unwrap())
    }

    /// Returns the server's rules of a kind of role.
    pub fn own_rules<'o>(&'o self, kind: &str) -> impl Iterator<Item = &'o Value> + use<'o> {
        let own = self
            .all(kind)
            .filter(|role| role["metadata"]["labels"]["app.kubernetes.io/component"] == "webhook");
        own.flat_map(|role| role["rules"].as_array().unwrap())
    }
}

/// Returns a list of strings; empty if it is absent.
pub fn strings(value: &Value) -> Vec<&str> {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| item.as_str().unwrap()).collect()
}

/// Returns whether all pairs of `selector` are in `labels`.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().unwrap();
    assert!(!selector.is_empty(), "an empty selector selects everything");
    selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}

/// Kinds that are not part of Kubernetes.
const CUSTOM: [&str; 4] = ["ServiceMonitor", "PrometheusRule", "Issuer", "Certificate"];

/// Checks an object against the type of its kind: no unknown fields, no wrong types.
pub fn check_type(object: &Value) {
    let kind = object["kind"].as_str().unwrap();
    match kind {
        "ClusterRole" => round_trip::<ClusterRole>(object),
        "ClusterRoleBinding" => round_trip::<ClusterRoleBinding>(object),
        "ConfigMap" => round_trip::<ConfigMap>(object),
        "DaemonSet" => round_trip::<DaemonSet>(object),
        "Deployment" => round_trip::<Deployment>(object),
        "MutatingWebhookConfiguration" => round_trip::<MutatingWebhookConfiguration>(object),
        "NetworkPolicy" => round_trip::<NetworkPolicy>(object),
        "PersistentVolumeClaim" => round_trip::<PersistentVolumeClaim>(object),
        "Pod" => round_trip::<Pod>(object),
        "PodDisruptionBudget" => round_trip::<PodDisruptionBudget>(object),
        "PriorityClass" => round_trip::<PriorityClass>(object),
        "Role" => round_trip::<Role>(object),
        "RoleBinding" => round_trip::<RoleBinding>(object),
        "Service" => round_trip::<Service>(object),
        "ServiceAccount" => round_trip::<ServiceAccount>(object),
        "ValidatingAdmissionPolicy" => round_trip::<ValidatingAdmissionPolicy>(object),
        "ValidatingAdmissionPolicyBinding" => {
            round_trip::<ValidatingAdmissionPolicyBinding>(object);
        }
        _ => assert!(CUSTOM.contains(&kind), "an unexpected kind: {object}"),
    }
}

/// Checks that an object is unchanged by its type, which drops unknown fields.
fn round_trip<T: Serialize + DeserializeOwned>(object: &Value) {
    let typed: T = serde_json::from_value(object.clone())
        .unwrap_or_else(|error| panic!("{error}: {object:#}"));
    let again = serde_json::to_value(typed).unwrap();
    assert_eq!(&again, object, "the API knows only what is on the left");
}

fn an_unknown_api_field_is_reported() {
    let known = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 1}]}});
    check_type(&known);
    let mut unknown = known;
    unknown["spec"]["ports"][0]["targetport"] = json!(2);
    assert!(std::panic::catch_unwind(|| check_type(&unknown)).is_err());
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![an_unknown_api_field_is_reported,]
}

//! Sends the pod of each case of `core/tests/golden/` to the API server. A pod that it accepts without our
//! patch it accepts with it, it stores what we intended, and deciding on the stored pod adds nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use slipway_core::{
    admission::{admit, evaluate},
    decide::Cluster as Known,
    k8s::namespace::{Namespace, Namespaces},
    nodes::Snapshot,
    pod::Pod,
    policy::Policy,
};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::{
    compare::lost,
    harness::{Api, Cluster, Endpoint, eventually, pods, webhook, yaml},
};

/// A pod with this label is not sent to the webhook.
const ALONE: &str = "alone";
const LABEL: (&str, &str) = ("suite", "golden");

/// A golden case, for the API server.
struct Case {
    policy: Policy,
    nodes: Option<Snapshot>,
    namespaces: Namespaces,
    /// The namespace's name in the case, because the policy may name it.
    namespace: String,
    labels: Value,
    limits: Value,
    dead_mirrors: Vec<String>,
    pod: Value,
    strategy: Value,
}

/// The latest answers of the webhook, by namespace: the pod as it should be stored.
type Meant = Arc<Mutex<BTreeMap<String, Value>>>;

impl Case {
    fn read(file: &Value) -> Self {
        let resolve = |value: &Value| match value.as_str() {
            Some(name) => yaml(&format!("examples/{name}")),
            None => value.clone(),
        };
        let policy = match resolve(&file["policy"]) {
            Value::Null => Policy::default(),
            policy => Policy::parse(&policy.to_string()).unwrap(),
        };
        let nodes = match resolve(&file["nodes"]) {
            Value::Null => None,
            Value::Array(nodes) => Some(nodes),
            list => list["items"].as_array().cloned(),
        };
        let spec = &file["namespace"];
        let namespace = spec["name"].as_str().unwrap_or("ci").to_owned();
        let labels = match &spec["labels"] {
            Value::Null => json!({"slipway.io/inject": "enabled"}),
            labels => labels.clone(),
        };
        let limits = match &spec["limits"] {
            Value::Null => json!([]),
            limits => limits.clone(),
        };
        let known = (spec["unknown"] != json!(true)).then(|| Namespace {
            name: namespace.clone(),
            labels: serde_json::from_value(labels.clone()).unwrap(),
            limits: serde_json::from_value(limits.clone()).unwrap(),
            quotas: serde_json::from_value(spec["quotas"].clone()).unwrap_or_default(),
        });
        let nodes = nodes.map(|nodes| {
            let node = |node| serde_json::from_value(node).unwrap();
            Snapshot::new(nodes.into_iter().map(node))
        });
        Self {
            policy,
            nodes,
            namespaces: Namespaces::new(known),
            namespace,
            labels,
            limits,
            dead_mirrors: serde_json::from_value(file["deadMirrors"].clone()).unwrap_or_default(),
            pod: pods::complete(pods::bare(resolve(&file["pod"]))),
            strategy: file["expect"]["strategy"].clone(),
        }
    }

    fn known(&self) -> Known<'_> {
        Known {
            nodes: self.nodes.as_ref(),
            namespaces: &self.namespaces,
            policy: &self.policy,
            dead_mirrors: &self.dead_mirrors,
            claims: None,
        }
    }

    /// Answers an AdmissionReview, and records the intended pod.
    fn answer(&self, mut review: Value, meant: &Meant) -> Vec<u8> {
        let request = &mut review["request"];
        let place = request["namespace"].as_str().unwrap().to_owned();
        request["namespace"] = json!(self.namespace);
        let mut pod = request["object"].clone();
        let body = admit(review.to_string().as_bytes(), self.known())
            .unwrap()
            .without_lease()
            .body;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        if let Some(patch) = answer["response"]["patch"].as_str() {
            let patch = STANDARD.decode(patch).unwrap();
            let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
            json_patch::patch(&mut pod, &patch).unwrap();
        }
        meant.lock().unwrap().insert(place, pod);
        body
    }

    /// Sends the pod with and without the webhook. Returns whether it is accepted
    /// without it. The error says what is wrong with the answer.
    async fn try_in(&self, api: &Api, namespace: &str, meant: &Meant) -> Result<bool, String> {
        let path = pods::dry_run(namespace);
        let mut alone = self.pod.clone();
        pods::label(&mut alone, ALONE, "true");
        if !api.post(&path, &alone).await.is_ok() {
            return Ok(false);
        }
        let reply = api.post(&path, &self.pod).await;
        if !reply.is_ok() {
            return Err(format!("rejected with our patch: {}", reply.message()));
        }
        let stored = reply.body;
        let meant = meant.lock().unwrap().remove(namespace);
        let meant = meant.ok_or("the webhook was not called")?;
        let differences = lost(&meant, &stored);
        if !differences.is_empty() {
            return Err(format!("not stored as meant: {}", differences.join(", ")));
        }
        let text = stored.to_string();
        let pod = Pod::parse(text.as_bytes()).unwrap();
        let again = evaluate(&pod, &self.namespace, self.known());
        if !again.patch.is_empty() {
            return Err(format!("deciding again adds {:?}", again.patch));
        }
        let strategy = json!(again.decision.strategy().as_str());
        if strategy != self.strategy {
            return Err(format!("{strategy} instead of {}", self.strategy));
        }
        Ok(true)
    }
}

fn cases() -> BTreeMap<String, Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/tests/golden");
    let files = fs::read_dir(directory).unwrap();
    let case = |path: &Path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let case = Case::read(&yaml(&format!("core/tests/golden/{name}.yaml")));
        // The name of a namespace has no dots.
        (format!("golden-{}", name.replace('.', "-")), case)
    };
    files.map(|file| case(&file.unwrap().path())).collect()
}

async fn register(api: &Api, endpoint: &Endpoint) {
    let change = |webhook: &mut Value| {
        let not_alone = json!([{"key": ALONE, "operator": "DoesNotExist"}]);
        webhook["objectSelector"] = json!({"matchExpressions": not_alone});
    };
    webhook::register(api, "golden", endpoint.client_config(), LABEL, change).await;
}

async fn make_namespace(cluster: &Cluster, api: &Api, name: &str, case: &Case) {
    let mut labels = case.labels.clone();
    // No other webhook should get it.
    labels.as_object_mut().unwrap().remove("slipway.io/inject");
    labels[LABEL.0] = json!(LABEL.1);
    cluster.namespace(name, labels).await;
    if case.limits != json!([]) {
        let range = json!({"metadata": {"name": "limits"}, "spec": {"limits": case.limits}});
        let ranges = format!("/api/v1/namespaces/{name}/limitranges");
        api.post(&ranges, &range).await.ok();
    }
}

async fn every_pod_that_the_api_server_accepts_is_accepted_with_our_patch() -> Outcome {
    let cluster = Cluster::shared().await?;
    let api = cluster.admin().await;
    let cases = Arc::new(cases());
    let meant = Meant::default();
    let (answers, noted) = (Arc::clone(&cases), Arc::clone(&meant));
    let endpoint = Endpoint::start(move |body| {
        let review: Value = serde_json::from_slice(body).unwrap();
        let case = &answers[review["request"]["namespace"].as_str().unwrap()];
        case.answer(review, &noted)
    });
    register(&api, &endpoint).await;

    for (name, case) in cases.iter() {
        make_namespace(cluster, &api, name, case).await;
    }
    let (first, case) = cases.iter().next().unwrap();
    eventually("the webhook to be called", async || {
        api.post(&pods::dry_run(first), &case.pod).await;
        meant.lock().unwrap().remove(first)
    })
    .await;

    let mut wrong = Vec::new();
    let mut taken = 0;
    for (name, case) in cases.iter() {
        match case.try_in(&api, name, &meant).await {
            Ok(true) => taken += 1,
            Ok(false) => {}
            Err(why) => wrong.push(format!("{name}: {why}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        taken > 100,
        "only {taken} pods of {} were taken",
        cases.len()
    );
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![every_pod_that_the_api_server_accepts_is_accepted_with_our_patch,]
}

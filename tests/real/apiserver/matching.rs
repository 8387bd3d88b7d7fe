//! The match conditions that the chart renders: the API server compiles them, and they match every pod
//! that Slipway recognises.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use slipway_core::{pod::Pod, policy::Policy, recognise::recognise};
use slipway_testkit::{
    harness::{Outcome, Test},
    tests,
};

use super::harness::{Cluster, Endpoint, eventually, pods, rendered_webhook, webhook, yaml};

static CALLED: AtomicUsize = AtomicUsize::new(0);

fn files(directory: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .map(|name| format!("{directory}/{name}"))
        .collect();
    files.sort();
    files
}

/// Returns the recognisers of the example policies and the golden cases, each as a policy.
fn policies() -> Vec<Value> {
    let examples = files("examples/policies").into_iter();
    let examples = examples.map(|file| yaml(&file)["recognisers"].clone());
    let golden = files("core/tests/golden").into_iter();
    let golden = golden.map(|file| yaml(&file)["policy"]["recognisers"].clone());
    let written = examples.chain(golden).filter(Value::is_array);
    let each_once: BTreeMap<String, Value> = written
        .chain([json!([])])
        .map(|recognisers| (recognisers.to_string(), recognisers))
        .collect();
    let policy = |recognisers| json!({"recognisers": recognisers});
    each_once.into_values().map(policy).collect()
}

/// Returns the pods of the examples and the golden cases that the API server accepts.
fn all_pods() -> Vec<(String, Value)> {
    let examples = files("examples/pods").into_iter();
    let examples = examples.map(|file| (file.clone(), yaml(&file)));
    let golden = files("core/tests/golden").into_iter().filter_map(|file| {
        let pod = yaml(&file)["pod"].clone();
        pod.is_object().then_some((file, pod))
    });
    examples
        .chain(golden)
        .map(|(name, pod)| (name, pods::complete(pods::bare(pod))))
        .collect()
}

fn allow(review: &[u8]) -> Vec<u8> {
    CALLED.fetch_add(1, Ordering::SeqCst);
    let review: Value = serde_json::from_slice(review).unwrap();
    let response = json!({"uid": review["request"]["uid"], "allowed": true});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
        .to_string()
        .into_bytes()
}

async fn every_runner_pod_matches_in_the_api_server() -> Outcome {
    let cluster = Cluster::shared().await?;
    let api = cluster.admin().await;
    let endpoint = Endpoint::start(allow);
    // Every policy recognises this one.
    let mut probe = pods::example("scale-set-dind");
    probe["metadata"]["annotations"]["slipway.io/runner-container"] = json!("runner");
    let (mut wrong, mut called, mut spared) = (Vec::new(), 0, 0);
    for (number, policy) in policies().into_iter().enumerate() {
        let rendered = rendered_webhook(&json!({"policy": policy}))?;
        let name = format!("matching-{number}");
        cluster.namespace(&name, json!({"matching": name})).await;
        let recognisers = Policy::parse(&policy.to_string()).unwrap();
        let label = ("matching", name.as_str());
        webhook::register(&api, &name, endpoint.client_config(), label, |webhook| {
            webhook["matchConditions"] = rendered["matchConditions"].clone();
        })
        .await;
        let path = pods::dry_run(&name);
        eventually("the webhook to be called", async || {
            CALLED.store(0, Ordering::SeqCst);
            api.post(&path, &probe).await.ok();
            (CALLED.load(Ordering::SeqCst) > 0).then_some(())
        })
        .await;
        for (pod_name, pod) in all_pods() {
            CALLED.store(0, Ordering::SeqCst);
            let reply = api.post(&path, &pod).await;
            if !reply.is_ok() {
                continue;
            }
            let text = reply.body.to_string();
            let stored = Pod::parse(text.as_bytes()).unwrap();
            let is_runner = recognise(&stored, recognisers.recognisers()).is_some();
            match (is_runner, CALLED.load(Ordering::SeqCst)) {
                (true, 0) => wrong.push(format!("{pod_name} under {}", policy["recognisers"])),
                (false, 0) => spared += 1,
                _ => called += 1,
            }
        }
    }
    assert!(wrong.is_empty(), "not let through: {}", wrong.join("\n"));
    assert!(
        called > 100 && spared > 0,
        "{called} called, {spared} spared"
    );
    Ok(())
}

/// Lists the tests of this module.
pub fn tests() -> Vec<Test> {
    tests![every_runner_pod_matches_in_the_api_server,]
}

//! A replica that was taken over: whoever has its account gets no further than the guards let it.

mod claims;
mod events;
mod namespaced;
mod webhook;

use serde_json::{Value, json};
use slipway_testkit::harness::{Skip, Test};
use tokio::sync::OnceCell;

use super::{
    harness::{Reply, guards::is_denied_by},
    place::Place,
};

/// Values with every right that the chart can give.
fn values() -> Value {
    let mut values = Place::values();
    values["webhook"]["annotations"] = json!({"team": "ci"});
    let pool = json!({"type": "pool", "claims": 2, "storageClass": "fast", "size": "1Gi"});
    values["policy"]["profiles"]["default"]["dind"]["cache"] = pool;
    values
}

/// A release in which no replica runs: all that is done with its account, a test does.
async fn taken_over() -> Result<&'static Place, Skip> {
    static TAKEN_OVER: OnceCell<Result<Place, Skip>> = OnceCell::const_new();
    TAKEN_OVER
        .get_or_init(|| Place::with("taken-over", values()))
        .await
        .as_ref()
        .map_err(Clone::clone)
}

#[track_caller]
fn assert_denied(reply: &Reply, guard: &str, attack: &str) {
    let (status, message) = (reply.status, reply.message());
    assert!(
        is_denied_by(reply, guard),
        "{attack}: {status}: {message}, and not {guard}"
    );
}

fn owned() -> Value {
    json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "9b3f2a6c-0d5e-4a52-8a5b-0f3f6d0c7a11"}])
}

/// Metadata that an attacker might want an object to have.
fn unwanted_metadata() -> [Value; 4] {
    [
        json!({"labels": {"team": "other"}}),
        json!({"annotations": {"replicate-from": "other/secret"}}),
        json!({"ownerReferences": owned()}),
        json!({"finalizers": ["example.com/never"]}),
    ]
}

/// Lays the fields of `more` over those of `object`.
fn with(object: &Value, part: &str, more: &Value) -> Value {
    let mut changed = object.clone();
    for (field, value) in more.as_object().unwrap() {
        changed[part][field] = value.clone();
    }
    changed
}

/// Lists the tests of all modules.
pub fn tests() -> Vec<Test> {
    [
        claims::tests(),
        events::tests(),
        namespaced::tests(),
        webhook::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

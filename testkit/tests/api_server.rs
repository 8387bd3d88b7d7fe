//! The scripted API server of the tests, asked by a real client: it must be as strict as the real one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should stop there"
)]

use std::{collections::BTreeMap, pin::pin};

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Error,
    api::{
        DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent,
        WatchParams,
    },
    runtime::watcher,
};
use serde_json::json;
use slipway_testkit::api_server::{ApiServer, Verb};

const ONE: &str = "/api/v1/namespaces/ci/configmaps/one";
const ALL: &str = "/api/v1/namespaces/ci/configmaps";

fn start() -> (ApiServer, Api<ConfigMap>) {
    let server = ApiServer::start();
    let api = Api::namespaced(server.client("tester"), "ci");
    (server, api)
}

fn named(name: &str, value: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    object.data = Some(BTreeMap::from([("key".to_owned(), value.to_owned())]));
    object
}

fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> u16 {
    match result {
        Err(Error::Api(status)) => status.code,
        other => panic!("{other:?}"),
    }
}

fn names(objects: impl IntoIterator<Item = ConfigMap>) -> Vec<String> {
    let names = objects.into_iter().map(|o| o.metadata.name.unwrap());
    names.collect()
}

#[tokio::test]
async fn a_created_object_gets_its_server_fields() {
    let (server, api) = start();
    let made = api
        .create(&PostParams::default(), &named("one", "1"))
        .await
        .unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    assert_eq!(api.get("one").await.unwrap(), made);
    assert_eq!(server.object(ONE).unwrap()["kind"], "ConfigMap");
    let again = api.create(&PostParams::default(), &named("one", "1")).await;
    assert_eq!(code(again), 409);
    assert_eq!(code(api.get("two").await), 404);
    let mut nameless = named("", "1");
    nameless.metadata.generate_name = Some("auto-".to_owned());
    let named = api.create(&PostParams::default(), &nameless).await.unwrap();
    assert!(named.metadata.name.unwrap().starts_with("auto-"));
}

#[tokio::test]
async fn an_update_of_an_old_version_is_a_conflict() {
    let (_server, api) = start();
    let parameters = PostParams::default();
    let old = api.create(&parameters, &named("one", "1")).await.unwrap();
    let mut new = old.clone();
    new.data = named("one", "2").data;
    let new = api.replace("one", &parameters, &new).await.unwrap();
    assert_ne!(old.metadata.resource_version, new.metadata.resource_version);
    assert_eq!(code(api.replace("one", &parameters, &old).await), 409);
    let same = api.replace("one", &parameters, &new).await.unwrap();
    assert_eq!(same, new, "a write that changes nothing makes no version");
}

#[tokio::test]
async fn a_json_patch_whose_test_fails_changes_nothing() {
    let (server, api) = start();
    server.set(ONE, json!({"data": {"key": "1"}}));
    let parameters = PatchParams {
        field_manager: Some("tests".to_owned()),
        ..PatchParams::default()
    };
    let patch = |expected: &str| {
        let patch = json!([
            {"op": "test", "path": "/data/key", "value": expected},
            {"op": "replace", "path": "/data/key", "value": "2"},
        ]);
        Patch::<()>::Json(serde_json::from_value(patch).unwrap())
    };
    assert_eq!(
        code(api.patch("one", &parameters, &patch("other")).await),
        422
    );
    assert_eq!(server.object(ONE).unwrap()["data"]["key"], "1");
    let patched = api.patch("one", &parameters, &patch("1")).await.unwrap();
    assert_eq!(patched, api.get("one").await.unwrap());
    assert_eq!(server.object(ONE).unwrap()["data"]["key"], "2");
    let managers = patched.metadata.managed_fields.unwrap();
    assert!(
        managers
            .iter()
            .any(|m| m.manager.as_deref() == Some("tests"))
    );
    let call = server.calls().pop().unwrap();
    assert_eq!(call.verb, Verb::Get);
}

#[tokio::test]
async fn merge_and_apply_patches_work() {
    let (server, api) = start();
    let apply = PatchParams::apply("tests");
    let patch = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1"}});
    api.patch("one", &apply, &Patch::Apply(&patch))
        .await
        .unwrap();
    let merge = Patch::Merge(json!({"data": {"a": null, "b": "2"}}));
    api.patch("one", &PatchParams::default(), &merge)
        .await
        .unwrap();
    assert_eq!(server.object(ONE).unwrap()["data"], json!({"b": "2"}));
    let stale = Patch::Merge(json!({"metadata": {"resourceVersion": "1"}, "data": {"b": "3"}}));
    assert_eq!(
        code(api.patch("one", &PatchParams::default(), &stale).await),
        409
    );
}

#[tokio::test]
async fn a_deletion_heeds_preconditions_and_finalizers() {
    let (server, api) = start();
    server.set(ONE, json!({"metadata": {"finalizers": ["tests/hold"]}}));
    let other = DeleteParams::default().preconditions(Preconditions {
        uid: Some("other".to_owned()),
        resource_version: None,
    });
    assert_eq!(code(api.delete("one", &other).await), 409);
    api.delete("one", &DeleteParams::default()).await.unwrap();
    let held = api.get("one").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("one", &PatchParams::default(), &release)
        .await
        .unwrap();
    assert_eq!(server.object(ONE), None);
}

#[tokio::test]
async fn a_list_is_read_in_pages_of_one_revision() {
    let (server, api) = start();
    for name in ["a", "b", "c"] {
        server.set(
            &format!("{ALL}/{name}"),
            json!({"metadata": {"labels": {"n": name}}}),
        );
    }
    let first = api.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(names(first.items), ["a", "b"]);
    server.set(&format!("{ALL}/d"), json!({}));
    server.remove(&format!("{ALL}/c"));
    let token = first.metadata.continue_.unwrap();
    let next = ListParams::default().limit(2).continue_token(&token);
    let second = api.list(&next).await.unwrap();
    assert_eq!(names(second.items), ["c"], "as it was then");
    assert_eq!(
        first.metadata.resource_version,
        second.metadata.resource_version
    );
    server.compact();
    assert_eq!(code(api.list(&next).await), 410);
    let some = ListParams::default().labels("n in (a,c),n!=c");
    assert_eq!(names(api.list(&some).await.unwrap()), ["a"]);
}

#[tokio::test]
async fn a_watch_tells_what_happened_since() {
    let (server, api) = start();
    let from = server.set(ONE, json!({"metadata": {"labels": {"in": "yes"}}}));
    let from = from["metadata"]["resourceVersion"].as_str().unwrap();
    let selected = WatchParams::default().labels("in=yes");
    let mut events = pin!(api.watch(&selected, from).await.unwrap());
    server.set(&format!("{ALL}/other"), json!({}));
    server.edit(ONE, |object| object["data"] = json!({"key": "2"}));
    server.edit(ONE, |object| {
        object["metadata"]["labels"]["in"] = json!("no");
    });
    let modified = events.try_next().await.unwrap().unwrap();
    assert!(
        matches!(&modified, WatchEvent::Modified(o) if o.data.is_some()),
        "{modified:?}"
    );
    let gone = events.try_next().await.unwrap().unwrap();
    assert!(matches!(gone, WatchEvent::Deleted(_)), "{gone:?}");
    server.send_bookmarks();
    let bookmark = events.try_next().await.unwrap().unwrap();
    let WatchEvent::Bookmark(bookmark) = bookmark else {
        panic!("{bookmark:?}");
    };
    let revision = server.store(|store| store.revision()).to_string();
    assert_eq!(bookmark.metadata.resource_version, revision);
    server.cut_watches();
    assert!(events.next().await.is_none_or(|event| event.is_err()));
}

#[tokio::test]
async fn a_watch_from_before_the_compaction_is_gone() {
    let (server, api) = start();
    server.set(ONE, json!({}));
    server.edit(ONE, |object| object["data"] = json!({"key": "2"}));
    server.compact();
    let mut events = pin!(api.watch(&WatchParams::default(), "1").await.unwrap());
    let event = events.try_next().await.unwrap().unwrap();
    assert!(
        matches!(&event, WatchEvent::Error(status) if status.code == 410),
        "{event:?}"
    );
}

#[tokio::test]
async fn a_watcher_of_kube_gets_over_a_cut_a_compaction_and_a_restart() {
    let (server, api) = start();
    server.set(ONE, json!({}));
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let mut events = pin!(watcher::watcher(api.clone(), config));
        let mut seen = Vec::new();
        while !matches!(seen.last(), Some(watcher::Event::InitDone)) {
            seen.push(events.next().await.unwrap().unwrap());
        }
        assert!(
            seen.iter()
                .any(|e| matches!(e, watcher::Event::InitApply(o) if o.metadata.name.as_deref() == Some("one")))
        );
        server.stop().await;
        server.edit(ONE, |object| object["data"] = json!({"while": "away"}));
        server.compact();
        server.resume();
        let again = loop {
            let event = events.next().await.unwrap();
            if let Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) = event {
                break object;
            }
        };
        assert_eq!(again.data.unwrap()["while"], "away");
        server.edit(ONE, |object| object["data"] = json!({}));
    }
}

#[tokio::test]
async fn faults_happen_as_often_as_scripted_and_to_whom() {
    let (server, api) = start();
    server.set(ONE, json!({}));
    let other: Api<ConfigMap> = Api::namespaced(server.client("other"), "ci");
    server
        .when(Verb::Get, ALL)
        .from("tester")
        .times(2)
        .answer(403);
    assert_eq!(code(api.get("one").await), 403);
    other.get("one").await.unwrap();
    assert_eq!(code(api.get("one").await), 403);
    api.get("one").await.unwrap();

    server.when(Verb::Create, ALL).lose_answer();
    let lost = api
        .create(&PostParams::default(), &named("lost", "1"))
        .await;
    assert!(!matches!(lost, Ok(_) | Err(Error::Api(_))), "{lost:?}");
    assert!(server.object(&format!("{ALL}/lost")).is_some());

    server.when(Verb::Get, ALL).or_any_verb().always().close();
    assert!(api.get("one").await.is_err());
    assert!(api.list(&ListParams::default()).await.is_err());
    server.clear_faults();
    api.get("one").await.unwrap();
}

#[tokio::test]
async fn a_test_can_come_between_a_read_and_a_write() {
    let (server, api) = start();
    let parameters = PostParams::default();
    let read = api.create(&parameters, &named("one", "1")).await.unwrap();
    let gate = server.when(Verb::Update, ONE).hold();
    let writer = tokio::spawn({
        let api = api.clone();
        async move {
            api.replace("one", &PostParams::default(), &named_at(read))
                .await
        }
    });
    gate.reached().await;
    server.edit(ONE, |object| object["data"]["key"] = json!("other"));
    gate.open();
    assert_eq!(code(writer.await.unwrap()), 409);

    let read = api.get("one").await.unwrap();
    server.when(Verb::Update, ONE).run(|server| {
        server.edit(ONE, |object| object["data"]["key"] = json!("again"));
    });
    assert_eq!(
        code(api.replace("one", &parameters, &named_at(read)).await),
        409
    );
    let call = server.until_called(|call| call.status == 409).await;
    assert_eq!((call.user.as_str(), call.path.as_str()), ("tester", ONE));
}

fn named_at(mut read: ConfigMap) -> ConfigMap {
    read.data = named("one", "mine").data;
    read
}

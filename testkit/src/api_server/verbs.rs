//! All verbs except watch, each on the locked store.

use serde_json::{Value, json};

use super::{
    answer::Asked,
    object,
    patch::{self, PatchKind},
    path::{Key, Verb},
    problem::Problem,
    selector::Selector,
    store::{Preconditions, Store},
};

/// A status and a body.
type Outcome = Result<(u16, Value), Problem>;

/// Executes the verb; a dry run uses a copy of the store.
pub fn perform(store: &mut Store, asked: &Asked) -> Outcome {
    if asked.query.get("dryRun") == "All" {
        return perform_for_good(&mut store.copy(), asked);
    }
    perform_for_good(store, asked)
}

fn perform_for_good(store: &mut Store, asked: &Asked) -> Outcome {
    match asked.verb {
        Verb::Get => get(store, &asked.route.key()),
        Verb::List => list(store, asked),
        Verb::Create => create(store, asked),
        Verb::Update => update(store, asked),
        Verb::Patch => patch(store, asked),
        Verb::Delete => delete(store, asked),
        Verb::DeleteCollection => delete_collection(store, asked),
        Verb::Watch => Err(Problem::bad_request("a watch is no single answer")),
    }
}

fn get(store: &Store, key: &Key) -> Outcome {
    let found = store.get(key).cloned();
    let missing = || Problem::not_found(&key.collection.plural, &key.name);
    Ok((200, found.ok_or_else(missing)?))
}

/// Lists objects. All pages of a list show the same revision.
fn list(store: &Store, asked: &Asked) -> Outcome {
    let query = &asked.query;
    let selector = Selector::parse(query.get("labelSelector"), query.get("fieldSelector"))?;
    let (revision, after) = match query.get("continue") {
        "" if query.get("resourceVersionMatch") == "Exact" => {
            (number(query.get("resourceVersion"))?, None)
        }
        "" => (store.revision(), None),
        token => {
            let (revision, after) = token
                .split_once('.')
                .ok_or_else(|| Problem::bad_request("continue: not a token of this server"))?;
            (number(revision)?, Some(after.to_owned()))
        }
    };
    let mut found = store.list(&asked.route, revision)?;
    found.retain(|(key, object)| {
        selector.selects(object) && after.as_ref().is_none_or(|after| place(key) > *after)
    });
    let limit = match query.get("limit") {
        "" | "0" => usize::MAX,
        limit => usize::try_from(number(limit)?).unwrap_or(usize::MAX),
    };
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if found.len() > limit {
        metadata["remainingItemCount"] = (found.len() - limit).into();
        found.truncate(limit);
        let last = found.last().map(|(key, _)| place(key)).unwrap_or_default();
        metadata["continue"] = format!("{revision}.{last}").into();
    }
    Ok((200, collected(asked, &metadata, found)))
}

/// Removes the type, which items of a list do not repeat.
fn collected(asked: &Asked, metadata: &Value, found: Vec<(&Key, &Value)>) -> Value {
    let collection = &asked.route.collection;
    let kind = found
        .first()
        .and_then(|(_, object)| object["kind"].as_str());
    let kind = kind.map_or_else(|| object::kind_of(&collection.plural), ToOwned::to_owned);
    let items = found.into_iter().map(|(_, item)| {
        let mut item = item.clone();
        let fields = item.as_object_mut().unwrap();
        fields.remove("kind");
        fields.remove("apiVersion");
        item
    });
    json!({
        "kind": format!("{kind}List"),
        "apiVersion": collection.api_version,
        "metadata": metadata,
        "items": items.collect::<Vec<_>>(),
    })
}

fn place(key: &Key) -> String {
    format!("{}/{}", key.namespace, key.name)
}

/// Parses a number in the query: a resourceVersion, a limit.
pub fn number(text: &str) -> Result<u64, Problem> {
    text.parse()
        .map_err(|_| Problem::bad_request(format!("`{text}` is not a number")))
}

fn create(store: &mut Store, asked: &Asked) -> Outcome {
    let namespace = object::text(&asked.body, "namespace");
    if namespace.is_some_and(|name| Some(name) != asked.route.namespace.as_deref()) {
        return Err(Problem::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let name = match (
        object::text(&asked.body, "name"),
        object::text(&asked.body, "generateName"),
    ) {
        (Some(name), _) => name.to_owned(),
        (None, Some(prefix)) => format!("{prefix}{:05x}", store.revision()),
        (None, None) => {
            return Err(Problem::invalid(
                "metadata.name: Required value: name or generateName is required",
            ));
        }
    };
    let key = asked.route.key_of(&name);
    Ok((201, store.create(&key, asked.body.clone(), &asked.writer)?))
}

fn update(store: &mut Store, asked: &Asked) -> Outcome {
    let key = asked.route.key();
    if object::text(&asked.body, "name").is_some_and(|name| name != key.name) {
        return Err(Problem::bad_request(
            "the name of the object does not match the name on the URL",
        ));
    }
    let new = within_subresource(store, asked, asked.body.clone())?;
    Ok((200, store.update(&key, new, &asked.writer)?))
}

fn patch(store: &mut Store, asked: &Asked) -> Outcome {
    let kind = PatchKind::parse(&asked.content_type)?;
    let key = asked.route.key();
    if kind == PatchKind::Apply && asked.query.get("fieldManager").is_empty() {
        return Err(Problem::bad_request(
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        ));
    }
    let Some(old) = store.get(&key) else {
        if kind == PatchKind::Apply {
            return Ok((201, store.create(&key, asked.body.clone(), &asked.writer)?));
        }
        return Err(Problem::not_found(&key.collection.plural, &key.name));
    };
    let new = patch::patched(kind, old, &asked.body)?;
    let new = within_subresource(store, asked, new)?;
    Ok((200, store.update(&key, new, &asked.writer)?))
}

/// Returns the stored object with the new status, the only field that such a write changes.
fn within_subresource(store: &Store, asked: &Asked, new: Value) -> Result<Value, Problem> {
    let key = asked.route.key();
    match asked.route.subresource.as_deref() {
        None => Ok(new),
        Some("status") => {
            let old = store.get(&key).cloned();
            let mut object =
                old.ok_or_else(|| Problem::not_found(&key.collection.plural, &key.name))?;
            object["status"] = new["status"].clone();
            object["metadata"]["resourceVersion"] = new["metadata"]["resourceVersion"].clone();
            Ok(object)
        }
        Some(other) => Err(Problem::not_found(other, &key.name)),
    }
}

fn delete(store: &mut Store, asked: &Asked) -> Outcome {
    let wanted = |field: &str| {
        let value = asked.body["preconditions"][field].as_str();
        value.map(ToOwned::to_owned)
    };
    let only_if = Preconditions {
        uid: wanted("uid"),
        resource_version: wanted("resourceVersion"),
    };
    let key = asked.route.key();
    let deleted = store.delete(&key, &only_if)?;
    if store.get(&key).is_some() {
        return Ok((200, deleted));
    }
    let details = json!({
        "name": key.name,
        "kind": key.collection.plural,
        "uid": deleted["metadata"]["uid"],
    });
    Ok((200, success(&details)))
}

fn delete_collection(store: &mut Store, asked: &Asked) -> Outcome {
    let query = &asked.query;
    let selector = Selector::parse(query.get("labelSelector"), query.get("fieldSelector"))?;
    let listed = store.list(&asked.route, store.revision())?;
    let selected = listed.into_iter().filter(|(_, o)| selector.selects(o));
    let keys: Vec<Key> = selected.map(|(key, _)| key.clone()).collect();
    for key in keys {
        store.delete(&key, &Preconditions::default())?;
    }
    Ok((200, success(&json!({}))))
}

fn success(details: &Value) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })
}

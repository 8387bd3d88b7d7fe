//! The fields that the server itself writes into objects.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::path::{Collection, Key};

/// The writer, and the kind of call.
#[derive(Debug, Clone)]
pub struct Writer {
    /// The field manager.
    pub manager: String,
    /// Whether it is a server-side apply.
    pub apply: bool,
}

impl Writer {
    /// A test that changes the store by hand.
    pub fn test() -> Self {
        Self {
            manager: "test".to_owned(),
            apply: false,
        }
    }
}

/// Returns the metadata, created if absent.
pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().unwrap()
}

/// Returns a string in the metadata, if it is present and not empty.
pub fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object["metadata"][field]
        .as_str()
        .filter(|text| !text.is_empty())
}

/// Returns the current time, as the API writes it.
pub fn now() -> Value {
    Value::from(Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Sets the object's name, namespace and type to those of its path.
pub fn put_in_place(object: &mut Value, key: &Key) {
    let kind = match object["kind"].as_str() {
        Some(kind) => kind.to_owned(),
        None => kind_of(&key.collection.plural),
    };
    object["kind"] = kind.into();
    object["apiVersion"] = key.collection.api_version.clone().into();
    let metadata = metadata(object);
    metadata.insert("name".to_owned(), key.name.clone().into());
    if key.namespace.is_empty() {
        metadata.remove("namespace");
    } else {
        metadata.insert("namespace".to_owned(), key.namespace.clone().into());
    }
}

/// Guesses the kind of a resource from its name: correct for the kinds that Slipway reads.
pub fn kind_of(plural: &str) -> String {
    let known = [
        ("configmaps", "ConfigMap"),
        ("limitranges", "LimitRange"),
        (
            "mutatingwebhookconfigurations",
            "MutatingWebhookConfiguration",
        ),
        ("persistentvolumeclaims", "PersistentVolumeClaim"),
        ("poddisruptionbudgets", "PodDisruptionBudget"),
        ("replicasets", "ReplicaSet"),
        ("statefulsets", "StatefulSet"),
        ("storageclasses", "StorageClass"),
    ];
    if let Some((_, kind)) = known.iter().find(|(name, _)| *name == plural) {
        return (*kind).to_owned();
    }
    let singular = plural.strip_suffix('s').unwrap_or(plural);
    let mut letters = singular.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + letters.as_str()
    })
}

/// Returns whether a write without resourceVersion is accepted for any version.
pub fn may_be_overwritten_blindly(collection: &Collection) -> bool {
    !matches!(
        collection.plural.as_str(),
        "leases" | "mutatingwebhookconfigurations" | "validatingwebhookconfigurations"
    )
}

/// `stringData` of a Secret is write-only: it moves to `data`.
pub fn fold_string_data(object: &mut Value) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    if object["kind"] != "Secret" {
        return;
    }
    let Some(Value::Object(texts)) = object.as_object_mut().and_then(|o| o.remove("stringData"))
    else {
        return;
    };
    for (key, text) in texts {
        object["data"][key] = STANDARD.encode(text.as_str().unwrap_or_default()).into();
    }
}

/// Records the last writer for each kind of call.
pub fn note_writer(object: &mut Value, writer: &Writer, api_version: &str) {
    let operation = if writer.apply { "Apply" } else { "Update" };
    let metadata = metadata(object);
    let managers = metadata
        .entry("managedFields")
        .or_insert_with(|| json!([]))
        .as_array_mut()
        .unwrap();
    managers.retain(|entry| entry["manager"] != *writer.manager || entry["operation"] != operation);
    managers.push(json!({
        "manager": writer.manager,
        "operation": operation,
        "apiVersion": api_version,
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": {},
    }));
}

/// Returns whether two versions are equal, apart from the fields that the server writes.
pub fn same_content(a: &Value, b: &Value) -> bool {
    let strip = |object: &Value| {
        let mut object = object.clone();
        let metadata = metadata(&mut object);
        metadata.remove("managedFields");
        metadata.remove("resourceVersion");
        object
    };
    strip(a) == strip(b)
}

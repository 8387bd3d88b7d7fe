//! Compares the intended pod with the stored one.

use serde_json::Value;
use slipway_core::k8s::quantity::Quantity;

/// Returns the differences: where `stored` lacks something of `meant`, or has another value. Fields that
/// the API server fills in do not count, nor its notation of quantities, nor the mount of the service
/// account's token, which every container gets.
pub fn lost(meant: &Value, stored: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(meant, stored, "", &mut found);
    found
}

fn compare(meant: &Value, stored: &Value, place: &str, found: &mut Vec<String>) {
    match (meant, stored) {
        (Value::Object(meant), Value::Object(stored)) => {
            for (key, value) in meant {
                let stored = stored.get(key).unwrap_or(&Value::Null);
                compare(value, stored, &format!("{place}/{key}"), found);
            }
        }
        (Value::Array(meant), Value::Array(stored))
            if stored.get(meant.len()..).is_some_and(all_tokens) =>
        {
            for (index, (meant, stored)) in meant.iter().zip(stored).enumerate() {
                compare(meant, stored, &format!("{place}/{index}"), found);
            }
        }
        _ if meant == stored || (is_empty(meant) && is_empty(stored)) => {}
        _ if same_quantity(meant, stored) => {}
        _ => found.push(format!("{place}: {meant} became {stored}")),
    }
}

fn all_tokens(mounts: &[Value]) -> bool {
    let mut names = mounts.iter().map(|mount| mount["name"].as_str());
    names.all(|name| name.is_some_and(|name| name.starts_with("kube-api-access-")))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        // An empty text is left out where the field is, as with a variable's value.
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn same_quantity(one: &Value, other: &Value) -> bool {
    let read = |value: &Value| serde_json::from_value::<Quantity>(value.clone()).ok();
    match (read(one), read(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

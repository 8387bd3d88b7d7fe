//! The kinds of patches.

use serde_json::Value;

use super::problem::Problem;

/// The format of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Apply,
}

impl PatchKind {
    /// Parses the content type.
    pub fn parse(content_type: &str) -> Result<Self, Problem> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/apply-patch+yaml" | "application/apply-patch+json" => Ok(Self::Apply),
            other => Err(Problem::new(
                415,
                "UnsupportedMediaType",
                format!("this server knows no patches of type `{other}`"),
            )),
        }
    }
}

/// Applies a patch. A server-side apply is treated as a merge: it removes no field, and ownership is
/// not checked.
///
/// # Errors
/// 422 if a JSON patch does not fit the object, or its `test` fails.
pub fn patched(kind: PatchKind, object: &Value, patch: &Value) -> Result<Value, Problem> {
    let mut result = object.clone();
    match kind {
        PatchKind::Merge | PatchKind::Apply => json_patch::merge(&mut result, patch),
        PatchKind::Json => {
            let operations: json_patch::Patch = serde_json::from_value(patch.clone())
                .map_err(|error| Problem::bad_request(error.to_string()))?;
            json_patch::patch(&mut result, &operations)
                .map_err(|error| Problem::invalid(error.to_string()))?;
        }
    }
    Ok(result)
}

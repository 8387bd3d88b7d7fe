//! The kinds of patches.

use serde_json::Value;

use super::problem::Problem;

/// How a patch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Apply,
}

impl PatchKind {
    /// By the content type.
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

/// The object after the patch. An apply is taken as a merge: it takes no field away, and nobody's
/// ownership is checked.
///
/// # Errors
/// 422 when a JSON patch does not fit the object, a failed `test` among them.
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

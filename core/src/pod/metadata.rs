//! The parts of a pod's `metadata`.

use serde::Deserialize;

use super::{
    List,
    json::{Map, Str, list},
    size_limits::ENTRIES,
};

/// Parts of `metadata`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata<'a> {
    /// `name`; absent at creation when `generateName` is used.
    #[serde(borrow)]
    pub name: Option<Str<'a>>,
    /// `generateName`, the prefix of the name that the API server will make.
    #[serde(borrow)]
    pub generate_name: Option<Str<'a>>,
    /// `namespace`; at creation it may be named by the request only.
    #[serde(borrow)]
    pub namespace: Option<Str<'a>>,
    /// `labels`.
    #[serde(borrow)]
    pub labels: Option<Map<'a, Str<'a>>>,
    /// `annotations`.
    #[serde(borrow)]
    pub annotations: Option<Map<'a, Str<'a>>>,
    /// `ownerReferences`.
    #[serde(borrow, default, deserialize_with = "list::<_, _, ENTRIES>")]
    pub owner_references: List<OwnerReference<'a>>,
    /// True when the pod has `metadata`. If it has none, a patch must create it first.
    #[serde(skip, default = "present")]
    pub is_present: bool,
}

/// The default of a field that is present once its object is parsed.
fn present() -> bool {
    true
}

/// An item of `metadata.ownerReferences`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference<'a> {
    /// `apiVersion`.
    #[serde(borrow, default)]
    pub api_version: Str<'a>,
    /// `kind`.
    #[serde(borrow, default)]
    pub kind: Str<'a>,
    /// `name`.
    #[serde(borrow, default)]
    pub name: Str<'a>,
    /// `uid`.
    #[serde(borrow, default)]
    pub uid: Str<'a>,
    /// `controller`: true for the object that manages the pod.
    pub controller: Option<bool>,
}

impl Metadata<'_> {
    /// Returns the value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.as_ref()?.get(key).map(Str::as_str)
    }

    /// Returns the object that manages the pod.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerReference<'_>> {
        let mut owners = self.owner_references.iter().flatten();
        owners.find(|owner| owner.controller == Some(true))
    }

    /// Returns the value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(Str::as_str)
    }
}

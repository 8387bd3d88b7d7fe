//! The yardstick: a borrowed parse of a review, as short as serde allows, that keeps the fields that a
//! webhook for runner pods needs, and does nothing with them.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

/// A string, borrowed unless it holds an escape.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

type Texts<'a> = Option<Vec<Text<'a>>>;
type TextMap<'a> = Option<BTreeMap<Text<'a>, Text<'a>>>;

/// An AdmissionReview.
#[derive(Debug, Deserialize)]
pub struct Review<'a> {
    #[serde(borrow)]
    pub request: Request<'a>,
}

/// Its request.
#[derive(Debug, Deserialize)]
pub struct Request<'a> {
    #[serde(borrow)]
    pub uid: Text<'a>,
    #[serde(borrow)]
    pub namespace: Text<'a>,
    #[serde(borrow)]
    pub operation: Text<'a>,
    #[serde(borrow)]
    pub object: Pod<'a>,
}

/// Its Pod.
#[derive(Debug, Deserialize)]
pub struct Pod<'a> {
    #[serde(borrow)]
    pub metadata: Metadata<'a>,
    #[serde(borrow)]
    pub spec: Spec<'a>,
}

/// The Pod's `metadata`.
#[derive(Debug, Deserialize)]
pub struct Metadata<'a> {
    #[serde(borrow)]
    pub name: Option<Text<'a>>,
    #[serde(borrow)]
    pub labels: TextMap<'a>,
    #[serde(borrow)]
    pub annotations: TextMap<'a>,
}

/// The Pod's `spec`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    #[serde(borrow)]
    pub node_selector: TextMap<'a>,
    #[serde(borrow)]
    pub tolerations: Option<Vec<Toleration<'a>>>,
    #[serde(borrow)]
    pub init_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    pub containers: Vec<Container<'a>>,
    #[serde(borrow)]
    pub volumes: Option<Vec<Named<'a>>>,
}

/// A toleration.
#[derive(Debug, Deserialize)]
pub struct Toleration<'a> {
    #[serde(borrow)]
    pub key: Option<Text<'a>>,
    #[serde(borrow)]
    pub operator: Option<Text<'a>>,
    #[serde(borrow)]
    pub value: Option<Text<'a>>,
    #[serde(borrow)]
    pub effect: Option<Text<'a>>,
}

/// A container.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub image: Option<Text<'a>>,
    #[serde(borrow)]
    pub command: Texts<'a>,
    #[serde(borrow)]
    pub args: Texts<'a>,
    #[serde(borrow)]
    pub env: Option<Vec<Variable<'a>>>,
    #[serde(borrow)]
    pub volume_mounts: Option<Vec<Mount<'a>>>,
    #[serde(borrow)]
    pub restart_policy: Option<Text<'a>>,
}

/// A variable.
#[derive(Debug, Deserialize)]
pub struct Variable<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub value: Option<Text<'a>>,
}

/// A mount.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub mount_path: Text<'a>,
}

/// A volume.
#[derive(Debug, Deserialize)]
pub struct Named<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
}

//! The meaning of a method and a path.

use super::problem::Problem;

/// A verb, as in RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

/// A kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Collection {
    /// `v1`, `coordination.k8s.io/v1`.
    pub api_version: String,
    /// `secrets`, `leases`.
    pub plural: String,
}

/// The key of an object. The namespace of a cluster-scoped one is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub collection: Collection,
    pub namespace: String,
    pub name: String,
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub collection: Collection,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
}

impl Route {
    /// Parses `/api/v1/…` or `/apis/GROUP/VERSION/…`.
    pub fn parse(path: &str) -> Result<Self, Problem> {
        let unknown = || Problem::new(404, "NotFound", format!("there is no path {path}"));
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (api_version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ((*version).to_owned(), rest),
            ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
            _ => return Err(unknown()),
        };
        // `namespaces/a` is an object, `namespaces/a/secrets` a collection in it.
        let (namespace, rest) = match rest {
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            _ => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (plural, None, None),
            [plural, name] => (plural, Some(name), None),
            [plural, name, subresource] => (plural, Some(name), Some(subresource)),
            _ => return Err(unknown()),
        };
        Ok(Self {
            collection: Collection {
                api_version,
                plural: (*plural).to_owned(),
            },
            namespace,
            name: name.map(ToString::to_string),
            subresource: subresource.map(ToString::to_string),
        })
    }

    /// Returns the verb; `None` if the method does not fit.
    pub fn verb(&self, method: &str, watch: bool) -> Option<Verb> {
        Some(match (method, self.name.is_some()) {
            ("GET", _) if watch => Verb::Watch,
            ("GET", true) => Verb::Get,
            ("GET", false) => Verb::List,
            ("POST", false) => Verb::Create,
            ("PUT", true) => Verb::Update,
            ("PATCH", true) => Verb::Patch,
            ("DELETE", true) => Verb::Delete,
            ("DELETE", false) => Verb::DeleteCollection,
            _ => return None,
        })
    }

    /// Returns the key of the object that the path names.
    pub fn key(&self) -> Key {
        self.key_of(self.name.as_deref().expect("the path names no object"))
    }

    /// Returns the key of an object in this collection and namespace.
    pub fn key_of(&self, name: &str) -> Key {
        Key {
            collection: self.collection.clone(),
            namespace: self.namespace.clone().unwrap_or_default(),
            name: name.to_owned(),
        }
    }

    /// Returns whether an object is in this collection, and in the path's namespace if it has one.
    pub fn covers(&self, key: &Key) -> bool {
        key.collection == self.collection
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == key.namespace)
            && self.name.as_ref().is_none_or(|name| *name == key.name)
    }
}

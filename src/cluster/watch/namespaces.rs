//! Watches the namespaces, their LimitRanges and their ResourceQuotas, and joins the three into one map.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
};

use futures_util::StreamExt;
use kube::{Api, Client, Resource, ResourceExt};
use slipway_core::k8s::{
    limits::LimitRangeItem,
    namespace::{Namespace, Namespaces},
};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::{
    GATHER,
    changes::{Change, changes},
    objects,
};
use crate::{
    cluster::state::LiveState,
    metrics::{Metrics, Watched},
};

/// Follows all three, forever. Nothing is published before each has been listed: a pod in a namespace with
/// unknown limits could be given more than the namespace admits.
pub(super) async fn follow(client: Client, state: &LiveState, metrics: &Metrics) {
    let namespaces = Api::<objects::Namespace>::all(client.clone());
    let limits = Api::<objects::LimitRange>::all(client.clone());
    let quotas = Api::<objects::ResourceQuota>::all(client);
    let mut namespaces = pin!(changes(namespaces, Watched::Namespaces, metrics));
    let mut limits = pin!(changes(limits, Watched::LimitRanges, metrics));
    let mut quotas = pin!(changes(quotas, Watched::ResourceQuotas, metrics));
    let mut known = Known::default();
    let mut first = true;
    loop {
        let changed = tokio::select! {
            Some(change) = namespaces.next() => known.labels.apply(change, labels),
            Some(change) = limits.next() => known.limits.apply(change, items),
            Some(change) = quotas.next() => known.quotas.apply(change, counted),
            else => return,
        };
        if !changed {
            continue;
        }
        // `kubectl label --all` changes namespaces one by one.
        let end = Instant::now() + GATHER;
        loop {
            tokio::select! {
                Some(change) = namespaces.next() => { known.labels.apply(change, labels); }
                Some(change) = limits.next() => { known.limits.apply(change, items); }
                Some(change) = quotas.next() => { known.quotas.apply(change, counted); }
                () = sleep_until(end) => break,
            }
        }
        if let Some(namespaces) = known.namespaces() {
            let namespaces = Arc::new(namespaces);
            if std::mem::take(&mut first) {
                info!(namespaces = namespaces.len(), "namespaces known");
            }
            state.update(|state| state.namespaces = Some(Arc::clone(&namespaces)));
        }
    }
}

/// Joins three complete lists into namespaces.
pub(super) fn known(
    namespaces: Vec<objects::Namespace>,
    limits: Vec<objects::LimitRange>,
    quotas: Vec<objects::ResourceQuota>,
) -> Namespaces {
    let mut known = Known::default();
    known.labels.apply(Change::All(namespaces), labels);
    known.limits.apply(Change::All(limits), items);
    known.quotas.apply(Change::All(quotas), counted);
    known.namespaces().unwrap_or_default()
}

/// What the three watches have reported so far.
#[derive(Default)]
struct Known {
    labels: Listed<BTreeMap<String, String>>,
    limits: Listed<Vec<LimitRangeItem>>,
    quotas: Listed<BTreeSet<String>>,
}

impl Known {
    /// Returns the namespaces once all three have been listed.
    fn namespaces(&self) -> Option<Namespaces> {
        let labels = self.labels.0.as_ref()?;
        let (limits, quotas) = (self.limits.0.as_ref()?, self.quotas.0.as_ref()?);
        Some(Namespaces::new(labels.iter().map(|((_, name), labels)| {
            Namespace {
                name: name.clone(),
                labels: labels.clone(),
                limits: within(limits, name).flatten().cloned().collect(),
                quotas: within(quotas, name).flatten().cloned().collect(),
            }
        })))
    }
}

/// A namespace, empty for objects outside of namespaces, and a name.
type Key = (String, String);

/// What matters of the objects of one watch; `None` before its first list.
struct Listed<T>(Option<BTreeMap<Key, T>>);

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: PartialEq> Listed<T> {
    /// Applies a change; `relevant` extracts what matters of an object. Returns whether any of that changed.
    fn apply<K: Resource<DynamicType = ()>>(
        &mut self,
        change: Change<K>,
        relevant: fn(&K) -> T,
    ) -> bool {
        let key = |object: &K| (object.namespace().unwrap_or_default(), object.name_any());
        match change {
            Change::All(all) => {
                let all = all
                    .into_iter()
                    .map(|object| (key(&object), relevant(&object)));
                let all = Some(all.collect());
                let changed = self.0 != all;
                self.0 = all;
                changed
            }
            Change::Applied(object) => {
                let known = self.0.get_or_insert_default();
                let (key, new) = (key(&object), relevant(&object));
                if known.get(&key) == Some(&new) {
                    return false;
                }
                known.insert(key, new);
                true
            }
            Change::Deleted(object) => {
                let known = self.0.get_or_insert_default();
                known.remove(&key(&object)).is_some()
            }
        }
    }
}

/// Iterates over what is in a namespace.
fn within<'k, T>(all: &'k BTreeMap<Key, T>, namespace: &'k str) -> impl Iterator<Item = &'k T> {
    let start = (namespace.to_owned(), String::new());
    all.range(start..)
        .take_while(move |((home, _), _)| home == namespace)
        .map(|(_, value)| value)
}

fn labels(namespace: &objects::Namespace) -> BTreeMap<String, String> {
    namespace.labels().clone()
}

fn counted(quota: &objects::ResourceQuota) -> BTreeSet<String> {
    quota.spec.counted()
}

/// Returns the items that can be read. The API server has validated all of them, but one may have a form that is
/// newer than this version; that one is skipped with a warning.
fn items(range: &objects::LimitRange) -> Vec<LimitRangeItem> {
    let (namespace, name) = (range.namespace(), range.name_any());
    let understood = |item: Result<LimitRangeItem, serde_json::Error>| {
        item.inspect_err(|error| {
            warn!(namespace, name, %error, "this LimitRange has an item in an unknown form, which is ignored");
        })
        .ok()
    };
    range.spec.items().filter_map(understood).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn namespace(name: &str, label: &str) -> objects::Namespace {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": {"l": label}}})).unwrap()
    }

    #[allow(clippy::needless_pass_by_value, reason = "reads better in tests")]
    fn range(namespace: &str, name: &str, limits: Value) -> objects::LimitRange {
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": name}, "spec": {"limits": limits}
        }))
        .unwrap()
    }

    fn quota(namespace: &str) -> objects::ResourceQuota {
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": "q"}, "spec": {"hard": {"memory": "1Gi", "pods": 3}}
        }))
        .unwrap()
    }

    #[test]
    fn nothing_is_published_before_all_three_have_been_listed() {
        let mut known = Known::default();
        let all = Change::All(vec![namespace("ci", "a")]);
        assert!(known.labels.apply(all, labels));
        assert!(known.limits.apply(Change::All(vec![]), items));
        assert!(known.namespaces().is_none());
        assert!(known.quotas.apply(Change::All(vec![]), counted));
        assert_eq!(known.namespaces().unwrap().len(), 1);
    }

    #[test]
    fn limits_and_quotas_apply_to_their_namespace_only() {
        let container = json!([{"type": "Container"}]);
        let ranges = vec![
            range("ci", "one", container.clone()),
            range("ci", "two", container.clone()),
            range("ci-2", "one", container),
        ];
        let namespaces = vec![namespace("ci", "a"), namespace("ci-2", "a")];
        let known = known(namespaces, ranges, vec![quota("ci-2")]);
        let (ci, ci_2) = (known.get("ci").unwrap(), known.get("ci-2").unwrap());
        assert_eq!((ci.limits.len(), ci_2.limits.len()), (2, 1));
        assert!(ci.quotas.is_empty());
        assert_eq!(ci_2.quotas, ["requests.memory".to_owned()].into());
    }

    #[test]
    fn an_irrelevant_change_is_not_reported() {
        let mut known = Listed::default();
        let mut apply = |change| known.apply(change, labels);
        assert!(apply(Change::All(vec![namespace("ci", "a")])));
        assert!(!apply(Change::Applied(namespace("ci", "a"))));
        assert!(apply(Change::Applied(namespace("ci", "b"))));
        assert!(!apply(Change::All(vec![namespace("ci", "b")])));
        assert!(apply(Change::Deleted(namespace("ci", "b"))));
        assert!(!apply(Change::Deleted(namespace("ci", "b"))));
    }

    #[test]
    fn an_item_in_an_unknown_form_does_not_hide_the_others() {
        let limits = json!([{"type": "Container", "max": {"cpu": "2"}}, {"type": "Pod", "max": {"cpu": "?"}}]);
        assert_eq!(items(&range("ci", "a", limits)).len(), 1);
    }
}

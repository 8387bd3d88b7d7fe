//! The namespaces and their LimitRanges: two watches that become one map.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::Arc,
};

use futures_util::StreamExt;
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::{
    GATHER,
    changes::{Change, changes},
    objects,
};
use crate::{
    facts::LiveFacts,
    metrics::{Metrics, Watched},
    namespace::{LimitRangeItem, Namespace, Namespaces},
};

/// Follows namespaces and LimitRanges, for ever. Nothing is published before both were listed: a
/// namespace whose limits are unknown could get more than it admits.
pub(super) async fn follow(client: Client, facts: &LiveFacts, metrics: &Metrics) {
    let mut namespaces = pin!(changes(
        Api::<objects::Namespace>::all(client.clone()),
        Watched::Namespaces,
        metrics
    ));
    let mut limits = pin!(changes(
        Api::<objects::LimitRange>::all(client),
        Watched::LimitRanges,
        metrics
    ));
    let mut known = Known::default();
    let mut first = true;
    loop {
        let meant = tokio::select! {
            Some(change) = namespaces.next() => known.namespace(change),
            Some(change) = limits.next() => known.limit_range(change),
            else => return,
        };
        if !meant {
            continue;
        }
        // Whoever labels them all changes them one by one.
        let end = Instant::now() + GATHER;
        loop {
            tokio::select! {
                Some(change) = namespaces.next() => { known.namespace(change); }
                Some(change) = limits.next() => { known.limit_range(change); }
                () = sleep_until(end) => break,
            }
        }
        if let Some(namespaces) = known.namespaces() {
            let namespaces = Arc::new(namespaces);
            if std::mem::take(&mut first) {
                info!(namespaces = namespaces.len(), "namespaces known");
            }
            facts.update(|facts| facts.namespaces = Some(Arc::clone(&namespaces)));
        }
    }
}

/// The namespaces of two complete lists.
pub(super) fn known(
    namespaces: Vec<objects::Namespace>,
    limits: Vec<objects::LimitRange>,
) -> Namespaces {
    let mut known = Known::default();
    known.namespace(Change::All(namespaces));
    known.limit_range(Change::All(limits));
    known.namespaces().unwrap_or_default()
}

type Labels = BTreeMap<String, String>;
/// A LimitRange's namespace and name.
type Key = (String, String);

/// What the two watches have brought; `None` before their first list.
#[derive(Default)]
struct Known {
    labels: Option<HashMap<String, Labels>>,
    limits: Option<BTreeMap<Key, Vec<LimitRangeItem>>>,
}

impl Known {
    /// Whether the change means anything.
    fn namespace(&mut self, change: Change<objects::Namespace>) -> bool {
        let entry = |mut namespace: objects::Namespace| {
            let labels = std::mem::take(namespace.labels_mut());
            (namespace.name_any(), labels)
        };
        match change {
            Change::All(all) => {
                let all = Some(all.into_iter().map(entry).collect());
                replace(&mut self.labels, all)
            }
            Change::Applied(namespace) => {
                let (name, labels) = entry(namespace);
                let known = self.labels.get_or_insert_default();
                known.insert(name, labels.clone()) != Some(labels)
            }
            Change::Deleted(namespace) => {
                let known = self.labels.get_or_insert_default();
                known.remove(&namespace.name_any()).is_some()
            }
        }
    }

    /// Whether the change means anything.
    fn limit_range(&mut self, change: Change<objects::LimitRange>) -> bool {
        match change {
            Change::All(all) => {
                let all = all.into_iter().map(|range| (key(&range), items(range)));
                replace(&mut self.limits, Some(all.collect()))
            }
            Change::Applied(range) => {
                let (key, items) = (key(&range), items(range));
                let known = self.limits.get_or_insert_default();
                known.insert(key, items.clone()) != Some(items)
            }
            Change::Deleted(range) => {
                let known = self.limits.get_or_insert_default();
                known.remove(&key(&range)).is_some()
            }
        }
    }

    /// What there is, once both were listed.
    fn namespaces(&self) -> Option<Namespaces> {
        let (labels, limits) = (self.labels.as_ref()?, self.limits.as_ref()?);
        let limits_of = |name: &str| {
            let start = (name.to_owned(), String::new());
            let own = limits.range(start..).take_while(|((n, _), _)| n == name);
            own.flat_map(|(_, items)| items.clone()).collect()
        };
        Some(Namespaces::new(labels.iter().map(|(name, labels)| {
            Namespace {
                name: name.clone(),
                labels: labels.clone(),
                limits: limits_of(name),
            }
        })))
    }
}

fn replace<T: PartialEq>(old: &mut T, new: T) -> bool {
    let meant = *old != new;
    *old = new;
    meant
}

fn key(range: &objects::LimitRange) -> Key {
    (range.namespace().unwrap_or_default(), range.name_any())
}

/// The items that can be read. The API server has checked them; one of a form that is newer than
/// this version is left out, with a warning.
fn items(range: objects::LimitRange) -> Vec<LimitRangeItem> {
    let (namespace, name) = key(&range);
    let items = range.spec.limits.unwrap_or_default().into_iter();
    items
        .filter_map(|item| {
            LimitRangeItem::deserialize(item)
                .inspect_err(|error| {
                    warn!(namespace, name, %error, "an item of this LimitRange is not understood, and not respected");
                })
                .ok()
        })
        .collect()
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

    #[test]
    fn nothing_is_known_before_both_lists_are_there() {
        let mut known = Known::default();
        assert!(known.namespace(Change::All(vec![namespace("ci", "a")])));
        assert!(known.namespaces().is_none());
        assert!(known.limit_range(Change::All(vec![])));
        assert_eq!(known.namespaces().unwrap().len(), 1);
    }

    #[test]
    fn limits_belong_to_their_namespace_alone() {
        let container = json!([{"type": "Container"}]);
        let mut known = Known::default();
        known.namespace(Change::All(vec![
            namespace("ci", "a"),
            namespace("ci-2", "a"),
        ]));
        known.limit_range(Change::All(vec![
            range("ci", "one", container.clone()),
            range("ci", "two", container.clone()),
            range("ci-2", "one", container),
        ]));
        let namespaces = known.namespaces().unwrap();
        assert_eq!(namespaces.get("ci").unwrap().limits.len(), 2);
        assert_eq!(namespaces.get("ci-2").unwrap().limits.len(), 1);
        assert!(known.limit_range(Change::Deleted(range("ci", "one", json!([])))));
        let namespaces = known.namespaces().unwrap();
        assert_eq!(namespaces.get("ci").unwrap().limits.len(), 1);
    }

    #[test]
    fn a_change_without_meaning_is_none() {
        let mut known = Known::default();
        known.namespace(Change::All(vec![namespace("ci", "a")]));
        assert!(!known.namespace(Change::Applied(namespace("ci", "a"))));
        assert!(known.namespace(Change::Applied(namespace("ci", "b"))));
        assert!(!known.namespace(Change::All(vec![namespace("ci", "b")])));
        assert!(known.namespace(Change::Deleted(namespace("ci", "b"))));
        assert!(!known.namespace(Change::Deleted(namespace("ci", "b"))));
    }

    #[test]
    fn an_item_of_a_newer_form_is_left_out_alone() {
        let limits = json!([{"type": "Container", "max": {"cpu": "2"}}, {"type": "Pod", "max": {"cpu": "?"}}]);
        assert_eq!(items(range("ci", "a", limits)).len(), 1);
    }
}

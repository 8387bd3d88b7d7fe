//! The objects and their history: the role of etcd in the real server.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    object::{self, Writer},
    path::{Key, Route},
    problem::Problem,
};

/// One change.
#[derive(Debug, Clone)]
pub struct Event {
    pub revision: u64,
    pub key: Key,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// The preconditions of a deletion.
#[derive(Debug, Default)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

/// All objects, and the history since the last compaction.
#[derive(Debug, Default)]
pub struct Store {
    objects: BTreeMap<Key, Value>,
    history: Vec<Event>,
    revision: u64,
    compacted: u64,
}

impl Store {
    /// Returns the number of the last change, which is the resourceVersion of its object.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the object at an API path.
    pub fn at(&self, path: &str) -> Option<&Value> {
        self.get(&Route::parse(path).unwrap().key())
    }

    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.objects.get(key)
    }

    /// Returns the objects of the route, as they were at a revision.
    ///
    /// # Errors
    /// 410 if the revision has been compacted.
    pub fn list(&self, route: &Route, revision: u64) -> Result<Vec<(&Key, &Value)>, Problem> {
        if revision < self.compacted {
            return Err(Problem::expired(revision, self.compacted));
        }
        let mut objects: BTreeMap<&Key, &Value> = self.objects.iter().collect();
        for event in self.history.iter().rev() {
            if event.revision <= revision {
                break;
            }
            match &event.before {
                Some(before) => objects.insert(&event.key, before),
                None => objects.remove(&event.key),
            };
        }
        Ok(objects
            .into_iter()
            .filter(|(key, _)| route.covers(key))
            .collect())
    }

    /// Returns the changes after a revision.
    ///
    /// # Errors
    /// 410 if the revision has been compacted.
    pub fn since(&self, revision: u64) -> Result<Vec<Event>, Problem> {
        if revision < self.compacted {
            return Err(Problem::expired(revision, self.compacted));
        }
        let first = self.history.partition_point(|e| e.revision <= revision);
        Ok(self.history[first..].to_vec())
    }

    /// Returns a copy, for dry runs.
    pub fn copy(&self) -> Self {
        Self {
            objects: self.objects.clone(),
            history: self.history.clone(),
            ..*self
        }
    }

    /// Drops the history.
    pub fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.revision;
    }

    /// Adds an object.
    ///
    /// # Errors
    /// 409 if it exists already, 400 if it has a resourceVersion.
    pub fn create(&mut self, key: &Key, mut new: Value, writer: &Writer) -> Result<Value, Problem> {
        if self.objects.contains_key(key) {
            let message = format!("{} \"{}\" already exists", key.collection.plural, key.name);
            return Err(Problem::new(409, "AlreadyExists", message));
        }
        if object::text(&new, "resourceVersion").is_some() {
            return Err(Problem::bad_request(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        object::put_in_place(&mut new, key);
        object::fold_string_data(&mut new);
        let uid = self.next_uid();
        let metadata = object::metadata(&mut new);
        metadata.insert("uid".to_owned(), uid.into());
        metadata.insert("creationTimestamp".to_owned(), object::now());
        metadata.remove("deletionTimestamp");
        metadata.remove("managedFields");
        object::note_writer(&mut new, writer, &key.collection.api_version);
        Ok(self.commit(key, Some(new)))
    }

    /// Replaces an object, if its version is still the one that the writer names.
    ///
    /// # Errors
    /// 404, 409 if it has changed since, 422 if an immutable field changes.
    pub fn update(&mut self, key: &Key, mut new: Value, writer: &Writer) -> Result<Value, Problem> {
        let plural = &key.collection.plural;
        let Some(old) = self.objects.get(key) else {
            return Err(Problem::not_found(plural, &key.name));
        };
        let old = old.clone();
        match object::text(&new, "resourceVersion") {
            Some(version) if Some(version) != object::text(&old, "resourceVersion") => {
                return Err(Problem::conflict(plural, &key.name));
            }
            None if !object::may_be_overwritten_blindly(&key.collection) => {
                return Err(Problem::invalid(
                    "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update",
                ));
            }
            _ => {}
        }
        if object::text(&new, "uid").is_some_and(|uid| Some(uid) != object::text(&old, "uid")) {
            return Err(Problem::conflict(plural, &key.name));
        }
        object::put_in_place(&mut new, key);
        object::fold_string_data(&mut new);
        check_immutable(&old, &new)?;
        keep_server_fields(&old, &mut new);
        if object::same_content(&old, &new) {
            return Ok(old);
        }
        object::note_writer(&mut new, writer, &key.collection.api_version);
        let finished = object::text(&new, "deletionTimestamp").is_some() && !has_finalizers(&new);
        Ok(self.commit(key, (!finished).then_some(new)))
    }

    /// Deletes an object, or marks it as terminating while it has finalizers.
    ///
    /// # Errors
    /// 404, or 409 if a precondition does not hold.
    pub fn delete(&mut self, key: &Key, only_if: &Preconditions) -> Result<Value, Problem> {
        let plural = &key.collection.plural;
        let Some(old) = self.objects.get(key) else {
            return Err(Problem::not_found(plural, &key.name));
        };
        for (field, wanted) in [
            ("uid", &only_if.uid),
            ("resourceVersion", &only_if.resource_version),
        ] {
            if wanted.is_some() && wanted.as_deref() != object::text(old, field) {
                return Err(Problem::conflict(plural, &key.name));
            }
        }
        if !has_finalizers(old) {
            return Ok(self.commit(key, None));
        }
        if object::text(old, "deletionTimestamp").is_some() {
            return Ok(old.clone());
        }
        let mut marked = old.clone();
        object::metadata(&mut marked).insert("deletionTimestamp".to_owned(), object::now());
        Ok(self.commit(key, Some(marked)))
    }

    /// Creates or replaces, whatever its version.
    ///
    /// # Errors
    /// As [`Self::update`], except for the version.
    pub fn set(&mut self, key: &Key, mut new: Value) -> Result<Value, Problem> {
        let version = self
            .get(key)
            .map(|old| old["metadata"]["resourceVersion"].clone());
        let metadata = object::metadata(&mut new);
        metadata.remove("resourceVersion");
        let Some(version) = version else {
            return self.create(key, new, &Writer::test());
        };
        metadata.insert("resourceVersion".to_owned(), version);
        self.update(key, new, &Writer::test())
    }

    /// Removes an object, even if it has finalizers.
    pub fn remove(&mut self, key: &Key) {
        if self.objects.contains_key(key) {
            self.commit(key, None);
        }
    }

    /// Records the next version. For a deletion it returns the last version, with the revision of the
    /// deletion, as watches show it.
    fn commit(&mut self, key: &Key, after: Option<Value>) -> Value {
        self.revision += 1;
        let before = self.objects.remove(key);
        let mut shown = after.clone().or_else(|| before.clone()).unwrap_or_default();
        object::metadata(&mut shown).insert(
            "resourceVersion".to_owned(),
            self.revision.to_string().into(),
        );
        if after.is_some() {
            self.objects.insert(key.clone(), shown.clone());
        }
        self.history.push(Event {
            revision: self.revision,
            key: key.clone(),
            before,
            after: after.map(|_| shown.clone()),
        });
        shown
    }

    fn next_uid(&self) -> String {
        format!("00000000-0000-4000-8000-{:012}", self.revision + 1)
    }
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"]
        .as_array()
        .is_some_and(|finalizers| !finalizers.is_empty())
}

/// Keeps the fields of the metadata that writers cannot change.
fn keep_server_fields(old: &Value, new: &mut Value) {
    let metadata = object::metadata(new);
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "managedFields",
    ] {
        match &old["metadata"][field] {
            Value::Null => metadata.remove(field),
            value => metadata.insert(field.to_owned(), value.clone()),
        };
    }
}

fn check_immutable(old: &Value, new: &Value) -> Result<(), Problem> {
    if old["kind"] == "Secret" && old["type"] != new["type"] && !old["type"].is_null() {
        return Err(Problem::invalid("type: Invalid value: field is immutable"));
    }
    if old["immutable"] == true && old["data"] != new["data"] {
        return Err(Problem::invalid(
            "data: Forbidden: field is immutable when `immutable` is set",
        ));
    }
    Ok(())
}

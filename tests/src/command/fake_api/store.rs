//! The objects that are stored: namespaces, policies, audit results and Leases.

use std::collections::BTreeMap;

use anyhow::Result;
use http::StatusCode;
use serde_json::{Value, json};

use super::wire::{Answer, Call, refused};

/// Resource, namespace and name.
type Key = (String, String, String);

/// Objects by their key.
#[derive(Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Value>,
    version: u64,
    /// The number of statuses written.
    pub(super) statuses: usize,
}

/// The change that watches receive.
pub(super) type Event = Option<(&'static str, Value)>;

impl Store {
    /// The resourceVersion of the last change.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The objects of a resource with a higher resourceVersion.
    pub(super) fn newer(&self, resource: &str, version: u64) -> Vec<&Value> {
        let all = self.objects.iter().filter(|((of, ..), _)| of == resource);
        all.map(|(_, object)| object).filter(|object| self::version(object) > version).collect()
    }

    /// Stores an object without an event.
    pub(super) fn keep(&mut self, resource: &str, object: Value) {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = (resource.to_owned(), text("namespace"), text("name"));
        self.version += 1;
        self.insert(key, object);
    }

    /// Carries out the request, and returns the change that watches receive.
    pub(super) fn handle(&mut self, call: &Call) -> Result<(Answer, Event)> {
        self.version += 1;
        let key = (call.resource.clone(), call.namespace.clone(), call.name.clone());
        let known = self.objects.get(&key).cloned();
        Ok(match (call.method.as_str(), known) {
            ("GET", Some(object)) => (done(object), None),
            ("POST", _) => self.create(key, call.json()?),
            ("PUT", Some(old)) => self.replace(key, &old, call.json()?),
            ("PATCH", Some(old)) if call.subresource == "status" => {
                self.statuses += 1;
                let mut object = old;
                object["status"] = call.json()?["status"].take();
                self.changed(key, object)
            }
            ("PATCH", Some(old)) => {
                let (patch, mut object) = (call.json()?, old.clone());
                add_finalizer(&patch, &mut object);
                self.replace(key, &old, object)
            }
            ("DELETE", Some(object)) => {
                self.objects.remove(&key);
                (done(object.clone()), Some(("DELETED", object)))
            }
            _ => (refused(StatusCode::NOT_FOUND, "NotFound"), None),
        })
    }

    fn create(&mut self, mut key: Key, object: Value) -> (Answer, Event) {
        object["metadata"]["name"].as_str().unwrap_or_default().clone_into(&mut key.2);
        if self.objects.contains_key(&key) {
            return (refused(StatusCode::CONFLICT, "AlreadyExists"), None);
        }
        let object = self.insert(key, object);
        (done(object.clone()), Some(("ADDED", object)))
    }

    /// Stores an object that has the stored resourceVersion.
    fn replace(&mut self, key: Key, old: &Value, new: Value) -> (Answer, Event) {
        if version(old) == version(&new) {
            self.changed(key, new)
        } else {
            (refused(StatusCode::CONFLICT, "Conflict"), None)
        }
    }

    fn changed(&mut self, key: Key, object: Value) -> (Answer, Event) {
        let object = self.insert(key, object);
        (done(object.clone()), Some(("MODIFIED", object)))
    }

    /// Stores an object with the present resourceVersion, and returns it.
    fn insert(&mut self, key: Key, mut object: Value) -> Value {
        if !key.1.is_empty() {
            object["metadata"]["namespace"] = json!(key.1);
        }
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(key, object.clone());
        object
    }
}

/// Carries out the patch that adds a finalizer: a merge patch, as the operator sent it before, or
/// a JSON patch. Either has the resourceVersion that it is for.
fn add_finalizer(patch: &Value, object: &mut Value) {
    let (version, finalizers) = match patch.as_array().map(Vec::as_slice) {
        Some([test, add]) => (&test["value"], &add["value"]),
        _ => (&patch["metadata"]["resourceVersion"], &patch["metadata"]["finalizers"]),
    };
    object["metadata"]["resourceVersion"] = version.clone();
    object["metadata"]["finalizers"] = finalizers.clone();
}

fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn done(object: Value) -> Answer {
    (StatusCode::OK, object)
}
